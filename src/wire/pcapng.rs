//! Blocks of pcapng files with Ethernet frames (draft-ietf-opsawg-pcapng), appended to a buffer; and [`read`], the way back.

pub mod read;

/// What a file says of one of its interfaces.
#[derive(Clone, Copy, Debug, Default)]
pub struct Interface<'a> {
    /// Its name, as tools show it.
    pub name: &'a str,
    /// More about it.
    pub description: &'a str,
    /// Its MAC address, if it has one.
    pub mac: Option<[u8; 6]>,
    /// The filter, in the words of the user; nothing if empty.
    pub filter: &'a str,
    /// Bytes that are kept of a frame at the most.
    pub frame_bytes_max: u32,
}

/// Which way a packet went.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Direction {
    /// It came.
    In = 1,
    /// It left.
    Out = 2,
}

/// A frame with what is known of it.
#[derive(Clone, Copy, Debug)]
pub struct Packet<'a> {
    /// Number of its interface, in the order of the file.
    pub interface: u32,
    /// Nanoseconds since 1970.
    pub timestamp_ns: u64,
    /// Length on the wire in bytes.
    pub frame_len: u32,
    /// What there is of it.
    pub data: &'a [u8],
    /// Which way it went.
    pub direction: Direction,
    /// The same for all appearances of one packet.
    pub id: u64,
    /// For people.
    pub comment: &'a str,
}

/// What an interface has counted.
#[derive(Clone, Copy, Debug, Default)]
pub struct Statistics {
    /// Number of the interface.
    pub interface: u32,
    /// Nanoseconds since 1970.
    pub timestamp_ns: u64,
    /// Nanoseconds since 1970 when the capture began.
    pub start_ns: u64,
    /// Packets that matched, with those that were lost.
    pub received: u64,
    /// Packets that matched and are not in the file.
    pub dropped: u64,
}

const SECTION: u32 = 0x0A0D_0D0A;
const INTERFACE: u32 = 1;
const STATISTICS: u32 = 5;
const PACKET: u32 = 6;
const BYTE_ORDER: u32 = 0x1A2B_3C4D;
const LINK_TYPE_ETHERNET: u16 = 1;
/// Timestamps count nanoseconds: ten to the minus ninth.
const NANOSECONDS: u8 = 9;

// Option codes, by block.
const END: u16 = 0;
const COMMENT: u16 = 1;
const SECTION_APPLICATION: u16 = 4;
const INTERFACE_NAME: u16 = 2;
const INTERFACE_DESCRIPTION: u16 = 3;
const INTERFACE_MAC: u16 = 6;
const INTERFACE_RESOLUTION: u16 = 9;
const INTERFACE_FILTER: u16 = 11;
const PACKET_FLAGS: u16 = 2;
const PACKET_ID: u16 = 5;
const STATISTICS_START: u16 = 2;
const STATISTICS_END: u16 = 3;
const STATISTICS_RECEIVED: u16 = 4;
const STATISTICS_DROPPED: u16 = 5;

/// The beginning of every file. All fields are little-endian, on every machine.
pub fn section(out: &mut Vec<u8>, application: &str) {
    block(out, SECTION, |out| {
        out.extend(BYTE_ORDER.to_le_bytes());
        out.extend([1, 0, 0, 0]);
        // The length of the section is not known.
        out.extend(u64::MAX.to_le_bytes());
        option(out, SECTION_APPLICATION, application.as_bytes());
        option(out, END, &[]);
    });
}

/// An interface; the first one has number 0.
pub fn interface(out: &mut Vec<u8>, interface: &Interface) {
    block(out, INTERFACE, |out| {
        out.extend(LINK_TYPE_ETHERNET.to_le_bytes());
        out.extend([0, 0]);
        out.extend(interface.frame_bytes_max.to_le_bytes());
        option(out, INTERFACE_NAME, interface.name.as_bytes());
        if !interface.description.is_empty() {
            option(out, INTERFACE_DESCRIPTION, interface.description.as_bytes());
        }
        if let Some(mac) = interface.mac {
            option(out, INTERFACE_MAC, &mac);
        }
        option(out, INTERFACE_RESOLUTION, &[NANOSECONDS]);
        if !interface.filter.is_empty() {
            // The first byte says that the filter is text.
            option(out, INTERFACE_FILTER, &[&[0], interface.filter.as_bytes()].concat());
        }
        option(out, END, &[]);
    });
}

