//! Disks that are full, that fail, and that come back.

use super::*;

/// Room for the first segment of 4 KiB and for nothing more.
const ONE_SEGMENT: u64 = 4096;

fn fill(writer: &mut Writer<'_>) -> AppendError {
    for _ in 0..100 {
        if let Err(error) = writer.write(&[b'x'; 200]) {
            return error;
        }
    }
    panic!("the disk never fills up");
}

#[test]
fn a_full_disk_refuses_before_a_byte_is_written() {
    let files = FaultyFiles::new();
    let log = manual(&files);
    files.set_capacity(Some(ONE_SEGMENT));
    let mut writer = Writer::new(&log, P);
    let error = fill(&mut writer);
    assert!(matches!(error, AppendError::Full { .. }), "{error}");
    assert_eq!(error.kind(), Kind::Retry);
    let before = files.files().get(&segment::name(1)).cloned();
    writer.write(&[b'x'; 200]).unwrap_err();
    assert_eq!(files.files().get(&segment::name(1)).cloned(), before);
    assert!(log.usage().full);
    assert_eq!(files.files().len(), 1, "half a segment is left behind");
}

#[test]
fn a_full_disk_goes_on_reading_cancelling_acquiring_and_trimming() {
    let files = FaultyFiles::new();
    let log = manual(&files);
    files.set_capacity(Some(ONE_SEGMENT));
    let mut writer = Writer::new(&log, P);
    fill(&mut writer);
    let tail = writer.lease.tail;
    assert_eq!(writer.write_as(b"cancel", Class::Essential), Ok(tail.next()));
    let mut writer = Writer::new(&log, P);
    assert_eq!(writer.write_as(b"terminate", Class::Essential), Ok(tail.next().next()));
    assert_eq!(records(&log, P, tail.0 + 1), ["cancel", "terminate"]);
    log.trim(P, tail).unwrap();
    assert_eq!(log.read(P, tail, 1).unwrap_err().kind(), Kind::NotFound);
}

#[test]
fn the_reserve_ends_with_an_error_too() {
    let files = FaultyFiles::new();
    let log = manual(&files);
    files.set_capacity(Some(ONE_SEGMENT));
    let mut writer = Writer::new(&log, P);
    fill(&mut writer);
    let error = (0..100).find_map(|_| writer.write_as(&[b'x'; 100], Class::Essential).err());
    assert!(matches!(error, Some(AppendError::Full { .. })));
    for _ in 0..20 {
        let _ = log.acquire(Q);
    }
    assert!(matches!(log.acquire(Q), Err(Error::Full { .. })));
    log.idle();
    let before = records(&log, P, 1);
    drop(log);
    files.set_capacity(None);
    assert_eq!(records(&manual(&files), P, 1), before);
}

#[test]
fn a_full_disk_goes_on_when_there_is_room_again() {
    let files = FaultyFiles::new();
    let log = manual(&files);
    files.set_capacity(Some(ONE_SEGMENT));
    let mut writer = Writer::new(&log, P);
    fill(&mut writer);
    files.set_capacity(None);
    writer.write(b"room again").unwrap();
    assert!(!log.usage().full);
}

#[test]
fn room_for_a_small_segment_is_used() {
    let files = FaultyFiles::new();
    let log = manual(&files);
    files.set_capacity(Some(2 * ONE_SEGMENT));
    let mut writer = Writer::new(&log, P);
    fill(&mut writer);
    assert_eq!(log.usage().segments, 2);
    assert_eq!(log.usage().bytes, 2 * ONE_SEGMENT);
}

#[test]
fn successors_of_a_refused_append_are_refused() {
    let files = FaultyFiles::new();
    let log = manual(&files);
    files.set_capacity(Some(ONE_SEGMENT));
    let mut writer = Writer::new(&log, P);
    fill(&mut writer);
    let answers = [Answer::default(), Answer::default(), Answer::default()];
    for (answer, class) in answers.iter().zip([Class::Normal, Class::Essential, Class::Normal]) {
        let record = [b'x'; 200];
        writer.queue(if class == Class::Normal { &record } else { b"small" }, class, answer);
    }
    while log.turn() {}
    for answer in answers {
        let answer = answer.lock().unwrap().take();
        assert!(matches!(answer, Some(Err(AppendError::Full { .. }))), "{answer:?}");
    }
}

