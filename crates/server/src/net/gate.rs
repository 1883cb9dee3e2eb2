//! What every request passes before a face sees it, the same on both ports.
//!
//! ```text
//! draining? ─ path, host, origin ─ who? ─ too often? ─ may they? ─ how large? ─→ face ─→ audit
//! ```
//!
//! Absent: what a request means. A face finds the [`Caller`] in the request's extensions.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::body::{Body, Bytes};
use axum::extract::{MatchedPath, Request, State};
use axum::http::{Version, header};
use axum::middleware::Next;
use axum::response::Response;
use flate2::bufread::GzDecoder;

use super::body::{bounded, check_length, lingering, whole};
use super::limits::{
    BODY_BYTES_MAX, FRAME_BYTES, MESSAGE_BYTES_MAX, URI_BYTES_MAX, WRONG_KEYS_PER_SECOND,
};
use super::listener::Peer;
use super::origin::Origins;
use super::rate::{Rate, Who};
use super::refusal::{Refusal, Why};
use super::{App, audit};
use crate::access::namespaces::{Schema, Strays, check_http};
use crate::access::rules::{self, Need};
use crate::access::{Access, Caller, Scope};
use crate::{Config, Error};

/// The rules of a server's ports.
pub(super) struct Gate {
    app: Arc<App>,
    access: Arc<Access>,
    origins: Origins,
    /// Whether callers without a key may look, and use the Temporal API.
    open: bool,
    rate: Rate,
    wrong: Rate,
    body_time_max: Duration,
    schema: Schema,
}

/// Which port a request came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Face {
    Grpc,
    Http,
}

impl Gate {
    pub(super) fn new(
        app: Arc<App>,
        access: Arc<Access>,
        config: &Config,
        loopback: bool,
    ) -> Result<Arc<Self>, Error> {
        let open = loopback && config.access.anonymous;
        let schema = Schema::new()
            .map_err(|error| Error::unavailable(format!("the API's descriptors: {error}")))?;
        Ok(Arc::new(Self {
            app,
            access,
            origins: Origins::new(&config.access, open),
            open,
            rate: Rate::new(config.limits.requests_per_second),
            wrong: Rate::new(WRONG_KEYS_PER_SECOND),
            body_time_max: config.limits.body.0,
            schema,
        }))
    }

    /// Middleware of the gRPC port.
    pub(super) async fn grpc(
        State(gate): State<Arc<Self>>,
        request: Request,
        next: Next,
    ) -> Response {
        let begun = Instant::now();
        let path = request.uri().path().to_owned();
        let response = match gate.pass(Face::Grpc, request).await {
            Ok(passed) => gate.audited(passed, next).await,
            Err(refusal) => gate.refused("grpc", refusal).into_grpc(),
        };
        let code = response.extensions().get::<tonic::Status>().map_or(0, |s| i32::from(s.code()));
        // Only names that exist: a stranger must not make series.
        let call = if gate.schema.knows(&path) { path } else { "other".to_owned() };
        measured("grpc", call, code.to_string(), begun);
        response
    }

    /// Middleware of the HTTP port.
    pub(super) async fn http(
        State(gate): State<Arc<Self>>,
        request: Request,
        next: Next,
    ) -> Response {
        let begun = Instant::now();
        let request = match request.version() < Version::HTTP_2 {
            true => request.map(lingering),
            false => request,
        };
        let asked = request.headers().clone();
        let route = request.extensions().get::<MatchedPath>();
        let route = route.map_or("other", MatchedPath::as_str).to_owned();
        let mut response = match gate.origins.check(request.uri(), &asked) {
            Err(refusal) => gate.refused("http", refusal).into_http(),
            Ok(()) => match gate.origins.preflight(request.method(), &asked) {
                Some(answer) => answer,
                None => match gate.pass(Face::Http, request).await {
                    Ok(passed) => gate.audited(passed, next).await,
                    Err(refusal) => gate.refused("http", refusal).into_http(),
                },
            },
        };
        gate.origins.allow(&asked, response.headers_mut());
        // A browser must not take an answer for something else than it says it is.
        let nosniff = header::HeaderValue::from_static("nosniff");
        response.headers_mut().insert(header::X_CONTENT_TYPE_OPTIONS, nosniff);
        measured("http", route, response.status().as_u16().to_string(), begun);
        response
    }

