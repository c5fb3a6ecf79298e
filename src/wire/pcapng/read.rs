//! The frames of a pcapng file, whoever wrote it (draft-ietf-opsawg-pcapng).

use super::{
    BYTE_ORDER, Direction, END, INTERFACE, INTERFACE_NAME, INTERFACE_RESOLUTION, LINK_TYPE_ETHERNET, PACKET,
    PACKET_FLAGS, SECTION,
};
use crate::wire::bytes;

/// A block that has a packet and neither its interface nor its time.
const SIMPLE_PACKET: u32 = 3;
/// How packets stood in old files.
const OLD_PACKET: u32 = 2;
const INTERFACE_OFFSET: u16 = 14;
/// Units of a second that timestamps count where nothing is said.
const MICROSECONDS: u8 = 6;
/// Type, length, and length again.
const BLOCK_MIN: usize = 12;
const NANOS_PER_SECOND: u128 = 1_000_000_000;

/// Why a file cannot be read. Offsets and lengths are in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PcapngError {
    /// It begins with something else.
    #[error("no pcapng file: it does not begin with a section header")]
    NoSection,
    /// A section says its byte order in no way that is known, or is of another version.
    #[error("the section header at byte {0} is damaged, or of another version than 1")]
    Section(u64),
    /// The file ends in a block.
    #[error("the block at byte {offset} is cut: {needed} bytes are needed, the file has {len} more")]
    Truncated {
        /// Where the block begins.
        offset: u64,
        /// How many bytes it needs.
        needed: usize,
        /// How many of them there are.
        len: usize,
    },
    /// A block's lengths cannot be true.
    #[error("the block at byte {offset} claims {len} bytes, so the file is damaged")]
    BlockLength {
        /// Where the block begins.
        offset: u64,
        /// The length that it claims.
        len: u32,
    },
    /// A packet is of an interface that there is not.
    #[error("the packet at byte {offset} is of interface {number}, which the file does not describe")]
    NoInterface {
        /// Where its block begins.
        offset: u64,
        /// The interface's number.
        number: u32,
    },
    /// A packet is no Ethernet frame.
    #[error("the packet at byte {offset} has link type {link_type}: ethernet, 1, is needed")]
    LinkType {
        /// Where its block begins.
        offset: u64,
        /// The number of the link type.
        link_type: u16,
    },
}

/// A frame of the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record<'a> {
    /// When it was captured, in nanoseconds since 1970; 0 if the file does not say.
    pub timestamp_ns: u64,
    /// Length of the frame on the wire in bytes.
    pub frame_len: u32,
    /// What was captured of it.
    pub data: &'a [u8],
    /// Name of the interface; empty if it has none.
    pub interface: &'a str,
    /// Which way it went, if the file says so.
    pub direction: Option<Direction>,
}

/// What a file has said of an interface.
#[derive(Clone, Copy, Debug)]
struct Described<'a> {
    name: &'a str,
    link_type: u16,
    frame_bytes_max: u32,
    resolution: u8,
    offset_s: i64,
}

/// Reads a file block by block.
#[derive(Clone, Debug)]
pub struct Reader<'a> {
    file: &'a [u8],
    at: usize,
    big_endian: bool,
    interfaces: Vec<Described<'a>>,
}

/// Whether a file begins as pcapng files do.
pub fn is_pcapng(file: &[u8]) -> bool {
    file.starts_with(&SECTION.to_be_bytes())
}

impl<'a> Reader<'a> {
    /// A reader of a whole file.
    ///
    /// # Errors
    /// It is something else.
    pub fn new(file: &'a [u8]) -> Result<Self, PcapngError> {
        if !is_pcapng(file) {
            return Err(PcapngError::NoSection);
        }
        Ok(Self { file, at: 0, big_endian: false, interfaces: Vec::new() })
    }

