//! Many appenders on one log, against one fsync per append.

use std::sync::Arc;
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use reflux_log::{Append, Bytes, Class, DiskLog, Log, Options, PartitionId};

use crate::bed::{Bed, Figure};

const AT_ONCE: u32 = 64;
const TIME: Duration = Duration::from_secs(3);
const RECORD: &[u8] = &[7; 300];

pub fn run(bed: &Bed) -> Vec<Figure> {
    let place = bed.place();
    let alone = one_fsync_each(&place.path().join("raw"));
    let log = Arc::new(DiskLog::open(place.path().join("log"), Options::default()).expect("a log"));
    let threads: Vec<_> = (0..AT_ONCE)
        .map(|n| {
            let log = log.clone();
            std::thread::spawn(move || append_for(&log, PartitionId(n)))
        })
        .collect();
    let appends: usize =
        threads.into_iter().map(|thread| thread.join().expect("an appender")).sum();
    let together = appends as f64 / TIME.as_secs_f64();
    vec![
        Figure::new("one fsync for each append, one thread", alone, "appends/s"),
        Figure::new("64 concurrent appenders", together, "appends/s"),
        Figure::new("64 appenders against one fsync each", together / alone, "times")
            .bar(15.0, 8.0),
    ]
}

fn one_fsync_each(path: &std::path::Path) -> f64 {
    let file = std::fs::File::create(path).expect("a file");
    std::os::unix::fs::FileExt::write_all_at(&file, &vec![0; 16 << 20], 0).expect("written");
    file.sync_all().expect("synced");
    let started = Instant::now();
    let mut appends = 0;
    while started.elapsed() < TIME {
        let at = (appends * RECORD.len() as u64) % (15 << 20);
        std::os::unix::fs::FileExt::write_all_at(&file, RECORD, at).expect("written");
        file.sync_data().expect("synced");
        appends += 1;
    }
    appends as f64 / TIME.as_secs_f64()
}

fn append_for(log: &DiskLog, partition: PartitionId) -> usize {
    let lease = log.acquire(partition).expect("a lease");
    let mut expected = lease.tail;
    let (sender, receiver) = channel();
    let started = Instant::now();
    let mut appends = 0;
    while started.elapsed() < TIME {
        let sender = sender.clone();
        let record = Bytes::from_static(RECORD);
        let append =
            Append { partition, epoch: lease.epoch, expected, record, class: Class::Normal };
        log.append(append, Box::new(move |result| drop(sender.send(result))));
        expected = receiver.recv().expect("an answer").expect("it is appended");
        appends += 1;
    }
    appends
}
