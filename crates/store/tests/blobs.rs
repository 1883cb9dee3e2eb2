//! Payloads by digest: parts, limits, collection.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout
)]

mod support;

use bytes::Bytes;
use reflux_proto::reflux::v1::Blob;
use reflux_store::{
    BLOB_BYTES_MAX, BLOB_GRACE_RECORDS, BLOB_PART_BYTES_MAX, Changes, Digest, Error, Partition,
};
use support::*;

fn payload(length: usize) -> (Digest, Bytes) {
    let bytes: Vec<u8> = (0..length).map(|at| (at * 31 % 251).to_le_bytes()[0]).collect();
    (*blake3::hash(&bytes).as_bytes(), bytes.into())
}

fn part(of: &(Digest, Bytes), from: usize, to: usize) -> Blob {
    Blob {
        digest: Bytes::copy_from_slice(&of.0),
        offset: from as u64,
        length: of.1.len() as u64,
        bytes: of.1.slice(from..to),
    }
}

fn put(partition: &Partition, blobs: Vec<Blob>) -> Result<(), Error> {
    let applied = partition.applied() + 1;
    partition.commit(Changes { applied, blobs, ..Changes::default() })
}

#[test]
fn a_payload_is_there_when_all_its_parts_are() {
    let one = payload(1_000);
    let arrivals: &[&[(usize, usize)]] = &[
        &[(0, 1_000)],
        &[(0, 400), (400, 1_000)],
        &[(700, 1_000), (0, 300), (300, 700)],
        &[(500, 1_000), (0, 600)],
        &[(0, 400), (0, 400), (300, 1_000)],
        &[(0, 800), (200, 300), (600, 1_000)],
        &[(0, 100), (0, 1_000)],
    ];
    for arrival in arrivals {
        on_both(|partition| {
            let (last, before) = arrival.split_last().unwrap();
            for (from, to) in before {
                put(&partition, vec![part(&one, *from, *to)]).unwrap();
                assert_eq!(partition.blob(&one.0).unwrap(), None, "{arrival:?}");
                assert!(!partition.has_blob(&one.0).unwrap());
            }
            put(&partition, vec![part(&one, last.0, last.1)]).unwrap();
            assert_eq!(partition.blob(&one.0).unwrap().as_ref(), Some(&one.1), "{arrival:?}");
            assert!(partition.has_blob(&one.0).unwrap());
            assert!(!partition.has_blob(&[7; 32]).unwrap());
        });
    }
}

#[test]
fn parts_may_come_in_one_commit_and_an_empty_payload_is_one() {
    on_both(|partition| {
        let (one, none) = (payload(100), payload(0));
        let parts = vec![part(&one, 0, 60), part(&one, 0, 30), part(&one, 60, 100)];
        put(&partition, parts).unwrap();
        put(&partition, vec![part(&none, 0, 0)]).unwrap();
        assert_eq!(partition.blob(&one.0).unwrap(), Some(one.1));
        assert_eq!(partition.blob(&none.0).unwrap(), Some(Bytes::new()));
    });
}

#[test]
fn a_part_that_cannot_be_right_is_refused() {
    on_both(|partition| {
        let one = payload(100);
        let check = |edit: &dyn Fn(&mut Blob), says: &str| {
            let mut blob = part(&one, 0, 100);
            edit(&mut blob);
            let Err(Error::Invalid(text)) = put(&partition, vec![blob]) else {
                panic!("{says}: expected a refusal")
            };
            assert!(text.contains(says), "{text}");
        };
        check(&|blob| blob.digest = Bytes::from_static(b"short"), "has not 32 bytes");
        check(&|blob| blob.length = 99, "beyond its end");
        check(&|blob| blob.offset = 1, "beyond its end");
        check(&|blob| blob.offset = u64::MAX, "beyond its end");
        check(&|blob| blob.length = BLOB_BYTES_MAX + 1, "pass a file");
        check(&|blob| blob.bytes = vec![0; BLOB_PART_BYTES_MAX + 1].into(), "smaller ones");
        put(&partition, vec![part(&one, 0, 50)]).unwrap();
        check(&|blob| blob.length = 101, "do not agree");
    });
}

#[test]
fn bytes_with_another_digest_are_not_served() {
    on_both(|partition| {
        let mut one = payload(100);
        one.0 = [1; 32];
        put(&partition, vec![part(&one, 0, 100)]).unwrap();
        assert!(matches!(partition.blob(&one.0), Err(Error::Corrupt(_))));
    });
}

#[test]
fn a_payload_goes_when_no_run_refers_to_it_and_it_is_not_young() {
    on_both(|partition| {
        let (wanted, idle, renewed) = (payload(100), payload(200), payload(300));
        for one in [&wanted, &idle, &renewed] {
            put(&partition, vec![part(one, 0, one.1.len())]).unwrap();
        }
        let text = format!("blob:{}", blake3::Hash::from_bytes(wanted.0));
        let mut owner = run(key("owner", 1));
        let change = step(&mut owner, &[&text]);
        commit(&partition, vec![change]);
        assert_eq!(partition.collect(&partition.view()).unwrap(), 0);
        let later = |records: u64| {
            let applied = partition.applied() + records;
            partition.commit(Changes { applied, ..Changes::default() }).unwrap();
        };
        later(BLOB_GRACE_RECORDS);
        let view = partition.view();
        // A record after the view brings it again.
        put(&partition, vec![part(&renewed, 0, 300)]).unwrap();
        let hash = partition.state_hash().unwrap();
        assert_eq!(partition.collect(&view).unwrap(), 1);
        assert_eq!(partition.state_hash().unwrap(), hash);
        let has = |one: &(Digest, Bytes)| partition.has_blob(&one.0).unwrap();
        assert!(has(&wanted) && !has(&idle) && has(&renewed));
        retire(&partition, &[&owner.key]);
        later(BLOB_GRACE_RECORDS);
        assert_eq!(partition.collect(&partition.view()).unwrap(), 2);
        assert!(!has(&wanted) && !has(&renewed));
    });
}
