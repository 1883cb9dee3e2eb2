//! Pages of lists that are in memory: a token is the name of the last one.

use crate::Error;

/// Rows of a page when the request does not say.
const PAGE_DEFAULT: usize = 100;
/// Most rows of a page: an answer stays well below what a client takes.
pub(super) const PAGE_MAX: usize = 1_000;

/// How many rows the page has.
pub(super) fn size(wanted: u32) -> usize {
    match usize::try_from(wanted).unwrap_or(PAGE_MAX) {
        0 => PAGE_DEFAULT,
        wanted => wanted.min(PAGE_MAX),
    }
}

/// The page behind a token of rows in the order of their keys, and the token of the next.
pub(super) fn of<T>(
    rows: impl IntoIterator<Item = T>,
    key: impl Fn(&T) -> String,
    token: &str,
    wanted: u32,
) -> Result<(Vec<T>, String), Error> {
    let after = match token {
        "" => None,
        token => Some(decode(token).ok_or_else(unknown)?),
    };
    let mut rest =
        rows.into_iter().filter(|row| after.as_ref().is_none_or(|after| key(row) > *after));
    let page: Vec<T> = rest.by_ref().take(size(wanted)).collect();
    let next = match (rest.next(), page.last()) {
        (Some(_), Some(last)) => crate::service::hex(key(last).as_bytes()),
        _ => String::new(),
    };
    Ok((page, next))
}

pub(super) fn unknown() -> Error {
    Error::invalid("page token: not one of ours; ask for the first page again")
}

fn decode(token: &str) -> Option<String> {
    String::from_utf8(crate::service::unhex(token)?).ok()
}
