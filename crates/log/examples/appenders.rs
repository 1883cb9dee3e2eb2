//! Prints what the disk log costs on this machine: `cargo run --release -p reflux-log --example
//! appenders [directory]`. The raw sync is measured beside it, so that figures can be compared.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout, clippy::indexing_slicing)]

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::channel;
use std::sync::{Arc, Barrier};
use std::time::{Duration, Instant};

use reflux_log::{Append, Bytes, Class, DiskLog, Epoch, Log, Options, PartitionId, Seq};

const RECORD_BYTES: usize = 300;
const APPENDERS: u32 = 64;
const RUN: Duration = Duration::from_secs(3);

fn main() {
    let dir = std::env::args().nth(1).unwrap_or_else(|| "target/appenders".to_owned());
    let dir = Path::new(&dir);
    let _ = std::fs::remove_dir_all(dir);
    std::fs::create_dir_all(dir).unwrap();

    let started = Instant::now();
    let log = DiskLog::open(dir.join("log"), Options::default()).unwrap();
    println!("first open            {:>9.1?}", started.elapsed());
    let log: Arc<dyn Log> = Arc::new(log);

    // the two alternate, so that a busy moment of the machine hits both
    let mut raw = Vec::new();
    let mut alone = Vec::new();
    let file = zeroed(&dir.join("raw"));
    let mut writer = Writer::new(&log, 0);
    for round in 0..10 {
        raw.extend((0..200).map(|n| raw_sync(&file, round * 200 + n)));
        alone.extend((0..200).map(|_| writer.append()));
    }
    println!("raw write + fdatasync {}", quantiles(&mut raw));
    println!("append alone          {}", quantiles(&mut alone));

    let one = per_second(1, |_| {
        let mut at = 0;
        let file = &file;
        move || {
            raw_sync(file, at % 3000);
            at += 1;
        }
    });
    println!("one fdatasync each    {one:>9.0} /s");
    let before = log.usage();
    let many = per_second(APPENDERS, |id| {
        let mut writer = Writer::new(&log, id);
        move || {
            writer.append();
        }
    });
    let after = log.usage();
    let syncs = after.syncs - before.syncs;
    println!(
        "{APPENDERS} appender threads   {many:>9.0} /s, {:.1} times, {:.1} appends per sync",
        many / one,
        (after.appends - before.appends) as f64 / syncs as f64
    );
    let before = log.usage();
    let chained = chains(&log);
    let after = log.usage();
    let syncs = after.syncs - before.syncs;
    println!(
        "{APPENDERS} chains of appends  {chained:>9.0} /s, {:.1} times, {:.1} appends per sync",
        chained / one,
        (after.appends - before.appends) as f64 / syncs as f64
    );
    drop(log);
    recovery(&dir.join("recovery"));
    std::fs::remove_dir_all(dir).unwrap();
}

fn recovery(dir: &Path) {
    let records = 100_000u64;
    let log = DiskLog::open(dir, Options::default()).unwrap();
    let log: Arc<dyn Log> = Arc::new(log);
    let (answer, answers) = channel();
    for partition in 0..4 {
        let lease = log.acquire(PartitionId(partition)).unwrap();
        for expected in 0..records / 4 {
            let answer = answer.clone();
            let append = append(partition, lease.epoch, Seq(expected));
            log.append(append, Box::new(move |result| answer.send(result).unwrap()));
        }
    }
    for _ in 0..records {
        answers.recv().unwrap().unwrap();
    }
    drop(log);
    let started = Instant::now();
    let log = DiskLog::open(dir, Options::default()).unwrap();
    let opened = started.elapsed();
    let started = Instant::now();
    let mut read = 0;
    for partition in 0..4 {
        let mut from = Seq(1);
        loop {
            let page = log.read(PartitionId(partition), from, 256 * 1024).unwrap();
            let Some((last, _)) = page.last() else { break };
            from = last.next();
            read += page.len();
        }
    }
    let took = started.elapsed();
    println!("recovery of {records}    {opened:>9.1?}");
    println!(
        "reading {read}        {took:>9.1?}, {:.0} records/s",
        read as f64 / took.as_secs_f64()
    );
}

