//! What every backend has to do, as a test: `suite::run(|| place)`, where a place opens the same log
//! each time it is called. Panics with the behaviour that is missing. Knows nothing about crashes
//! and faults: those are tested per backend.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)] // a failed assertion is this module's result

use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use bytes::Bytes;

use crate::{
    Append, AppendError, Class, Epoch, Error, Kind, Lease, Log, PartitionId, RECORD_BYTES_MAX, Seq,
    resolve,
};

/// Far longer than any append takes: an answer that has not come by then never comes.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);

const P: PartitionId = PartitionId(3);
const Q: PartitionId = PartitionId(7);

/// Gets what opens the log, and opens it as often as it likes.
type Case = fn(&dyn Fn() -> Arc<dyn Log>);

/// Runs every case on a place of its own.
pub fn run<L, O>(fresh: impl Fn() -> O)
where
    L: Log,
    O: Fn() -> L,
{
    let cases: [(&str, Case); 15] = [
        ("an unknown partition is empty", an_unknown_partition_is_empty),
        ("records come back in order", records_come_back_in_order),
        ("an append is a compare and set", an_append_is_a_compare_and_set),
        ("an epoch fences the earlier ones", an_epoch_fences_the_earlier_ones),
        ("nobody appends without an epoch", nobody_appends_without_an_epoch),
        ("appends are pipelined", appends_are_pipelined),
        ("a failure fails its successors", a_failure_fails_its_successors),
        ("a fenced pipeline fails as a whole", a_fenced_pipeline_fails_as_a_whole),
        ("a record has a largest size", a_record_has_a_largest_size),
        ("reading is paged", reading_is_paged),
        ("partitions do not meet", partitions_do_not_meet),
        ("trimmed records are gone", trimmed_records_are_gone),
        ("reopening keeps everything", reopening_keeps_everything),
        ("what was in flight is resolved", what_was_in_flight_is_resolved),
        ("many writers are served", many_writers_are_served),
    ];
    for (name, case) in cases {
        let place = fresh();
        let open = || -> Arc<dyn Log> { Arc::new(place()) };
        announce(name);
        case(&open);
    }
}

#[allow(clippy::print_stderr)] // names the case that fails
fn announce(name: &str) {
    eprintln!("suite: {name}");
}

fn an_unknown_partition_is_empty(open: &dyn Fn() -> Arc<dyn Log>) {
    let log = open();
    assert_eq!(log.tail(P).unwrap(), Seq(0));
    assert_eq!(log.read(P, Seq(1), 100).unwrap(), vec![]);
    log.trim(P, Seq(0)).unwrap();
    let lease = log.acquire(P).unwrap();
    assert_eq!((lease.epoch, lease.tail), (Epoch(1), Seq(0)));
}

fn records_come_back_in_order(open: &dyn Fn() -> Arc<dyn Log>) {
    let log = open();
    let mut writer = Writer::new(&log, P);
    for record in ["a", "", "ccc"] {
        writer.write(record).unwrap();
    }
    assert_eq!(texts(&log, P, 1), ["a", "", "ccc"]);
    assert_eq!(texts(&log, P, 3), ["ccc"]);
    assert_eq!(texts(&log, P, 4), [""; 0]);
    assert_eq!(texts(&log, P, 0), ["a", "", "ccc"]);
    assert_eq!(log.tail(P).unwrap(), Seq(3));
    assert_eq!(log.usage().appends, 3);
}

fn an_append_is_a_compare_and_set(open: &dyn Fn() -> Arc<dyn Log>) {
    let log = open();
    let lease = log.acquire(P).unwrap();
    let append = |expected| append(&log, P, lease.epoch, Seq(expected), "x");
    assert_eq!(append(0).unwrap(), Seq(1));
    fenced(append(0));
    fenced(append(2));
    assert_eq!(append(1).unwrap(), Seq(2));
    fenced(append(1));
    assert_eq!(log.tail(P).unwrap(), Seq(2));
}

