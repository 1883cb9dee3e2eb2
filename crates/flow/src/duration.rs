//! Lengths of time and moments, as text. Nothing here reads a clock.

#[cfg(test)]
mod tests;

use std::time::Duration;

use serde_json::Value;

/// Longest duration: a hundred years of 365 days. Longer ones overflow the timers of other systems.
pub const DURATION_MAX: Duration = Duration::from_secs(100 * 365 * 24 * 3600);

const UNITS: &[(&str, u64)] = &[
    ("ms", 1_000_000),
    ("us", 1_000),
    ("µs", 1_000),
    ("ns", 1),
    ("s", 1_000_000_000),
    ("m", 60_000_000_000),
    ("h", 3_600_000_000_000),
    ("d", 86_400_000_000_000),
    ("w", 604_800_000_000_000),
];

/// Reads `30s`, `1h30m`, `500ms`, `2d`, `1.5s`, or a bare number of seconds.
///
/// # Errors
/// Says what is wrong with the text.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    let trimmed = text.trim();
    if trimmed.is_empty() {
        return Err("a duration is empty; write for example `30s`".into());
    }
    if trimmed.starts_with('-') {
        return Err(format!("the duration `{text}` is negative"));
    }
    let bad = || format!("`{text}` is no duration; write for example `30s`, `1h30m` or `500ms`");
    let mut rest = trimmed;
    let mut total: u128 = 0;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !(c.is_ascii_digit() || c == '.')).unwrap_or(rest.len());
        let (number, after) = rest.split_at(digits);
        let unit_end = after
            .find(|c: char| c.is_ascii_digit() || c == '.' || c.is_whitespace())
            .unwrap_or(after.len());
        let (unit, tail) = after.split_at(unit_end);
        let scale = match unit {
            // Only a number alone may go without a unit.
            "" if number.len() == trimmed.len() => 1_000_000_000,
            _ => UNITS.iter().find(|(name, _)| *name == unit).map(|(_, n)| *n).ok_or_else(bad)?,
        };
        total = total
            .checked_add(decimal(number, scale).ok_or_else(bad)?)
            .filter(|n| *n <= DURATION_MAX.as_nanos())
            .ok_or_else(|| format!("the duration `{text}` is longer than 100 years"))?;
        rest = tail.trim_start();
    }
    let nanos = u64::try_from(total).map_err(|_| bad())?;
    Ok(Duration::from_nanos(nanos))
}

/// Reads a JSON number of seconds or a text as [`parse_duration`] does.
///
/// # Errors
/// Says what is wrong with the value.
pub fn duration_of(value: &Value) -> Result<Duration, String> {
    match value {
        Value::String(text) => parse_duration(text),
        Value::Number(n) => {
            let seconds = n.as_f64().unwrap_or(f64::NAN);
            if seconds.is_nan() || seconds < 0.0 {
                return Err(format!("the duration {n} is negative"));
            }
            if seconds > DURATION_MAX.as_secs_f64() {
                return Err(format!("the duration {n} seconds is longer than 100 years"));
            }
            Ok(n.as_u64().map_or_else(|| Duration::from_secs_f64(seconds), Duration::from_secs))
        }
        other => Err(format!(
            "a duration is text such as `30s` or a number of seconds, not {}",
            crate::expr::json_kind(other)
        )),
    }
}

/// Writes a duration so that [`parse_duration`] reads the same one: `1h30m`, `500ms`, `0s`.
pub fn format_duration(duration: Duration) -> String {
    let mut rest = duration.as_nanos();
    let mut out = String::new();
    for (unit, nanos) in [
        ("d", 86_400_000_000_000_u128),
        ("h", 3_600_000_000_000),
        ("m", 60_000_000_000),
        ("s", 1_000_000_000),
        ("ms", 1_000_000),
        ("us", 1_000),
        ("ns", 1),
    ] {
        let count = rest / nanos;
        rest %= nanos;
        if count > 0 {
            out.push_str(&format!("{count}{unit}"));
        }
    }
    if out.is_empty() { "0s".into() } else { out }
}

/// Reads RFC 3339 text (`2026-05-01T12:00:00Z`, with offset and fraction) as Unix nanoseconds.
///
/// # Errors
/// Says what is wrong with the text.
pub fn parse_moment(text: &str) -> Result<i64, String> {
    moment(text.trim())
        .ok_or_else(|| format!("`{text}` is no moment; write for example `2026-05-01T12:00:00Z`"))
}

