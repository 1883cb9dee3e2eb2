//! Segments follow each other, grow, and go.

use super::*;

#[test]
fn a_log_grows_by_segments_of_growing_size() {
    let files = FaultyFiles::new();
    let options = Options { segment_bytes_max: 64 * 1024, ..tiny_options(1) };
    let log = DiskLog::manual(Arc::new(files.clone()), options).unwrap();
    let mut writer = Writer::new(&log, P);
    let text = "x".repeat(1000);
    for _ in 0..200 {
        writer.write(text.as_bytes()).unwrap();
    }
    let sizes: Vec<_> = files.files().values().map(Vec::len).collect();
    assert_eq!(sizes[..4], [4096, 16 * 1024, 64 * 1024, 64 * 1024]);
    assert_eq!(records(&log, P, 1), vec![text; 200]);
}

#[test]
fn a_queue_of_several_segments_is_written_in_order() {
    let log = manual(&FaultyFiles::new());
    let mut writer = Writer::new(&log, P);
    let answers: Vec<_> = (0..60).map(|_| Answer::default()).collect();
    for (number, answer) in answers.iter().enumerate() {
        writer.queue(&vec![b'x'; 1 + number * 30], Class::Normal, answer);
    }
    while log.turn() {}
    for (answer, seq) in answers.iter().zip(1..) {
        assert_eq!(*answer.lock().unwrap(), Some(Ok(Seq(seq))));
    }
    let lengths: Vec<_> = records(&log, P, 1).iter().map(String::len).collect();
    assert_eq!(lengths, (0..60).map(|number| 1 + number * 30).collect::<Vec<_>>());
    assert!(log.usage().segments > 5);
}

#[test]
fn a_segment_goes_when_every_partition_has_trimmed_it() {
    let files = FaultyFiles::new();
    let log = manual(&files);
    let (mut p, mut q) = (Writer::new(&log, P), Writer::new(&log, Q));
    q.write(b"old").unwrap();
    for _ in 0..30 {
        p.write(&[b'p'; 1000]).unwrap();
    }
    let before = log.usage();
    log.trim(P, Seq(30)).unwrap();
    assert_eq!(log.usage().segments, before.segments, "q still needs the first segment");
    log.trim(Q, Seq(1)).unwrap();
    assert_eq!(log.usage().segments, 1);
    // the one in use, and perhaps the one prepared
    assert!(files.files().len() <= 2);
    assert!(log.usage().bytes < before.bytes);

    drop(log);
    let log = manual(&files.crash(0));
    assert_eq!((log.tail(P).unwrap(), log.tail(Q).unwrap()), (Seq(30), Seq(1)));
    let (mut p, mut q) = (Writer::new(&log, P), Writer::new(&log, Q));
    assert_eq!((p.lease.epoch, q.lease.epoch), (Epoch(2), Epoch(2)));
    assert_eq!((p.write(b"31"), q.write(b"2")), (Ok(Seq(31)), Ok(Seq(2))));
    assert_eq!((records(&log, P, 31), records(&log, Q, 2)), (vec!["31".into()], vec!["2".into()]));
}

#[test]
fn a_trim_that_changes_nothing_writes_nothing() {
    let log = manual(&FaultyFiles::new());
    let mut writer = Writer::new(&log, P);
    writer.write(b"x").unwrap();
    log.trim(P, Seq(1)).unwrap();
    let before = log.usage().syncs;
    log.trim(P, Seq(1)).unwrap();
    log.trim(P, Seq(0)).unwrap();
    log.trim(P, Seq(2)).unwrap_err();
    assert_eq!(log.usage().syncs, before);
}

#[test]
fn removal_is_tried_again_in_order() {
    let files = FaultyFiles::new();
    let log = manual(&files);
    let mut writer = Writer::new(&log, P);
    for _ in 0..30 {
        writer.write(&[b'p'; 1000]).unwrap();
    }
    // the trim's write and sync succeed, the removal does not
    files.fail_after(2, ErrorKind::PermissionDenied);
    log.trim(P, Seq(20)).unwrap();
    assert!(files.files().contains_key(&segment::name(1)));
    log.trim(P, Seq(30)).unwrap();
    assert!(!files.files().contains_key(&segment::name(1)));
    drop(log);
    assert_eq!(manual(&files).tail(P).unwrap(), Seq(30));
}

#[test]
fn restarting_often_does_not_add_segments() {
    let files = FaultyFiles::new();
    for round in 0..50 {
        let log = manual(&files);
        let mut writer = Writer::new(&log, P);
        assert_eq!(writer.write(b"x"), Ok(Seq(round + 1)));
        log.idle();
    }
    let log = manual(&files);
    assert!(log.usage().segments <= 2, "{:?}", log.usage());
    assert_eq!(records(&log, P, 1).len(), 50);
}

#[test]
fn an_empty_batch_closes_the_log_once() {
    let files = FaultyFiles::new();
    let log = manual(&files);
    log.idle();
    assert_eq!(log.usage().batches, 0);
    Writer::new(&log, P).write(b"x").unwrap();
    let before = log.usage();
    log.idle();
    log.idle();
    assert_eq!(log.usage().batches, before.batches + 1);
    assert_eq!(log.usage().syncs, before.syncs + 1);
}

#[test]
fn a_log_that_was_not_closed_is_closed_after_it_was_opened_again() {
    let files = FaultyFiles::new();
    Writer::new(&manual(&files), P).write(b"x").unwrap();
    for expected in [1, 0] {
        let log = manual(&files);
        log.idle();
        assert_eq!(log.usage().batches, expected);
    }
}

#[test]
fn damage_to_the_last_acknowledged_batch_is_found_once_the_log_was_idle() {
    let files = FaultyFiles::new();
    let log = manual(&files);
    let mut writer = Writer::new(&log, P);
    writer.write(b"x").unwrap();
    let at = lock(&log.shared.committer).end();
    writer.write(b"y").unwrap();
    log.idle();
    drop(log);
    files.flip(&segment::name(1), at * 8);
    assert!(matches!(refused(&files), Error::Corrupt { offset, .. } if offset == at));
}

#[test]
fn a_batch_takes_what_all_partitions_have_queued() {
    let log = manual(&FaultyFiles::new());
    let (mut p, mut q) = (Writer::new(&log, P), Writer::new(&log, Q));
    let before = log.usage();
    for _ in 0..5 {
        p.queue(b"p", Class::Normal, &Answer::default());
        q.queue(b"q", Class::Normal, &Answer::default());
    }
    assert_eq!(log.tail(P).unwrap(), Seq(0), "nothing is visible before it is durable");
    assert!(log.turn());
    assert!(!log.turn());
    let after = log.usage();
    assert_eq!((after.syncs - before.syncs, after.appends - before.appends), (1, 10));
}

#[test]
fn partitions_have_a_bound() {
    let log = manual(&FaultyFiles::new());
    for partition in 0..17 {
        log.acquire(PartitionId(partition)).unwrap();
    }
    let error = log.acquire(PartitionId(17)).unwrap_err();
    assert!(matches!(error, Error::TooManyPartitions { max: 17 }), "{error}");
    log.acquire(PartitionId(3)).unwrap();
}

#[test]
fn a_log_of_tiny_segments_is_refused() {
    let options = Options { first_segment_bytes: 4095, ..tiny_options(1) };
    let error = DiskLog::manual(Arc::new(FaultyFiles::new()), options).err().unwrap();
    assert_eq!(error.kind(), Kind::Invalid);
}