fn an_epoch_fences_the_earlier_ones(open: &dyn Fn() -> Arc<dyn Log>) {
    let log = open();
    let first = log.acquire(P).unwrap();
    append(&log, P, first.epoch, Seq(0), "first").unwrap();
    let second = log.acquire(P).unwrap();
    assert_eq!(second.tail, Seq(1));
    assert!(second.epoch > first.epoch);
    fenced(append(&log, P, first.epoch, Seq(1), "late"));
    append(&log, P, second.epoch, Seq(1), "second").unwrap();
    fenced(append(&log, P, first.epoch, Seq(2), "late"));
    fenced(append(&log, P, second.epoch.next(), Seq(2), "early"));
    assert_eq!(texts(&log, P, 1), ["first", "second"]);
}

fn nobody_appends_without_an_epoch(open: &dyn Fn() -> Arc<dyn Log>) {
    let log = open();
    fenced(append(&log, P, Epoch(0), Seq(0), "x"));
    fenced(append(&log, P, Epoch(1), Seq(0), "x"));
    assert_eq!(log.tail(P).unwrap(), Seq(0));
}

fn appends_are_pipelined(open: &dyn Fn() -> Arc<dyn Log>) {
    let log = open();
    let lease = log.acquire(P).unwrap();
    let answers: Vec<_> = (0..100)
        .map(|expected| queue(&log, P, lease.epoch, Seq(expected), Bytes::from("x")))
        .collect();
    for (answer, seq) in answers.iter().zip(1..) {
        assert_eq!(answered(answer), Ok(Seq(seq)));
    }
}

fn a_failure_fails_its_successors(open: &dyn Fn() -> Arc<dyn Log>) {
    let log = open();
    let lease = log.acquire(P).unwrap();
    let large = Bytes::from(vec![0; RECORD_BYTES_MAX + 1]);
    let first = queue(&log, P, lease.epoch, Seq(0), Bytes::from("first"));
    let failing = queue(&log, P, lease.epoch, Seq(1), large);
    let successor = queue(&log, P, lease.epoch, Seq(2), Bytes::from("successor"));
    let last = queue(&log, P, lease.epoch, Seq(3), Bytes::from("last"));
    assert_eq!(answered(&first), Ok(Seq(1)));
    for answer in [failing, successor, last] {
        let error = answered(&answer).unwrap_err();
        assert!(matches!(error, AppendError::TooLarge { .. }), "{error}");
    }
    append(&log, P, lease.epoch, Seq(1), "again").unwrap();
    fenced(append(&log, P, lease.epoch, Seq(7), "beyond"));
    assert_eq!(texts(&log, P, 1), ["first", "again"]);
}

fn a_fenced_pipeline_fails_as_a_whole(open: &dyn Fn() -> Arc<dyn Log>) {
    let log = open();
    let old = log.acquire(P).unwrap();
    let new = log.acquire(P).unwrap();
    let late: Vec<_> = (0..3)
        .map(|expected| queue(&log, P, old.epoch, Seq(expected), Bytes::from("late")))
        .collect();
    append(&log, P, new.epoch, Seq(0), "new").unwrap();
    late.iter().for_each(|answer| fenced(answered(answer)));
    assert_eq!(texts(&log, P, 1), ["new"]);
}

fn a_record_has_a_largest_size(open: &dyn Fn() -> Arc<dyn Log>) {
    let log = open();
    let lease = log.acquire(P).unwrap();
    let record = |bytes| Bytes::from(vec![7; bytes]);
    let largest = queue(&log, P, lease.epoch, Seq(0), record(RECORD_BYTES_MAX));
    assert_eq!(answered(&largest), Ok(Seq(1)));
    let too_large = queue(&log, P, lease.epoch, Seq(1), record(RECORD_BYTES_MAX + 1));
    let error = answered(&too_large).unwrap_err();
    assert_eq!(error.kind(), Kind::Invalid);
    assert_eq!(
        error,
        AppendError::TooLarge {
            partition: P,
            bytes: RECORD_BYTES_MAX + 1,
            bytes_max: RECORD_BYTES_MAX
        }
    );
    assert_eq!(log.read(P, Seq(1), 1).unwrap(), [(Seq(1), record(RECORD_BYTES_MAX))]);
}

