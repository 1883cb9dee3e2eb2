//! Snapshots: round trips, damage, retention.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout
)]

mod support;

use std::fs;
use std::path::Path;

use bytes::Bytes;
use reflux_core::RunKey;
use reflux_proto::reflux::v1::Blob;
use reflux_store::{
    BLOB_GRACE_RECORDS, Changes, Error, Items, Options, Partition, Place, Store, Summary, snapshot,
};
use support::*;
use tempfile::TempDir;

fn place() -> (TempDir, Place) {
    let dir = tempfile::tempdir().unwrap();
    let place = Place::open(dir.path().to_str().unwrap()).unwrap();
    (dir, place)
}

/// Takes a snapshot and loads it elsewhere; both must mean the same.
fn round_trip(partition: &Partition) -> snapshot::Written {
    let (_dir, place) = place();
    let written = snapshot::write(&partition.view(), at(1), &place).unwrap();
    let file = snapshot::path(partition.id(), written.seq);
    assert_eq!(snapshot::verify(&place, &file).unwrap(), written);
    for (name, store, _dir) in stores() {
        let copy = store.partition(partition.id()).unwrap();
        assert_eq!(snapshot::restore(&place, &file, &copy, &mut fold).unwrap(), written);
        assert_eq!(copy.applied(), partition.applied(), "{name}");
        assert_eq!(copy.state_hash().unwrap(), partition.state_hash().unwrap(), "{name}");
        assert_eq!(copy.tallies().unwrap(), partition.tallies().unwrap(), "{name}");
    }
    written
}

fn small() -> Partition {
    let partition = Store::memory(references).partition(0).unwrap();
    let mut a = run(key("a", 1));
    let bytes = Bytes::from_static(b"a payload in two parts");
    let digest = blake3::hash(&bytes);
    let blob = |from: usize, to: usize| Blob {
        digest: Bytes::copy_from_slice(digest.as_bytes()),
        offset: from as u64,
        length: bytes.len() as u64,
        bytes: bytes.slice(from..to),
    };
    let runs = vec![step(&mut a, &[&format!("blob:{digest}"), "y"])];
    let blobs = vec![blob(0, 9), blob(9, bytes.len())];
    partition.commit(Changes { applied: 7, runs, blobs, ..Changes::default() }).unwrap();
    add(&partition, run(key("b", 2)));
    partition
}

#[test]
fn an_empty_partition_and_a_small_one_come_back() {
    assert_eq!(round_trip(&Store::memory(references).partition(2).unwrap()).entities, 0);
    let written = round_trip(&small());
    assert_eq!((written.entities, written.items, written.blobs), (2, 3, 1));
    assert_eq!((written.partition, written.seq, written.time), (0, 8, at(1)));
}

#[test]
fn ten_thousand_runs_come_back() {
    let partition = Store::memory(references).partition(1).unwrap();
    for batch in 0..100_u128 {
        let runs = (0..100).map(|number| {
            // Two runs per workflow, and the current one is not the one with the greater id.
            let number = batch * 100 + number;
            let id = if number % 2 == 0 { number + 1 } else { number - 1 };
            let mut run = run(key(&format!("workflow {}", number / 2), id));
            run.due = Some(at(i64::try_from(number * 37 % 1_000).unwrap()));
            run.working = number % 5 == 0;
            step(&mut run, &["x"])
        });
        commit(&partition, runs.collect());
    }
    let written = round_trip(&partition);
    assert_eq!((written.entities, written.items), (10_000, 10_000));
}

#[test]
fn indexes_and_current_runs_are_rebuilt() {
    let partition = Store::memory(references).partition(0).unwrap();
    for number in [1, 9, 4] {
        let mut run = run(key("a", number));
        run.due = Some(at(i64::try_from(number).unwrap()));
        run.working = number == 9;
        add(&partition, run);
    }
    let (_dir, place) = place();
    let written = snapshot::write(&partition.view(), at(1), &place).unwrap();
    let copy = Store::memory(references).partition(0).unwrap();
    snapshot::restore(&place, &snapshot::path(0, written.seq), &copy, &mut fold).unwrap();
    assert_eq!(copy.current(NAMESPACE, "a").unwrap().unwrap().run_id, run_id(4));
    assert_eq!(copy.due(at(5), None, 9).unwrap(), partition.due(at(5), None, 9).unwrap());
    assert_eq!(copy.working(None, 9).unwrap(), [key("a", 9)]);
    assert!(copy.find(NAMESPACE, run_id(9)).unwrap().is_some());
    // It goes on from there.
    let mut a = copy.summary(&key("a", 4)).unwrap().unwrap();
    commit(&copy, vec![step(&mut a, &["more"])]);
    assert_eq!(texts(copy.items(&a.key, 0).unwrap()), ["0 started", "1 more"]);
}

