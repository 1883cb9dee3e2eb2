//! Generates our message types: Temporal's from the descriptor set that `temporalio-protos`
//! hands on, ours from `proto/reflux/v1`.

use std::error::Error;
use std::path::{Path, PathBuf};

use prost::Message;
use prost_types::field_descriptor_proto::Type;
use prost_types::{FileDescriptorProto, FileDescriptorSet};
use protox::Compiler;
use protox::file::{ChainFileResolver, DescriptorSetFileResolver, IncludeFileResolver};

/// What is stored for ever.
const RECORDS: [&str; 2] = ["reflux/v1/log.proto", "reflux/v1/snapshot.proto"];
/// What is spoken: these have a JSON form too. A service is a file of its own.
const API: [&str; 7] = [
    "reflux/v1/types.proto",
    "reflux/v1/flow_service.proto",
    "reflux/v1/run_service.proto",
    "reflux/v1/node_service.proto",
    "reflux/v1/trigger_service.proto",
    "reflux/v1/limit_service.proto",
    "reflux/v1/cache_service.proto",
];

fn main() -> Result<(), Box<dyn Error>> {
    let temporal = PathBuf::from(std::env::var("DEP_TEMPORALIO_PROTOS_DESCRIPTOR_PATH")?);
    println!("cargo:rerun-if-changed={}", temporal.display());
    let mut files = FileDescriptorSet::decode(std::fs::read(&temporal)?.as_slice())?;
    files.file.retain(|file| wanted(file.package()));

    let root = Path::new(&std::env::var("CARGO_MANIFEST_DIR")?).join("../../proto");
    println!("cargo:rerun-if-changed={}", root.display());
    let mut resolver = ChainFileResolver::new();
    resolver.add(IncludeFileResolver::new(root));
    // The annotations that say how a call looks over HTTP.
    resolver.add(DescriptorSetFileResolver::new(files.clone()));
    let mut compiler = Compiler::with_file_resolver(resolver);
    compiler.include_source_info(true).open_files(RECORDS)?.open_files(API)?;

    let out = PathBuf::from(std::env::var("OUT_DIR")?);
    // Sets of descriptors are joined by writing them one after the other. Ours are written as they
    // were compiled, because decoding loses the annotations.
    let mut descriptors = files.encode_to_vec();
    descriptors.extend(compiler.encode_file_descriptor_set());
    std::fs::write(out.join("descriptors.bin"), descriptors)?;

    let (api, records): (Vec<_>, Vec<_>) = compiler
        .file_descriptor_set()
        .file
        .into_iter()
        .partition(|file| API.contains(&file.name()));
    #[cfg(feature = "services")]
    api::generate(&files, api, &out.join("api"))?;
    #[cfg(not(feature = "services"))]
    drop(api);
    files.file.extend(records);
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

/// The messages of our API with their JSON form, and its services.
#[cfg(feature = "services")]
mod api {
    use std::error::Error;
    use std::path::Path;

    use prost::Message;
    use prost_types::{FileDescriptorProto, FileDescriptorSet};

    const JSON: [(&str, &str); 5] = [
        (".google.protobuf.Timestamp", "::pbjson_types::Timestamp"),
        (".google.protobuf.Duration", "::pbjson_types::Duration"),
        (".google.protobuf.Value", "crate::json::Value"),
        (".google.protobuf.Struct", "crate::json::Struct"),
        (".google.protobuf.ListValue", "crate::json::ListValue"),
    ];

    pub fn generate(
        imports: &FileDescriptorSet,
        ours: Vec<FileDescriptorProto>,
        out: &Path,
    ) -> Result<(), Box<dyn Error>> {
        std::fs::create_dir_all(out)?;
        let google = imports.file.iter().filter(|file| file.name().starts_with("google/"));
        let files = FileDescriptorSet { file: google.cloned().chain(ours).collect() };

        let mut config = prost_build::Config::new();
        config.btree_map(["."]);
        let mut json = pbjson_build::Builder::new();
        json.register_descriptors(&files.encode_to_vec())?
            .btree_map(["."])
            // One spelling everywhere: that of the flow language and of the command line.
            .preserve_proto_field_names()
            // An absent field is one that is not set, not one that is 0.
            .emit_fields()
            .out_dir(out);
        for (proto, rust) in JSON {
            config.extern_path(proto, rust);
            json.extern_path(proto, rust);
        }
        json.build(&[".reflux.v1"])?;
        tonic_prost_build::configure().out_dir(out).compile_fds_with_config(files, config)?;
        Ok(())
    }
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
