//! Requests to a server's REST API.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use serde_json::Value;

use super::Project;
use super::served::Served;

/// Asks one server with the token of its project.
#[derive(Clone)]
pub struct Rest {
    http: String,
    token: String,
}

impl Rest {
    pub fn of(project: &Project, served: &Served) -> Self {
        let token = std::fs::read_to_string(project.path().join(".reflux/token")).unwrap();
        Self { http: served.http.clone(), token: token.trim().to_owned() }
    }

    /// Posts what has to be taken.
    #[track_caller]
    pub fn post(&self, path: &str, body: &Value) -> Value {
        let (status, answer) = self.ask("POST", path, &body.to_string()).unwrap();
        assert_eq!(status, 200, "{path}: {answer}");
        answer
    }

    /// Gets what has to be there.
    #[track_caller]
    pub fn get(&self, path: &str) -> Value {
        let (status, answer) = self.ask("GET", path, "").unwrap();
        assert_eq!(status, 200, "{path}: {answer}");
        answer
    }

    /// Status and body of the answer; nothing if the server has gone.
    pub fn ask(&self, method: &str, path: &str, body: &str) -> Option<(u16, Value)> {
        let mut stream = TcpStream::connect(&self.http).ok()?;
        write!(
            stream,
            "{method} {path} HTTP/1.0\r\nhost: localhost\r\nauthorization: Bearer {}\r\n\
             content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
            self.token,
            body.len()
        )
        .ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        let (head, body) = answer.split_once("\r\n\r\n")?;
        let status = head.split(' ').nth(1)?.parse().ok()?;
        Some((status, serde_json::from_str(body).unwrap_or(Value::Null)))
    }
}
