//! `CacheService`.

use reflux_engine::{CacheFilter, CacheRow};
use reflux_proto::api as v1;

use super::{check_id, convert, namespace};
use crate::service::Service;
use crate::{Error, clock};

/// Results of an answer when the caller does not say, and at most.
const ROWS: (usize, usize) = (100, 1_000);

/// The results that runs may take.
///
/// # Errors
/// The namespace is not known.
pub fn list(
    service: &Service,
    request: v1::ListCacheRequest,
) -> Result<v1::ListCacheResponse, Error> {
    let filter = filter(service, &request.namespace, request.node, request.flow)?;
    let limit = match usize::try_from(request.page_size).unwrap_or(ROWS.1) {
        0 => ROWS.0,
        asked => asked.min(ROWS.1),
    };
    let rows = service.engine().cache_rows(&filter, limit);
    Ok(v1::ListCacheResponse { results: rows.into_iter().map(told).collect() })
}

/// How many there are.
///
/// # Errors
/// The namespace is not known.
pub fn usage(
    service: &Service,
    request: v1::GetCacheUsageRequest,
) -> Result<v1::GetCacheUsageResponse, Error> {
    let filter = filter(service, &request.namespace, request.node, request.flow)?;
    let usage = service.engine().cache_usage(&filter);
    Ok(v1::GetCacheUsageResponse { entries: usage.entries, bytes: usage.bytes, hits: usage.hits })
}

/// Takes results away.
///
/// # Errors
/// The namespace is not known, or the log does not take the note of it.
pub fn clear(
    service: &Service,
    request: v1::ClearCacheRequest,
) -> Result<v1::ClearCacheResponse, Error> {
    let filter = filter(service, &request.namespace, request.node, request.flow)?;
    let before = clock::now();
    // Noted first: a store that is rebuilt has the results again.
    service.host().registry().note_cleared(service.engine(), &filter, before)?;
    let cleared = service.engine().clear_cache(&filter, before);
    Ok(v1::ClearCacheResponse { cleared: cleared as u64 })
}

fn filter(service: &Service, of: &str, node: String, flow: String) -> Result<CacheFilter, Error> {
    check_id("node", &node)?;
    check_id("flow", &flow)?;
    let some = |text: String| (!text.is_empty()).then_some(text);
    let namespace = namespace(service, of)?.to_string();
    Ok(CacheFilter { namespace, node: some(node), flow: some(flow) })
}

fn told(row: CacheRow) -> v1::CachedResult {
    let CacheRow { result, hits } = row;
    v1::CachedResult {
        key: blake3::Hash::from_bytes(result.key).to_hex().to_string(),
        node: result.node.to_string(),
        flow: result.flow.to_string(),
        workflow_id: result.run.workflow_id.to_string(),
        run_id: result.run.run_id.to_string(),
        activation: result.activation.to_string(),
        event_id: result.event,
        time: Some(convert::time(result.ended)),
        expires: result.expires.map(convert::time),
        bytes: result.bytes,
        hits,
    }
}
