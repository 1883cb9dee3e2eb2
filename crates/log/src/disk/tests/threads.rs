//! The log with its threads: what manual mode cannot show.

use std::sync::mpsc::{Receiver, channel};

use super::*;

/// Far longer than anything here takes.
const TIMEOUT: Duration = Duration::from_secs(30);

fn open(files: &FaultyFiles, options: Options) -> DiskLog {
    DiskLog::open_files(Arc::new(files.clone()), options).unwrap()
}

fn append(log: &DiskLog, lease: Lease, record: Vec<u8>) -> Receiver<Result<Seq, AppendError>> {
    let (answer, answers) = channel();
    let append = Append {
        partition: P,
        epoch: lease.epoch,
        expected: lease.tail,
        record: record.into(),
        class: Class::Normal,
    };
    log.append(append, Box::new(move |result| drop(answer.send(result))));
    answers
}

fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    let started = std::time::Instant::now();
    while !holds() {
        assert!(started.elapsed() < TIMEOUT, "{what} never happens");
        std::thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn an_answer_may_append_again() {
    let log = Arc::new(open(&FaultyFiles::new(), Options::default()));
    let lease = log.acquire(P).unwrap();
    let (answer, answers) = channel();
    chain(&log, lease, 50, answer);
    assert_eq!(answers.recv_timeout(TIMEOUT), Ok(Seq(50)));
}

fn chain(log: &Arc<DiskLog>, lease: Lease, left: u64, answer: std::sync::mpsc::Sender<Seq>) {
    // so large that the queue is over its bound: even then the committer must not wait for itself
    let record = Bytes::from(vec![0; 400_000]);
    let next = Arc::clone(log);
    let append = Append {
        partition: P,
        epoch: lease.epoch,
        expected: lease.tail,
        record,
        class: Class::Normal,
    };
    let done = move |result: Result<Seq, AppendError>| {
        let tail = result.unwrap();
        if left == 1 {
            answer.send(tail).unwrap();
        } else {
            let epoch = lease.epoch;
            chain(&next, Lease { epoch, tail }, left - 1, answer);
        }
    };
    log.append(append, Box::new(done));
}

#[test]
fn an_idle_log_closes_itself() {
    let files = FaultyFiles::new();
    let log = open(&files, Options::default());
    let lease = log.acquire(P).unwrap();
    append(&log, lease, b"x".to_vec()).recv_timeout(TIMEOUT).unwrap().unwrap();
    wait_until("the empty batch", || !lock(&log.shared.committer).is_open_ended());
    let batches = log.usage().batches;
    std::thread::sleep(Duration::from_millis(20));
    assert_eq!(log.usage().batches, batches, "an idle log goes on writing");
}

#[test]
fn dropping_the_log_commits_what_is_queued() {
    let files = FaultyFiles::new();
    let log = open(&files, Options::default());
    let mut lease = log.acquire(P).unwrap();
    let answers: Vec<_> = (0..100)
        .map(|_| {
            let answer = append(&log, lease, b"x".to_vec());
            lease.tail = lease.tail.next();
            answer
        })
        .collect();
    drop(log);
    assert!(answers.iter().all(|answer| matches!(answer.try_recv(), Ok(Ok(_)))));
    let log = open(&files.crash(0), Options::default());
    assert_eq!(log.tail(P).unwrap(), Seq(100));
}

#[test]
fn a_full_queue_blocks_the_writer_and_loses_nothing() {
    let log = open(&FaultyFiles::new(), Options::default());
    let mut lease = log.acquire(P).unwrap();
    let committer = lock(&log.shared.committer);
    let (queued, counted) = channel();
    std::thread::scope(|scope| {
        let log = &log;
        scope.spawn(move || {
            for _ in 0..60 {
                queued.send(append(log, lease, vec![0; 400_000])).unwrap();
                lease.tail = lease.tail.next();
            }
        });
        wait_until("the bound", || log.usage().queued_bytes as usize > QUEUE_BYTES_MAX);
        std::thread::sleep(Duration::from_millis(20));
        let queued_bytes = log.usage().queued_bytes as usize;
        assert!(queued_bytes < QUEUE_BYTES_MAX + 500_000, "{queued_bytes} bytes are queued");
        drop(committer);
        let answers: Vec<_> = counted.iter().collect();
        assert_eq!(answers.len(), 60);
        for answer in answers {
            answer.recv_timeout(TIMEOUT).unwrap().unwrap();
        }
    });
    assert_eq!(log.tail(P).unwrap(), Seq(60));
}

#[test]
fn a_failed_sync_answers_everything_that_waits() {
    let files = FaultyFiles::new();
    let (fatal, fatals) = channel();
    let options = Options {
        on_fatal: OnFatal(Arc::new(move |reason| drop(fatal.send(reason.to_owned())))),
        ..Options::default()
    };
    let log = open(&files, options);
    let mut lease = log.acquire(P).unwrap();
    wait_until("the empty batch", || !lock(&log.shared.committer).is_open_ended());
    files.fail_after(1, ErrorKind::Other);
    let answers: Vec<_> = (0..20)
        .map(|_| {
            let answer = append(&log, lease, b"x".to_vec());
            lease.tail = lease.tail.next();
            answer
        })
        .collect();
    for answer in answers {
        let answer = answer.recv_timeout(TIMEOUT).unwrap();
        assert!(matches!(answer, Err(AppendError::Unknown { .. })), "{answer:?}");
    }
    let reason = fatals.recv_timeout(TIMEOUT).unwrap();
    assert!(reason.starts_with("syncing batch"), "{reason}");
    assert!(matches!(log.acquire(P), Err(Error::Stopped { .. })));
}

#[test]
fn a_full_disk_is_left_behind_without_any_append() {
    let files = FaultyFiles::new();
    let options = Options { retry: Duration::from_millis(1), ..tiny_options(1) };
    let log = open(&files, options);
    files.set_capacity(Some(4096));
    let mut lease = log.acquire(P).unwrap();
    let refused = (0..100).find_map(|_| {
        let answer = append(&log, lease, vec![0; 200]).recv_timeout(TIMEOUT).unwrap();
        lease.tail = lease.tail.next();
        answer.err()
    });
    assert!(matches!(refused, Some(AppendError::Full { .. })));
    assert!(log.usage().full);
    files.set_capacity(None);
    wait_until("room", || !log.usage().full);
}

#[test]
fn readers_see_a_prefix_while_writers_write() {
    let log = open(&FaultyFiles::new(), tiny_options(1));
    let mut lease = log.acquire(P).unwrap();
    std::thread::scope(|scope| {
        let reader = scope.spawn(|| {
            let mut next = Seq(1);
            let started = std::time::Instant::now();
            while next <= Seq(500) && started.elapsed() < TIMEOUT {
                let tail = log.tail(P).unwrap();
                let page = log.read(P, next, 10_000).unwrap();
                assert!(page.len() as u64 >= 1 || tail < next);
                for (seq, record) in page {
                    assert_eq!((seq, record), (next, Bytes::from(next.to_string())));
                    next = next.next();
                }
            }
        });
        for _ in 0..500 {
            drop(append(&log, lease, lease.tail.next().to_string().into_bytes()));
            lease.tail = lease.tail.next();
        }
        reader.join().unwrap();
    });
}

#[test]
fn threads_keep_what_was_acknowledged_when_the_power_fails() {
    for seed in 0..60 {
        let files = FaultyFiles::new();
        files.crash_after(8 + seed % 40);
        let Ok(log) = DiskLog::open_files(Arc::new(files.clone()), tiny_options(seed)) else {
            continue;
        };
        let Ok(mut lease) = log.acquire(P) else {
            continue;
        };
        let answers: Vec<_> = (0..60)
            .map(|_| {
                let answer = append(&log, lease, vec![b'x'; 300]);
                lease.tail = lease.tail.next();
                answer
            })
            .collect();
        let acknowledged = answers.iter().filter(|a| matches!(a.recv_timeout(TIMEOUT), Ok(Ok(_))));
        let acknowledged = acknowledged.count() as u64;
        drop(log);
        let log = manual(&files.crash(seed));
        let tail = log.tail(P).unwrap();
        assert!(tail >= Seq(acknowledged), "seed {seed}: {acknowledged} acknowledged, {tail} left");
        assert_eq!(records(&log, P, 1).len() as u64, tail.0);
    }
}

#[test]
fn by_default_a_failed_sync_aborts_the_process() {
    const CHILD: &str = "REFLUX_LOG_TEST_ABORTS";
    const TEST: &str = "disk::tests::threads::by_default_a_failed_sync_aborts_the_process";
    if std::env::var_os(CHILD).is_some() {
        let files = FaultyFiles::new();
        let log = open(&files, Options::default());
        let lease = log.acquire(P).unwrap();
        wait_until("the empty batch", || !lock(&log.shared.committer).is_open_ended());
        files.fail_after(1, ErrorKind::Other);
        let answer = append(&log, lease, b"x".to_vec()).recv_timeout(TIMEOUT);
        panic!("answered {answer:?}");
    }
    let mut child = std::process::Command::new(std::env::current_exe().unwrap());
    let child = child.args([TEST, "--exact", "--nocapture"]).env(CHILD, "1");
    let output = child.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!said.contains("answered"), "{said}");
    #[cfg(unix)]
    {
        let signal = std::os::unix::process::ExitStatusExt::signal(&output.status);
        assert_eq!(signal, Some(6), "not aborted: {said}");
    }
}
