//! Backups: whole, torn, damaged, restored.
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

use reflux_store::backup::{MANIFEST, Manifest, backup, restore};
use reflux_store::{Error, Place, Store, View, snapshot};
use support::*;

/// Three partitions, the last one empty.
fn node() -> Store {
    let store = Store::memory(references);
    for number in 0..20_u128 {
        let partition = store.partition(u32::try_from(number % 2).unwrap()).unwrap();
        let mut run = run(key(&format!("run {number}"), number));
        let change = step(&mut run, &["x", "y"]);
        commit(&partition, vec![change]);
    }
    store.partition(2).unwrap();
    store
}

fn views(store: &Store) -> Vec<View> {
    (0..3).map(|id| store.partition(id).unwrap().view()).collect()
}

fn url(dir: &Path, name: &str) -> String {
    dir.join(name).display().to_string()
}

#[test]
fn a_backup_is_restored_as_the_snapshots_of_a_new_node() {
    let dir = tempfile::tempdir().unwrap();
    let store = node();
    for backup_to in [url(dir.path(), "plain"), format!("file://{}", url(dir.path(), "by url"))] {
        let written = backup(&views(&store), at(9), &backup_to).unwrap();
        assert_eq!((written.time, written.partitions.len()), (at(9).0, 3));
        let data = dir.path().join(format!("data {}", backup_to.len()));
        assert_eq!(restore(&backup_to, &data).unwrap(), written);
        let names: Vec<_> =
            fs::read_dir(&data).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(names, ["snapshots"]);
        let place = Place::open(data.to_str().unwrap()).unwrap();
        let new = Store::memory(references);
        for partition in &written.partitions {
            let id = partition.partition;
            assert_eq!(snapshot::list(&place, id).unwrap(), [(0, snapshot::path(id, 0))]);
            let copy = new.partition(id).unwrap();
            snapshot::restore(&place, &snapshot::path(id, 0), &copy, &mut fold).unwrap();
            assert_eq!(copy.applied(), 0);
            let hash = copy.state_hash().unwrap();
            assert_eq!(hash, store.partition(id).unwrap().state_hash().unwrap());
            assert_eq!(blake3::Hash::from_bytes(hash).to_string(), partition.state_hash);
        }
        // Its own log starts at record 1.
        let partition = new.partition(0).unwrap();
        add(&partition, run(key("new", 99)));
        assert_eq!(partition.applied(), 1);
    }
}

#[test]
fn a_backup_without_its_manifest_is_none() {
    let dir = tempfile::tempdir().unwrap();
    let backup_to = url(dir.path(), "backup");
    backup(&views(&node()), at(9), &backup_to).unwrap();
    fs::remove_file(dir.path().join("backup").join(MANIFEST)).unwrap();
    let error = restore(&backup_to, &dir.path().join("data")).unwrap_err();
    assert!(matches!(&error, Error::NotFound(text) if text.contains("not finished")), "{error}");
    let error = restore(&url(dir.path(), "nowhere"), &dir.path().join("data")).unwrap_err();
    assert!(matches!(error, Error::NotFound(_)), "{error}");
    assert!(!dir.path().join("data").exists());
    assert!(!dir.path().join("nowhere").exists());
}

#[test]
fn nothing_is_written_over() {
    let dir = tempfile::tempdir().unwrap();
    let backup_to = url(dir.path(), "backup");
    backup(&views(&node()), at(9), &backup_to).unwrap();
    let error = backup(&views(&node()), at(9), &backup_to).unwrap_err();
    assert!(matches!(&error, Error::Invalid(text) if text.contains("empty place")), "{error}");
    let data = dir.path().join("data");
    fs::create_dir(&data).unwrap();
    fs::write(data.join("mine"), "").unwrap();
    let error = restore(&backup_to, &data).unwrap_err();
    assert!(matches!(&error, Error::Invalid(text) if text.contains("not empty")), "{error}");
    fs::remove_file(data.join("mine")).unwrap();
    restore(&backup_to, &data).unwrap();
}

#[test]
fn a_file_that_is_not_what_the_manifest_says_is_refused() {
    let check = |edit: &dyn Fn(&Path), says: &str| {
        let dir = tempfile::tempdir().unwrap();
        let backup_to = url(dir.path(), "backup");
        backup(&views(&node()), at(9), &backup_to).unwrap();
        edit(&dir.path().join("backup"));
        let data = dir.path().join("data");
        let error = restore(&backup_to, &data).unwrap_err();
        assert!(error.to_string().contains(says), "{says}: {error}");
        assert!(!data.join("snapshots").exists());
    };
    let edit_manifest = |dir: &Path, edit: &dyn Fn(&mut Manifest)| {
        let path = dir.join(MANIFEST);
        let mut manifest = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        edit(&mut manifest);
        fs::write(path, serde_json::to_vec(&manifest).unwrap()).unwrap();
    };
    let swap = |dir: &Path| {
        fs::rename(dir.join("p00000.snap"), dir.join("x")).unwrap();
        fs::rename(dir.join("p00001.snap"), dir.join("p00000.snap")).unwrap();
        fs::rename(dir.join("x"), dir.join("p00001.snap")).unwrap();
    };
    let flip = |dir: &Path| {
        let mut bytes = fs::read(dir.join("p00001.snap")).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        fs::write(dir.join("p00001.snap"), bytes).unwrap();
    };
    check(&swap, "not the file that the manifest names");
    check(&flip, "the checksum does not match");
    check(&|dir| fs::remove_file(dir.join("p00001.snap")).unwrap(), "no such file");
    check(&|dir| fs::write(dir.join(MANIFEST), "{\"format\":").unwrap(), "use another backup");
    check(&|dir| edit_manifest(dir, &|m| m.format = 2), "format 2");
    check(&|dir| edit_manifest(dir, &|m| m.partitions[1].seq += 1), "not the file");
    check(&|dir| edit_manifest(dir, &|m| m.partitions[1].blake3.insert(0, '0')), "not the file");
    for name in ["../p00001.snap", "/etc/passwd", "snapshots/../../x", ""] {
        check(&|dir| edit_manifest(dir, &|m| m.partitions[1].file = name.into()), "unexpected");
    }
}

#[test]
fn a_url_that_cannot_be_one_says_so() {
    let dir = tempfile::tempdir().unwrap();
    for wrong in ["nonsense://x/y", "file://relative", "s3:// "] {
        let error = restore(wrong, &dir.path().join("data")).unwrap_err();
        assert!(matches!(error, Error::Invalid(_)), "{wrong}: {error:?}");
    }
}
