//! Logs written by the first version, in `history-tests/fixtures/log`: every later version reads the
//! good ones and refuses the bad ones. A fixture is never changed; a new format adds new ones.

use std::path::PathBuf;

use super::*;

fn fixture(name: &str) -> Vec<u8> {
    let dir = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../history-tests/fixtures/log");
    let path = dir.join(name);
    std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The fixtures of these names as the segments 1, 2, …
fn log_of(names: &[&str]) -> FaultyFiles {
    let images = names.iter().zip(1..);
    let images = images.map(|(name, number)| (segment::name(number), fixture(name)));
    FaultyFiles::with_files(images.collect())
}

/// What the fixtures hold.
fn write_history(files: &FaultyFiles) {
    let log = manual(files);
    let mut p = Writer::new(&log, P);
    for number in 1..=4 {
        p.write(format!("p{number} {}", "-".repeat(600)).as_bytes()).unwrap();
    }
    let mut q = Writer::new(&log, PartitionId(u32::MAX));
    q.write(b"").unwrap();
    log.trim(P, Seq(1)).unwrap();
    let mut p = Writer::new(&log, P);
    for number in 5..=6 {
        p.write(format!("p{number} {}", "-".repeat(600)).as_bytes()).unwrap();
    }
    log.idle();
}

fn check_history(log: &DiskLog, last: u64) {
    let starts: Vec<_> = records(log, P, 2).iter().map(|r| r[..3].to_owned()).collect();
    let expected: Vec<_> = (2..=last).map(|number| format!("p{number} ")).collect();
    assert_eq!(starts, expected);
    assert!(matches!(log.read(P, Seq(1), 1), Err(Error::Trimmed { first: Seq(2), .. })));
    assert_eq!(records(log, PartitionId(u32::MAX), 1), [""]);
    assert_eq!(log.acquire(P).unwrap().epoch, Epoch(3));
    assert_eq!(log.acquire(PartitionId(u32::MAX)).unwrap().epoch, Epoch(2));
}

#[test]
fn a_log_of_the_first_version_is_read() {
    check_history(&manual(&log_of(&["good-1.bin", "good-2.bin"])), 6);
}

#[test]
fn a_torn_tail_of_the_first_version_is_dropped() {
    check_history(&manual(&log_of(&["good-1.bin", "torn-2.bin"])), 5);
}

#[test]
fn damage_of_the_first_version_is_refused() {
    let check = |names: &[&str], expect: &str| {
        let error = refused(&log_of(names));
        assert_eq!(error.kind(), Kind::Corrupt);
        assert!(error.to_string().contains(expect), "{error}");
    };
    check(&["flipped-1.bin", "good-2.bin"], "a bad batch is followed by batch");
    check(&["good-1.bin", "flipped-2.bin"], "a bad batch is followed by batch");
    check(&["header-1.bin", "good-2.bin"], "the header is damaged");
    check(&["good-2.bin"], "the header is that of another segment");
}

#[test]
fn the_first_format_is_still_written() {
    let files = FaultyFiles::new();
    write_history(&files);
    let files = files.files();
    assert_eq!(files.get(&segment::name(1)), Some(&fixture("good-1.bin")));
    assert_eq!(files.get(&segment::name(2)), Some(&fixture("good-2.bin")));
}
