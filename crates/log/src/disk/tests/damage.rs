//! Damage is found and refused, a torn tail is not damage, and nothing is changed before it is clear
//! which of the two it is.

use super::*;

/// Three segments, two partitions, epochs, a trim and a closing batch.
fn written() -> FaultyFiles {
    let files = FaultyFiles::new();
    let log = manual(&files);
    let (mut p, mut q) = (Writer::new(&log, P), Writer::new(&log, Q));
    for number in 0..14 {
        p.write(&vec![b'a' + number; 500]).unwrap();
        q.write(&[b'A' + number]).unwrap();
    }
    log.trim(P, Seq(2)).unwrap();
    log.idle();
    drop(log);
    assert!(files.files().len() >= 3);
    files.crash(0)
}

fn contents(log: &DiskLog) -> (Vec<String>, Vec<String>, Seq, Seq) {
    let tails = (log.tail(P).unwrap(), log.tail(Q).unwrap());
    (records(log, P, 3), records(log, Q, 1), tails.0, tails.1)
}

#[test]
fn every_flipped_bit_is_found_or_harmless() {
    let files = written();
    let expected = contents(&manual(&files.kill()));
    let (mut found, mut harmless) = (0, 0);
    for (name, bytes) in files.files() {
        // every bit of what was written, and some of the zeroes behind it
        let used = bytes.iter().rposition(|byte| *byte != 0).unwrap_or(0) + 1;
        let step = if used > 2500 { 7 } else { 1 };
        let used_bits = (0..used as u64 * 8).step_by(step);
        let bits = used_bits.chain((used as u64 * 8..bytes.len() as u64 * 8).step_by(997));
        for bit in bits {
            let files = files.kill();
            assert!(files.flip(&name, bit));
            let before = files.files();
            match DiskLog::manual(Arc::new(files.clone()), tiny_options(1)) {
                Ok(log) => {
                    assert_eq!(contents(&log), expected, "bit {bit} of {name}");
                    harmless += 1;
                }
                Err(error) => {
                    assert!(matches!(error.kind(), Kind::Corrupt | Kind::Invalid), "{error}");
                    assert_eq!(files.files(), before, "refused, but changed: bit {bit} of {name}");
                    found += 1;
                }
            }
        }
    }
    assert!(found > 10 * harmless, "{found} found, {harmless} harmless");
}

#[test]
fn damage_is_reported_with_its_place() {
    let files = written();
    // the first batch starts behind the segment's header of 64 bytes
    files.flip(&segment::name(1), (64 + 20) * 8);
    let error = refused(&files).to_string();
    assert!(
        error.starts_with(
            "00000000000000000001.log at byte 64: a bad batch is followed by batch 2 at byte "
        ),
        "{error}"
    );
    assert!(error.ends_with("restore the log from a backup or another replica"), "{error}");
}

#[test]
fn damage_in_a_later_segment_is_found() {
    let files = written();
    files.flip(&segment::name(2), 64 * 8);
    let error = refused(&files);
    assert!(matches!(&error, Error::Corrupt { file, .. } if *file == segment::name(2)), "{error}");
}

#[test]
fn a_segment_that_is_cut_short_is_damage_unless_it_is_the_last() {
    let files = written();
    let mut images = files.files();
    images.get_mut(&segment::name(1)).unwrap().truncate(1000);
    let error = refused(&FaultyFiles::with_files(images));
    assert_eq!(error.kind(), Kind::Corrupt);
}

#[test]
fn a_missing_segment_is_damage() {
    let check = |gone: &[u64], expect: &str| {
        let mut images = written().files();
        gone.iter().for_each(|number| drop(images.remove(&segment::name(*number))));
        let error = refused(&FaultyFiles::with_files(images));
        assert_eq!(error.kind(), Kind::Corrupt);
        assert!(error.to_string().contains(expect), "{error}");
    };
    check(&[1], "starts with record");
    check(&[2], "the segment is missing");
}

