//! The disk log on a real directory and on a faulty one.

mod damage;
mod fixtures;
mod full;
mod segments;
mod sweep;
mod threads;

use std::io::ErrorKind;
use std::sync::Arc;

use super::*;
use crate::fault::FaultyFiles;
use crate::{AppendError, Class, Epoch, Kind, suite};

const P: PartitionId = PartitionId(0);
const Q: PartitionId = PartitionId(1);

#[test]
fn the_disk_log_conforms() {
    suite::run(|| {
        let dir = Arc::new(tempfile::tempdir().unwrap());
        move || DiskLog::open(dir.path(), Options::default()).unwrap()
    });
}

#[test]
fn the_disk_log_conforms_in_memory() {
    suite::run(|| {
        let files = FaultyFiles::new();
        move || DiskLog::open_files(Arc::new(files.clone()), Options::default()).unwrap()
    });
}

/// Segments so small that a few records fill them.
fn tiny_options(seed: u64) -> Options {
    Options {
        first_segment_bytes: 4096,
        segment_bytes_max: 8192,
        retry: Duration::ZERO,
        salt: Some(seed),
        on_fatal: OnFatal(Arc::new(|_reason| {})),
        ..Options::default()
    }
}

fn manual(files: &FaultyFiles) -> DiskLog {
    DiskLog::manual(Arc::new(files.clone()), tiny_options(1)).unwrap()
}

fn refused(files: &FaultyFiles) -> Error {
    let opened = DiskLog::manual(Arc::new(files.clone()), tiny_options(1));
    opened.err().expect("the log is refused")
}

/// A writer whose appends are answered at once, on a manual log.
struct Writer<'l> {
    log: &'l DiskLog,
    partition: PartitionId,
    lease: Lease,
}

impl<'l> Writer<'l> {
    fn new(log: &'l DiskLog, partition: PartitionId) -> Self {
        Self { log, partition, lease: log.acquire(partition).unwrap() }
    }

    fn write(&mut self, record: &[u8]) -> Result<Seq, AppendError> {
        self.write_as(record, Class::Normal)
    }

    fn write_as(&mut self, record: &[u8], class: Class) -> Result<Seq, AppendError> {
        let answer = Arc::new(Mutex::new(None));
        self.queue(record, class, &answer);
        while self.log.turn() {}
        let answer = answer.lock().unwrap().take().expect("every append is answered");
        if answer.is_err() {
            self.lease.tail = self.log.tail(self.partition).unwrap();
        }
        answer
    }

    fn queue(&mut self, record: &[u8], class: Class, answer: &Answer) {
        let append = Append {
            partition: self.partition,
            epoch: self.lease.epoch,
            expected: self.lease.tail,
            record: Bytes::copy_from_slice(record),
            class,
        };
        self.lease.tail = self.lease.tail.next();
        let answer = Arc::clone(answer);
        let done = move |result| *answer.lock().unwrap() = Some(result);
        self.log.append(append, Box::new(done));
    }
}

type Answer = Arc<Mutex<Option<Result<Seq, AppendError>>>>;

fn records(log: &DiskLog, partition: PartitionId, from: u64) -> Vec<String> {
    let page = log.read(partition, Seq(from), usize::MAX).unwrap();
    let texts = page.iter().map(|(_, record)| String::from_utf8(record.to_vec()).unwrap());
    texts.collect()
}
