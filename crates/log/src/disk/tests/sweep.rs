//! The crash sweep: a random trace is stopped after every single I/O, by a loss of power or by a
//! failing disk, and what comes back is compared with what was acknowledged. One seed, or more of
//! them: `REFLUX_LOG_SEED=51` or `REFLUX_LOG_TRACES=100000 cargo test -p reflux-log sweep`.

use std::collections::BTreeMap;
use std::sync::Mutex;

use super::*;
use crate::fault::Rng;
use crate::{Class, Epoch};

/// Traces per run of the tests.
const TRACES: u64 = 1_000;

/// Steps of a trace: enough to fill two segments and to trim one.
const STEPS: u64 = 16;

#[test]
fn every_crash_keeps_what_was_acknowledged() {
    let traces = number_from("REFLUX_LOG_TRACES").unwrap_or(TRACES);
    let seeds = match number_from("REFLUX_LOG_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..traces,
    };
    let threads: Vec<_> = [0, 1]
        .map(|half| {
            let seeds = seeds.clone().filter(move |seed| seed % 2 == half);
            std::thread::spawn(move || {
                seeds.map(|seed| sweep(seed, None)).collect::<Result<Vec<_>, _>>()
            })
        })
        .into();
    let swept = threads.into_iter().map(|thread| thread.join().unwrap());
    let ios: Vec<u64> = swept
        .flat_map(|half| half.unwrap_or_else(|what| panic!("{what} (REFLUX_LOG_SEED runs one)")))
        .collect();
    let (traces, crashes) = (ios.len() as u64, ios.iter().sum::<u64>());
    println!("{traces} traces, {crashes} crashes");
    assert!(crashes > 20 * traces, "only {crashes} crashes: the traces are too short");
}

fn number_from(variable: &str) -> Option<u64> {
    std::env::var(variable).ok()?.parse().ok()
}

#[test]
fn planted_bugs_are_found() {
    for planted in [
        Planted::SkipSync,
        Planted::AckEarly,
        Planted::IgnoreEpoch,
        Planted::RetryCas,
        Planted::TrustCache,
    ] {
        let found = (0..100).find_map(|seed| sweep(seed, Some(planted)).err());
        assert!(found.is_some(), "{planted:?} goes unnoticed");
    }
}

/// Crashes the trace of a seed after each of its I/Os; says how many there are, or what was lost.
fn sweep(seed: u64, planted: Option<Planted>) -> Result<u64, String> {
    let whole = Run::new(seed, planted);
    let files = FaultyFiles::new();
    let mut model = Model::default();
    let finished = whole.drive(&files, &mut model, STEPS)?;
    if !finished || !model.is_answered() {
        return Err(format!("seed {seed}: refused or stopped without a fault"));
    }
    let ios = files.ios();
    for at in 0..ios {
        let stopped = whole.stop_at(at).map_err(|error| format!("seed {seed}, I/O {at}: {error}"));
        stopped?;
    }
    Ok(ios)
}

struct Run {
    seed: u64,
    options: Options,
}

impl Run {
    fn new(seed: u64, planted: Option<Planted>) -> Self {
        let options = Options { planted, ..tiny_options(seed) };
        Self { seed, options }
    }

    fn stop_at(&self, at: u64) -> Result<(), String> {
        let mut rng = Rng::new(self.seed ^ at.rotate_left(32));
        let files = FaultyFiles::new();
        let mut model = Model::default();
        let mut disk = if rng.below(3) > 0 {
            files.crash_after(at);
            self.drive(&files, &mut model, STEPS)?;
            files.crash(rng.number())
        } else {
            files.fail_after(at, std::io::ErrorKind::Other);
            self.drive(&files, &mut model, STEPS)?;
            files.kill()
        };
        let full = rng.below(4) == 0;
        // a log that was never made cannot be made on a full disk
        let fill = |disk: &FaultyFiles| {
            let is_made = disk.files().keys().any(|name| name.ends_with(".log"));
            disk.set_capacity((full && is_made).then_some(0));
        };
        // recovery crashes as well, perhaps more than once
        while rng.below(3) == 0 {
            fill(&disk);
            disk.crash_after(rng.below(14));
            drop(self.open(&disk));
            disk = disk.crash(rng.number());
        }
        fill(&disk);
        // what recovery served is as good as acknowledged: not even a loss of power takes it back
        let log = self.open(&disk).map_err(|error| error.to_string())?;
        model.settle(&log)?;
        let disk = disk.crash(rng.number());
        let log = self.open(&disk).map_err(|error| error.to_string())?;
        model.settle(&log)?;
        drop(log);
        disk.set_capacity(None);
        self.drive(&disk, &mut model, 3)?;
        let log = self.open(&disk).map_err(|error| error.to_string())?;
        model.settle(&log)
    }

