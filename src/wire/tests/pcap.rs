//! Capture files of both byte orders and resolutions, damaged ones, and what is written.

use proptest::prelude::*;

use crate::wire::pcap::{PcapError, RECORD_LEN_MAX, Reader, Resolution, Writer};

/// A file with a header of these words and records of (seconds, fraction, wire length, data).
fn file(big_endian: bool, magic: u32, link_type: u32, records: &[(u32, u32, u32, &[u8])]) -> Vec<u8> {
    let word = |value: u32| if big_endian { value.to_be_bytes() } else { value.to_le_bytes() };
    let half = |value: u16| if big_endian { value.to_be_bytes() } else { value.to_le_bytes() };
    let mut file = [word(magic).to_vec(), half(2).to_vec(), half(4).to_vec()].concat();
    file.extend([0, 0, 65_535, link_type].into_iter().flat_map(word));
    for &(seconds, fraction, wire_len, data) in records {
        file.extend([seconds, fraction, data.len() as u32, wire_len].into_iter().flat_map(word));
        file.extend(data);
    }
    file
}

/// All records, or the error that ended them, as text.
fn read(file: &[u8]) -> Result<Vec<(u64, u32, Vec<u8>)>, PcapError> {
    let mut reader = Reader::new(file)?;
    let mut records = vec![];
    while let Some(record) = reader.next_record()? {
        assert_eq!(record.is_cut(), record.data.len() < record.frame_len as usize);
        records.push((record.timestamp_ns, record.frame_len, record.data.to_vec()));
    }
    Ok(records)
}

#[test]
fn both_byte_orders_and_resolutions_are_read() {
    for big_endian in [false, true] {
        for (magic, nanos) in [(0xA1B2_C3D4, 5_000), (0xA1B2_3C4D, 5)] {
            let file = file(big_endian, magic, 1, &[(1, 5, 3, &[1, 2, 3]), (0xFFFF_FFFF, 0, 60, &[9])]);
            let expected = [(1_000_000_000 + nanos, 3, vec![1, 2, 3]), (4_294_967_295_000_000_000, 60, vec![9])];
            assert_eq!(read(&file).unwrap(), expected);
        }
    }
    // The length of a frame check sequence may stand in the upper half of the link type.
    assert!(read(&file(true, 0xA1B2_C3D4, 0x4400_0001, &[])).unwrap().is_empty());
}

#[test]
fn other_files_are_refused_for_their_reason() {
    let message = |file: &[u8]| read(file).unwrap_err().to_string();
    let mut pcapng = vec![0x0A, 0x0D, 0x0D, 0x0A];
    pcapng.extend([0; 24]);
    assert!(matches!(read(&pcapng), Err(PcapError::Pcapng)));
    assert!(message(&pcapng).contains("editcap -F pcap"));
    assert!(matches!(read(&[]), Err(PcapError::HeaderTruncated(0))));
    assert!(matches!(read(b"PK\x03\x04 and so on, more than a header"), Err(PcapError::Magic([0x50, 0x4B, 3, 4]))));
    assert!(matches!(read(b"PK\x03\x04"), Err(PcapError::Magic(_))));
    let good = file(false, 0xA1B2_C3D4, 1, &[]);
    for len in 4..24 {
        assert!(matches!(read(&good[..len]), Err(PcapError::HeaderTruncated(found)) if found == len));
    }
    assert!(message(&file(false, 0xA1B2_C3D4, 113, &[])).contains("link type 113 (Linux cooked"));
    assert!(message(&file(true, 0xA1B2_C3D4, 147, &[])).contains("147 (unknown)"));
    for big_endian in [false, true] {
        let mut old = file(big_endian, 0xA1B2_C3D4, 1, &[]);
        old[if big_endian { 7 } else { 6 }] = 3;
        assert!(matches!(read(&old), Err(PcapError::Version(2, 3))));
    }
}