/// Reads a moment out of JSON: RFC 3339 text or Unix seconds, as Unix nanoseconds.
///
/// # Errors
/// Says what is wrong with the value.
pub fn moment_of(value: &Value) -> Result<i64, String> {
    match value {
        Value::String(text) => parse_moment(text),
        Value::Number(n) => {
            let too_far = || format!("the moment {n} is beyond the year 2262");
            if let Some(seconds) = n.as_i64() {
                return seconds.checked_mul(1_000_000_000).ok_or_else(too_far);
            }
            let nanos = n.as_f64().unwrap_or(f64::NAN) * 1e9;
            if nanos.abs() < 9.2e18 { Ok(nanos as i64) } else { Err(too_far()) }
        }
        other => Err(format!(
            "a moment is text such as `2026-05-01T12:00:00Z` or Unix seconds, not {}",
            crate::expr::json_kind(other)
        )),
    }
}

/// `number` times `scale`, exactly; further digits than a nanosecond's are dropped.
fn decimal(number: &str, scale: u64) -> Option<u128> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if whole.is_empty() || fraction.contains('.') || (number.contains('.') && fraction.is_empty()) {
        return None;
    }
    let mut total = whole.parse::<u128>().ok()?.checked_mul(u128::from(scale))?;
    let mut unit = u128::from(scale);
    for digit in fraction.chars() {
        unit /= 10;
        total += unit * u128::from(digit.to_digit(10)?);
    }
    Some(total)
}

fn moment(text: &str) -> Option<i64> {
    if !text.is_ascii() {
        return None;
    }
    let part = |from: usize, to: usize| {
        let digits = text.get(from..to)?;
        digits.bytes().all(|b| b.is_ascii_digit()).then(|| digits.parse::<i64>().ok())?
    };
    let mark = |at: usize, marks: &str| text.get(at..=at).is_some_and(|c| marks.contains(c));
    if !(mark(4, "-") && mark(7, "-") && mark(10, "Tt ") && mark(13, ":") && mark(16, ":")) {
        return None;
    }
    let (year, month, day) = (part(0, 4)?, part(5, 7)?, part(8, 10)?);
    let (hour, minute, second) = (part(11, 13)?, part(14, 16)?, part(17, 19)?);
    if !(1..=12).contains(&month)
        || day < 1
        || day > days_in(year, month)
        || hour > 23
        || minute > 59
        || second > 60
    {
        return None;
    }
    let mut rest = text.get(19..)?;
    let mut nanos = 0;
    if let Some(fraction) = rest.strip_prefix('.') {
        let digits = fraction.bytes().take_while(u8::is_ascii_digit).count();
        if digits == 0 {
            return None;
        }
        let shown: String =
            fraction.chars().take(digits).chain("000000000".chars()).take(9).collect();
        nanos = shown.parse::<i64>().ok()?;
        rest = fraction.get(digits..)?;
    }
    let offset = offset_seconds(rest)?;
    let days = days_from_epoch(year, month, day);
    let seconds = days * 86_400 + hour * 3_600 + minute * 60 + second - offset;
    seconds.checked_mul(1_000_000_000)?.checked_add(nanos)
}

fn offset_seconds(text: &str) -> Option<i64> {
    if text.eq_ignore_ascii_case("z") {
        return Some(0);
    }
    let sign = match text.chars().next()? {
        '+' => 1,
        '-' => -1,
        _ => return None,
    };
    let (hours, minutes) = text.get(1..)?.split_once(':')?;
    if hours.len() != 2 || minutes.len() != 2 {
        return None;
    }
    let (hours, minutes): (i64, i64) =
        (hours.parse::<u8>().ok()?.into(), minutes.parse::<u8>().ok()?.into());
    (hours < 24 && minutes < 60).then_some(sign * (hours * 3_600 + minutes * 60))
}

fn days_in(year: i64, month: i64) -> i64 {
    match month {
        4 | 6 | 9 | 11 => 30,
        2 if (year % 4 == 0 && year % 100 != 0) || year % 400 == 0 => 29,
        2 => 28,
        _ => 31,
    }
}

/// Days since 1970-01-01 in the proleptic Gregorian calendar (Hinnant's `days_from_civil`).
fn days_from_epoch(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}
