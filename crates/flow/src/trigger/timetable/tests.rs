use super::*;

fn at(text: &str) -> Timestamp {
    let moment: jiff::Timestamp = text.parse().unwrap();
    Timestamp(i64::try_from(moment.as_nanosecond()).unwrap())
}

fn text(moment: Timestamp) -> String {
    jiff::Timestamp::from_nanosecond(i128::from(moment.0)).unwrap().to_string()
}

fn next(table: &Timetable, from: &str, count: usize) -> Vec<String> {
    let mut moment = at(from);
    let mut out = Vec::new();
    while let Some(time) = table.after(moment).filter(|_| out.len() < count) {
        out.push(text(time));
        moment = time;
    }
    out
}

fn check(expression: &str, zone: &str, from: &str, expected: &[&str]) {
    let table = Timetable::cron(expression, zone).unwrap();
    assert_eq!(next(&table, from, expected.len()), expected, "{expression} in {zone}");
}

#[test]
fn a_cron_expression_has_five_or_six_fields() {
    check(
        "30 9 * * 1-5",
        "UTC",
        "2026-01-02T09:30:00Z",
        &["2026-01-05T09:30:00Z", "2026-01-06T09:30:00Z"],
    );
    check(
        "*/20 * * * * *",
        "UTC",
        "2026-01-01T00:00:00.5Z",
        &["2026-01-01T00:00:20Z", "2026-01-01T00:00:40Z", "2026-01-01T00:01:00Z"],
    );
    check("* * * * * *", "UTC", "2026-01-01T00:00:00.999Z", &["2026-01-01T00:00:01Z"]);
    check("@daily", "UTC", "2026-01-01T00:00:00Z", &["2026-01-02T00:00:00Z"]);
    check("0 0 L * *", "UTC", "2026-01-31T00:00:00Z", &["2026-02-28T00:00:00Z"]);
    check("0 0 * * FRI#2", "UTC", "2026-01-01T00:00:00Z", &["2026-01-09T00:00:00Z"]);
    check("0 0 29 2 *", "UTC", "2026-01-01T00:00:00Z", &["2028-02-29T00:00:00Z"]);
    // A day of the month or a day of the week, as cron has always had it.
    check(
        "0 0 13 * 5",
        "UTC",
        "2026-02-10T00:00:00Z",
        &["2026-02-13T00:00:00Z", "2026-02-20T00:00:00Z"],
    );
}

#[test]
fn what_makes_no_sense_is_refused_with_what_to_write() {
    for (expression, zone, part) in [
        ("", "UTC", "no cron expression"),
        ("* * *", "UTC", "no cron expression"),
        ("61 * * * *", "UTC", "no cron expression"),
        ("0 0 1 1 * 2030 7", "UTC", "no cron expression"),
        ("0 0 0 1 1 * 2030", "UTC", "no cron expression"),
        ("hello", "UTC", "no cron expression"),
        ("0 0 30 2 *", "UTC", "never happens"),
        ("0 0 * * *", "Europe/Berlim", "did you mean `Europe/Berlin`"),
        ("0 0 * * *", "", "unknown time zone"),
    ] {
        let problem = Timetable::cron(expression, zone).unwrap_err();
        assert!(problem.contains(part), "{expression}: {problem}");
    }
    assert!(Timetable::cron(&"1,".repeat(600), "UTC").unwrap_err().contains("at most"));
    assert!(Timetable::every(Duration::from_millis(999), Duration::ZERO).is_err());
    assert!(Timetable::every(Duration::from_secs(5), Duration::from_secs(5)).is_err());
}

#[test]
fn a_fixed_time_that_the_clock_skips_comes_right_after_the_gap() {
    // 2026-03-29, 02:00 becomes 03:00 in Berlin.
    check(
        "30 2 * * *",
        "Europe/Berlin",
        "2026-03-28T00:00:00Z",
        &["2026-03-28T01:30:00Z", "2026-03-29T01:00:00Z", "2026-03-30T00:30:00Z"],
    );
    // A wildcard simply goes on.
    check(
        "*/30 * * * *",
        "Europe/Berlin",
        "2026-03-29T00:20:00Z",
        &["2026-03-29T00:30:00Z", "2026-03-29T01:00:00Z", "2026-03-29T01:30:00Z"],
    );
}

#[test]
fn a_fixed_time_that_the_clock_repeats_comes_once() {
    // 2026-10-25, 03:00 becomes 02:00 in Berlin.
    check(
        "30 2 * * *",
        "Europe/Berlin",
        "2026-10-24T12:00:00Z",
        &["2026-10-25T00:30:00Z", "2026-10-26T01:30:00Z"],
    );
    check(
        "0 * * * *",
        "Europe/Berlin",
        "2026-10-24T23:30:00Z",
        &["2026-10-25T00:00:00Z", "2026-10-25T01:00:00Z", "2026-10-25T02:00:00Z"],
    );
}

