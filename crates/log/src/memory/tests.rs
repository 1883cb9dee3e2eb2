//! What the memory log does beyond the suite: it obeys a simulation.

use super::*;
use crate::{Class, Kind, resolve, suite};

const P: PartitionId = PartitionId(1);
const Q: PartitionId = PartitionId(2);

type Answers = Arc<Mutex<Vec<Result<Seq, AppendError>>>>;

/// Queues a record and collects its answer.
fn append(log: &MemoryLog, partition: PartitionId, epoch: Epoch, expected: u64) -> Answers {
    let answers = Answers::default();
    let told = Arc::clone(&answers);
    let append = Append {
        partition,
        epoch,
        expected: Seq(expected),
        record: record(expected + 1),
        class: Class::Normal,
    };
    log.append(append, Box::new(move |answer| told.lock().unwrap().push(answer)));
    answers
}

fn record(seq: u64) -> Bytes {
    Bytes::from(format!("record {seq}"))
}

fn answer(answers: &Answers) -> Option<Result<Seq, AppendError>> {
    answers.lock().unwrap().first().cloned()
}

fn is_unknown(answers: &Answers) -> bool {
    matches!(answer(answers), Some(Err(AppendError::Unknown { .. })))
}

#[test]
fn the_memory_log_conforms() {
    suite::run(|| {
        let log = MemoryLog::new();
        move || log.clone()
    });
}

#[test]
fn a_manual_log_commits_when_it_is_told_to() {
    let log = MemoryLog::manual();
    let (p, q) = (log.acquire(P).unwrap().epoch, log.acquire(Q).unwrap().epoch);
    let first = append(&log, P, p, 0);
    let second = append(&log, P, p, 1);
    let other = append(&log, Q, q, 0);
    assert_eq!(log.pending(), [(P, Seq(1)), (P, Seq(2)), (Q, Seq(1))]);
    assert_eq!(log.tail(P).unwrap(), Seq(0));
    assert!(log.commit_next(Q));
    assert!(!log.commit_next(Q));
    assert_eq!((answer(&first), answer(&other)), (None, Some(Ok(Seq(1)))));
    assert!(log.commit_next(P));
    assert_eq!((answer(&first), answer(&second)), (Some(Ok(Seq(1))), None));
    log.commit_all();
    assert_eq!(answer(&second), Some(Ok(Seq(2))));
    assert_eq!(log.pending(), []);
}

#[test]
fn a_crash_drops_what_is_not_durable() {
    let log = MemoryLog::manual();
    let epoch = log.acquire(P).unwrap().epoch;
    let durable = append(&log, P, epoch, 0);
    let lost = append(&log, P, epoch, 1);
    log.commit_next(P);
    let survivor = log.clone();
    log.crash();
    assert_eq!((answer(&durable), answer(&lost)), (Some(Ok(Seq(1))), None));
    assert_eq!(survivor.pending(), []);
    let lease = survivor.acquire(P).unwrap();
    assert_eq!((lease.epoch, lease.tail), (Epoch(2), Seq(1)));
}

#[test]
fn an_unknown_append_is_resolved_by_reading() {
    for applied in [true, false] {
        let log = MemoryLog::manual();
        let epoch = log.acquire(P).unwrap().epoch;
        let known = append(&log, P, epoch, 0);
        let doubtful = append(&log, P, epoch, 1);
        let successor = append(&log, P, epoch, 2);
        log.commit_next(P);
        log.fail_next(Fault::Unknown { applied });
        log.commit_all();
        assert_eq!(answer(&known), Some(Ok(Seq(1))));
        assert!(is_unknown(&doubtful) && is_unknown(&successor));
        let later = append(&log, P, epoch, 1);
        log.commit_all();
        assert!(is_unknown(&later), "a broken epoch appends");

        let resolved = resolve(&log, P, Seq(1), &[record(2), record(3)]).unwrap();
        assert_eq!(resolved.committed, usize::from(applied));
        assert_eq!(resolved.lease.tail, Seq(1 + u64::from(applied)));
        let again = append(&log, P, resolved.lease.epoch, resolved.lease.tail.0);
        log.commit_all();
        assert_eq!(answer(&again), Some(Ok(resolved.lease.tail.next())));
    }
}

#[test]
fn a_full_log_refuses_the_append_and_its_successors_once() {
    let log = MemoryLog::manual();
    let epoch = log.acquire(P).unwrap().epoch;
    log.fail_next(Fault::Full);
    let answers = [append(&log, P, epoch, 0), append(&log, P, epoch, 1)];
    let again = append(&log, P, epoch, 0);
    log.commit_all();
    for refused in answers {
        assert!(matches!(answer(&refused), Some(Err(AppendError::Full { .. }))));
    }
    assert_eq!(answer(&again), Some(Ok(Seq(1))));
    assert_eq!((log.usage().appends, log.usage().refused), (1, 2));
}

#[test]
fn a_fenced_writer_acquires_again() {
    let log = MemoryLog::manual();
    let epoch = log.acquire(P).unwrap().epoch;
    log.fail_next(Fault::Fenced);
    let answers = [append(&log, P, epoch, 0), append(&log, P, epoch, 1)];
    log.commit_all();
    for refused in answers {
        let error = answer(&refused).unwrap().unwrap_err();
        assert_eq!(error.kind(), Kind::Conflict);
    }
    assert_eq!(log.acquire(P).unwrap().epoch, Epoch(3));
}

#[test]
fn what_an_earlier_epoch_left_queued_is_fenced() {
    let log = MemoryLog::manual();
    let old = log.acquire(P).unwrap().epoch;
    let late = append(&log, P, old, 0);
    let new = log.acquire(P).unwrap().epoch;
    let next = append(&log, P, new, 0);
    log.commit_all();
    assert!(matches!(answer(&late), Some(Err(AppendError::Fenced { .. }))));
    assert_eq!(answer(&next), Some(Ok(Seq(1))));
}

#[test]
fn an_answer_may_append_to_the_log() {
    let log = MemoryLog::new();
    let epoch = log.acquire(P).unwrap().epoch;
    let inner = log.clone();
    let first =
        Append { partition: P, epoch, expected: Seq(0), record: record(1), class: Class::Normal };
    log.append(first, Box::new(move |answer| drop(append(&inner, P, epoch, answer.unwrap().0))));
    assert_eq!(log.tail(P).unwrap(), Seq(2));
}
