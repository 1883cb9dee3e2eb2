//! Generates our message types: Temporal's from the descriptor set that `temporalio-protos`
//! hands on, ours from `proto/reflux/v1`.

use std::error::Error;
use std::path::{Path, PathBuf};

use prost::Message;
use prost_types::field_descriptor_proto::Type;
use prost_types::{FileDescriptorProto, FileDescriptorSet};

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
    std::fs::write(out.join("descriptors.bin"), files.encode_to_vec())?;
    files.file.iter_mut().for_each(histories_as_bytes);
    let mut config = prost_build::Config::new();
    config
        // Encoding must not depend on hash order.
        .btree_map(["."])
        // Payloads are sliced out of the record that brought them.
        .bytes(["."])
        .include_file("all.rs")
        .out_dir(&out);
    generate(config, files)?;
    Ok(())
}

#[cfg(feature = "services")]
fn generate(config: prost_build::Config, files: FileDescriptorSet) -> std::io::Result<()> {
    tonic_prost_build::configure()
        // What is not built yet answers UNIMPLEMENTED.
        .generate_default_stubs(true)
        .compile_fds_with_config(files, config)
}

#[cfg(not(feature = "services"))]
fn generate(mut config: prost_build::Config, files: FileDescriptorSet) -> std::io::Result<()> {
    config.compile_fds(files)
}

/// Declares the histories in answers as the bytes they are on the wire: an event is encoded once,
/// and copied from the store into the answer.
fn histories_as_bytes(file: &mut FileDescriptorProto) {
    const ANSWERS: [&str; 2] =
        ["PollWorkflowTaskQueueResponse", "GetWorkflowExecutionHistoryResponse"];
    let answers = file.message_type.iter_mut().filter(|it| ANSWERS.contains(&it.name()));
    let fields = answers.flat_map(|answer| answer.field.iter_mut());
    for field in fields.filter(|field| field.type_name() == ".temporal.api.history.v1.History") {
        field.set_type(Type::Bytes);
        field.type_name = None;
    }
}

/// Everything but what only the SDK's core and the hosted offering speak.
fn wanted(package: &str) -> bool {
    let foreign = ["coresdk", "temporal.api.cloud", "temporal.api.testservice"];
    !foreign.iter().any(|prefix| package.starts_with(prefix))
}