    async fn pass(&self, face: Face, request: Request) -> Result<Passed, Refusal> {
        check_path(request.uri())?;
        let path = request.uri().path();
        let need = match face {
            Face::Grpc => rules::of_grpc(path),
            Face::Http => rules::of_http(request.method(), path),
        };
        if self.app.is_draining() && need != Need::Nothing && path != "/metrics" {
            return Err(Refusal::new(Why::Unavailable, "this server is about to stop")
                .suggest("try again in a moment")
                .after(Duration::from_secs(1)));
        }
        let peer = request.extensions().get::<Peer>().copied();
        let peer =
            peer.ok_or_else(|| Refusal::new(Why::Invalid, "the request comes from nowhere"))?;
        // What is open to all may carry credentials of another kind: a webhook's sender has its own.
        let caller = match need {
            Need::Nothing => Caller::anonymous(),
            Need::Scope(_) | Need::Temporal(_) => self.caller(&request, peer)?,
        };
        let who = match caller.scope {
            Some(_) => Who::Key(caller.name.clone()),
            None => Who::address(peer.0.ip()),
        };
        self.rate.take(who, Instant::now()).map_err(too_often)?;
        rules::check(need, &caller, self.open).map_err(|scope| missing(&caller, scope))?;
        let body_max = match face {
            Face::Grpc => MESSAGE_BYTES_MAX + FRAME_BYTES,
            Face::Http => BODY_BYTES_MAX,
        };
        check_length(request.headers(), body_max)?;
        if face == Face::Http && request.headers().contains_key(header::CONTENT_ENCODING) {
            return Err(Refusal::new(Why::Encoding, "an encoded body is not taken")
                .suggest("send the body as it is"));
        }
        let request = request.map(|body| bounded(body, body_max, self.body_time_max));
        let mut request = match caller.namespaces {
            Some(_) if need != Need::Nothing => self.confine(face, request, &caller).await?,
            _ => request,
        };
        request.extensions_mut().insert(caller.clone());
        Ok(Passed { request, caller, peer, need })
    }

    fn caller(&self, request: &Request, peer: Peer) -> Result<Caller, Refusal> {
        let mut presented = request.headers().get_all(header::AUTHORIZATION).iter();
        let Some(first) = presented.next() else { return Ok(Caller::anonymous()) };
        let who = Who::address(peer.0.ip());
        let now = Instant::now();
        // Whoever guesses is slowed down, and no line of theirs costs a hash.
        if !self.wrong.has(&who, now) {
            return Err(too_often(Duration::from_secs(1)));
        }
        let credential = first.to_str().ok().and_then(|text| {
            let (scheme, credential) = text.split_once(' ')?;
            scheme.eq_ignore_ascii_case("bearer").then(|| credential.trim())
        });
        let caller = credential.and_then(|credential| self.access.caller(credential));
        match caller {
            Some(caller) if presented.next().is_none() => Ok(caller),
            _ => {
                let _ = self.wrong.take(who, now);
                Err(Refusal::new(Why::Unauthenticated, "the credential is not valid").suggest(
                    "send `Authorization: Bearer KEY` with a key of `reflux keys create`, or the content of .reflux/token",
                ))
            }
        }
    }

    /// Lets a caller who is confined to namespaces pass with those only.
    async fn confine(
        &self,
        face: Face,
        request: Request,
        caller: &Caller,
    ) -> Result<Request, Refusal> {
        let (parts, body) = request.into_parts();
        let checked = match face {
            Face::Grpc => {
                let body = whole(body, MESSAGE_BYTES_MAX + FRAME_BYTES).await?;
                let message = message(&body)?;
                (self.schema.check(parts.uri.path(), &message, caller), body)
            }
            Face::Http => {
                let body = whole(body, BODY_BYTES_MAX).await?;
                (check_http(&parts.uri, &body, caller), body)
            }
        };
        let (checked, body) = checked;
        checked.map_err(|strays| match strays {
            Strays::Into(namespace) => Refusal::new(
                Why::Forbidden,
                format!(
                    "key `{}` may not enter namespace `{}`",
                    caller.name,
                    namespace.escape_debug()
                ),
            )
            .suggest("name a namespace of the key"),
            Strays::Everywhere => Refusal::new(
                Why::Forbidden,
                format!("key `{}` is confined to namespaces, and this concerns all", caller.name),
            )
            .suggest("use a key without namespaces"),
            Strays::Unreadable => Refusal::new(Why::Invalid, "the request cannot be read"),
        })?;
        Ok(Request::from_parts(parts, Body::from(body)))
    }

