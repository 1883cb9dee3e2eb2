//! HTTP for nodes: every address is checked before it is connected to, every body is bounded.
//!
//! ```text
//! request.rs   http.request: input, status, output
//! webhook.rs   webhook.out: a signed POST
//! client.rs    one hop: resolve once, check all addresses, connect to those and no others
//! redirect.rs  where a redirect leads, and what may go there
//! body.rs      reading a response up to a bound
//! retry_after.rs  the header of that name
//! ```

mod body;
mod client;
mod redirect;
mod request;
mod retry_after;
#[cfg(test)]
mod tests;
mod webhook;

pub(crate) use client::Web;
pub(crate) use request::HttpRequest;
pub(crate) use webhook::WebhookOut;
