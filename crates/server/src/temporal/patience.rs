//! How long a call waits before it answers that there is nothing.

use std::time::Duration;

use tokio::time::Instant;
use tonic::metadata::MetadataMap;

/// How long a poll waits for a task (Temporal's).
pub(super) const POLL: Duration = Duration::from_secs(60);
/// How long a request for history waits for events (Temporal's).
pub(super) const HISTORY: Duration = Duration::from_secs(20);
/// How long a query waits for a worker: long enough for one that has just been started again.
pub(super) const QUERY: Duration = Duration::from_secs(30);

/// Taken from the time the caller waits, so that the answer reaches it: at most a tenth.
const MARGIN: Duration = Duration::from_secs(1);

/// The moment at which a call answers in any case: after `most`, or shortly before its caller
/// gives up.
pub(super) fn until(metadata: &MetadataMap, most: Duration) -> Instant {
    let patience = metadata
        .get("grpc-timeout")
        .and_then(|value| value.to_str().ok())
        .and_then(parse)
        .map(|given| given.saturating_sub(MARGIN.min(given / 10)));
    Instant::now() + patience.map_or(most, |patience| patience.min(most))
}

/// At most eight digits and a unit, as gRPC defines it.
fn parse(text: &str) -> Option<Duration> {
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    if digits.is_empty() || digits.len() > 8 || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let count: u64 = digits.parse().ok()?;
    Some(match unit {
        "H" => Duration::from_secs(count * 3600),
        "M" => Duration::from_secs(count * 60),
        "S" => Duration::from_secs(count),
        "m" => Duration::from_millis(count),
        "u" => Duration::from_micros(count),
        "n" => Duration::from_nanos(count),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_limit_is_read_as_grpc_writes_it() {
        for (text, expected) in [
            ("70S", Some(Duration::from_secs(70))),
            ("2H", Some(Duration::from_secs(7200))),
            ("3M", Some(Duration::from_secs(180))),
            ("99999999m", Some(Duration::from_millis(99_999_999))),
            ("5u", Some(Duration::from_micros(5))),
            ("5n", Some(Duration::from_nanos(5))),
            ("", None),
            ("S", None),
            ("999999999S", None),
            ("-1S", None),
            ("1s", None),
            ("1é", None),
        ] {
            assert_eq!(parse(text), expected, "{text}");
        }
    }

    #[test]
    fn a_call_answers_before_its_caller_gives_up() {
        let waits = |timeout: &str| {
            let mut metadata = MetadataMap::new();
            metadata.insert("grpc-timeout", timeout.parse().unwrap());
            until(&metadata, POLL) - Instant::now()
        };
        assert!(waits("70S") <= POLL && waits("70S") > Duration::from_secs(59));
        assert!(waits("10S") <= Duration::from_secs(9) && waits("10S") > Duration::from_secs(8));
        assert!(waits("100m") <= Duration::from_millis(90));
    }
}