    async fn audited(&self, passed: Passed, next: Next) -> Response {
        let Passed { request, caller, peer, need } = passed;
        let changes =
            matches!(need, Need::Scope(scope) | Need::Temporal(scope) if scope > Scope::Read);
        let path = request.uri().path();
        let what = (changes && rules::is_audited(path))
            .then(|| (request.method().clone(), path.to_owned()));
        let response = next.run(request).await;
        if let Some((method, path)) = what {
            audit::line(&caller, peer, &method, &path, &response);
        }
        response
    }

    fn refused(&self, port: &'static str, refusal: Refusal) -> Refusal {
        metrics::counter!("reflux_calls_refused_total", "port" => port, "reason" => refusal.why.name())
            .increment(1);
        refusal
    }
}

/// A request that may go on.
struct Passed {
    request: Request,
    caller: Caller,
    peer: Peer,
    need: Need,
}

/// Paths that could mean one thing here and another behind are refused.
fn check_path(uri: &axum::http::Uri) -> Result<(), Refusal> {
    let length = uri.path().len() + uri.query().map_or(0, str::len);
    if length > URI_BYTES_MAX {
        return Err(Refusal::new(
            Why::Invalid,
            format!("the address has more than {URI_BYTES_MAX} bytes"),
        ));
    }
    let path = uri.path();
    let lower = path.to_ascii_lowercase().replace("%2e", ".");
    let tricky = path.contains("//")
        || path.contains('\\')
        || lower.contains("%00")
        || lower.contains("%5c")
        || lower.split('/').any(|segment| matches!(segment, "." | ".."));
    if tricky {
        return Err(Refusal::new(Why::Invalid, "the path is not in its plain form")
            .suggest("send it without //, /./, /../, backslashes and NUL"));
    }
    Ok(())
}

/// The message of a unary call, decompressed within its bound.
fn message(body: &Bytes) -> Result<Bytes, Refusal> {
    let unreadable = || Refusal::new(Why::Invalid, "the call is not one whole message");
    if body.is_empty() {
        return Ok(Bytes::new());
    }
    let (frame, message) = body.split_at_checked(FRAME_BYTES).ok_or_else(unreadable)?;
    let (compressed, length) = match frame {
        [flag, length @ ..] => (*flag, u32::from_be_bytes(length.try_into().unwrap_or_default())),
        [] => return Err(unreadable()),
    };
    if usize::try_from(length).ok() != Some(message.len()) {
        return Err(unreadable());
    }
    if compressed == 0 {
        return Ok(body.slice(FRAME_BYTES..));
    }
    use std::io::Read as _;
    let mut plain = Vec::new();
    let limit = u64::try_from(MESSAGE_BYTES_MAX).unwrap_or(u64::MAX);
    let read = GzDecoder::new(message).take(limit.saturating_add(1)).read_to_end(&mut plain);
    match read {
        Ok(_) if plain.len() > MESSAGE_BYTES_MAX => Err(Refusal::new(
            Why::TooLarge,
            format!("the message has more than {MESSAGE_BYTES_MAX} bytes when it is decompressed"),
        )),
        Ok(_) => Ok(plain.into()),
        Err(_) => Err(unreadable()),
    }
}

fn too_often(wait: Duration) -> Refusal {
    Refusal::new(Why::TooMany, "too many requests").suggest("wait before the next one").after(wait)
}

fn missing(caller: &Caller, scope: Scope) -> Refusal {
    let name = match scope {
        Scope::Read => "read",
        Scope::Write => "write",
        Scope::Admin => "admin",
    };
    match caller.scope {
        None => Refusal::new(Why::Unauthenticated, format!("this needs a key with scope {name}"))
            .suggest("send `Authorization: Bearer KEY` with a key of `reflux keys create`, or the content of .reflux/token"),
        Some(_) => Refusal::new(
            Why::Forbidden,
            format!("key `{}` may not do this; it needs scope {name}", caller.name),
        )
        .suggest(format!("use a key made with `reflux keys create --scope {name}`")),
    }
}

fn measured(port: &'static str, call: String, code: String, begun: Instant) {
    metrics::counter!("reflux_calls_total", "port" => port, "call" => call.clone(), "code" => code)
        .increment(1);
    metrics::histogram!("reflux_call_seconds", "port" => port, "call" => call)
        .record(begun.elapsed().as_secs_f64());
}
