//! Times by a cron expression or an interval: what comes next, what is due.
//!
//! Pure calculation over a bundled database of time zones, so that a schedule has the same times on
//! every machine.

#[cfg(test)]
mod tests;

use std::time::Duration;

use croner::Cron;
use croner::parser::{CronParser, Year};
use jiff::tz::{TimeZone, TimeZoneDatabase};
use reflux_core::Timestamp;

use crate::name::suggest;

/// Shortest interval: a schedule costs some writes for each time.
pub const EVERY_MIN: Duration = Duration::from_secs(1);
/// Most times that are due at one look; those before them are not made up for. An outage of a
/// quarter of an hour at one time per second.
pub const DUE_MAX: usize = 1_000;
/// Longest cron expression, in bytes: six fields of lists.
const EXPRESSION_BYTES_MAX: usize = 1_000;

/// When something happens.
#[derive(Debug, Clone, PartialEq)]
pub enum Timetable {
    /// By a cron expression in a time zone.
    Cron {
        /// The expression, read.
        cron: Box<Cron>,
        /// Where it is read.
        zone: TimeZone,
    },
    /// At multiples of a length of time since 1970-01-01T00:00:00Z.
    Every {
        /// The length.
        every: Duration,
        /// Added to each multiple; shorter than `every`.
        offset: Duration,
    },
}

/// What is due.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Due {
    /// The newest [`DUE_MAX`] times, in order.
    pub times: Vec<Timestamp>,
    /// Whether there are more before them.
    pub more: bool,
}

impl Timetable {
    /// Five fields, or six with seconds in front; `@daily` and the like; `L`, `W` and `#`.
    ///
    /// # Errors
    /// Says what is wrong with the expression or the zone.
    pub fn cron(expression: &str, zone: &str) -> Result<Self, String> {
        let named = TimeZoneDatabase::bundled().get(zone);
        let zone = named.map_err(|_| match similar_zone(zone) {
            Some(name) => format!("unknown time zone `{zone}` (did you mean `{name}`?)"),
            None => format!("unknown time zone `{zone}`; write for example `Europe/Berlin`"),
        })?;
        if expression.len() > EXPRESSION_BYTES_MAX {
            return Err(format!("a cron expression has at most {EXPRESSION_BYTES_MAX} bytes"));
        }
        let parser = CronParser::builder().year(Year::Disallowed).build();
        let cron = parser.parse(expression).map_err(|error| {
            let error = error.to_string();
            let error = error.trim_end_matches('.');
            format!(
                "`{expression}` is no cron expression: {error}; write for example `0 9 * * 1-5`"
            )
        })?;
        let table = Self::Cron { cron: Box::new(cron), zone };
        match table.after(Timestamp(0)) {
            Some(_) => Ok(table),
            None => Err(format!("`{expression}` never happens: there is no such day")),
        }
    }

    /// Each `every`, shifted by `offset`.
    ///
    /// # Errors
    /// The interval is too short, or the offset too long.
    pub fn every(every: Duration, offset: Duration) -> Result<Self, String> {
        if every < EVERY_MIN {
            return Err("an interval is at least 1s; do more in one run".into());
        }
        if offset >= every {
            return Err("the offset must be shorter than the interval".into());
        }
        Ok(Self::Every { every, offset })
    }

    /// The first time after a moment.
    pub fn after(&self, moment: Timestamp) -> Option<Timestamp> {
        match self {
            Self::Cron { cron, zone } => {
                let from = zoned(moment, zone)?;
                timestamp(&cron.find_next_occurrence(&from, false).ok()?)
            }
            Self::Every { every, offset } => {
                let (every, offset) = (nanos(*every)?, nanos(*offset)?);
                let count = moment.0.checked_sub(offset)?.div_euclid(every).checked_add(1)?;
                count.checked_mul(every)?.checked_add(offset).map(Timestamp)
            }
        }
    }

    /// The last time that is not after a moment.
    pub fn until(&self, moment: Timestamp) -> Option<Timestamp> {
        match self {
            Self::Cron { cron, zone } => {
                // Whole seconds: what is inclusive of one includes its fractions.
                let second = Timestamp(moment.0.div_euclid(NANOS).checked_mul(NANOS)?);
                let from = zoned(second, zone)?;
                timestamp(&cron.find_previous_occurrence(&from, true).ok()?)
            }
            Self::Every { every, offset } => {
                let (every, offset) = (nanos(*every)?, nanos(*offset)?);
                let count = moment.0.checked_sub(offset)?.div_euclid(every);
                count.checked_mul(every)?.checked_add(offset).map(Timestamp)
            }
        }
    }

    /// When a time is acted upon: later by a part of `jitter` that follows from `name` and the time
    /// alone, and always before the next time.
    pub fn start_of(&self, time: Timestamp, jitter: Duration, name: &str) -> Timestamp {
        if jitter.is_zero() {
            return time;
        }
        let gap = self.after(time).map_or(jitter, |next| next.since(time));
        let span = u64::try_from(jitter.min(gap).as_nanos()).unwrap_or(u64::MAX);
        let mut hasher = blake3::Hasher::new();
        hasher.update(name.as_bytes());
        hasher.update(&time.0.to_le_bytes());
        let [a, b, c, d, e, f, g, h, ..] = *hasher.finalize().as_bytes();
        let part = u64::from_le_bytes([a, b, c, d, e, f, g, h]).checked_rem(span).unwrap_or(0);
        time.after(Duration::from_nanos(part))
    }

    /// The times after `after` that are to be acted upon by `now`.
    pub fn due(&self, after: Timestamp, now: Timestamp, jitter: Duration, name: &str) -> Due {
        let mut times = Vec::new();
        let mut next = self.until(now);
        while let Some(time) = next.filter(|time| *time > after) {
            if times.len() >= DUE_MAX {
                times.reverse();
                return Due { times, more: true };
            }
            if self.start_of(time, jitter, name) <= now {
                times.push(time);
            }
            next = self.until(Timestamp(time.0.saturating_sub(1)));
        }
        times.reverse();
        Due { times, more: false }
    }
}

const NANOS: i64 = 1_000_000_000;

fn nanos(length: Duration) -> Option<i64> {
    i64::try_from(length.as_nanos()).ok()
}

fn zoned(moment: Timestamp, zone: &TimeZone) -> Option<jiff::Zoned> {
    let moment = jiff::Timestamp::from_nanosecond(i128::from(moment.0)).ok()?;
    Some(moment.to_zoned(zone.clone()))
}

fn timestamp(zoned: &jiff::Zoned) -> Option<Timestamp> {
    i64::try_from(zoned.timestamp().as_nanosecond()).ok().map(Timestamp)
}

fn similar_zone(wrong: &str) -> Option<String> {
    let names: Vec<String> =
        TimeZoneDatabase::bundled().available().map(|name| name.to_string()).collect();
    suggest(wrong, names.iter().map(String::as_str))
}