#[test]
fn a_run_longer_than_a_part_and_than_memory_allows_comes_back() {
    let partition = Store::memory(references).partition(0).unwrap();
    let long = "x".repeat(200 << 10);
    let mut a = run(key("a", 1));
    for _ in 0..30 {
        commit(&partition, vec![step(&mut a, &[&long, "short"])]);
    }
    add(&partition, run(key("b", 2)));
    let written = round_trip(&partition);
    assert!(written.bytes > 5 << 20);
    assert_eq!((written.entities, written.items), (2, 61));
}

#[test]
fn payloads_nobody_wants_stay_out_and_young_ones_are_taken_along() {
    let partition = small();
    retire(&partition, &[&key("a", 1)]);
    assert_eq!(round_trip(&partition).blobs, 1);
    let applied = partition.applied() + BLOB_GRACE_RECORDS;
    partition.commit(Changes { applied, ..Changes::default() }).unwrap();
    assert_eq!(round_trip(&partition).blobs, 0);
}

#[test]
fn damage_is_refused_with_file_offset_and_what_to_do() {
    let (dir, place) = place();
    let written = snapshot::write(&small().view(), at(1), &place).unwrap();
    let file = snapshot::path(0, written.seq);
    let whole = fs::read(dir.path().join(&file)).unwrap();
    let refused = |bytes: &[u8], what: &str| {
        fs::write(dir.path().join("damaged.snap"), bytes).unwrap();
        match snapshot::verify(&place, "damaged.snap") {
            Err(Error::Corrupt(text)) => {
                assert!(text.contains("damaged.snap, byte "), "{what}: {text}");
                assert!(text.contains("take the snapshot before it"), "{what}: {text}");
            }
            other => panic!("{what}: {other:?}"),
        }
    };
    for length in [0, 1, 7, 8, whole.len() / 2, whole.len() - 1] {
        refused(&whole[..length], &format!("cut at {length}"));
    }
    for bit in (0..whole.len() * 8).step_by(997) {
        let mut flipped = whole.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        refused(&flipped, &format!("bit {bit} flipped"));
    }
    refused(&[whole.as_slice(), b"x"].concat(), "a byte behind it");
    refused(&[whole.as_slice(), &whole].concat(), "twice");
}

#[test]
fn a_damaged_snapshot_leaves_the_partition_empty() {
    let (dir, place) = place();
    let written = snapshot::write(&small().view(), at(1), &place).unwrap();
    let file = snapshot::path(0, written.seq);
    let whole = fs::read(dir.path().join(&file)).unwrap();
    fs::write(dir.path().join("torn.snap"), &whole[..whole.len() - 1]).unwrap();
    on_both(|partition| {
        let empty = partition.state_hash().unwrap();
        let torn = snapshot::restore(&place, "torn.snap", &partition, &mut fold);
        assert!(matches!(torn, Err(Error::Corrupt(_))), "{torn:?}");
        assert_eq!((partition.applied(), partition.state_hash().unwrap()), (0, empty));
        snapshot::restore(&place, &file, &partition, &mut fold).unwrap();
    });
}

#[test]
fn a_snapshot_goes_only_where_it_belongs() {
    let (_dir, place) = place();
    let written = snapshot::write(&small().view(), at(1), &place).unwrap();
    let file = snapshot::path(0, written.seq);
    let restore = |partition: &Partition, file: &str| {
        snapshot::restore(&place, file, partition, &mut fold).unwrap_err()
    };
    on_both(|partition| {
        add(&partition, run(key("a", 1)));
        let error = restore(&partition, &file);
        assert!(matches!(&error, Error::Invalid(text) if text.contains("clear it")), "{error}");
        assert_eq!(partition.applied(), 1);
    });
    let other = Store::memory(references).partition(1).unwrap();
    assert!(matches!(restore(&other, &file), Error::Invalid(_)));
    assert!(matches!(restore(&other, &snapshot::path(1, 5)), Error::NotFound(_)));
}

#[test]
fn a_fold_that_refuses_or_miscounts_stops_the_load() {
    let (_dir, place) = place();
    let written = snapshot::write(&small().view(), at(1), &place).unwrap();
    let file = snapshot::path(0, written.seq);
    let partition = Store::memory(references).partition(0).unwrap();
    let mut refuses = |_: &RunKey, _: Items| Err(Error::Corrupt("illegal item".into()));
    let error = snapshot::restore(&place, &file, &partition, &mut refuses).unwrap_err();
    assert_eq!(error, Error::Corrupt("illegal item".into()));
    let mut miscounts = |key: &RunKey, items: Items| {
        let summary = fold(key, items)?;
        Ok(Summary { items: summary.items + 1, ..summary })
    };
    let error = snapshot::restore(&place, &file, &partition, &mut miscounts).unwrap_err();
    assert!(matches!(error, Error::Invalid(_)), "{error}");
    assert_eq!(partition.applied(), 0);
}

