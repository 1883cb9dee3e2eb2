//! Requests with JSON, repeated while the server cannot take them.

use std::fmt;
use std::time::Duration;

use reqwest::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderValue, InvalidHeaderValue};
use reqwest::{Method, RequestBuilder, Response, Url};
use serde_json::Value;

use super::{Error, token_of_project};

/// The pauses before a request is sent again: together about as long as a server takes to start.
pub(super) const PAUSES: [Duration; 4] = [
    Duration::from_millis(100),
    Duration::from_millis(400),
    Duration::from_secs(1),
    Duration::from_secs(2),
];
/// The longest silence of a server; a stream says something each 15 seconds.
const SILENCE_MAX: Duration = Duration::from_secs(60);
/// The longest wait for a connection.
const CONNECT_MAX: Duration = Duration::from_secs(10);

#[derive(Clone)]
pub(super) struct Http {
    client: reqwest::Client,
    base: Url,
    token: Option<HeaderValue>,
}

impl Http {
    pub(super) fn new(url: &str, token: Option<&str>) -> Result<Self, Error> {
        let invalid = |message: String| Error::refused("invalid_argument", message);
        let base = Url::parse(url).ok().filter(|url| url.has_host());
        let base = base.filter(|url| ["http", "https"].contains(&url.scheme()));
        let base =
            base.ok_or_else(|| invalid(format!("url {url:?}: write it as http://127.0.0.1:8233")))?;
        let token = token.map(bearer).transpose();
        let token = token
            .map_err(|_| invalid("the token has characters that cannot be sent".to_owned()))?;
        // A proxy is for the world outside; the server is one's own.
        let client = reqwest::Client::builder().no_proxy();
        let client = client.connect_timeout(CONNECT_MAX).read_timeout(SILENCE_MAX).build();
        let client =
            client.map_err(|error| invalid(format!("no requests can be made: {error}")))?;
        Ok(Self { client, base, token })
    }

    /// The address of a path below `/api/v1`, each part of it quoted; an empty value is left out of the query.
    pub(super) fn url(&self, path: &[&str], query: &[(&str, &str)]) -> Url {
        let mut url = self.base.clone();
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().extend(["api", "v1"]).extend(path);
        }
        let said = query.iter().filter(|(_, value)| !value.is_empty());
        url.query_pairs_mut().extend_pairs(said);
        url
    }

    /// Sends a request until the server takes it, and gives its answer.
    pub(super) async fn send(
        &self,
        method: Method,
        url: Url,
        body: Option<&Value>,
    ) -> Result<Value, Error> {
        for pause in PAUSES {
            match self.once(&method, &url, body).await {
                Err(error) if error.is_retryable() => tokio::time::sleep(pause).await,
                answered => return answered,
            }
        }
        self.once(&method, &url, body).await
    }

    /// Opens a stream of server-sent events.
    pub(super) async fn stream(&self, url: Url) -> Result<Response, Error> {
        let request = self.request(Method::GET, url).header(ACCEPT, "text/event-stream");
        let response = request.send().await.map_err(|error| self.unanswered(&error))?;
        if response.status().is_success() {
            return Ok(response);
        }
        Err(self.read(response).await.err().unwrap_or_else(|| self.broken()))
    }

    pub(super) fn broken(&self) -> Error {
        Error::refused("unavailable", format!("the answer of {} broke off", self.base))
    }

    fn request(&self, method: Method, url: Url) -> RequestBuilder {
        let request = self.client.request(method, url);
        let token = self.token.clone().or_else(|| bearer(&token_of_project()?).ok());
        match token {
            Some(token) => request.header(AUTHORIZATION, token),
            None => request,
        }
    }

    async fn once(&self, method: &Method, url: &Url, body: Option<&Value>) -> Result<Value, Error> {
        let mut request = self.request(method.clone(), url.clone());
        if let Some(body) = body {
            request = request.header(CONTENT_TYPE, "application/json").body(body.to_string());
        }
        let response = request.send().await.map_err(|error| self.unanswered(&error))?;
        self.read(response).await
    }

    async fn read(&self, response: Response) -> Result<Value, Error> {
        let status = response.status();
        let body = response.bytes().await.map_err(|_| self.broken())?;
        let answer: Value = serde_json::from_slice(&body).unwrap_or_default();
        if status.is_success() {
            return Ok(answer);
        }
        let code = if status.is_server_error() { "unavailable" } else { status.as_str() };
        Err(Error::of(&answer, code))
    }

    fn unanswered(&self, error: &reqwest::Error) -> Error {
        let why =
            std::error::Error::source(error).map_or_else(|| error.to_string(), ToString::to_string);
        let message = format!("no answer from {}: {why}; is the server running?", self.base);
        Error::refused("unavailable", message)
    }
}

fn bearer(token: &str) -> Result<HeaderValue, InvalidHeaderValue> {
    let mut bearer = HeaderValue::from_str(&format!("Bearer {token}"))?;
    bearer.set_sensitive(true);
    Ok(bearer)
}

impl fmt::Debug for Http {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Http").field("base", &self.base.as_str()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_every_part_quoted_and_no_empty_values() {
        let url = |base: &str, path: &[&str], query: &[(&str, &str)]| {
            Http::new(base, None).map(|http| http.url(path, query).to_string())
        };
        let rows = [
            (url("http://h:1", &["runs"], &[]), "http://h:1/api/v1/runs?"),
            (
                url("http://h:1/r/", &["runs", "a/b ?"], &[]),
                "http://h:1/r/api/v1/runs/a%2Fb%20%3F?",
            ),
            (
                url("https://h", &["runs"], &[("flow", ""), ("text", "a&b")]),
                "https://h/api/v1/runs?text=a%26b",
            ),
        ];
        for (found, expected) in rows {
            assert_eq!(found, Ok(expected.to_owned()));
        }
        for wrong in ["localhost:8233", "ftp://h", "", "http://"] {
            let Err(error) = Http::new(wrong, None) else { panic!("{wrong} was taken") };
            assert!(!error.is_retryable(), "{error}");
        }
    }

    #[test]
    fn a_token_is_not_printed_and_must_fit_a_header() {
        let http = Http::new("http://h", Some("s3cret"));
        assert!(!format!("{http:?}").contains("s3cret"));
        assert!(Http::new("http://h", Some("a\nb")).is_err());
    }
}
