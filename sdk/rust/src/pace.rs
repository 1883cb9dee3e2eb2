//! How fast a node may be called, and when it is better not called for a while. Whoever schedules
//! calls holds to it, for all runs together.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Units of a rate with their letters, in seconds.
const UNITS: [(&str, u64); 4] = [("s", 1), ("m", 60), ("h", 3_600), ("d", 86_400)];

/// So many calls in so long a time; a second's worth may come at once. On paper `10/s`, `100/m`,
/// `5/h` or `1/d`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Rate {
    /// How many; at least 1.
    pub count: u32,
    /// In which time: a second, a minute, an hour or a day.
    pub per: Duration,
}

impl FromStr for Rate {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parsed = text.split_once('/').and_then(|(count, unit)| {
            let (_, seconds) = UNITS.iter().find(|(letter, _)| *letter == unit.trim())?;
            let count = count.trim().parse().ok().filter(|count| *count > 0)?;
            Some(Self { count, per: Duration::from_secs(*seconds) })
        });
        parsed.ok_or_else(|| {
            format!("`{}` is no rate; write 10/s, 100/m, 5/h or 1/d", text.escape_debug())
        })
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let unit = UNITS.iter().find(|(_, seconds)| Duration::from_secs(*seconds) == self.per);
        write!(f, "{}/{}", self.count, unit.map_or("s", |(letter, _)| letter))
    }
}

impl TryFrom<String> for Rate {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<Rate> for String {
    fn from(rate: Rate) -> Self {
        rate.to_string()
    }
}

/// When a node is not called for a while, because its calls fail anyway.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Paper", into = "Paper")]
pub struct Circuit {
    /// So many failed attempts …
    pub failures: u32,
    /// … within so long a time; in whole seconds on paper …
    pub within: Duration,
    /// … and nothing is called for so long; in whole seconds on paper.
    pub open: Duration,
}

/// A circuit as it is written.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Paper {
    failures: u32,
    within_sec: u64,
    open_sec: u64,
}

/// Most failures that a circuit counts.
const FAILURES_MAX: u32 = 1_000;
/// Longest time of a circuit: a day; what is away for longer is taken out of flows.
const SECONDS_MAX: u64 = 86_400;

impl TryFrom<Paper> for Circuit {
    type Error = String;

    fn try_from(paper: Paper) -> Result<Self, String> {
        let Paper { failures, within_sec, open_sec } = paper;
        let times = 1..=SECONDS_MAX;
        if !(1..=FAILURES_MAX).contains(&failures)
            || !times.contains(&within_sec)
            || !times.contains(&open_sec)
        {
            return Err(format!(
                "a circuit has 1 to {FAILURES_MAX} failures within 1 to {SECONDS_MAX} seconds and is open for 1 to {SECONDS_MAX} seconds"
            ));
        }
        let seconds = Duration::from_secs;
        Ok(Self { failures, within: seconds(within_sec), open: seconds(open_sec) })
    }
}

impl Circuit {
    /// A circuit of whole seconds.
    ///
    /// # Errors
    /// A figure is out of bounds.
    pub fn new(failures: u32, within: Duration, open: Duration) -> Result<Self, String> {
        Paper { failures, within_sec: within.as_secs(), open_sec: open.as_secs() }.try_into()
    }
}

impl From<Circuit> for Paper {
    fn from(circuit: Circuit) -> Self {
        Self {
            failures: circuit.failures,
            within_sec: circuit.within.as_secs(),
            open_sec: circuit.open.as_secs(),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_read_as_it_is_written() {
        for text in ["10/s", "100/m", "5/h", "1/d"] {
            assert_eq!(text.parse::<Rate>().unwrap().to_string(), text);
        }
        for text in ["", "10", "0/s", "-1/s", "10/y", "1.5/s"] {
            assert!(text.parse::<Rate>().unwrap_err().contains("write 10/s"), "{text}");
        }
    }

    #[test]
    fn a_circuit_of_nothing_is_refused() {
        let read = serde_json::from_str::<Circuit>;
        let text = r#"{"failures":5,"withinSec":60,"openSec":30}"#;
        assert_eq!(serde_json::to_string(&read(text).unwrap()).unwrap(), text);
        assert!(read(r#"{"failures":0,"withinSec":60,"openSec":30}"#).is_err());
        assert!(read(r#"{"failures":1,"withinSec":60,"openSec":30,"more":1}"#).is_err());
    }
}