#[test]
fn old_snapshots_go_and_the_newest_stay() {
    let (dir, place) = place();
    let partition = small();
    let mut runs = run(key("c", 3));
    for _ in 0..5 {
        commit(&partition, vec![step(&mut runs, &["x"])]);
        snapshot::write(&partition.view(), at(1), &place).unwrap();
    }
    fs::write(dir.path().join("snapshots/p00000/notes.txt"), "mine").unwrap();
    fs::write(dir.path().join("snapshots/p00000/12.snap"), "not by its name").unwrap();
    let seqs = |place| -> Vec<_> {
        snapshot::list(place, 0).unwrap().into_iter().map(|(seq, _)| seq).collect()
    };
    assert_eq!(seqs(&place), [13, 12, 11, 10, 9]);
    assert_eq!(snapshot::retain(&place, 0, 2).unwrap(), [13, 12]);
    assert_eq!(seqs(&place), [13, 12]);
    assert_eq!(snapshot::retain(&place, 0, 0).unwrap(), [13]);
    assert_eq!(seqs(&place), [13]);
    assert_eq!(snapshot::list(&place, 7).unwrap(), []);
    assert!(dir.path().join("snapshots/p00000/notes.txt").exists());
}

#[test]
fn damaged_snapshots_go_and_do_not_count_among_those_that_stay() {
    let place = Place::memory().unwrap();
    let partition = small();
    let mut runs = run(key("c", 3));
    for _ in 0..4 {
        commit(&partition, vec![step(&mut runs, &["x"])]);
        snapshot::write(&partition.view(), at(1), &place).unwrap();
    }
    let seqs = || -> Vec<_> {
        snapshot::list(&place, 0).unwrap().into_iter().map(|(seq, _)| seq).collect()
    };
    assert_eq!(seqs(), [12, 11, 10, 9]);
    place.damage(&snapshot::path(0, 11), 333).unwrap();
    assert_eq!(snapshot::retain(&place, 0, 2).unwrap(), [12, 10]);
    assert_eq!(seqs(), [12, 10]);
    for seq in [12, 10] {
        place.damage(&snapshot::path(0, seq), 333).unwrap();
    }
    assert_eq!(snapshot::retain(&place, 0, 2).unwrap(), Vec::<u64>::new());
    assert_eq!(seqs(), [12, 10], "what is left is for people to look at");
}

#[test]
fn a_load_that_a_crash_takes_back_left_nothing() {
    let (_dir, place) = place();
    let written = snapshot::write(&small().view(), at(1), &place).unwrap();
    let file = snapshot::path(0, written.seq);
    let partition = Store::memory(references).partition(0).unwrap();
    snapshot::restore(&place, &file, &partition, &mut fold).unwrap();
    assert_eq!(partition.applied(), written.seq);
    partition.revert_to(written.seq - 1).unwrap();
    assert_eq!(partition.applied(), 0);
    assert!(partition.is_empty().unwrap());
}

#[test]
fn snapshots_are_written_from_inside_a_runtime_too() {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        let (_dir, place) = place();
        let written = snapshot::write(&small().view(), at(1), &place).unwrap();
        snapshot::verify(&place, &snapshot::path(0, written.seq)).unwrap();
    });
}

/// Files that every later version reads, or refuses, as this one does.
fn fixtures() -> (std::path::PathBuf, Place) {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../history-tests/fixtures/snapshot");
    let place = Place::open(dir.to_str().unwrap()).unwrap();
    (dir, place)
}

#[test]
fn a_snapshot_of_the_first_format_is_read_for_ever() {
    let (_, place) = fixtures();
    let written = snapshot::verify(&place, "whole.snap").unwrap();
    assert_eq!((written.partition, written.seq, written.time), (0, 8, at(1)));
    assert_eq!((written.entities, written.items, written.blobs), (2, 3, 1));
    let partition = Store::memory(references).partition(0).unwrap();
    let mut items = Vec::new();
    snapshot::restore(&place, "whole.snap", &partition, &mut |key, of| {
        let of: Vec<_> = of.map(|item| item.unwrap().1).collect();
        let summary = Summary { items: of.len() as u64, ..run(key.clone()) };
        items.push((key.clone(), of));
        Ok(summary)
    })
    .unwrap();
    items.sort();
    assert_eq!((items[0].0.clone(), items[0].1.len()), (key("a", 1), 2));
    assert_eq!((items[1].0.clone(), items[1].1.len()), (key("b", 2), 1));
    let digest = blake3::hash(b"a payload in two parts");
    assert!(items[0].1[0].ends_with(format!("\nblob:{digest}").as_bytes()));
    assert!(items[0].1[1].ends_with(b"\ny"));
    let blob = partition.blob(digest.as_bytes()).unwrap().unwrap();
    assert_eq!(&*blob, b"a payload in two parts");
}