    fn open(&self, files: &FaultyFiles) -> Result<DiskLog, Error> {
        DiskLog::manual(Arc::new(files.clone()), self.options.clone())
    }

    /// Runs the trace; false if the disk stopped it.
    fn drive(&self, files: &FaultyFiles, model: &mut Model, steps: u64) -> Result<bool, String> {
        let Ok(log) = self.open(files) else {
            return Ok(false);
        };
        let mut rng = Rng::new(self.seed);
        model.partitions.values_mut().for_each(|known| known.leased = false);
        for step in 0..steps {
            let partition = PartitionId(rng.below(2) as u32);
            let done = match rng.below(16) {
                0 => model.acquire(&log, partition),
                1 => model.intrude(&log, partition, &mut rng),
                2 | 3 => model.trim(&log, partition, &mut rng),
                4 => {
                    log.idle();
                    true
                }
                _ => model.append(&log, partition, &mut rng),
            };
            if step % 3 == 2 {
                while log.turn() {}
            }
            model.check_intruders()?;
            if !done || lock(&log.shared.committer).dead().is_some() {
                return Ok(false);
            }
        }
        while log.turn() {}
        log.idle();
        model.check_intruders()?;
        let alive = lock(&log.shared.committer).dead().is_none();
        Ok(alive)
    }
}

/// What was asked of the log and what it promised.
#[derive(Default)]
struct Model {
    partitions: BTreeMap<PartitionId, Known>,
    acknowledged: Arc<Mutex<Vec<(PartitionId, Seq)>>>,
    /// Appends that have to be refused and were not.
    intruders: Arc<Mutex<Vec<String>>>,
    written: u64,
}

#[derive(Default)]
struct Known {
    leased: bool,
    epoch: Epoch,
    /// The tail the writer believes in.
    tail: Seq,
    acknowledged: Seq,
    asked: BTreeMap<Seq, Bytes>,
    trim_asked: Seq,
    trimmed: Seq,
}

impl Model {
    fn acquire(&mut self, log: &DiskLog, partition: PartitionId) -> bool {
        // what is queued before is decided before
        let lease = log.acquire(partition);
        let known = self.partitions.entry(partition).or_default();
        let Ok(lease) = lease else { return false };
        assert!(lease.epoch > known.epoch, "epoch {} twice", lease.epoch);
        known.epoch = lease.epoch;
        known.tail = lease.tail;
        known.leased = true;
        true
    }

    fn append(&mut self, log: &DiskLog, partition: PartitionId, rng: &mut Rng) -> bool {
        let leased = self.partitions.get(&partition).is_some_and(|known| known.leased);
        if !leased && !self.acquire(log, partition) {
            return false;
        }
        for _ in 0..=rng.below(5) {
            let known = self.partitions.entry(partition).or_default();
            let expected = known.tail;
            self.written += 1;
            let mut record =
                format!("{partition}:{}:{}", expected.next(), self.written).into_bytes();
            record.resize(record.len() + rng.below(900) as usize, b'.');
            let record = Bytes::from(record);
            known.tail = expected.next();
            known.asked.insert(known.tail, record.clone());
            let acknowledged = Arc::clone(&self.acknowledged);
            let append =
                Append { partition, epoch: known.epoch, expected, record, class: Class::Normal };
            let done = move |result: Result<Seq, _>| {
                if let Ok(seq) = result {
                    acknowledged.lock().unwrap().push((partition, seq));
                }
            };
            log.append(append, Box::new(done));
        }
        true
    }

