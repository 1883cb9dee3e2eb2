//! The node itself: a manifest and one asynchronous call.

use std::future::Future;
use std::marker::PhantomData;
use std::pin::Pin;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::{Context, Effects, Failure, Manifest};

/// The future of one attempt.
pub type Call<'a> = Pin<Box<dyn Future<Output = Result<Value, Failure>> + Send + 'a>>;

/// Something a flow's step can call.
///
/// A call may be dropped at any await (timeout, shutdown) and must release what it holds then.
pub trait Node: Send + Sync + 'static {
    /// What the node is called, takes, gives and promises.
    fn manifest(&self) -> &Manifest;

    /// Make one attempt. The input is the step's rendered `with`, secrets put in.
    fn call<'a>(&'a self, ctx: &'a Context, input: Value) -> Call<'a>;

    /// What a call with this input does to the world; by default what the manifest says.
    fn effects(&self, _input: &Value) -> Effects {
        self.manifest().effects
    }

    /// Whether [`Node::call`] does the work. Without its code here, a call says what to do.
    fn is_callable(&self) -> bool {
        true
    }

    /// The task queue where workers serve it; absent for a node that is called in process.
    fn task_queue(&self) -> Option<String> {
        None
    }

    /// For a node whose code is files: the digest of those files as they are now,
    /// which counts as its exact version. Reads the files; absent for nodes built in.
    fn version_digest(&self) -> Option<String> {
        None
    }
}

/// A node made of an asynchronous function with typed input and output.
///
/// An input that does not fit the type is a [`Failure::bad_input`].
pub fn node<F, Fut, I, O>(manifest: Manifest, run: F) -> TypedNode<F, I, O>
where
    F: Fn(Context, I) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<O, Failure>> + Send,
    I: DeserializeOwned + Send + 'static,
    O: Serialize + Send + 'static,
{
    TypedNode { manifest, run, types: PhantomData }
}

/// What [`node`] makes.
pub struct TypedNode<F, I, O> {
    manifest: Manifest,
    run: F,
    types: PhantomData<fn(I) -> O>,
}

impl<F, Fut, I, O> Node for TypedNode<F, I, O>
where
    F: Fn(Context, I) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<O, Failure>> + Send,
    I: DeserializeOwned + Send + 'static,
    O: Serialize + Send + 'static,
{
    fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    fn call<'a>(&'a self, ctx: &'a Context, input: Value) -> Call<'a> {
        Box::pin(async move {
            let input = self.manifest.read_input(input)?;
            let output = (self.run)(ctx.clone(), input).await?;
            serde_json::to_value(output).map_err(|e| {
                Failure::permanent("BadOutput", format!("output of {}: {e}", self.manifest.name))
            })
        })
    }
}
