//! How a run ended, as an exit code and as a result.

use reflux_server::story::Story;
use serde_json::{Value, json};

use crate::failure::{ENDED, FAILED, HANDLED, OK};
use crate::out::Out;

/// The exit code of a closed run.
pub fn code(story: &Story) -> u8 {
    match (story.status.as_str(), story.handled_failure) {
        ("completed", false) => OK,
        ("completed", true) => HANDLED,
        ("failed", _) => FAILED,
        _ => ENDED,
    }
}

/// Prints the result of a closed run: its output, or with `--json` how it ended as well.
pub fn print(story: &Story, out: &Out) {
    if out.is_json() {
        out.value(&as_json(story));
        return;
    }
    if let Some(output) = &story.output {
        out.value(output);
    }
}

/// How a run ended. Stable: fields are added, never changed.
pub fn as_json(story: &Story) -> Value {
    json!({
        "run_id": story.run_id, "workflow_id": story.workflow_id, "flow": story.flow, "status": story.status,
        "handled_failure": story.handled_failure, "output": story.output, "error": story.error,
    })
}