fn reading_is_paged(open: &dyn Fn() -> Arc<dyn Log>) {
    let log = open();
    let mut writer = Writer::new(&log, P);
    let mut written = Vec::new();
    for number in 0..300 {
        let text = format!("{number}-{}", "x".repeat(number * 7 % 1500));
        writer.queue(&text);
        written.push(text);
    }
    writer.settle();
    for max_bytes in [0, 1, 100, 5_000, 1_000_000] {
        let mut read = Vec::new();
        let mut from = Seq(1);
        loop {
            let page = log.read(P, from, max_bytes).unwrap();
            let Some((last, _)) = page.last() else { break };
            let bytes: usize = page.iter().map(|(_, record)| record.len()).sum();
            assert!(page.len() == 1 || bytes <= max_bytes);
            from = last.next();
            read.extend(page.iter().map(text));
        }
        assert_eq!(read, written, "in pages of {max_bytes} bytes");
    }
    assert_eq!(texts(&log, P, 150), &written[149..]);
}

fn partitions_do_not_meet(open: &dyn Fn() -> Arc<dyn Log>) {
    let log = open();
    let (mut p, mut q) = (Writer::new(&log, P), Writer::new(&log, Q));
    for number in 0..50 {
        p.queue(&format!("p{number}"));
        q.queue(&format!("q{number}"));
        q.queue(&format!("r{number}"));
    }
    p.settle();
    q.settle();
    log.acquire(Q).unwrap();
    p.write("still mine").unwrap();
    assert_eq!(log.tail(P).unwrap(), Seq(51));
    assert_eq!(log.tail(Q).unwrap(), Seq(100));
    assert_eq!(texts(&log, P, 50), ["p49", "still mine"]);
    assert_eq!(texts(&log, Q, 98), ["r48", "q49", "r49"]);
}

fn trimmed_records_are_gone(open: &dyn Fn() -> Arc<dyn Log>) {
    {
        let log = open();
        let mut writer = Writer::new(&log, P);
        for number in 1..=10 {
            writer.write(&number.to_string()).unwrap();
        }
        log.trim(P, Seq(4)).unwrap();
        log.trim(P, Seq(4)).unwrap();
        log.trim(P, Seq(2)).unwrap();
        let error = log.trim(P, Seq(11)).unwrap_err();
        assert!(matches!(error, Error::BeyondTail { .. }), "{error}");
        assert_eq!(error.kind(), Kind::Invalid);
    }
    let log = open();
    for from in [0, 1, 4] {
        let error = log.read(P, Seq(from), 100).unwrap_err();
        assert!(matches!(error, Error::Trimmed { first: Seq(5), .. }), "{error}");
        assert_eq!(error.kind(), Kind::NotFound);
    }
    assert_eq!(texts(&log, P, 5), ["5", "6", "7", "8", "9", "10"]);
    log.trim(P, Seq(10)).unwrap();
    assert_eq!(log.read(P, Seq(11), 100).unwrap(), []);
    assert!(log.read(P, Seq(10), 100).is_err());
    let mut writer = Writer::new(&log, P);
    assert_eq!(writer.write("11").unwrap(), Seq(11));
    assert_eq!(texts(&log, P, 11), ["11"]);
}

fn reopening_keeps_everything(open: &dyn Fn() -> Arc<dyn Log>) {
    let mut epochs = Vec::new();
    for round in 0..4 {
        let log = open();
        let mut writer = Writer::new(&log, P);
        epochs.push(writer.lease.epoch);
        writer.write(&format!("p{round}")).unwrap();
        if round == 1 {
            Writer::new(&log, Q).write("q").unwrap();
        }
    }
    let log = open();
    assert_eq!(texts(&log, P, 1), ["p0", "p1", "p2", "p3"]);
    assert_eq!(texts(&log, Q, 1), ["q"]);
    assert_eq!(epochs, [Epoch(1), Epoch(2), Epoch(3), Epoch(4)]);
    fenced(append(&log, P, Epoch(3), Seq(4), "late"));
    append(&log, P, Epoch(4), Seq(4), "the lease outlives the process").unwrap();
}

