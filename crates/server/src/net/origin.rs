//! Which pages of browsers may call the HTTP port, and by which name it may be called.
//!
//! A page of another site can make a browser send requests here, and can give its own name our
//! address after it was loaded (DNS rebinding). The first is told by `Origin`, the second by
//! `Host`.

use std::net::IpAddr;

use axum::http::{HeaderMap, HeaderValue, Method, Uri, header};
use axum::response::{IntoResponse as _, Response};

use super::refusal::{Refusal, Why};
use crate::config;

/// How long a browser may remember what it was allowed, in seconds.
const ALLOWED_FOR_S: &str = "600";

/// The rules for names and origins.
#[derive(Debug)]
pub(super) struct Origins {
    hosts: Vec<String>,
    origins: Vec<String>,
    /// Whether callers without a key are let in, and so a page may gain something by its name.
    open: bool,
}

impl Origins {
    pub(super) fn new(config: &config::Access, open: bool) -> Self {
        let lower = |names: &[String]| names.iter().map(|name| name.to_ascii_lowercase()).collect();
        Self { hosts: lower(&config.hosts), origins: lower(&config.origins), open }
    }

    /// Whether a request with these headers may go on.
    pub(super) fn check(&self, uri: &Uri, headers: &HeaderMap) -> Result<(), Refusal> {
        let host = host(uri, headers)?;
        if !self.knows(&host) {
            return Err(Refusal::new(
                Why::Misdirected,
                format!("this server is not called `{}`", shown(&host)),
            )
            .suggest("call it by its address, or add the name to access.hosts"));
        }
        let Some(origin) = headers.get(header::ORIGIN) else { return Ok(()) };
        let origin = origin.to_str().unwrap_or_default();
        if self.is_ours(origin, &host) || self.allows(origin) {
            return Ok(());
        }
        Err(Refusal::new(
            Why::Forbidden,
            format!("pages of `{}` may not call this server", shown(origin)),
        )
        .suggest("add the origin to access.origins if they should"))
    }

    /// The answer to a browser that asks whether it may send a request.
    pub(super) fn preflight(&self, method: &Method, headers: &HeaderMap) -> Option<Response> {
        let asked = *method == Method::OPTIONS
            && headers.contains_key(header::ACCESS_CONTROL_REQUEST_METHOD);
        if !asked {
            return None;
        }
        let mut response = axum::http::StatusCode::NO_CONTENT.into_response();
        let answers = response.headers_mut();
        for (name, value) in [
            (header::ACCESS_CONTROL_ALLOW_METHODS, "GET, POST, PUT, PATCH, DELETE"),
            (
                header::ACCESS_CONTROL_ALLOW_HEADERS,
                "authorization, content-type, idempotency-key, last-event-id",
            ),
            (header::ACCESS_CONTROL_MAX_AGE, ALLOWED_FOR_S),
        ] {
            answers.insert(name, HeaderValue::from_static(value));
        }
        self.allow(headers, answers);
        Some(response)
    }

    /// Tells a browser that a page of an allowed origin may read the answer.
    pub(super) fn allow(&self, asked: &HeaderMap, answers: &mut HeaderMap) {
        let Some(origin) = asked.get(header::ORIGIN) else { return };
        if self.allows(origin.to_str().unwrap_or_default()) {
            answers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
            answers.append(header::VARY, HeaderValue::from_static("origin"));
        }
    }

    fn knows(&self, host: &str) -> bool {
        // Where every caller has a key, a page has nothing to gain.
        if !self.open && self.hosts.is_empty() {
            return true;
        }
        let name = without_port(host).trim_end_matches('.').to_ascii_lowercase();
        let bare = name.trim_start_matches('[').trim_end_matches(']');
        // A name can be made to point anywhere; an address is what it is.
        bare.parse::<IpAddr>().is_ok()
            || name == "localhost"
            || name.ends_with(".localhost")
            || self.hosts.contains(&name)
    }

