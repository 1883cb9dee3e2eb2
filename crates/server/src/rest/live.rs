//! A run as it goes, as server-sent events and as a WebSocket.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::ws::{CloseFrame, Message, WebSocket, close_code};
use axum::http::HeaderMap;
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use reflux_proto::api as v1;
use serde_json::Value;

use super::error::{self, Failed};
use crate::Error;
use crate::api::{Live, follow};
use crate::net::App;

/// How often somebody who waits is told that the stream lives: well below the minute after which
/// proxies give up.
const ALIVE_EVERY: Duration = Duration::from_secs(15);
/// Most bytes that a watcher may send: it has nothing to say.
pub(super) const INCOMING_BYTES_MAX: usize = 4 << 10;

/// Answers with server-sent events. `Last-Event-ID` counts before `after`.
pub(super) async fn events(
    app: Arc<App>,
    request: Value,
    headers: &HeaderMap,
) -> Result<Response, Failed> {
    let mut request = watch(request)?;
    if let Some(last) = headers.get("last-event-id") {
        let last = last.to_str().ok().and_then(|last| last.parse().ok());
        request.after = last.ok_or_else(|| {
            Error::invalid("the header Last-Event-ID is not the id of an event of ours")
        })?;
    }
    let live = follow(app, request).await?;
    let events = futures::stream::unfold(live, |mut live| async {
        let event = match live.next().await? {
            Ok(update) => {
                let event = Event::default().event("update").id(update.sequence.to_string());
                event.data(text(&update))
            }
            Err(error) => Event::default().event("error").data(error::body(&error).to_string()),
        };
        Some((Ok::<_, Infallible>(event), live))
    });
    Ok(Sse::new(events).keep_alive(KeepAlive::new().interval(ALIVE_EVERY)).into_response())
}

/// What a request to watch asks for.
pub(super) fn watch(request: Value) -> Result<v1::WatchRunRequest, Error> {
    serde_json::from_value(request)
        .map_err(|error| Error::invalid(format!("the request does not fit: {error}")))
}

/// Serves a WebSocket: one text message for each update.
pub(super) async fn socket(app: Arc<App>, mut live: Live, mut socket: WebSocket) {
    let mut alive = tokio::time::interval(ALIVE_EVERY);
    loop {
        let message = tokio::select! {
            update = live.next() => match update {
                Some(Ok(update)) => Message::text(text(&update)),
                Some(Err(error)) => {
                    let _ = socket.send(Message::text(error::body(&error).to_string())).await;
                    break close(socket, close_code::ERROR, "see the last message").await;
                }
                None if app.is_draining() => {
                    break close(socket, close_code::AWAY, "the server is about to stop").await;
                }
                None => break close(socket, close_code::NORMAL, "the run is closed").await,
            },
            _ = alive.tick() => Message::Ping(Default::default()),
            said = socket.recv() => match said {
                Some(Ok(Message::Close(_))) | Some(Err(_)) | None => break,
                Some(Ok(_)) => continue,
            },
        };
        if socket.send(message).await.is_err() {
            break;
        }
    }
}

async fn close(mut socket: WebSocket, code: u16, reason: &'static str) {
    let frame = CloseFrame { code, reason: reason.into() };
    // The other end may have gone.
    let _ = socket.send(Message::Close(Some(frame))).await;
}

fn text(update: &v1::RunUpdate) -> String {
    serde_json::to_string(update).unwrap_or_default()
}