#[test]
fn damaged_snapshots_are_refused_for_ever() {
    let (_, place) = fixtures();
    let checks = [
        ("torn-in-footer.snap", "it ends inside a frame"),
        ("without-footer.snap", "it ends before its footer"),
        ("flipped-bit.snap", "the checksum does not match"),
        ("length-beyond.snap", "a frame longer than any"),
        ("empty.snap", "it ends before its footer"),
        ("footer-counts.snap", "the footer counts other contents"),
        ("part-first.snap", "it does not start with a header"),
        ("behind-footer.snap", "a frame after the footer"),
        ("other-payload.snap", "a payload with another digest"),
    ];
    for (file, says) in checks {
        let error = snapshot::verify(&place, file).unwrap_err();
        assert!(matches!(&error, Error::Corrupt(text) if text.contains(says)), "{file}: {error}");
    }
    let error = snapshot::verify(&place, "format-2.snap").unwrap_err();
    assert!(matches!(&error, Error::Invalid(text) if text.contains("format 2")), "{error}");
}

/// Wrote the fixtures, once. They are never written again: a new format gets new files.
#[test]
#[ignore = "fixtures are append-only"]
fn write_the_fixtures() {
    let (dir, place) = fixtures();
    let file = snapshot::path(0, 8);
    snapshot::write(&small().view(), at(1), &place).unwrap();
    let whole = fs::read(dir.join(&file)).unwrap();
    fs::remove_dir_all(dir.join("snapshots")).unwrap();
    let mut frames = Vec::new();
    let mut rest = whole.as_slice();
    while let Some(length) = rest.first_chunk::<4>() {
        let (frame, more) = rest.split_at(8 + u32::from_le_bytes(*length) as usize);
        frames.push(frame.to_vec());
        rest = more;
    }
    let sealed = |message: &[u8]| {
        let length = u32::try_from(message.len()).unwrap().to_le_bytes();
        [&length[..], &crc32c::crc32c(message).to_le_bytes(), message].concat()
    };
    let edited = |frame: usize, from: &[u8], to: &[u8]| {
        let mut message = frames[frame][8..].to_vec();
        let found = message.windows(from.len()).rposition(|window| window == from).unwrap();
        message[found..found + from.len()].copy_from_slice(to);
        let mut all = frames.clone();
        all[frame] = sealed(&message);
        all.concat()
    };
    let write = |name: &str, bytes: &[u8]| {
        assert!(!dir.join(name).exists(), "{name} is for ever");
        fs::write(dir.join(name), bytes).unwrap();
    };
    let footer = whole.len() - frames.last().unwrap().len();
    let mut flipped = whole.clone();
    flipped[footer / 2] ^= 4;
    let mut beyond = whole.clone();
    beyond[3] ^= 0x80;
    write("whole.snap", &whole);
    write("torn-in-footer.snap", &whole[..whole.len() - 1]);
    write("without-footer.snap", &whole[..footer]);
    write("flipped-bit.snap", &flipped);
    write("length-beyond.snap", &beyond);
    write("empty.snap", b"");
    write("footer-counts.snap", &edited(frames.len() - 1, &[0x08, 2], &[0x08, 3]));
    write("part-first.snap", &frames[1..].concat());
    write("behind-footer.snap", &[whole.as_slice(), &frames[1]].concat());
    write("other-payload.snap", &edited(1, b"two parts", b"TWO parts".get(..9).unwrap()));
    write("format-2.snap", &edited(0, &[0x08, 1], &[0x08, 2]));
}

#[test]
fn a_load_that_was_cut_off_is_nothing_after_a_restart() {
    let (_objects, place) = place();
    let written = snapshot::write(&small().view(), at(1), &place).unwrap();
    let file = snapshot::path(0, written.seq);
    let dir = tempfile::tempdir().unwrap();
    let copy = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path(), &Options::new(references)).unwrap();
    let partition = store.partition(0).unwrap();
    let mut crash_after_first = |key: &RunKey, items: Items| {
        // What a process that ends here leaves on disk.
        copy_dir(dir.path(), &copy.path().join("store"));
        fold(key, items)
    };
    snapshot::restore(&place, &file, &partition, &mut crash_after_first).unwrap();
    let store = Store::open(&copy.path().join("store"), &Options::new(references)).unwrap();
    let partition = store.partition(0).unwrap();
    assert_eq!(partition.applied(), 0);
    snapshot::restore(&place, &file, &partition, &mut fold).unwrap();
}

fn copy_dir(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_dir(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}