    /// The next frame; `None` at the end of the file. Nothing more comes after an error.
    ///
    /// # Errors
    /// The file is damaged from here on, or not of Ethernet frames.
    pub fn next_record(&mut self) -> Result<Option<Record<'a>>, PcapngError> {
        let result = self.find_record();
        if result.is_err() {
            self.at = self.file.len();
        }
        result
    }

    fn find_record(&mut self) -> Result<Option<Record<'a>>, PcapngError> {
        while self.at < self.file.len() {
            let offset = self.at as u64;
            let (kind, body) = self.block(offset)?;
            let cut = |needed| PcapngError::Truncated { offset, needed, len: body.len() };
            match kind {
                INTERFACE => {
                    let described = self.described(body).ok_or(cut(8))?;
                    self.interfaces.push(described);
                }
                PACKET | OLD_PACKET => {
                    let number = if kind == PACKET { self.word(body, 0) } else { u32::from(self.half(body, 0)) };
                    let len = self.word(body, 12) as usize;
                    let data = body.get(20..).and_then(|rest| rest.get(..len)).ok_or(cut(20 + len))?;
                    let interface = self.interface(offset, number)?;
                    let time = u64::from(self.word(body, 4)) << 32 | u64::from(self.word(body, 8));
                    let options = body.get(20 + len.next_multiple_of(4)..).unwrap_or_default();
                    let flags = self.options(options).find(|&(code, _)| code == PACKET_FLAGS);
                    return Ok(Some(Record {
                        timestamp_ns: interface.nanoseconds(time),
                        frame_len: self.word(body, 16),
                        data,
                        interface: interface.name,
                        direction: flags.and_then(|(_, flags)| direction(self.word(flags, 0))),
                    }));
                }
                SIMPLE_PACKET => {
                    let interface = self.interface(offset, 0)?;
                    let frame_len = self.word(body, 0);
                    let most = if interface.frame_bytes_max == 0 { u32::MAX } else { interface.frame_bytes_max };
                    let len = frame_len.min(most) as usize;
                    let data = body.get(4..).and_then(|rest| rest.get(..len)).ok_or(cut(4 + len))?;
                    let (interface, direction) = (interface.name, None);
                    return Ok(Some(Record { timestamp_ns: 0, frame_len, data, interface, direction }));
                }
                _ => {}
            }
        }
        Ok(None)
    }

    /// Type and body of the block that begins here; goes on behind it.
    fn block(&mut self, offset: u64) -> Result<(u32, &'a [u8]), PcapngError> {
        let rest = self.file.get(self.at..).unwrap_or_default();
        let cut = |needed| PcapngError::Truncated { offset, needed, len: rest.len() };
        if rest.len() < BLOCK_MIN {
            return Err(cut(BLOCK_MIN));
        }
        // Its number reads the same in both byte orders, so that each section may have its own.
        let is_section = is_pcapng(rest);
        if is_section {
            self.begin(rest).ok_or(PcapngError::Section(offset))?;
        }
        let (kind, len) = (self.word(rest, 0), self.word(rest, 4));
        let needed = len as usize;
        if needed < BLOCK_MIN || !needed.is_multiple_of(4) {
            return Err(PcapngError::BlockLength { offset, len });
        }
        let body = rest.get(8..needed - 4).filter(|_| needed <= rest.len()).ok_or(cut(needed))?;
        if self.word(rest, needed - 4) != len {
            return Err(PcapngError::BlockLength { offset, len });
        }
        self.at += needed;
        Ok((kind, body))
    }

    /// A new section has interfaces and a byte order of its own.
    fn begin(&mut self, block: &[u8]) -> Option<()> {
        self.big_endian = match bytes::array::<4>(block, 8) {
            order if u32::from_le_bytes(order) == BYTE_ORDER => false,
            order if u32::from_be_bytes(order) == BYTE_ORDER => true,
            _ => return None,
        };
        self.interfaces.clear();
        (self.half(block, 12) == 1).then_some(())
    }

    fn described(&self, body: &'a [u8]) -> Option<Described<'a>> {
        let mut described = Described {
            name: "",
            link_type: self.half(body, 0),
            frame_bytes_max: self.word(body, 4),
            resolution: MICROSECONDS,
            offset_s: 0,
        };
        for (code, value) in self.options(body.get(8..)?) {
            match code {
                INTERFACE_NAME => {
                    described.name = std::str::from_utf8(value).unwrap_or_default().trim_end_matches('\0')
                }
                INTERFACE_RESOLUTION => described.resolution = value.first().copied().unwrap_or(MICROSECONDS),
                INTERFACE_OFFSET => {
                    let seconds = bytes::array(value, 0);
                    described.offset_s =
                        if self.big_endian { i64::from_be_bytes(seconds) } else { i64::from_le_bytes(seconds) };
                }
                _ => {}
            }
        }
        Some(described)
    }

    fn interface(&self, offset: u64, number: u32) -> Result<Described<'a>, PcapngError> {
        let interface = self.interfaces.get(number as usize).ok_or(PcapngError::NoInterface { offset, number })?;
        match interface.link_type {
            LINK_TYPE_ETHERNET => Ok(*interface),
            link_type => Err(PcapngError::LinkType { offset, link_type }),
        }
    }

    /// Code and value of each option, up to one that is cut.
    fn options(&self, mut rest: &'a [u8]) -> impl Iterator<Item = (u16, &'a [u8])> {
        std::iter::from_fn(move || {
            let (code, len) = (self.half(rest, 0), usize::from(self.half(rest, 2)));
            let value = rest.get(4..)?.get(..len)?;
            rest = rest.get(4 + len.next_multiple_of(4)..).unwrap_or_default();
            (code != END).then_some((code, value))
        })
    }

    fn word(&self, bytes: &[u8], at: usize) -> u32 {
        let bytes = bytes::array(bytes, at);
        if self.big_endian { u32::from_be_bytes(bytes) } else { u32::from_le_bytes(bytes) }
    }

    fn half(&self, bytes: &[u8], at: usize) -> u16 {
        let bytes = bytes::array(bytes, at);
        if self.big_endian { u16::from_be_bytes(bytes) } else { u16::from_le_bytes(bytes) }
    }
}

