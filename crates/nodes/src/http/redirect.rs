//! Where a redirect leads, and what may go there.

use reflux_sdk::Failure;
use reqwest::header::{ACCEPT, ACCEPT_LANGUAGE, CONTENT_TYPE, HeaderMap, LOCATION, USER_AGENT};
use reqwest::{Method, StatusCode, Url};

use super::client::Outgoing;

/// As many as a person would follow by hand; browsers give up at 20.
pub(crate) const HOPS_MAX: usize = 5;

/// The request that a response redirects to; none if it does not redirect.
/// Method and body change as fetch and every browser do it (RFC 9110, 15.4).
pub(crate) fn next(
    sent: &Outgoing,
    status: StatusCode,
    headers: &HeaderMap,
) -> Result<Option<Outgoing>, Failure> {
    let redirects = matches!(status.as_u16(), 301 | 302 | 303 | 307 | 308);
    let (true, Some(location)) = (redirects, headers.get(LOCATION)) else {
        return Ok(None);
    };
    let url = target(&sent.url, location.to_str().unwrap_or_default())?;
    let mut next = sent.clone();
    let same_origin = url.origin() == sent.url.origin();
    next.url = url;
    let becomes_get = match status {
        StatusCode::SEE_OTHER => sent.method != Method::HEAD,
        StatusCode::MOVED_PERMANENTLY | StatusCode::FOUND => sent.method == Method::POST,
        _ => false,
    };
    if becomes_get {
        next.method = Method::GET;
        next.body = None;
        next.headers.remove(CONTENT_TYPE);
    }
    if !same_origin {
        // Any other header may be a key of the host it was meant for.
        next.headers = [ACCEPT, ACCEPT_LANGUAGE, USER_AGENT, CONTENT_TYPE]
            .into_iter()
            .filter_map(|name| next.headers.get(&name).map(|value| (name.clone(), value.clone())))
            .collect();
    }
    Ok(Some(next))
}

fn target(from: &Url, location: &str) -> Result<Url, Failure> {
    let refused = |why: &str| Failure::permanent("Http.Redirect", format!("redirect {why}"));
    let mut url = from.join(location).map_err(|_| refused("to something that is not a url"))?;
    match (from.scheme(), url.scheme()) {
        (_, "https") | ("http", "http") => {}
        ("https", "http") => {
            return Err(refused("from https to http; request the http url if that is meant"));
        }
        _ => return Err(refused("to a scheme that is not http or https")),
    }
    // Neither can fail for http and https.
    let _ = url.set_username("");
    let _ = url.set_password(None);
    Ok(url)
}
