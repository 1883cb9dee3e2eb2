use std::path::Path;

use bytes::Bytes;
use proptest::prelude::*;

use super::decode::Reader;
use super::frame::FRAME_BYTES_MAX;
use crate::error::Error;

fn whole() -> Vec<u8> {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../history-tests/fixtures");
    std::fs::read(fixtures.join("snapshot/whole.snap")).unwrap()
}

fn read(pieces: &[&[u8]]) -> Result<super::Written, Error> {
    let pieces = pieces.iter().map(|piece| Ok(Bytes::copy_from_slice(piece)));
    Reader::new("x.snap", pieces.collect::<Vec<_>>().into_iter()).finish()
}

#[test]
fn it_does_not_matter_in_which_pieces_a_file_arrives() {
    let whole = whole();
    let expect = read(&[&whole]).unwrap();
    for length in [1, 2, 7, 64, 1_000] {
        let pieces: Vec<_> = whole.chunks(length).collect();
        assert_eq!(read(&pieces).unwrap(), expect, "pieces of {length}");
    }
}

#[test]
fn every_truncation_is_refused() {
    let whole = whole();
    for length in 0..whole.len() {
        let result = read(&[&whole[..length]]);
        assert!(matches!(result, Err(Error::Corrupt(_))), "cut at {length}: {result:?}");
    }
}

#[test]
fn every_flipped_bit_is_refused() {
    let mut bytes = whole();
    for bit in 0..bytes.len() * 8 {
        bytes[bit / 8] ^= 1 << (bit % 8);
        let result = read(&[&bytes]);
        assert!(matches!(result, Err(Error::Corrupt(_))), "bit {bit}: {result:?}");
        bytes[bit / 8] ^= 1 << (bit % 8);
    }
}

#[test]
fn no_frame_is_larger_than_what_is_read() {
    assert!(super::frame(&vec![0; FRAME_BYTES_MAX + 1]).is_err());
    assert!(super::frame(&vec![0; FRAME_BYTES_MAX]).is_ok());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_message_with_the_right_checksum_is_an_error_or_a_snapshot_and_not_a_panic(
        messages in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..64), 0..4),
        headed in any::<bool>(),
    ) {
        let mut file = Vec::new();
        if headed {
            let header = super::header_frame(reflux_proto::reflux::v1::Header {
                format: 1,
                ..Default::default()
            });
            file.extend_from_slice(&header.unwrap());
        }
        for message in &messages {
            file.extend_from_slice(&super::frame(message).unwrap());
        }
        let _no_panic = read(&[&file]);
    }
}