/// A frame.
pub fn packet(out: &mut Vec<u8>, packet: &Packet) {
    block(out, PACKET, |out| {
        out.extend(packet.interface.to_le_bytes());
        out.extend(split(packet.timestamp_ns));
        out.extend((packet.data.len() as u32).to_le_bytes());
        out.extend(packet.frame_len.to_le_bytes());
        out.extend(packet.data);
        pad(out);
        if !packet.comment.is_empty() {
            option(out, COMMENT, packet.comment.as_bytes());
        }
        option(out, PACKET_FLAGS, &(packet.direction as u32).to_le_bytes());
        option(out, PACKET_ID, &packet.id.to_le_bytes());
        option(out, END, &[]);
    });
}

/// What an interface has counted, for the end of a file.
pub fn statistics(out: &mut Vec<u8>, statistics: &Statistics) {
    block(out, STATISTICS, |out| {
        out.extend(statistics.interface.to_le_bytes());
        out.extend(split(statistics.timestamp_ns));
        option(out, STATISTICS_START, &split(statistics.start_ns));
        option(out, STATISTICS_END, &split(statistics.timestamp_ns));
        option(out, STATISTICS_RECEIVED, &statistics.received.to_le_bytes());
        option(out, STATISTICS_DROPPED, &statistics.dropped.to_le_bytes());
        option(out, END, &[]);
    });
}

/// A block has its length at both ends, so that files can be read backwards.
fn block(out: &mut Vec<u8>, kind: u32, body: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    out.extend(kind.to_le_bytes());
    out.extend([0; 4]);
    body(out);
    let len = ((out.len() - start + 4) as u32).to_le_bytes();
    if let Some(field) = out.get_mut(start + 4..start + 8) {
        field.copy_from_slice(&len);
    }
    out.extend(len);
}

fn option(out: &mut Vec<u8>, code: u16, value: &[u8]) {
    // A longer one could not say so.
    let value = value.get(..usize::from(u16::MAX)).unwrap_or(value);
    out.extend(code.to_le_bytes());
    out.extend((value.len() as u16).to_le_bytes());
    out.extend(value);
    pad(out);
}

/// To a multiple of four bytes; every block begins at one.
fn pad(out: &mut Vec<u8>) {
    while !out.len().is_multiple_of(4) {
        out.push(0);
    }
}

/// A time in the order of the format: the upper half first.
fn split(timestamp_ns: u64) -> [u8; 8] {
    let [a, b, c, d] = ((timestamp_ns >> 32) as u32).to_le_bytes();
    let [e, f, g, h] = (timestamp_ns as u32).to_le_bytes();
    [a, b, c, d, e, f, g, h]
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Type and body of each block, with both lengths compared.
    fn blocks(mut file: &[u8]) -> Vec<(u32, Vec<u8>)> {
        let word = |bytes: &[u8], at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap());
        let mut blocks = Vec::new();
        while !file.is_empty() {
            let len = word(file, 4) as usize;
            assert_eq!((len % 4, word(file, len - 4) as usize), (0, len));
            blocks.push((word(file, 0), file[8..len - 4].to_vec()));
            file = &file[len..];
        }
        blocks
    }

    #[test]
    fn blocks_have_their_lengths_at_both_ends() {
        let mut file = Vec::new();
        section(&mut file, "tidegate");
        interface(&mut file, &Interface { name: "wan", filter: "tcp", frame_bytes_max: 96, ..Interface::default() });
        let mut shot = Packet {
            interface: 0,
            timestamp_ns: 0x0123_4567_89AB_CDEF,
            frame_len: 61,
            data: &[7; 61],
            direction: Direction::Out,
            id: 5,
            comment: "drop runt",
        };
        for len in 57..=61 {
            shot.data = &[7; 61][..len];
            packet(&mut file, &shot);
        }
        statistics(&mut file, &Statistics { received: 9, dropped: 4, ..Statistics::default() });
        let blocks = blocks(&file);
        let kinds: Vec<u32> = blocks.iter().map(|(kind, _)| *kind).collect();
        assert_eq!(kinds, [SECTION, INTERFACE, PACKET, PACKET, PACKET, PACKET, PACKET, STATISTICS]);
        let body = &blocks[2].1;
        // The upper half of the time stands first; then the captured and the real length.
        assert_eq!(body[4..20], [0x67, 0x45, 0x23, 1, 0xEF, 0xCD, 0xAB, 0x89, 57, 0, 0, 0, 61, 0, 0, 0]);
        assert!(body[20..77].iter().all(|&byte| byte == 7) && body[77..80] == [0; 3]);
        assert_eq!(body[80..93], *b"\x01\0\x09\0drop runt");
    }

    #[test]
    fn options_that_are_too_long_are_cut() {
        let mut file = Vec::new();
        section(&mut file, &"a".repeat(70_000));
        let (_, body) = &blocks(&file)[0];
        assert_eq!(body[16..20], [4, 0, 0xFF, 0xFF]);
        assert_eq!(body.len(), 16 + 4 + 65_536 + 4);
    }
}
