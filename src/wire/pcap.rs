//! Classic pcap files with Ethernet frames.

use std::io::{self, Read, Write};

/// The most bytes that a record may hold, which is what capture tools use as their largest snapshot length.
pub const RECORD_LEN_MAX: u32 = 262_144;

const FILE_HEADER_LEN: usize = 24;
const RECORD_HEADER_LEN: usize = 16;
const MAGIC_MICROS: u32 = 0xA1B2_C3D4;
const MAGIC_NANOS: u32 = 0xA1B2_3C4D;
const MAGIC_PCAPNG: u32 = 0x0A0D_0D0A;
const LINK_TYPE_ETHERNET: u16 = 1;
const NANOS_PER_SECOND: u64 = 1_000_000_000;

/// Why a capture cannot be read. Offsets and lengths are in bytes, records count from 1.
#[derive(Debug, thiserror::Error)]
pub enum PcapError {
    /// Reading failed.
    #[error("reading the capture failed: {0}")]
    Io(#[from] io::Error),
    /// The file ends in its header.
    #[error("not a capture: the file has {0} bytes, a pcap header has 24")]
    HeaderTruncated(usize),
    /// The file is pcapng.
    #[error("this is a pcapng file: convert it with `editcap -F pcap in.pcapng out.pcap`")]
    Pcapng,
    /// The file is something else.
    #[error("not a capture: it begins with {0:02x?}, a pcap file with d4 c3 b2 a1 or a relative of it")]
    Magic([u8; 4]),
    /// The format has another version.
    #[error("pcap version {0}.{1}: 2.4 is needed")]
    Version(u16, u16),
    /// The frames are not Ethernet.
    #[error("capture of link type {0} ({name}): ethernet, 1, is needed", name = link_type_name(*.0))]
    LinkType(u16),
    /// The file ends in a record.
    #[error("record {record} at byte {offset} is cut: {needed} bytes are needed, the file has {len} more")]
    RecordTruncated {
        /// Number of the record.
        record: u64,
        /// Where the record begins.
        offset: u64,
        /// How many bytes the cut part of it, header or data, needs.
        needed: usize,
        /// How many of them there are.
        len: usize,
    },
    /// A record claims a length that no capture has.
    #[error(
        "record {record} at byte {offset} has length {len}: at most {RECORD_LEN_MAX} is possible, so the file is damaged"
    )]
    RecordLength {
        /// Number of the record.
        record: u64,
        /// Where the record begins.
        offset: u64,
        /// The length it claims.
        len: u32,
    },
}

/// A frame of a capture, in the reader's buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record<'a> {
    /// When the frame was captured, in nanoseconds since 1970.
    pub timestamp_ns: u64,
    /// Length of the frame on the wire in bytes.
    pub frame_len: u32,
    /// What was captured of it.
    pub data: &'a [u8],
}

impl Record<'_> {
    /// Whether the capture holds only the start of the frame.
    pub fn is_cut(&self) -> bool {
        self.data.len() < self.frame_len as usize
    }
}

/// Reads a capture record by record; `&[u8]` is a source too. Give it a buffered one, as it reads in small pieces.
#[derive(Debug)]
pub struct Reader<R> {
    source: R,
    big_endian: bool,
    nanos_per_unit: u64,
    records: u64,
    offset: u64,
    data: Vec<u8>,
}

impl<R: Read> Reader<R> {
    /// Reads the file header.
    pub fn new(mut source: R) -> Result<Self, PcapError> {
        let mut header = [0; FILE_HEADER_LEN];
        let len = read_up_to(&mut source, &mut header)?;
        let [a, b, c, d, ..] = header;
        let magic = [a, b, c, d];
        if len >= 4 && u32::from_be_bytes(magic) == MAGIC_PCAPNG {
            return Err(PcapError::Pcapng);
        }
        let known = |value: u32| match value {
            MAGIC_MICROS => Some(1_000),
            MAGIC_NANOS => Some(1),
            _ => None,
        };
        let (big_endian, nanos_per_unit) = match (known(u32::from_le_bytes(magic)), known(u32::from_be_bytes(magic))) {
            (Some(nanos), _) => (false, nanos),
            (None, Some(nanos)) => (true, nanos),
            (None, None) if len < 4 => return Err(PcapError::HeaderTruncated(len)),
            (None, None) => return Err(PcapError::Magic(magic)),
        };
        if len < FILE_HEADER_LEN {
            return Err(PcapError::HeaderTruncated(len));
        }
        let version = field(&header, 4, big_endian);
        // The two halves of this word are separate fields, so its order decides which is first.
        let (major, minor) =
            if big_endian { (version >> 16, version & 0xFFFF) } else { (version & 0xFFFF, version >> 16) };
        if (major, minor) != (2, 4) {
            return Err(PcapError::Version(major as u16, minor as u16));
        }
        // The upper half may tell the length of the frame check sequence.
        let link_type = field(&header, 20, big_endian) as u16;
        if link_type != LINK_TYPE_ETHERNET {
            return Err(PcapError::LinkType(link_type));
        }
        Ok(Self { source, big_endian, nanos_per_unit, records: 0, offset: FILE_HEADER_LEN as u64, data: Vec::new() })
    }

