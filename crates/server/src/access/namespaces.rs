//! The namespaces that a call names, wherever in its message: a caller who is confined to some must
//! not reach another by naming it inside.

use std::collections::{BTreeMap, BTreeSet};

use prost::Message as _;
use prost::encoding::{DecodeContext, WireType, decode_key, decode_varint, skip_field};
use prost_types::field_descriptor_proto::Type;
use prost_types::{DescriptorProto, FileDescriptorSet};

use super::Caller;

/// The namespace of a call that names none.
pub const DEFAULT: &str = "default";
/// How deep messages are followed: as deep as prost decodes them.
const DEPTH_MAX: usize = 100;

/// Where requests have namespaces, by the descriptors of our and Temporal's API.
#[derive(Debug)]
pub struct Schema {
    methods: BTreeMap<String, String>,
    messages: BTreeMap<String, Shape>,
}

/// The fields of a message that are, or lead to, a namespace.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
struct Shape {
    namespace: Option<u32>,
    inner: BTreeMap<u32, String>,
}

/// What is wrong with a call of a confined caller.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Strays {
    /// It names a namespace that the caller may not enter.
    Into(String),
    /// It concerns all namespaces.
    Everywhere,
    /// It cannot be read.
    Unreadable,
}

impl Schema {
    /// The schema of everything this server could serve.
    ///
    /// # Errors
    /// The descriptors are damaged: a defect of the build.
    pub fn new() -> Result<Self, prost::DecodeError> {
        let files = FileDescriptorSet::decode(reflux_proto::DESCRIPTORS)?;
        let mut schema = Self { methods: BTreeMap::new(), messages: BTreeMap::new() };
        for file in &files.file {
            for service in &file.service {
                for method in &service.method {
                    let path = format!("/{}.{}/{}", file.package(), service.name(), method.name());
                    schema.methods.insert(path, method.input_type().to_owned());
                }
            }
            for message in &file.message_type {
                schema.add(&format!(".{}", file.package()), message);
            }
        }
        schema.prune();
        Ok(schema)
    }

    /// Whether there is such a method.
    pub fn knows(&self, path: &str) -> bool {
        self.methods.contains_key(path)
    }

    /// Whether a confined caller may make this call.
    ///
    /// # Errors
    /// Why not.
    pub fn check(&self, path: &str, message: &[u8], caller: &Caller) -> Result<(), Strays> {
        let Some(input) = self.methods.get(path) else { return Ok(()) }; // it is answered with UNIMPLEMENTED
        let Some(shape) = self.messages.get(input) else {
            return if is_about_the_server(path) { Ok(()) } else { Err(Strays::Everywhere) };
        };
        let mut found = BTreeSet::new();
        self.collect(shape, message, DEPTH_MAX, &mut found).ok_or(Strays::Unreadable)?;
        if shape.namespace.is_some() && !self.names_outer(shape, message) {
            found.insert(DEFAULT.to_owned());
        }
        match found.into_iter().find(|namespace| !caller.may_enter(namespace)) {
            Some(namespace) => Err(Strays::Into(namespace)),
            None => Ok(()),
        }
    }