#[test]
fn a_log_is_opened_on_a_full_disk() {
    let files = FaultyFiles::new();
    let log = manual(&files);
    files.set_capacity(Some(ONE_SEGMENT));
    let mut writer = Writer::new(&log, P);
    fill(&mut writer);
    let before = records(&log, P, 1);
    drop(log);
    for seed in 0..8 {
        let files = files.crash(seed);
        assert_eq!(files.files().len(), 1);
        let log = manual(&files);
        assert_eq!(records(&log, P, 1), before);
        let mut writer = Writer::new(&log, P);
        assert!(matches!(fill(&mut writer), AppendError::Full { .. }));
        writer.write_as(b"cancel", Class::Essential).unwrap();
    }
}

#[test]
fn a_disk_without_room_for_a_log_is_said_so() {
    let files = FaultyFiles::new();
    files.set_capacity(Some(100));
    let error = refused(&files);
    assert!(matches!(error, Error::Full { .. }), "{error}");
    drop(manual(&FaultyFiles::new()));
}

#[test]
fn a_failed_write_or_sync_stops_the_log() {
    for (ios, doing) in [(0, "writing"), (1, "syncing")] {
        let files = FaultyFiles::new();
        let reasons = Arc::new(Mutex::new(Vec::new()));
        let told = Arc::clone(&reasons);
        let options = Options {
            on_fatal: OnFatal(Arc::new(move |reason| {
                told.lock().unwrap().push(reason.to_owned());
            })),
            ..tiny_options(1)
        };
        let log = DiskLog::manual(Arc::new(files.clone()), options).unwrap();
        let mut writer = Writer::new(&log, P);
        writer.write(b"durable").unwrap();
        files.fail_after(ios, ErrorKind::Other);
        let error = writer.write(b"doubtful").unwrap_err();
        assert!(matches!(error, AppendError::Unknown { .. }), "{error}");
        let reasons = reasons.lock().unwrap();
        assert!(matches!(&reasons[..], [reason] if reason.starts_with(doing)), "{reasons:?}");

        let ios = files.ios();
        assert!(matches!(writer.write(b"late"), Err(AppendError::Unknown { .. })));
        assert!(matches!(log.acquire(P), Err(Error::Stopped { .. })));
        assert!(matches!(log.trim(P, Seq(1)), Err(Error::Stopped { .. })));
        log.idle();
        assert_eq!(files.ios(), ios, "a log that stopped touches the disk");
        assert_eq!(records(&log, P, 1), ["durable"]);
    }
}

#[test]
fn what_is_read_from_the_cache_after_a_failed_sync_is_made_durable() {
    let files = FaultyFiles::new();
    let log = manual(&files);
    let mut writer = Writer::new(&log, P);
    writer.write(b"durable").unwrap();
    files.fail_after(1, ErrorKind::Other);
    writer.write(b"doubtful").unwrap_err();
    let files = files.kill();
    assert_eq!(records(&manual(&files), P, 1), ["durable", "doubtful"]);
    for seed in 0..8 {
        let files = files.crash(seed);
        assert_eq!(records(&manual(&files), P, 1), ["durable", "doubtful"]);
    }
}

#[test]
fn a_disk_that_cannot_be_read_is_an_error_that_passes() {
    let files = FaultyFiles::new();
    let log = manual(&files);
    Writer::new(&log, P).write(b"here").unwrap();
    files.fail_reads(Some(ErrorKind::Other));
    let error = log.read(P, Seq(1), 1).unwrap_err();
    assert_eq!(error.kind(), Kind::Retry);
    assert!(error.to_string().starts_with("cannot read 00000000000000000001.log"), "{error}");
    assert_eq!(refused(&files).kind(), Kind::Retry);
    files.fail_reads(None);
    assert_eq!(records(&log, P, 1), ["here"]);
}
