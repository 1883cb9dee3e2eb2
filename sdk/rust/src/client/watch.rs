//! A run's updates as they come, from a stream that may break.

use reqwest::Response;
use serde_json::Value;

use super::http::{Http, PAUSES};
use super::{Error, Update};

/// More than any update has; what has no end by then is no stream of updates.
const UPDATE_BYTES_MAX: usize = 64 << 20;

/// The updates of one run, made by [`Client::watch`](super::Client::watch).
#[derive(Debug)]
pub struct Watch {
    http: Http,
    namespace: String,
    run: String,
    after: u32,
    stream: Option<Response>,
    events: Events,
    failures: usize,
    over: bool,
}

impl Watch {
    pub(super) fn new(http: Http, namespace: &str, run: &str, after: u32) -> Self {
        Self {
            http,
            namespace: namespace.to_owned(),
            run: run.to_owned(),
            after,
            stream: None,
            events: Events::default(),
            failures: 0,
            over: false,
        }
    }

    /// Waits for the next update; `None` behind the last one. A stream that breaks is taken up again.
    ///
    /// # Errors
    /// The server refused, or was away for longer than a few seconds.
    pub async fn next(&mut self) -> Result<Option<Update>, Error> {
        while !self.over {
            match self.read().await {
                Ok(update) => {
                    self.failures = 0;
                    self.after = update.sequence;
                    self.over = update.closed;
                    return Ok(Some(update));
                }
                Err(error) => {
                    self.stream = None;
                    self.events = Events::default();
                    let Some(pause) = PAUSES.get(self.failures).filter(|_| error.is_retryable())
                    else {
                        return Err(error);
                    };
                    self.failures += 1;
                    tokio::time::sleep(*pause).await;
                }
            }
        }
        Ok(None)
    }

    async fn read(&mut self) -> Result<Update, Error> {
        loop {
            if let Some(data) = self.events.next() {
                return update(&data);
            }
            let stream = match &mut self.stream {
                Some(stream) => stream,
                None => {
                    let after = self.after.to_string();
                    let query = [("namespace", self.namespace.as_str()), ("after", after.as_str())];
                    let url = self.http.url(&["runs", &self.run, "watch"], &query);
                    self.stream.insert(self.http.stream(url).await?)
                }
            };
            match stream.chunk().await {
                Ok(Some(bytes)) if self.events.bytes.len() < UPDATE_BYTES_MAX => {
                    self.events.bytes.extend_from_slice(&bytes);
                }
                Ok(Some(_)) => {
                    return Err(Error::refused(
                        "internal",
                        "an update of the run has no end".to_owned(),
                    ));
                }
                Ok(None) | Err(_) => return Err(self.http.broken()),
            }
        }
    }
}

fn update(data: &str) -> Result<Update, Error> {
    let unread = |error: serde_json::Error| {
        Error::refused("internal", format!("an update cannot be read: {error}"))
    };
    let told: Value = serde_json::from_str(data).map_err(unread)?;
    if told.get("error").is_some() {
        return Err(Error::of(&told, "unavailable"));
    }
    serde_json::from_value(told).map_err(unread)
}

/// Bytes of a stream, as server-sent events.
#[derive(Debug, Default)]
struct Events {
    bytes: Vec<u8>,
}

impl Events {
    /// The data of the next event that has come whole; comments have none.
    fn next(&mut self) -> Option<String> {
        loop {
            let end = self.bytes.windows(2).position(|two| two == b"\n\n")?;
            let event: Vec<u8> = self.bytes.drain(..end + 2).collect();
            let text = String::from_utf8_lossy(&event);
            let data: Vec<&str> = text
                .lines()
                .filter_map(|line| line.strip_prefix("data:"))
                .map(|data| data.strip_prefix(' ').unwrap_or(data))
                .collect();
            if !data.is_empty() {
                return Some(data.join("\n"));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_whole_however_their_bytes_come() {
        let stream = "id: 1\nevent: update\ndata: {\"sequence\": 1}\n\n: still here\n\ndata: a\ndata:b\n\ndata: ü";
        for size in [1, 2, 7, stream.len()] {
            let (mut events, mut found) = (Events::default(), Vec::new());
            for bytes in stream.as_bytes().chunks(size) {
                events.bytes.extend_from_slice(bytes);
                while let Some(data) = events.next() {
                    found.push(data);
                }
            }
            assert_eq!(found, ["{\"sequence\": 1}", "a\nb"], "in pieces of {size}");
        }
    }

    #[test]
    fn an_event_is_an_update_or_an_error() {
        let told =
            update(r#"{"sequence": 3, "closed": true, "run": {"status": "RUN_STATUS_FAILED"}}"#);
        let told =
            told.map(|update| (update.sequence, update.closed, update.run.status.to_string()));
        assert_eq!(told, Ok((3, true, "failed".to_owned())));
        let refused = update(r#"{"error": {"code": "NOT_FOUND", "message": "no such run"}}"#);
        assert_eq!(refused, Err(Error::refused("not_found", "no such run".to_owned())));
        assert!(update("[").is_err_and(|error| !error.is_retryable()));
    }
}