    fn add(&mut self, prefix: &str, message: &DescriptorProto) {
        let name = format!("{prefix}.{}", message.name());
        let mut shape = Shape::default();
        for field in &message.field {
            let Ok(number) = u32::try_from(field.number()) else { continue };
            match field.r#type() {
                Type::String if field.name() == "namespace" => shape.namespace = Some(number),
                Type::Message => {
                    shape.inner.insert(number, field.type_name().to_owned());
                }
                _ => {}
            }
        }
        for nested in &message.nested_type {
            self.add(&name, nested);
        }
        self.messages.insert(name, shape);
    }

    /// Leaves only what leads to a namespace, so that histories and payloads are skipped.
    fn prune(&mut self) {
        let mut leads: BTreeSet<String> = BTreeSet::new();
        loop {
            let more: Vec<String> = self
                .messages
                .iter()
                .filter(|(name, shape)| {
                    !leads.contains(*name)
                        && (shape.namespace.is_some()
                            || shape.inner.values().any(|inner| leads.contains(inner)))
                })
                .map(|(name, _)| name.clone())
                .collect();
            if more.is_empty() {
                break;
            }
            leads.extend(more);
        }
        self.messages.retain(|name, _| leads.contains(name));
        for shape in self.messages.values_mut() {
            shape.inner.retain(|_, inner| leads.contains(inner));
        }
    }

    /// Every namespace that is named; `None` when the bytes are no message.
    fn collect(
        &self,
        shape: &Shape,
        bytes: &[u8],
        depth: usize,
        found: &mut BTreeSet<String>,
    ) -> Option<()> {
        fields(bytes, |number, field| {
            if Some(number) == shape.namespace {
                let text = std::str::from_utf8(field).ok()?;
                if !text.is_empty() {
                    found.insert(text.to_owned());
                }
            } else if let Some(inner) = shape.inner.get(&number)
                && let Some(inner) = self.messages.get(inner)
            {
                self.collect(inner, field, depth.checked_sub(1)?, found)?;
            }
            Some(())
        })
    }

    /// Whether the outermost message names its namespace. The last one counts.
    fn names_outer(&self, shape: &Shape, bytes: &[u8]) -> bool {
        let mut named = false;
        let read = fields(bytes, |number, field| {
            if Some(number) == shape.namespace {
                named = !field.is_empty();
            }
            Some(())
        });
        read.is_some() && named
    }
}

/// Whether a request over HTTP, of which path, query and JSON body are known, stays within a
/// confined caller's namespaces.
///
/// # Errors
/// Why not.
pub fn check_http(uri: &axum::http::Uri, body: &[u8], caller: &Caller) -> Result<(), Strays> {
    use axum::extract::Query;
    let mut found = BTreeSet::new();
    let mut segments = uri.path().split('/');
    if segments.any(|segment| segment == "namespaces") {
        match segments.next().filter(|segment| !segment.is_empty()) {
            Some(namespace) => drop(found.insert(namespace.to_owned())),
            None => return Err(Strays::Everywhere),
        }
    }
    let query =
        Query::<Vec<(String, String)>>::try_from_uri(uri).map_err(|_| Strays::Unreadable)?;
    found.extend(query.0.into_iter().filter(|(name, _)| name == "namespace").map(|(_, v)| v));
    if !body.is_empty() {
        #[derive(serde::Deserialize)]
        struct Outer {
            #[serde(default)]
            namespace: String,
        }
        let outer: Outer = serde_json::from_slice(body).map_err(|_| Strays::Unreadable)?;
        found.insert(outer.namespace);
    }
    found.remove("");
    if found.is_empty() {
        found.insert(DEFAULT.to_owned());
    }
    match found.into_iter().find(|namespace| !caller.may_enter(namespace)) {
        Some(namespace) => Err(Strays::Into(namespace)),
        None => Ok(()),
    }
}

/// What a client asks of a server before it knows a namespace.
fn is_about_the_server(path: &str) -> bool {
    ["/GetSystemInfo", "/GetClusterInfo"].iter().any(|method| path.ends_with(method))
        || path.starts_with("/grpc.")
}