    fn is_ours(&self, origin: &str, host: &str) -> bool {
        origin.split_once("://").is_some_and(|(scheme, authority)| {
            matches!(scheme, "http" | "https") && authority.eq_ignore_ascii_case(host)
        })
    }

    fn allows(&self, origin: &str) -> bool {
        self.origins.iter().any(|allowed| allowed.eq_ignore_ascii_case(origin))
    }
}

/// The one host that a request names.
fn host(uri: &Uri, headers: &HeaderMap) -> Result<String, Refusal> {
    let mut named = headers.get_all(header::HOST).iter();
    let first = named.next().map(|host| host.to_str().unwrap_or("\u{fffd}"));
    let invalid = |message: &str| Err(Refusal::new(Why::Invalid, message));
    match (uri.authority(), first) {
        _ if named.next().is_some() => invalid("the request names several hosts"),
        (Some(authority), Some(host)) if !authority.as_str().eq_ignore_ascii_case(host) => {
            invalid("the request names two hosts")
        }
        (Some(authority), _) => Ok(authority.as_str().to_owned()),
        (None, Some(host)) => Ok(host.to_owned()),
        (None, None) => invalid("the request names no host"),
    }
}

fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if !name.ends_with(':') && port.chars().all(|c| c.is_ascii_digit()) => {
            name
        }
        _ => host,
    }
}

/// What a stranger sent, short and without what could deceive the reader of an error.
fn shown(text: &str) -> String {
    text.chars().take(100).map(|c| if c.is_ascii_graphic() { c } else { '?' }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(open: bool, host: &str, origin: Option<&str>) -> Option<Why> {
        let config = config::Access {
            hosts: vec!["Flows.example.org".to_owned()],
            origins: vec!["https://console.example.org".to_owned()],
            ..config::Access::default()
        };
        let mut headers = HeaderMap::new();
        headers.insert(header::HOST, HeaderValue::from_str(host).unwrap());
        if let Some(origin) = origin {
            headers.insert(header::ORIGIN, HeaderValue::from_str(origin).unwrap());
        }
        let checked = Origins::new(&config, open).check(&Uri::from_static("/api"), &headers);
        checked.err().map(|refusal| refusal.why)
    }

    #[test]
    fn a_name_that_is_not_ours_is_refused() {
        for (host, refused) in [
            ("localhost:8233", false),
            ("LOCALHOST", false),
            ("console.localhost:8233", false),
            ("127.0.0.1:8233", false),
            ("[::1]:8233", false),
            ("::1", false),
            ("flows.example.org", false),
            ("flows.example.org.:8233", false),
            ("evil.example", true),
            ("127.0.0.1.evil.example:8233", true),
            ("localhost.evil.example", true),
            ("evillocalhost", true),
            ("", true),
        ] {
            let why = refused.then_some(Why::Misdirected);
            assert_eq!(check(true, host, None), why, "{host}");
        }
    }

    #[test]
    fn a_page_of_another_site_is_refused() {
        for (origin, refused) in [
            ("http://localhost:8233", false),
            ("https://console.example.org", false),
            ("http://localhost:8234", true),
            ("https://console.example.org.evil.example", true),
            ("https://evil.example", true),
            ("null", true),
            ("", true),
            ("file://localhost:8233", true),
        ] {
            let why = refused.then_some(Why::Forbidden);
            assert_eq!(check(true, "localhost:8233", Some(origin)), why, "{origin}");
        }
    }

    #[test]
    fn a_request_with_two_hosts_is_refused() {
        let origins = Origins::new(&config::Access::default(), true);
        let mut headers = HeaderMap::new();
        assert!(origins.check(&Uri::from_static("/"), &headers).is_err());
        headers.append(header::HOST, HeaderValue::from_static("localhost"));
        assert!(origins.check(&Uri::from_static("/"), &headers).is_ok());
        assert!(origins.check(&Uri::from_static("http://evil.example/"), &headers).is_err());
        headers.append(header::HOST, HeaderValue::from_static("localhost"));
        assert!(origins.check(&Uri::from_static("/"), &headers).is_err());
    }
}