fn what_was_in_flight_is_resolved(open: &dyn Fn() -> Arc<dyn Log>) {
    let log = open();
    let mut writer = Writer::new(&log, P);
    for record in ["known", "a", "b"] {
        writer.write(record).unwrap();
    }
    let in_flight = |records: &[&'static str]| -> Vec<Bytes> {
        records.iter().map(|record| Bytes::from(*record)).collect()
    };
    let resolved = resolve(&*log, P, Seq(1), &in_flight(&["a", "b", "c"])).unwrap();
    assert_eq!((resolved.committed, resolved.lease.tail), (2, Seq(3)));
    fenced(append(&log, P, writer.lease.epoch, Seq(3), "c"));
    let resolved = resolve(&*log, P, Seq(3), &in_flight(&["c"])).unwrap();
    assert_eq!(resolved.committed, 0);
    append(&log, P, resolved.lease.epoch, Seq(3), "c").unwrap();
    let error = resolve(&*log, P, Seq(1), &in_flight(&["a", "x"])).unwrap_err();
    assert!(matches!(error, Error::Foreign { seq: Seq(3), .. }), "{error}");
}

fn many_writers_are_served(open: &dyn Fn() -> Arc<dyn Log>) {
    let log = open();
    let threads: Vec<_> = (0..8)
        .map(|partition| {
            let log = Arc::clone(&log);
            std::thread::spawn(move || {
                let partition = PartitionId(partition);
                let mut writer = Writer::new(&log, partition);
                for number in 0..50 {
                    writer.write(&format!("{partition}.{number}")).unwrap();
                }
            })
        })
        .collect();
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    for partition in 0..8 {
        let expected: Vec<_> = (0..50).map(|n| format!("{partition}.{n}")).collect();
        assert_eq!(texts(&log, PartitionId(partition), 1), expected);
    }
}

/// Appends to one partition and remembers the tail.
struct Writer<'l> {
    log: &'l Arc<dyn Log>,
    partition: PartitionId,
    lease: Lease,
    answers: Vec<Receiver<Result<Seq, AppendError>>>,
}

impl<'l> Writer<'l> {
    fn new(log: &'l Arc<dyn Log>, partition: PartitionId) -> Self {
        Self { log, partition, lease: log.acquire(partition).unwrap(), answers: Vec::new() }
    }

    fn write(&mut self, record: &str) -> Result<Seq, AppendError> {
        let tail = self.lease.tail;
        self.lease.tail = append(self.log, self.partition, self.lease.epoch, tail, record)?;
        Ok(self.lease.tail)
    }

    fn queue(&mut self, record: &str) {
        let record = Bytes::copy_from_slice(record.as_bytes());
        let Lease { epoch, tail } = self.lease;
        self.answers.push(queue(self.log, self.partition, epoch, tail, record));
        self.lease.tail = tail.next();
    }

    fn settle(&mut self) {
        for answer in self.answers.drain(..) {
            answered(&answer).unwrap();
        }
    }
}

fn append(
    log: &Arc<dyn Log>,
    partition: PartitionId,
    epoch: Epoch,
    expected: Seq,
    record: &str,
) -> Result<Seq, AppendError> {
    let record = Bytes::copy_from_slice(record.as_bytes());
    answered(&queue(log, partition, epoch, expected, record))
}

fn queue(
    log: &Arc<dyn Log>,
    partition: PartitionId,
    epoch: Epoch,
    expected: Seq,
    record: Bytes,
) -> Receiver<Result<Seq, AppendError>> {
    let (answer, answers) = channel();
    let append = Append { partition, epoch, expected, record, class: Class::Normal };
    let done = move |result| drop(answer.send(result));
    log.append(append, Box::new(done));
    answers
}

fn answered(answer: &Receiver<Result<Seq, AppendError>>) -> Result<Seq, AppendError> {
    answer.recv_timeout(ANSWER_TIMEOUT).expect("every append is answered")
}

fn fenced(result: Result<Seq, AppendError>) {
    let error = result.unwrap_err();
    assert!(matches!(error, AppendError::Fenced { .. }), "{error}");
    assert_eq!(error.kind(), Kind::Conflict);
}

fn texts(log: &Arc<dyn Log>, partition: PartitionId, from: u64) -> Vec<String> {
    let page = log.read(partition, Seq(from), usize::MAX).unwrap();
    let seqs: Vec<_> = page.iter().map(|(seq, _)| seq.0).collect();
    let expected: Vec<_> = (from.max(1)..).take(page.len()).collect();
    assert_eq!(seqs, expected);
    page.iter().map(text).collect()
}

fn text((_, record): &(Seq, Bytes)) -> String {
    String::from_utf8(record.to_vec()).unwrap()
}
