//! The API over HTTP with JSON.
//!
//! ```text
//! descriptor ─→ Schema ─┬─→ routes ─ request ─→ api::METHODS ─→ response
//!                       └─→ /api/v1/openapi.json
//! ```
//!
//! Absent: what a call does (`api`), who may call (`net`).

mod error;
mod live;
mod openapi;
mod request;
mod schema;

use std::sync::Arc;

use axum::extract::rejection::PathRejection;
use axum::extract::ws::WebSocketUpgrade;
use axum::extract::{Path, Request, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodFilter, get, on};
use axum::{Json, Router};

use self::error::Failed;
use self::schema::{Call, Schema};
use crate::access::Caller;
use crate::net::App;
use crate::{Error, Kind, api};

/// Where the document is.
const DOCUMENT: &str = "/api/v1/openapi.json";

type Params = Result<Path<Vec<(String, String)>>, PathRejection>;

/// Every route of the API.
///
/// # Errors
/// The descriptor of this program cannot be read.
pub fn routes() -> Result<Router<Arc<App>>, Error> {
    let schema = Schema::read().map_err(|error| {
        Error::new(Kind::Corrupt, format!("the descriptor of the API cannot be read: {error}"))
    })?;
    let schema = Arc::new(schema);
    let document: Arc<str> = openapi::document(&schema).to_string().into();
    let mut router = Router::new().route(DOCUMENT, get(move || json(document.clone())));
    for call in &schema.calls {
        let filter = match call.verb {
            "get" => MethodFilter::GET,
            "post" => MethodFilter::POST,
            _ => MethodFilter::DELETE,
        };
        let (schema, call) = (schema.clone(), Arc::new(call.clone()));
        let path = call.path.clone();
        let handler = move |State(app): State<Arc<App>>, params: Params, request: Request| {
            let (schema, call) = (schema.clone(), call.clone());
            async move { answer(app, &schema, &call, params, request).await }
        };
        router = router.route(&path, on(filter, handler));
    }
    let watched = schema.clone();
    let socket = move |State(app): State<Arc<App>>,
                       params: Params,
                       upgrade: Result<WebSocketUpgrade, _>,
                       request: Request| {
        let schema = watched.clone();
        async move { socket(app, &schema, params, upgrade, request).await }
    };
    Ok(router
        .route("/api/v1/runs/{run}/ws", get(socket))
        .route("/api/{*rest}", axum::routing::any(unknown))
        .method_not_allowed_fallback(not_allowed))
}

async fn answer(
    app: Arc<App>,
    schema: &Schema,
    call: &Call,
    params: Params,
    request: Request,
) -> Result<Response, Failed> {
    let params = path(params)?;
    let (parts, body) = request.into_parts();
    let query = parts.uri.query().unwrap_or_default();
    let asked = request::read(schema, call, params, query, &parts.headers, body).await?;
    if call.streams {
        return live::events(app, asked, &parts.headers).await;
    }
    let method = call.method();
    let caller = parts.extensions.get::<Caller>();
    let answer = app.call_for(caller, move |service| api::call(service, &method, asked)).await?;
    Ok(Json(answer).into_response())
}

async fn socket(
    app: Arc<App>,
    schema: &Schema,
    params: Params,
    upgrade: Result<WebSocketUpgrade, axum::extract::ws::rejection::WebSocketUpgradeRejection>,
    request: Request,
) -> Result<Response, Failed> {
    let upgrade = upgrade.map_err(|rejection| {
        let error = Error::invalid(format!("this is a WebSocket: {rejection}"))
            .suggest("for server-sent events, ask for /watch in the place of /ws");
        Failed::with(StatusCode::UPGRADE_REQUIRED, error)
    })?;
    let call = schema.calls.iter().find(|call| call.streams);
    let call = call.ok_or_else(|| Error::new(Kind::Unimplemented, "there is no stream"))?;
    let (parts, body) = request.into_parts();
    let query = parts.uri.query().unwrap_or_default();
    let asked = request::read(schema, call, path(params)?, query, &parts.headers, body).await?;
    let live = api::follow(app.clone(), live::watch(asked)?).await?;
    let upgrade =
        upgrade.max_message_size(live::INCOMING_BYTES_MAX).max_frame_size(live::INCOMING_BYTES_MAX);
    Ok(upgrade.on_upgrade(move |socket| live::socket(app, live, socket)))
}

fn path(params: Params) -> Result<Vec<(String, String)>, Error> {
    let Path(params) = params.map_err(|_| Error::invalid("the path is not UTF-8"))?;
    Ok(params)
}

async fn json(document: Arc<str>) -> Response {
    ([(header::CONTENT_TYPE, "application/json")], document.to_string()).into_response()
}

async fn unknown() -> Failed {
    Error::not_found("there is nothing at this address")
        .suggest(format!("see what there is in {DOCUMENT}"))
        .into()
}

async fn not_allowed() -> Failed {
    let error = Error::invalid("this address does not take this method")
        .suggest(format!("see what it takes in {DOCUMENT}"));
    Failed::with(StatusCode::METHOD_NOT_ALLOWED, error)
}

/// The table of calls, for the documentation.
///
/// # Errors
/// The descriptor of this program cannot be read.
#[doc(hidden)]
pub fn reference() -> Result<String, prost::DecodeError> {
    let schema = Schema::read()?;
    let mut out = String::new();
    for (service, _) in &schema.services {
        out.push_str(&format!(
            "\n### {service}\n\n| call | HTTP | what it does |\n|---|---|---|\n"
        ));
        for call in schema.calls.iter().filter(|call| call.service == *service) {
            let doc = call.doc.replace("\n\n", " ").replace('|', "\\|");
            let verb = call.verb.to_uppercase();
            out.push_str(&format!("| `{}` | `{verb} {}` | {doc} |\n", call.name, call.path));
        }
    }
    Ok(out)
}
