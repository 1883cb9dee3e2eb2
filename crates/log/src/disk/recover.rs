//! Opens what a crash may have left behind: tells a torn tail from damage, and makes what it found
//! durable before anyone may rely on it. Changes nothing when it finds damage.

use std::sync::Arc;

use super::format::{BadHeader, FORMAT, SEGMENT_HEADER_BYTES, SegmentHeader};
use super::helper::is_full;
use super::index::{Index, Segment};
use super::reader::BatchReader;
use super::segment;
use super::{Options, Planted};
use crate::{Error, File, Files};

/// Bytes read at once.
const SCAN_BYTES: usize = 256 * 1024;

/// What an opened log continues with.
pub(super) struct Recovered {
    pub(super) index: Index,
    pub(super) active: Segment,
    /// The number of the last batch; 0 if there is none.
    pub(super) number: u64,
    /// Whether the last batch holds something.
    pub(super) open_ended: bool,
}

pub(super) fn recover(files: &Arc<dyn Files>, options: &Options) -> Result<Recovered, Error> {
    let mut numbers = Vec::new();
    let mut unfinished = Vec::new();
    for name in files.list().map_err(|e| Error::io("list", "the log's directory", e))? {
        numbers.extend(segment::number(&name));
        if segment::is_unfinished(&name) {
            unfinished.push(name);
        }
    }
    numbers.sort_unstable();
    if numbers.is_empty() {
        let salt = segment::salt(options.salt, 1);
        let active = segment::create(&**files, 1, salt, options.first_segment_bytes)
            .map_err(|error| not_made(1, error))?;
        let mut index = Index::default();
        index.add(active.clone());
        return Ok(Recovered { index, active, number: 0, open_ended: false });
    }
    check_gaps(&numbers)?;

    let mut scan = Scan::default();
    for number in &numbers {
        scan.segment(&**files, *number)?;
    }
    scan.check_complete(&numbers)?;

    let Scan { mut index, last, expected, empty, open_ended } = scan;
    // damage is ruled out: from here on the directory may change
    for name in &unfinished {
        files.remove(name).map_err(|e| Error::io("remove", name, e))?;
    }
    let mut empty = empty.into_iter().map(|segment| segment.number);
    let active = match last {
        Some(last) => last,
        // segment 1 without a batch: the log was created and never used
        None => {
            let first = empty.next().unwrap_or(1);
            open(&**files, first)?
        }
    };
    // newest first: a crash on the way must not leave a gap
    for number in empty.rev() {
        remove(&**files, number)?;
        index.forget(number);
    }
    let active = if options.planted == Some(Planted::TrustCache) {
        active
    } else {
        // what was read may be in the page cache only, after a failed or missing sync: the copy
        // makes it durable, and leaves the torn tail behind
        let size = active.end + 2 * options.first_segment_bytes;
        let copied = match segment::rewrite(&**files, &active, size) {
            // a full disk must not keep the log from being read and cancelled in
            Err(error) if is_full(&error) => {
                segment::refresh(&**files, &active).map(|()| active.clone())
            }
            copied => copied,
        };
        copied.map_err(|error| not_made(active.number, error))?
    };
    index.replace(active.clone());
    if expected.is_some() {
        for number in index.reclaim() {
            remove(&**files, number)?;
        }
    }
    Ok(Recovered {
        index,
        active,
        number: expected.map_or(0, |expected| expected.saturating_sub(1)),
        open_ended,
    })
}

#[derive(Default)]
struct Scan {
    index: Index,
    /// The last segment that holds a batch.
    last: Option<Segment>,
    /// The number of the next batch, once one was seen.
    expected: Option<u64>,
    /// Segments without a batch.
    empty: Vec<Segment>,
    open_ended: bool,
}