/// Each answer queues the next append of its partition: what an engine with few threads does.
fn chains(log: &Arc<dyn Log>) -> f64 {
    let count = Arc::new(AtomicU64::new(0));
    let started = Instant::now();
    for id in 0..APPENDERS {
        let lease = log.acquire(PartitionId(id)).unwrap();
        link(log, id, lease.epoch, lease.tail, Arc::clone(&count), started + RUN);
    }
    std::thread::sleep(RUN);
    count.load(Ordering::Relaxed) as f64 / RUN.as_secs_f64()
}

fn link(
    log: &Arc<dyn Log>,
    id: u32,
    epoch: Epoch,
    tail: Seq,
    count: Arc<AtomicU64>,
    until: Instant,
) {
    let next = Arc::downgrade(log);
    let done = move |result: Result<Seq, _>| {
        count.fetch_add(1, Ordering::Relaxed);
        if Instant::now() < until
            && let (Ok(seq), Some(log)) = (result, next.upgrade())
        {
            link(&log, id, epoch, seq, count, until);
        }
    };
    log.append(append(id, epoch, tail), Box::new(done));
}

struct Writer {
    log: Arc<dyn Log>,
    id: u32,
    epoch: Epoch,
    tail: Seq,
}

impl Writer {
    fn new(log: &Arc<dyn Log>, id: u32) -> Self {
        let lease = log.acquire(PartitionId(id)).unwrap();
        Self { log: Arc::clone(log), id, epoch: lease.epoch, tail: lease.tail }
    }

    fn append(&mut self) -> Duration {
        let started = Instant::now();
        let thread = std::thread::current();
        let answer = Arc::new(AtomicU64::new(0));
        let told = Arc::clone(&answer);
        let done = move |result: Result<Seq, _>| {
            told.store(result.unwrap().0, Ordering::Release);
            thread.unpark();
        };
        self.log.append(append(self.id, self.epoch, self.tail), Box::new(done));
        while answer.load(Ordering::Acquire) == 0 {
            std::thread::park();
        }
        self.tail = Seq(answer.load(Ordering::Acquire));
        started.elapsed()
    }
}

fn append(id: u32, epoch: Epoch, expected: Seq) -> Append {
    Append {
        partition: PartitionId(id),
        epoch,
        expected,
        record: Bytes::from_static(&[7; RECORD_BYTES]),
        class: Class::Normal,
    }
}

fn zeroed(path: &Path) -> File {
    let file = File::create(path).unwrap();
    file.write_all_at(&vec![0; 3000 * 4096], 0).unwrap();
    file.sync_all().unwrap();
    file
}

fn raw_sync(file: &File, at: u64) -> Duration {
    let started = Instant::now();
    file.write_all_at(&[7; 4096], at * 4096).unwrap();
    file.sync_data().unwrap();
    started.elapsed()
}

fn per_second<F: FnMut() + Send>(threads: u32, make: impl Fn(u32) -> F) -> f64 {
    let count = AtomicU64::new(0);
    let start = Barrier::new(threads as usize);
    std::thread::scope(|scope| {
        for id in 0..threads {
            let mut work = make(id);
            let (count, start) = (&count, &start);
            scope.spawn(move || {
                start.wait();
                let until = Instant::now() + RUN;
                while Instant::now() < until {
                    work();
                    count.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
    });
    count.load(Ordering::Relaxed) as f64 / RUN.as_secs_f64()
}

fn quantiles(times: &mut [Duration]) -> String {
    times.sort();
    let at = |share: f64| times[((times.len() - 1) as f64 * share) as usize];
    format!("p50 {:>9.1?}  p10 {:>9.1?}  p99 {:>9.1?}", at(0.5), at(0.1), at(0.99))
}
