//! The built-in nodes of a configuration.

use std::collections::BTreeMap;
use std::sync::Arc;

use reflux_sdk::{Catalogue, Node};

use crate::NodesConfig;
use crate::command::ExecCommand;
use crate::files::{CsvRead, FileRead, FileWrite, Root};
use crate::http::{HttpRequest, Web, WebhookOut};
use crate::meta::Meta;
use crate::trigger::Occurrence;
use crate::util::{Fail, JsonParse, Log, Template, Transform};

/// The built-in nodes. Those declared in a project's files are added with [`crate::load_dir`].
pub fn builtin(config: &NodesConfig) -> Catalogue {
    let web = Arc::new(Web::new(config.net.clone()));
    let root = Arc::new(Root::new(config.files_dir()));
    let bytes_max = config.file_bytes_max;
    let nodes: [Arc<dyn Node>; 11] = [
        Arc::new(HttpRequest::new(Arc::clone(&web), config.response_bytes_max)),
        Arc::new(WebhookOut::new(web)),
        Arc::new(Transform::new()),
        Arc::new(Template::new(bytes_max)),
        Arc::new(Log::new()),
        Arc::new(Fail::new()),
        Arc::new(FileRead::new(Arc::clone(&root), bytes_max)),
        Arc::new(FileWrite::new(Arc::clone(&root), bytes_max)),
        Arc::new(CsvRead::new(root, bytes_max)),
        Arc::new(JsonParse::new(bytes_max)),
        Arc::new(ExecCommand::new(BTreeMap::new(), config)),
    ];
    let mut catalogue = Catalogue::new();
    for node in nodes {
        catalogue.insert(node);
    }
    for node in Meta::all() {
        catalogue.insert(Arc::new(node));
    }
    for node in Occurrence::all() {
        catalogue.insert(Arc::new(node));
    }
    catalogue
}

#[cfg(test)]
mod tests {
    use super::builtin;
    use crate::NodesConfig;

    #[test]
    fn every_built_in_node_has_a_sound_manifest() {
        let catalogue = builtin(&NodesConfig::default());
        let names: Vec<&str> = catalogue.names().collect();
        assert_eq!(
            names,
            [
                "csv.read",
                "exec.command",
                "file.read",
                "file.write",
                "http.request",
                "json.parse",
                "meta.conditional",
                "meta.loop",
                "meta.map",
                "meta.parallel",
                "trigger.event",
                "trigger.manual",
                "trigger.schedule",
                "trigger.webhook",
                "util.fail",
                "util.log",
                "util.template",
                "util.transform",
                "webhook.out",
            ]
        );
        for node in catalogue.nodes() {
            let manifest = node.manifest();
            assert!(!manifest.description.is_empty(), "{}", manifest.name);
            let written = serde_json::to_string(manifest).unwrap();
            assert_eq!(
                reflux_sdk::Manifest::from_json(&written).as_ref(),
                Ok(manifest),
                "{written}"
            );
            for tunable in &manifest.tunables {
                assert!(
                    manifest.inputs.properties().any(|(name, ..)| name == tunable.name),
                    "{}",
                    tunable.name
                );
            }
        }
    }
}