/// Calls `each` with every length-delimited field; `None` when the bytes are no message or `each`
/// says so.
fn fields(mut bytes: &[u8], mut each: impl FnMut(u32, &[u8]) -> Option<()>) -> Option<()> {
    while !bytes.is_empty() {
        let (number, wire) = decode_key(&mut bytes).ok()?;
        if wire == WireType::LengthDelimited {
            let length = usize::try_from(decode_varint(&mut bytes).ok()?).ok()?;
            let (field, rest) = bytes.split_at_checked(length)?;
            each(number, field)?;
            bytes = rest;
        } else {
            skip_field(wire, number, &mut bytes, DecodeContext::default()).ok()?;
        }
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use reflux_proto::temporal::api::command::v1::command::Attributes;
    use reflux_proto::temporal::api::command::v1::{
        Command, StartChildWorkflowExecutionCommandAttributes,
    };
    use reflux_proto::temporal::api::workflowservice::v1::{
        ListNamespacesRequest, RespondWorkflowTaskCompletedRequest, StartWorkflowExecutionRequest,
    };

    const W: &str = "/temporal.api.workflowservice.v1.WorkflowService/";

    fn confined() -> Caller {
        Caller { namespaces: Some(vec!["orders".to_owned()].into()), ..Caller::local() }
    }

    fn check(method: &str, message: &impl prost::Message) -> Result<(), Strays> {
        let schema = Schema::new().unwrap();
        schema.check(&format!("{W}{method}"), &message.encode_to_vec(), &confined())
    }

    fn start(namespace: &str) -> StartWorkflowExecutionRequest {
        StartWorkflowExecutionRequest { namespace: namespace.to_owned(), ..Default::default() }
    }

    #[test]
    fn a_confined_caller_stays_in_its_namespaces() {
        let into = |namespace: &str| Err(Strays::Into(namespace.to_owned()));
        assert_eq!(check("StartWorkflowExecution", &start("orders")), Ok(()));
        assert_eq!(check("StartWorkflowExecution", &start("other")), into("other"));
        assert_eq!(check("StartWorkflowExecution", &start("")), into(DEFAULT));
        assert_eq!(
            check("ListNamespaces", &ListNamespacesRequest::default()),
            Err(Strays::Everywhere)
        );
        assert_eq!(check("GetSystemInfo", &ListNamespacesRequest::default()), Ok(()));
        assert_eq!(check("NoSuchMethod", &start("other")), Ok(()));
    }

    #[test]
    #[allow(deprecated)] // SDKs still send it
    fn a_namespace_inside_a_message_counts_too() {
        let completed = |inner: &str| {
            let child = StartChildWorkflowExecutionCommandAttributes {
                namespace: inner.to_owned(),
                ..Default::default()
            };
            RespondWorkflowTaskCompletedRequest {
                namespace: "orders".to_owned(),
                commands: vec![Command {
                    attributes: Some(Attributes::StartChildWorkflowExecutionCommandAttributes(
                        child,
                    )),
                    ..Default::default()
                }],
                ..Default::default()
            }
        };
        for (inner, allowed) in [("", true), ("orders", true), ("other", false)] {
            let found = check("RespondWorkflowTaskCompleted", &completed(inner));
            assert_eq!(found.is_ok(), allowed, "{inner}: {found:?}");
        }
    }

    #[test]
    fn a_namespace_said_twice_does_not_deceive() {
        let schema = Schema::new().unwrap();
        for (first, second) in [("orders", "other"), ("other", "orders")] {
            let bytes = [start(first).encode_to_vec(), start(second).encode_to_vec()].concat();
            let found = schema.check(&format!("{W}StartWorkflowExecution"), &bytes, &confined());
            assert_eq!(found, Err(Strays::Into("other".to_owned())));
        }
        let cut = &start("orders").encode_to_vec()[..3];
        let found = schema.check(&format!("{W}StartWorkflowExecution"), cut, &confined());
        assert_eq!(found, Err(Strays::Unreadable));
    }

    #[test]
    fn a_request_over_http_is_confined_by_path_query_and_body() {
        for (uri, body, allowed) in [
            ("/api/v1/runs?namespace=orders", "", true),
            ("/api/v1/runs?namespace=other", "", false),
            ("/api/v1/runs?namespace=orders&namespace=other", "", false),
            ("/api/v1/runs?n%61mespace=other", "", false),
            ("/api/v1/runs", "", false),
            ("/api/v1/runs", r#"{"namespace":"orders"}"#, true),
            ("/api/v1/runs", r#"{"namespace":"other"}"#, false),
            ("/api/v1/runs?namespace=orders", r#"{"namespace":"other"}"#, false),
            ("/api/v1/runs", r#"{"input":{"namespace":"orders"}}"#, false),
            ("/api/v1/runs", "[", false),
            ("/api/v1/namespaces/orders/runs", "", true),
            ("/api/v1/namespaces/other/runs", "", false),
            ("/api/v1/namespaces", "", false),
        ] {
            let found = check_http(&uri.parse().unwrap(), body.as_bytes(), &confined());
            assert_eq!(found.is_ok(), allowed, "{uri} {body}: {found:?}");
        }
    }
}