#[test]
fn a_torn_tail_is_dropped() {
    let files = FaultyFiles::new();
    let log = manual(&files);
    let mut writer = Writer::new(&log, P);
    writer.write(b"whole").unwrap();
    let whole = lock(&log.shared.committer).end();
    writer.write(&[b't'; 900]).unwrap();
    drop(log);
    for torn_at in (whole..whole + 900).step_by(50) {
        let mut images = files.files();
        images.get_mut(&segment::name(1)).unwrap()[torn_at as usize..].fill(0);
        let log = manual(&FaultyFiles::with_files(images));
        assert_eq!(records(&log, P, 1), ["whole"]);
        let mut writer = Writer::new(&log, P);
        assert_eq!(writer.write(b"again"), Ok(Seq(2)));
    }
}

#[test]
fn a_record_that_imitates_a_later_batch_does_not_turn_a_torn_tail_into_damage() {
    let torn = |salt: fn(u64) -> u64| {
        let files = FaultyFiles::new();
        let log = manual(&files);
        let mut writer = Writer::new(&log, P);
        writer.write(b"whole").unwrap();
        let salt = salt(lock(&log.shared.committer).salt());
        // batches that are perfect, but for the salt if that is wrong
        let mut imitation = vec![0; 7];
        for number in 0..20 {
            let mut draft = format::Draft::default();
            draft.clear();
            imitation.extend_from_slice(draft.seal(salt, number));
        }
        let torn_at = lock(&log.shared.committer).end() as usize;
        writer.write(&imitation).unwrap();
        drop(log);
        let mut images = files.files();
        images.get_mut(&segment::name(1)).unwrap()[torn_at..][..16].fill(0);
        FaultyFiles::with_files(images)
    };
    assert_eq!(records(&manual(&torn(|_| 0)), P, 1), ["whole"]);
    // what an author who knew the salt could do
    assert_eq!(refused(&torn(|salt| salt)).kind(), Kind::Corrupt);
}

#[test]
fn bytes_that_rot_while_the_log_is_open_are_found_by_a_read() {
    let files = FaultyFiles::new();
    let log = manual(&files);
    Writer::new(&log, P).write(b"fresh").unwrap();
    files.flip(&segment::name(1), (64 + 80) * 8);
    let error = log.read(P, Seq(1), 100).unwrap_err();
    assert_eq!(error.kind(), Kind::Corrupt);
}

#[test]
fn another_format_is_refused_as_such() {
    let mut images = written().files();
    let image = images.get_mut(&segment::name(1)).unwrap();
    image[8] = 2;
    let crc = crc32c::crc32c(&image[..60]);
    image[60..64].copy_from_slice(&crc.to_le_bytes());
    let error = refused(&FaultyFiles::with_files(images));
    assert!(matches!(error, Error::Version { found: 2, known: 1, .. }), "{error}");
}

#[test]
fn a_file_that_is_not_a_log_is_refused() {
    for content in [&b""[..], b"short", &[0; 4096], &[0xFF; 100]] {
        let images = [(segment::name(1), content.to_vec())].into();
        assert_eq!(refused(&FaultyFiles::with_files(images)).kind(), Kind::Corrupt);
    }
}

#[test]
fn other_files_in_the_directory_are_left_alone() {
    let images = [
        ("notes.txt".to_owned(), b"mine".to_vec()),
        ("1.log".to_owned(), b"mine".to_vec()),
        ("x.tmp".to_owned(), b"mine".to_vec()),
        (segment::name(2).replace(".log", ".tmp"), b"half".to_vec()),
    ];
    let files = FaultyFiles::with_files(images.into());
    drop(manual(&files));
    drop(manual(&files));
    let names: Vec<_> = files.files().into_keys().collect();
    assert_eq!(names, [segment::name(1), "1.log".into(), "notes.txt".into(), "x.tmp".into()]);
}