impl Described<'_> {
    /// A timestamp as nanoseconds since 1970, as far as they fit.
    fn nanoseconds(&self, units: u64) -> u64 {
        let exponent = u32::from(self.resolution & 0x7F);
        let base: u128 = if self.resolution & 0x80 == 0 { 10 } else { 2 };
        // Units too small to matter.
        let per_second = base.checked_pow(exponent).unwrap_or(u128::MAX);
        let ns = (u128::from(units) * NANOS_PER_SECOND / per_second) as i128;
        let shifted = ns + i128::from(self.offset_s) * NANOS_PER_SECOND as i128;
        u64::try_from(shifted.max(0)).unwrap_or(u64::MAX)
    }
}

/// The lowest two bits of a packet's flags.
fn direction(flags: u32) -> Option<Direction> {
    match flags & 3 {
        1 => Some(Direction::In),
        2 => Some(Direction::Out),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::{Interface, Packet, Statistics, interface, packet, section, statistics};
    use super::*;

    fn read(file: &[u8]) -> Result<Vec<Record<'_>>, PcapngError> {
        let mut reader = Reader::new(file)?;
        let mut records = Vec::new();
        while let Some(record) = reader.next_record()? {
            records.push(record);
        }
        Ok(records)
    }

    fn written() -> Vec<u8> {
        let mut file = Vec::new();
        section(&mut file, "tidegate");
        for name in ["wan", "wan (out)"] {
            interface(&mut file, &Interface { name, frame_bytes_max: 96, ..Interface::default() });
        }
        let (timestamp_ns, data) = (1_700_000_000_123_456_789, &[7; 61][..]);
        let mut one = Packet {
            interface: 0,
            timestamp_ns,
            frame_len: 90,
            data,
            direction: Direction::In,
            id: 1,
            comment: "held",
        };
        packet(&mut file, &one);
        (one.interface, one.direction, one.comment) = (1, Direction::Out, "");
        packet(&mut file, &one);
        statistics(&mut file, &Statistics::default());
        file
    }

    #[test]
    fn what_is_written_is_read_again() {
        let file = written();
        let records = read(&file).unwrap();
        assert_eq!(records.len(), 2);
        let Record { timestamp_ns, frame_len, data, interface, direction } = records[0];
        assert_eq!((timestamp_ns, frame_len, data), (1_700_000_000_123_456_789, 90, &[7; 61][..]));
        assert_eq!((interface, direction), ("wan", Some(Direction::In)));
        assert_eq!((records[1].interface, records[1].direction), ("wan (out)", Some(Direction::Out)));
    }

    /// A block in the other byte order.
    fn big(kind: u32, body: &[u8]) -> Vec<u8> {
        let len = (body.len() as u32 + 12).to_be_bytes();
        [&kind.to_be_bytes()[..], &len, body, &len].concat()
    }

    fn big_section() -> Vec<u8> {
        big(SECTION, &[&BYTE_ORDER.to_be_bytes()[..], &[0, 1, 0, 0], &[0xFF; 8]].concat())
    }

    #[test]
    fn other_byte_orders_units_and_blocks_are_read() {
        // Timestamps in units of 2^-10 s, 5 s later than said; then a packet without interface and time.
        let described = [0, 1, 0, 0, 0, 0, 0, 64, 0, 9, 0, 1, 0x8A, 0, 0, 0, 0, 14, 0, 8, 0, 0, 0, 0, 0, 0, 0, 5];
        let old = [&[0, 0, 0, 9, 0, 0, 0, 0, 0, 0, 8, 0, 0, 0, 0, 3, 0, 0, 0, 60][..], &[1, 2, 3, 0]].concat();
        let file = [
            written(),
            big_section(),
            big(INTERFACE, &described),
            big(99, &[1, 2, 3, 4]),
            big(OLD_PACKET, &old),
            big(SIMPLE_PACKET, &[0, 0, 0, 2, 8, 9, 0, 0]),
        ]
        .concat();
        let records = read(&file).unwrap();
        assert_eq!(records.len(), 4);
        assert_eq!(
            (records[2].timestamp_ns, records[2].frame_len, records[2].data),
            (7_000_000_000, 60, &[1, 2, 3][..])
        );
        assert_eq!((records[3].timestamp_ns, records[3].data, records[3].direction), (0, &[8, 9][..], None));
    }

    #[test]
    fn what_is_damaged_is_named_with_its_place() {
        let fault = |parts: &[&[u8]]| read(&parts.concat()).unwrap_err().to_string();
        assert!(fault(&[&[1, 2, 3]]).contains("does not begin with a section header"));
        let section = big_section();
        assert!(fault(&[&section[..20]]).contains("block at byte 0 is cut: 28 bytes are needed, the file has 20 more"));
        assert!(fault(&[&section, &[0, 0, 0, 1]]).contains("block at byte 28 is cut: 12"));
        let mut other = section.clone();
        other[13] = 2;
        assert!(fault(&[&other]).contains("of another version"));
        let packet = big(PACKET, &[0; 20]);
        assert!(fault(&[&section, &packet]).contains("byte 28 is of interface 0, which"));
        let described = big(INTERFACE, &[0, 101, 0, 0, 0, 0, 0, 0]);
        assert!(fault(&[&section, &described, &packet]).contains("link type 101"));
        let mut ends = big(99, &[0; 4]);
        ends[15] = 20;
        assert!(fault(&[&section, &ends]).contains("claims 16 bytes"));
        let mut long = [0; 20];
        long[15] = 1;
        assert!(
            fault(&[&section, &big(INTERFACE, &[0, 1, 0, 0, 0, 0, 0, 0]), &big(PACKET, &long)]).contains("is cut: 21")
        );
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(mut tail: Vec<u8>, changes: Vec<(prop::sample::Index, u8)>) {
            let mut file = written();
            for (index, byte) in changes.iter().take(3) {
                let at = index.index(file.len());
                file[at] = *byte;
            }
            file.append(&mut tail);
            let _ = read(&file);
        }
    }
}