    /// The next record, or `None` at the end of the file.
    pub fn next_record(&mut self) -> Result<Option<Record<'_>>, PcapError> {
        let mut header = [0; RECORD_HEADER_LEN];
        let record = self.records + 1;
        match read_up_to(&mut self.source, &mut header)? {
            0 => return Ok(None),
            RECORD_HEADER_LEN => {}
            len => return Err(self.truncated(RECORD_HEADER_LEN, len)),
        }
        let captured_len = field(&header, 8, self.big_endian);
        if captured_len > RECORD_LEN_MAX {
            return Err(PcapError::RecordLength { record, offset: self.offset, len: captured_len });
        }
        let needed = captured_len as usize;
        self.data.resize(needed, 0);
        let len = read_up_to(&mut self.source, &mut self.data)?;
        if len != needed {
            return Err(self.truncated(needed, len));
        }
        self.records = record;
        self.offset += (RECORD_HEADER_LEN + needed) as u64;
        let seconds = u64::from(field(&header, 0, self.big_endian));
        let fraction = u64::from(field(&header, 4, self.big_endian));
        Ok(Some(Record {
            timestamp_ns: seconds * NANOS_PER_SECOND + fraction * self.nanos_per_unit,
            frame_len: field(&header, 12, self.big_endian),
            data: &self.data,
        }))
    }

    fn truncated(&self, needed: usize, len: usize) -> PcapError {
        PcapError::RecordTruncated { record: self.records + 1, offset: self.offset, needed, len }
    }
}

/// Unit of the timestamps in a file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Resolution {
    /// Microseconds, which every tool reads.
    #[default]
    Micros,
    /// Nanoseconds.
    Nanos,
}

/// Writes a capture. Give it a buffered sink, and flush that by [`finish`](Writer::finish).
#[derive(Debug)]
pub struct Writer<W> {
    sink: W,
    nanos_per_unit: u64,
}

impl<W: Write> Writer<W> {
    /// Writes the file header.
    pub fn new(mut sink: W, resolution: Resolution) -> io::Result<Self> {
        let (magic, nanos_per_unit) = match resolution {
            Resolution::Micros => (MAGIC_MICROS, 1_000),
            Resolution::Nanos => (MAGIC_NANOS, 1),
        };
        // Magic, version 2.4, time zone, accuracy, snapshot length, link type; little-endian on every machine, so that
        // the same frames make the same file.
        let words = [magic, 4 << 16 | 2, 0, 0, RECORD_LEN_MAX, u32::from(LINK_TYPE_ETHERNET)];
        for word in words {
            sink.write_all(&word.to_le_bytes())?;
        }
        Ok(Self { sink, nanos_per_unit })
    }

    /// Writes a whole frame. Fails where the time is beyond 2106 or the frame longer than [`RECORD_LEN_MAX`] bytes.
    pub fn write(&mut self, timestamp_ns: u64, frame: &[u8]) -> io::Result<()> {
        let seconds = u32::try_from(timestamp_ns / NANOS_PER_SECOND)
            .map_err(|_| io::Error::other(format!("timestamp of {timestamp_ns} ns: a pcap file ends in 2106")))?;
        let len = u32::try_from(frame.len()).ok().filter(|&len| len <= RECORD_LEN_MAX).ok_or_else(|| {
            io::Error::other(format!("frame of {} bytes: at most {RECORD_LEN_MAX} fit a record", frame.len()))
        })?;
        let fraction = (timestamp_ns % NANOS_PER_SECOND / self.nanos_per_unit) as u32;
        let mut header = [0; RECORD_HEADER_LEN];
        for (slot, word) in header.as_chunks_mut::<4>().0.iter_mut().zip([seconds, fraction, len, len]) {
            *slot = word.to_le_bytes();
        }
        self.sink.write_all(&header)?;
        self.sink.write_all(frame)
    }

    /// Flushes and gives the sink back.
    pub fn finish(mut self) -> io::Result<W> {
        self.sink.flush()?;
        Ok(self.sink)
    }
}

/// Reads until `buf` is full or the source ends, and returns how many bytes came.
fn read_up_to(source: &mut impl Read, buf: &mut [u8]) -> io::Result<usize> {
    let mut len = 0;
    while let Some(rest) = buf.get_mut(len..).filter(|rest| !rest.is_empty()) {
        match source.read(rest) {
            Ok(0) => break,
            Ok(count) => len += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(len)
}

/// The 32-bit field at `at`, in the byte order of the file.
fn field(header: &[u8], at: usize, big_endian: bool) -> u32 {
    let bytes = super::bytes::array(header, at);
    if big_endian { u32::from_be_bytes(bytes) } else { u32::from_le_bytes(bytes) }
}

/// What capture tools call a link type.
fn link_type_name(link_type: u16) -> &'static str {
    match link_type {
        0 => "loopback without a header",
        101 => "raw IP",
        105 => "IEEE 802.11",
        113 => "Linux cooked, as from `-i any`",
        127 => "IEEE 802.11 with radiotap",
        276 => "Linux cooked v2, as from `-i any`",
        _ => "unknown",
    }
}
