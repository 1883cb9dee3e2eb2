//! Generates our message types: Temporal's from the descriptor set that `temporalio-protos`
//! hands on, ours from `proto/reflux/v1`.

use std::error::Error;
use std::path::{Path, PathBuf};

use prost::Message;
use prost_types::FileDescriptorSet;

const OURS: [&str; 2] = ["reflux/v1/log.proto", "reflux/v1/snapshot.proto"];

fn main() -> Result<(), Box<dyn Error>> {
    let temporal = PathBuf::from(std::env::var("DEP_TEMPORALIO_PROTOS_DESCRIPTOR_PATH")?);
    println!("cargo:rerun-if-changed={}", temporal.display());
    let mut files = FileDescriptorSet::decode(std::fs::read(&temporal)?.as_slice())?;
    files.file.retain(|file| wanted(file.package()));

    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../proto");
    println!("cargo:rerun-if-changed={}", root.display());
    files.file.extend(protox::compile(OURS, [&root])?.file);

    let out = PathBuf::from(std::env::var("OUT_DIR")?);
    prost_build::Config::new()
        // Encoding must not depend on hash order.
        .btree_map(["."])
        // Payloads are sliced out of the record that brought them.
        .bytes(["."])
        .include_file("all.rs")
        .out_dir(&out)
        .compile_fds(files)?;
    Ok(())
}

/// Everything but what only the SDK's core and the hosted offering speak.
fn wanted(package: &str) -> bool {
    let foreign = ["coresdk", "temporal.api.cloud", "temporal.api.testservice"];
    !foreign.iter().any(|prefix| package.starts_with(prefix))
}