impl Scan {
    fn segment(&mut self, files: &dyn Files, number: u64) -> Result<(), Error> {
        let mut found = open(files, number)?;
        let file = Arc::clone(&found.file);
        let name = segment::name(number);
        let reading = |error| Error::io("read", &name, error);
        let corrupt = |offset, what: String| Error::Corrupt { file: name.clone(), offset, what };

        self.index.add(found.clone());
        let mut reader = BatchReader::new(&*file, found.salt, found.end, found.size, SCAN_BYTES);
        let mut seen = false;
        while let Some(batch) = reader.next().map_err(reading)? {
            let expected = *self.expected.get_or_insert(batch.number);
            if batch.number != expected {
                let what = format!("batch {} is where {expected} should be", batch.number);
                return Err(corrupt(batch.at, what));
            }
            let (at, entries) = (batch.at, batch.entries);
            let end = at + batch.stride();
            let applied = self.index.apply(number, at, end, batch.body);
            let count = applied.map_err(|what| corrupt(at, what))?;
            if count != entries {
                return Err(corrupt(at, format!("{count} entries instead of {entries}")));
            }
            self.open_ended = entries > 0;
            self.expected = Some(expected.saturating_add(1));
            found.end = end;
            seen = true;
        }

        let at = reader.at();
        let later = reader.find_later(self.expected).map_err(reading)?;
        if let Some((offset, later)) = later {
            let what = format!("a bad batch is followed by batch {later} at byte {offset}");
            return Err(corrupt(at, what));
        }
        if seen {
            self.last = Some(found);
            self.empty.clear();
        } else {
            self.empty.push(found);
        }
        Ok(())
    }

    fn check_complete(&self, numbers: &[u64]) -> Result<(), Error> {
        let oldest = numbers.first().copied().unwrap_or(1);
        let corrupt = |what| Error::Corrupt {
            file: segment::name(oldest),
            offset: SEGMENT_HEADER_BYTES,
            what,
        };
        // a later segment becomes the oldest only once its first batch is durable
        if self.last.is_none() && oldest != 1 {
            return Err(corrupt("the oldest segment holds no batch".to_owned()));
        }
        match self.index.missing() {
            None => Ok(()),
            Some((partition, first, expected)) => Err(corrupt(format!(
                "partition {partition} starts with record {first} instead of {expected}: older segments are missing"
            ))),
        }
    }
}

fn open(files: &dyn Files, number: u64) -> Result<Segment, Error> {
    let name = segment::name(number);
    let file = files.open(&name).map_err(|e| Error::io("open", &name, e))?;
    let size = file.len().map_err(|e| Error::io("measure", &name, e))?;
    let salt = header(&*file, &name, number, size)?.salt;
    Ok(Segment { number, file, salt, end: SEGMENT_HEADER_BYTES, size })
}

fn header(file: &dyn File, name: &str, number: u64, size: u64) -> Result<SegmentHeader, Error> {
    let corrupt =
        |what: &str| Error::Corrupt { file: name.to_owned(), offset: 0, what: what.to_owned() };
    if size < SEGMENT_HEADER_BYTES {
        return Err(corrupt("the segment is shorter than its header"));
    }
    let mut bytes = [0; SEGMENT_HEADER_BYTES as usize];
    file.read_at(&mut bytes, 0).map_err(|e| Error::io("read", name, e))?;
    match SegmentHeader::decode(&bytes) {
        Ok(header) if header.segment == number => Ok(header),
        Ok(_) => Err(corrupt("the header is that of another segment")),
        Err(BadHeader::Damaged) => Err(corrupt("the header is damaged")),
        Err(BadHeader::Format(found)) => {
            Err(Error::Version { file: name.to_owned(), found, known: FORMAT })
        }
    }
}

fn check_gaps(numbers: &[u64]) -> Result<(), Error> {
    for (number, next) in numbers.iter().zip(numbers.iter().skip(1)) {
        if number + 1 != *next {
            return Err(Error::Corrupt {
                file: segment::name(number + 1),
                offset: 0,
                what: "the segment is missing".to_owned(),
            });
        }
    }
    Ok(())
}

fn remove(files: &dyn Files, number: u64) -> Result<(), Error> {
    let name = segment::name(number);
    let removed = files.remove(&name).and_then(|()| files.sync_dir());
    removed.map_err(|e| Error::io("remove", &name, e))
}

fn not_made(number: u64, error: std::io::Error) -> Error {
    if is_full(&error) {
        return Error::Full { reason: error.to_string() };
    }
    Error::io("write", &segment::name(number), error)
}
