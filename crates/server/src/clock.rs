//! Moments for people and for JSON: RFC 3339 in UTC.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use reflux_core::Timestamp;

/// Now.
pub fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp(i64::try_from(since.as_nanos()).unwrap_or(i64::MAX))
}

/// `2026-01-31T12:00:00.123Z`.
pub fn rfc3339(at: Timestamp) -> String {
    let millis = at.0.div_euclid(1_000_000);
    let (seconds, millis) = (millis.div_euclid(1000), millis.rem_euclid(1000));
    let (days, second) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    let (year, month, day) = civil(days);
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{millis:03}Z")
}

/// `340 ms`, `2.5 s`, `3 min 20 s`, `2 h 5 min`, `3 d 4 h`.
pub fn length(duration: Duration) -> String {
    let millis = duration.as_millis();
    let seconds = duration.as_secs();
    let pair = |big: u64, big_name: &str, small: u64, small_name: &str| match small {
        0 => format!("{big} {big_name}"),
        _ => format!("{big} {big_name} {small} {small_name}"),
    };
    match seconds {
        0 => format!("{millis} ms"),
        1..60 => format!("{}.{} s", seconds, duration.subsec_millis() / 100),
        60..3600 => pair(seconds / 60, "min", seconds % 60, "s"),
        3600..86_400 => pair(seconds / 3600, "h", seconds / 60 % 60, "min"),
        _ => pair(seconds / 86_400, "d", seconds / 3600 % 24, "h"),
    }
}

/// Year, month and day of a number of days since 1970-01-01, by Howard Hinnant's `civil_from_days`
/// (howardhinnant.github.io/date_algorithms.html).
fn civil(days: i64) -> (i64, i64, i64) {
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    (year, month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_written_in_utc() {
        for (seconds, text) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (951_782_400, "2000-02-29T00:00:00.000Z"),
            (1_709_251_199, "2024-02-29T23:59:59.000Z"),
            (4_102_444_800, "2100-01-01T00:00:00.000Z"),
            (-1, "1969-12-31T23:59:59.000Z"),
        ] {
            assert_eq!(rfc3339(Timestamp(seconds * 1_000_000_000)), text);
        }
    }

    #[test]
    fn lengths_are_written_in_two_units_at_most() {
        for (millis, text) in [
            (7, "7 ms"),
            (2_540, "2.5 s"),
            (200_000, "3 min 20 s"),
            (7_500_000, "2 h 5 min"),
            (86_400_000, "1 d"),
        ] {
            assert_eq!(length(Duration::from_millis(millis)), text);
        }
    }
}