    /// Appends that a stale or a mistaken writer would make.
    fn intrude(&mut self, log: &DiskLog, partition: PartitionId, rng: &mut Rng) -> bool {
        let known = self.partitions.entry(partition).or_default();
        let stale = rng.below(2) == 0 && known.epoch > Epoch(1);
        let (epoch, expected) = if stale {
            (Epoch(known.epoch.0 - 1), known.tail)
        } else {
            (known.epoch, Seq(known.tail.0 + 5))
        };
        let append = Append {
            partition,
            epoch,
            expected,
            record: Bytes::from("intruder"),
            class: Class::Normal,
        };
        let intruders = Arc::clone(&self.intruders);
        let done = move |result: Result<Seq, _>| {
            if let Ok(seq) = result {
                let what = format!("epoch {epoch} appended {seq}, expecting {expected}");
                intruders.lock().unwrap().push(what);
            }
        };
        log.append(append, Box::new(done));
        true
    }

    fn trim(&mut self, log: &DiskLog, partition: PartitionId, rng: &mut Rng) -> bool {
        while log.turn() {}
        let tail = log.tail(partition).unwrap();
        let known = self.partitions.entry(partition).or_default();
        // mostly all of it, so that segments go
        let up_to = Seq(tail.0.saturating_sub(rng.below(2)));
        known.trim_asked = known.trim_asked.max(up_to);
        let trimmed = log.trim(partition, up_to).is_ok();
        if trimmed {
            known.trimmed = known.trimmed.max(up_to);
        }
        trimmed
    }

    fn check_intruders(&self) -> Result<(), String> {
        match self.intruders.lock().unwrap().first() {
            None => Ok(()),
            Some(what) => Err(what.clone()),
        }
    }

    /// Whether all that was asked for was acknowledged.
    fn is_answered(&self) -> bool {
        let acknowledged = self.acknowledged.lock().unwrap().len();
        let asked: u64 = self.partitions.values().map(|known| known.tail.0).sum();
        acknowledged as u64 == asked
    }

    /// Compares the log with what was promised; from then on what it shows is promised too.
    fn settle(&mut self, log: &DiskLog) -> Result<(), String> {
        for (partition, seq) in self.acknowledged.lock().unwrap().drain(..) {
            let known = self.partitions.entry(partition).or_default();
            known.acknowledged = known.acknowledged.max(seq);
        }
        for (partition, known) in &mut self.partitions {
            known
                .settle(log, *partition)
                .map_err(|what| format!("partition {partition}: {what}"))?;
        }
        Ok(())
    }
}

impl Known {
    fn settle(&mut self, log: &DiskLog, partition: PartitionId) -> Result<(), String> {
        let tail = log.tail(partition).unwrap();
        if tail < self.acknowledged || tail > self.tail.max(self.acknowledged) {
            return Err(format!(
                "{} was acknowledged and {} asked for, but the tail is {tail}",
                self.acknowledged, self.tail
            ));
        }
        let trimmed = lock(&log.shared.index).state(partition).trimmed;
        if trimmed < self.trimmed || trimmed > self.trim_asked {
            return Err(format!(
                "trimmed up to {} and asked for {}, but it is {trimmed}",
                self.trimmed, self.trim_asked
            ));
        }
        let mut next = trimmed.next();
        while next <= tail {
            for (seq, record) in log.read(partition, next, 500).map_err(|e| e.to_string())? {
                if self.asked.get(&seq) != Some(&record) {
                    return Err(format!("record {seq} is not what was asked for: {record:?}"));
                }
                next = seq.next();
            }
        }
        let epoch = lock(&log.shared.index).state(partition).epoch;
        if epoch < self.epoch {
            return Err(format!("epoch {} was given out, but it is {epoch}", self.epoch));
        }
        self.epoch = epoch;
        self.tail = tail;
        self.acknowledged = tail;
        self.trimmed = trimmed;
        self.trim_asked = trimmed;
        self.asked.retain(|seq, _| *seq <= tail);
        self.leased = false;
        Ok(())
    }
}
