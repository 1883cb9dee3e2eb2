//! `Retry-After` (RFC 9110, 10.2.3): seconds, or a date.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// A server that asks for more than this has a fault of its own.
const LONGEST: Duration = Duration::from_secs(24 * 60 * 60);

const MONTHS: [&str; 12] =
    ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

/// How long to wait from `now`; none if the header cannot be read.
pub(crate) fn parse(header: &str, now: SystemTime) -> Option<Duration> {
    let header = header.trim();
    let wait = match header.parse::<u64>() {
        Ok(seconds) => Duration::from_secs(seconds),
        Err(_) => date(header)?.duration_since(now).unwrap_or_default(),
    };
    Some(wait.min(LONGEST))
}

/// `Sun, 06 Nov 1994 08:49:37 GMT`; the two older forms are no longer sent.
fn date(text: &str) -> Option<SystemTime> {
    let mut words = text.split_once(", ")?.1.strip_suffix(" GMT")?.split([' ', ':']);
    let mut number = || words.next()?.parse::<u64>().ok();
    let day = number()?;
    let month = text.split(' ').nth(2)?;
    let month = u64::try_from(MONTHS.iter().position(|name| *name == month)?).ok()? + 1;
    words.next();
    let mut number = || words.next()?.parse::<u64>().ok();
    let (year, hour, minute, second) = (number()?, number()?, number()?, number()?);
    if !(1970..=9999).contains(&year)
        || !(1..=31).contains(&day)
        || hour > 23
        || minute > 59
        || second > 60
    {
        return None;
    }
    let seconds = ((days_since_1970(year, month, day) * 24 + hour) * 60 + minute) * 60 + second;
    UNIX_EPOCH.checked_add(Duration::from_secs(seconds))
}

/// Days of the Gregorian calendar, by counting years from March (Hinnant, "chrono-compatible low-level date algorithms").
fn days_since_1970(year: u64, month: u64, day: u64) -> u64 {
    let year = if month <= 2 { year - 1 } else { year };
    let (era, year_of_era) = (year / 400, year % 400);
    let month_from_march = (month + 9) % 12;
    let day_of_year = (153 * month_from_march + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    #[test]
    fn seconds_and_dates_are_read_and_nonsense_is_not() {
        let now = UNIX_EPOCH + Duration::from_secs(784_111_770); // Sun, 06 Nov 1994 08:49:30 GMT
        let rows = [
            ("0", Some(0)),
            ("120", Some(120)),
            (" 7 ", Some(7)),
            ("Sun, 06 Nov 1994 08:49:37 GMT", Some(7)),
            ("Mon, 07 Nov 1994 08:49:30 GMT", Some(86_400)),
            ("Sun, 06 Nov 1994 08:49:00 GMT", Some(0)),
            ("Tue, 29 Feb 2028 00:00:00 GMT", Some(86_400)),
            ("99999999999", Some(86_400)),
            ("-1", None),
            ("1.5", None),
            ("soon", None),
            ("", None),
            ("Sun, 06 Foo 1994 08:49:37 GMT", None),
            ("Sun, 99 Nov 1994 08:49:37 GMT", None),
        ];
        for (header, seconds) in rows {
            assert_eq!(super::parse(header, now), seconds.map(Duration::from_secs), "{header:?}");
        }
    }
}