#[test]
fn backwards_gives_the_times_of_forwards() {
    for (expression, zone) in [
        ("30 2 * * *", "Europe/Berlin"),
        ("*/30 * * * *", "Europe/Berlin"),
        ("0 * * * *", "America/New_York"),
        ("15 1,2,3 * * *", "America/New_York"),
        ("0 0 * * *", "Asia/Beirut"),
        ("*/7 2 * * *", "Australia/Lord_Howe"),
        ("0 30 1 * * *", "Africa/Casablanca"),
    ] {
        let table = Timetable::cron(expression, zone).unwrap();
        for (from, to) in [
            ("2026-02-10T00:00:00Z", "2026-04-10T00:00:00Z"),
            ("2026-09-20T00:00:00Z", "2026-11-10T00:00:00Z"),
        ] {
            let (from, to) = (at(from), at(to));
            let mut forwards = Vec::new();
            let mut moment = from;
            while let Some(time) = table.after(moment).filter(|time| *time <= to) {
                forwards.push(text(time));
                moment = time;
            }
            let mut backwards = Vec::new();
            let mut moment = table.until(to);
            while let Some(time) = moment.filter(|time| *time > from) {
                backwards.push(text(time));
                moment = table.until(Timestamp(time.0 - 1));
            }
            backwards.reverse();
            assert_eq!(forwards, backwards, "{expression} in {zone}");
        }
    }
}

#[test]
fn an_interval_is_counted_from_1970() {
    let table = Timetable::every(Duration::from_secs(300), Duration::from_secs(60)).unwrap();
    assert_eq!(
        next(&table, "2026-01-01T00:00:00Z", 2),
        ["2026-01-01T00:01:00Z", "2026-01-01T00:06:00Z"]
    );
    assert_eq!(next(&table, "2026-01-01T00:01:00Z", 1), ["2026-01-01T00:06:00Z"]);
    assert_eq!(table.until(at("2026-01-01T00:01:00Z")), Some(at("2026-01-01T00:01:00Z")));
    assert_eq!(table.until(at("2026-01-01T00:00:59.9Z")), Some(at("2025-12-31T23:56:00Z")));
}

#[test]
fn time_ends_without_a_panic() {
    let cron = Timetable::cron("0 0 1 1 *", "UTC").unwrap();
    let every = Timetable::every(Duration::from_secs(1), Duration::ZERO).unwrap();
    let century =
        Timetable::every(Duration::from_secs(100 * 365 * 86_400), Duration::ZERO).unwrap();
    for table in [&cron, &every, &century] {
        for moment in [i64::MIN, i64::MIN + 1, -1, 0, i64::MAX - 1, i64::MAX] {
            let moment = Timestamp(moment);
            assert!(table.after(moment).is_none_or(|time| time > moment));
            assert!(table.until(moment).is_none_or(|time| time <= moment));
            let _ = table.due(Timestamp(moment.0.saturating_sub(10)), moment, Duration::ZERO, "n");
        }
    }
    assert_eq!(cron.after(Timestamp::MAX), None);
    assert_eq!(every.after(Timestamp::MAX), None);
}

#[test]
fn only_the_newest_due_times_are_told() {
    let table = Timetable::cron("* * * * * *", "UTC").unwrap();
    let (from, now) = (at("2026-01-01T00:00:00Z"), at("2026-01-02T00:00:00.25Z"));
    let due = table.due(from, now, Duration::ZERO, "n");
    assert!(due.more);
    assert_eq!(due.times.len(), DUE_MAX);
    assert_eq!(due.times.last(), Some(&at("2026-01-02T00:00:00Z")));
    let due = table.due(at("2026-01-01T23:59:57Z"), now, Duration::ZERO, "n");
    assert_eq!((due.times.len(), due.more), (3, false));
}

#[test]
fn jitter_is_the_same_every_time_and_never_reaches_the_next_time() {
    let table = Timetable::every(Duration::from_secs(60), Duration::ZERO).unwrap();
    let (mut time, mut seen) = (at("2026-01-01T00:00:00Z"), std::collections::BTreeSet::new());
    for _ in 0..200 {
        let next = table.after(time).unwrap();
        let start = table.start_of(time, Duration::from_secs(3600), "flow/nightly");
        assert_eq!(start, table.start_of(time, Duration::from_secs(3600), "flow/nightly"));
        assert!(start >= time && start < next);
        assert_ne!(start, table.start_of(time, Duration::from_secs(3600), "flow/other"));
        seen.insert(start.since(time).as_secs());
        time = next;
    }
    assert!(seen.len() > 40, "delays are spread: {seen:?}");
    assert_eq!(table.start_of(time, Duration::ZERO, "n"), time);
}

#[test]
fn a_time_is_due_when_its_delay_is_over() {
    let table = Timetable::every(Duration::from_secs(60), Duration::ZERO).unwrap();
    let time = at("2026-01-01T00:01:00Z");
    let jitter = Duration::from_secs(50);
    let start = table.start_of(time, jitter, "n");
    let before = Timestamp(time.0 - 1);
    assert_eq!(table.due(before, Timestamp(start.0 - 1), jitter, "n").times, []);
    assert_eq!(table.due(before, start, jitter, "n").times, [time]);
}