#[test]
fn damage_is_reported_with_its_place() {
    let good = file(false, 0xA1B2_C3D4, 1, &[(0, 0, 4, &[1; 4]), (0, 0, 5, &[2; 5])]);
    assert_eq!(good.len(), 24 + 20 + 21);
    for len in 24..good.len() {
        match (len, read(&good[..len])) {
            (24, Ok(records)) => assert_eq!(records.len(), 0),
            (44, Ok(records)) => assert_eq!(records.len(), 1),
            (_, Err(PcapError::RecordTruncated { record, offset, needed, len: left })) => {
                let (number, start, data_len) = if len < 44 { (1, 24, 4) } else { (2, 44, 5) };
                let in_header = len - start < 16;
                assert_eq!((record, offset), (number, start as u64));
                assert_eq!(needed, if in_header { 16 } else { data_len });
                assert_eq!(left, len - start - if in_header { 0 } else { 16 });
            }
            (_, other) => panic!("{len} bytes: {other:?}"),
        }
    }
    let mut absurd = good.clone();
    absurd[52..56].copy_from_slice(&(RECORD_LEN_MAX + 1).to_le_bytes());
    let error = read(&absurd).unwrap_err();
    assert!(matches!(error, PcapError::RecordLength { record: 2, offset: 44, len: 262_145 }), "{error}");
    absurd[52..56].fill(0xFF);
    assert!(read(&absurd).unwrap_err().to_string().starts_with("record 2 at byte 44 has length 4294967295"));
}

#[test]
fn the_writer_refuses_what_a_file_cannot_hold() {
    let mut writer = Writer::new(vec![], Resolution::Nanos).unwrap();
    assert!(writer.write(u64::MAX, &[]).unwrap_err().to_string().contains("2106"));
    assert!(writer.write(0, &vec![0; RECORD_LEN_MAX as usize + 1]).unwrap_err().to_string().contains("262145 bytes"));
    writer.write(0, &vec![0; RECORD_LEN_MAX as usize]).unwrap();
    assert_eq!(writer.finish().unwrap().len(), 24 + 16 + RECORD_LEN_MAX as usize);
}

#[test]
fn a_written_file_has_these_bytes() {
    let mut writer = Writer::new(vec![], Resolution::Micros).unwrap();
    writer.write(3_000_007_999, &[0xAB]).unwrap();
    let expected = file(false, 0xA1B2_C3D4, 1, &[(3, 7, 1, &[0xAB])]);
    let mut written = writer.finish().unwrap();
    written[16..20].copy_from_slice(&65_535u32.to_le_bytes());
    assert_eq!(written, expected);
}

/// A source that gives one byte at a time, and is interrupted before each.
struct Drip<'a>(&'a [u8], bool);

impl std::io::Read for Drip<'_> {
    fn read(&mut self, buf: &mut [u8]) -> std::io::Result<usize> {
        self.1 = !self.1;
        if self.1 {
            return Err(std::io::ErrorKind::Interrupted.into());
        }
        let len = buf.len().min(1);
        self.0.read(&mut buf[..len])
    }
}

proptest! {
    #[test]
    fn what_is_written_is_read(
        records in prop::collection::vec((0..4_294_967_295_999_999_999u64, prop::collection::vec(any::<u8>(), 0..100)), 0..10),
    ) {
        for (resolution, unit) in [(Resolution::Micros, 1_000), (Resolution::Nanos, 1)] {
            let mut writer = Writer::new(vec![], resolution).unwrap();
            for (timestamp_ns, frame) in &records {
                writer.write(*timestamp_ns, frame).unwrap();
            }
            let file = writer.finish().unwrap();
            let expected: Vec<_> = records
                .iter()
                .map(|(timestamp_ns, frame)| (timestamp_ns / unit * unit, frame.len() as u32, frame.clone()))
                .collect();
            prop_assert_eq!(&read(&file).unwrap(), &expected);
            let mut slow = Reader::new(Drip(&file, false)).unwrap();
            let mut count = 0;
            while let Some(record) = slow.next_record().unwrap() {
                prop_assert_eq!(record.data, &expected[count].2[..]);
                count += 1;
            }
            prop_assert_eq!(count, expected.len());
        }
    }

    #[test]
    fn any_bytes_are_read_without_panic(
        start in any::<bool>(), bytes in prop::collection::vec(any::<u8>(), 0..200),
    ) {
        let mut data = if start { file(false, 0xA1B2_C3D4, 1, &[]) } else { vec![] };
        data.extend(bytes);
        if let Ok(records) = read(&data) {
            let len: usize = records.iter().map(|(_, _, data)| 16 + data.len()).sum();
            prop_assert_eq!(24 + len, data.len());
        }
    }
}
