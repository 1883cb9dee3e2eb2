//! Twenty calls in a row, of which one can be broken, and the server that is called.

use std::fmt::Write as _;

use serde_json::json;

use super::{Project, Server};

/// Steps of the flow, and the one that fails.
pub const STEPS: usize = 20;
pub const FAILS: usize = 12;

/// A chain of calls; the one that fails posts to `path`.
pub fn chain(url: &str, path: &str) -> String {
    let mut source = String::from("name: chain\nsteps:\n");
    for step in 1..=STEPS {
        let path = if step == FAILS { path.to_owned() } else { format!("/s{step}") };
        let body = match step {
            1 => "{n: 0}".to_owned(),
            step => format!("{{n: '{{{{ steps.s{}.output.data.n }}}}'}}", step - 1),
        };
        let _ = writeln!(
            source,
            "  - {{id: s{step}, node: http.request, with: {{method: POST, url: '{url}{path}', body: {body}}}}}"
        );
    }
    source.push_str("output: '{{ steps.s20.output.data.n }}'\n");
    source
}

/// A project whose nodes may call this machine, and a server that counts on and refuses what is asked at `/broken`.
pub fn world() -> (Project, Server) {
    let project = Project::new();
    project.write(".reflux/config.toml", "[net]\nallow = [\"127.0.0.1\"]\n");
    let server = Server::new(|request| match request.path.as_str() {
        "/broken" => (400, json!({"error": "no"})),
        _ => (200, json!({"n": request.body["n"].as_i64().unwrap_or(0) + 1})),
    });
    (project, server)
}

/// How often a path was asked for.
pub fn times(server: &Server, path: &str) -> usize {
    server.got().iter().filter(|request| request.path == path).count()
}
