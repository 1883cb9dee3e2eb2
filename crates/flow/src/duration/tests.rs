use proptest::prelude::*;
use serde_json::json;

use super::*;

#[test]
fn durations_are_read() {
    for (text, millis) in [
        ("30s", 30_000),
        ("1h30m", 5_400_000),
        ("1h 30m", 5_400_000),
        ("500ms", 500),
        ("2d", 172_800_000),
        ("1.5s", 1_500),
        ("0.25m", 15_000),
        ("90", 90_000),
        ("1.5", 1_500),
        ("1w", 604_800_000),
        ("0s", 0),
        (" 5s ", 5_000),
    ] {
        assert_eq!(parse_duration(text), Ok(Duration::from_millis(millis)), "{text}");
    }
    assert_eq!(duration_of(&json!(90)), Ok(Duration::from_secs(90)));
    assert_eq!(duration_of(&json!(0.5)), Ok(Duration::from_millis(500)));
    assert_eq!(duration_of(&json!("2m")), Ok(Duration::from_secs(120)));
}

#[test]
fn what_is_no_duration_is_refused() {
    for text in [
        "",
        "s",
        "5x",
        "5s3",
        "3 5s",
        "-5s",
        "1..5s",
        ".5s",
        "5.s",
        "1e3s",
        "٣s",
        "999999999999d",
        "99999999999999999999999999999999999999999s",
        "101w101y",
    ] {
        assert!(parse_duration(text).is_err(), "{text}");
    }
    for value in [json!(-1), json!(1e300), json!(u64::MAX), json!(true), json!(null), json!([])] {
        assert!(duration_of(&value).is_err(), "{value}");
    }
    assert!(parse_duration("36501d").unwrap_err().contains("100 years"));
}

#[test]
fn moments_are_read_as_unix_nanoseconds() {
    for (text, nanos) in [
        ("1970-01-01T00:00:00Z", 0),
        ("2026-11-21T08:24:48Z", 1_795_249_488_000_000_000),
        ("2000-02-29T12:00:00.25+02:00", 951_818_400_250_000_000),
        ("1969-12-31T23:59:59.999999999Z", -1),
        ("2024-12-31T23:59:60Z", 1_735_689_600_000_000_000),
        ("2026-01-01t00:00:00.1234567899-00:30", 1_767_227_400_123_456_789),
    ] {
        assert_eq!(parse_moment(text), Ok(nanos), "{text}");
    }
    assert_eq!(moment_of(&json!(12)), Ok(12_000_000_000));
    assert_eq!(moment_of(&json!(1.5)), Ok(1_500_000_000));
}

#[test]
fn what_is_no_moment_is_refused() {
    for text in [
        "",
        "now",
        "2026-13-01T00:00:00Z",
        "2026-02-29T00:00:00Z",
        "1900-02-29T00:00:00Z",
        "2026-01-00T00:00:00Z",
        "2026-01-01",
        "2026-01-01T24:00:00Z",
        "2026-01-01T00:00:00",
        "2026-01-01T00:00:00.Z",
        "2026-01-01T00:00:00+0200",
        "9999-01-01T00:00:00Z",
        "0001-01-01T00:00:00Z",
        "2026-01-01T00:00:00é",
        "+026-01-01T00:00:00Z",
    ] {
        assert!(parse_moment(text).is_err(), "{text}");
    }
    for value in [json!(i64::MAX), json!(1e300), json!(true), json!(null)] {
        assert!(moment_of(&value).is_err(), "{value}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn what_is_written_reads_back(nanos in 0..u64::try_from(DURATION_MAX.as_nanos()).unwrap()) {
        let duration = Duration::from_nanos(nanos);
        prop_assert_eq!(parse_duration(&format_duration(duration)), Ok(duration));
    }

    #[test]
    fn no_text_panics(text in "\\PC{0,30}", near in "[0-9T:Z.+-]{0,30}") {
        for text in [text, near] {
            let _ = (parse_duration(&text), parse_moment(&text));
        }
    }
}
