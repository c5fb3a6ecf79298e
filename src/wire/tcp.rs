//! TCP headers (RFC 9293 section 3.1).

mod edit;

pub use edit::OPTIONS_MAX;

use super::bytes::{Truncated, put, put_u16, require, tail, u8_at, u16_at, u32_at};
use super::checksum::{self, Delta};

/// Length of a header without options in bytes.
pub const HEADER_LEN: usize = 20;

/// The control bits of the flags byte.
pub mod flags {
    /// No more data from the sender.
    pub const FIN: u8 = 0x01;
    /// Synchronise sequence numbers.
    pub const SYN: u8 = 0x02;
    /// Reset the connection.
    pub const RST: u8 = 0x04;
    /// Push.
    pub const PSH: u8 = 0x08;
    /// The acknowledgment number counts.
    pub const ACK: u8 = 0x10;
    /// The urgent pointer counts.
    pub const URG: u8 = 0x20;
    /// ECN echo (RFC 3168).
    pub const ECE: u8 = 0x40;
    /// Congestion window reduced (RFC 3168).
    pub const CWR: u8 = 0x80;
}

/// Option kinds.
const END: u8 = 0;
const NO_OPERATION: u8 = 1;
const MSS: u8 = 2;
const WINDOW_SCALE: u8 = 3;
const SACK_PERMITTED: u8 = 4;
const SACK: u8 = 5;
const TIMESTAMPS: u8 = 8;

/// Bytes that begin with a TCP header, all of which is there; the payload may be cut.
#[derive(Clone, Copy, Debug)]
pub struct TcpPacket<T> {
    data: T,
}

/// Why bytes do not begin with a TCP header.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TcpError {
    /// The header is cut.
    #[error(transparent)]
    Truncated(#[from] Truncated),
    /// The data offset is below five words.
    #[error("tcp data offset of {0} words: at least 5 are needed")]
    DataOffset(u8),
}

impl<T: AsRef<[u8]>> TcpPacket<T> {
    /// Checks that the whole header is in `data`.
    #[inline]
    pub fn new_checked(data: T) -> Result<Self, TcpError> {
        let bytes = data.as_ref();
        require(bytes, HEADER_LEN, "tcp")?;
        let words = u8_at(bytes, 12) >> 4;
        if words < 5 {
            return Err(TcpError::DataOffset(words));
        }
        require(bytes, usize::from(words) * 4, "tcp")?;
        Ok(Self { data })
    }

    /// Source port.
    #[inline]
    pub fn sport(&self) -> u16 {
        u16_at(self.bytes(), 0)
    }

    /// Destination port.
    #[inline]
    pub fn dport(&self) -> u16 {
        u16_at(self.bytes(), 2)
    }

    /// Sequence number.
    #[inline]
    pub fn seq(&self) -> u32 {
        u32_at(self.bytes(), 4)
    }

    /// Acknowledgment number, which counts where [`flags::ACK`] is set.
    #[inline]
    pub fn ack(&self) -> u32 {
        u32_at(self.bytes(), 8)
    }

    /// Length of the header in bytes, options included.
    #[inline]
    pub fn header_len(&self) -> usize {
        usize::from(u8_at(self.bytes(), 12) >> 4) * 4
    }

    /// Control bits, see [`flags`].
    #[inline]
    pub fn flags(&self) -> u8 {
        u8_at(self.bytes(), 13)
    }

    /// Window, unscaled.
    #[inline]
    pub fn window(&self) -> u16 {
        u16_at(self.bytes(), 14)
    }

    /// Checksum.
    #[inline]
    pub fn checksum(&self) -> u16 {
        u16_at(self.bytes(), 16)
    }

    /// The options, to the end of the list or to the first that is malformed.
    #[inline]
    pub fn options(&self) -> TcpOptions<'_> {
        let options = self.bytes().get(HEADER_LEN..self.header_len()).unwrap_or_default();
        TcpOptions { options, at: 0 }
    }

    /// What follows the header, in all that was given to the view.
    #[inline]
    pub fn payload(&self) -> &[u8] {
        tail(self.bytes(), self.header_len())
    }

    /// Whether the checksum is right; `pseudo` is the sum of the pseudo-header, and the view must be on the whole packet
    /// without padding.
    #[inline]
    pub fn is_checksum_valid(&self, pseudo: u32) -> bool {
        checksum::is_valid(checksum::combine(pseudo, checksum::sum(self.bytes())))
    }

    #[inline]
    fn bytes(&self) -> &[u8] {
        self.data.as_ref()
    }
}

/// Setters leave the checksum as it is; [`update_checksum`](Self::update_checksum) and
/// [`fill_checksum`](Self::fill_checksum) mend it.
impl<T: AsRef<[u8]> + AsMut<[u8]>> TcpPacket<T> {
    /// Sets the source port.
    #[inline]
    pub fn set_sport(&mut self, sport: u16) {
        self.put_u16(0, sport);
    }

    /// Sets the destination port.
    #[inline]
    pub fn set_dport(&mut self, dport: u16) {
        self.put_u16(2, dport);
    }

    /// Sets the sequence number.
    #[inline]
    pub fn set_seq(&mut self, seq: u32) {
        put(self.data.as_mut(), 4, seq.to_be_bytes());
    }

    /// Sets the acknowledgment number.
    #[inline]
    pub fn set_ack(&mut self, ack: u32) {
        put(self.data.as_mut(), 8, ack.to_be_bytes());
    }

    /// Sets the checksum.
    #[inline]
    pub fn set_checksum(&mut self, checksum: u16) {
        self.put_u16(16, checksum);
    }

    /// Adds `delta` to the checksum.
    #[inline]
    pub fn update_checksum(&mut self, delta: Delta) {
        let check = delta.apply(self.checksum());
        self.set_checksum(check);
    }

    /// Works the checksum out anew; `pseudo` is the sum of the pseudo-header, and the view must be on the whole packet without
    /// padding.
    pub fn fill_checksum(&mut self, pseudo: u32) {
        self.set_checksum(0);
        let check = checksum::finish(checksum::combine(pseudo, checksum::sum(self.bytes())));
        self.set_checksum(check);
    }

    /// Lowers the maximum segment size option to `mss_max` bytes where it is above, updates the checksum, and returns whether it
    /// did (RFC 4459 section 3.2). Without the option nothing changes.
    pub fn clamp_mss(&mut self, mss_max: u16) -> bool {
        let mut options = self.options();
        let found = loop {
            match options.next() {
                // Padding may stand before the option, so its value is counted back from the end of what was read.
                Some(TcpOption::Mss(mss)) => break Some((HEADER_LEN + options.at - 2, mss)),
                Some(_) => {}
                None => break None,
            }
        };
        match found {
            Some((at, mss)) if mss > mss_max => {
                self.put_u16(at, mss_max);
                self.update_checksum(Delta::default().replace_u16_at(at, mss, mss_max));
                true
            }
            _ => false,
        }
    }

    #[inline]
    fn put_u16(&mut self, at: usize, value: u16) {
        put_u16(self.data.as_mut(), at, value);
    }
}

/// One option of a TCP header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TcpOption<'a> {
    /// Maximum segment size in bytes (RFC 9293 section 3.2).
    Mss(u16),
    /// By how many bits the window is to be shifted (RFC 7323 section 2.2).
    WindowScale(u8),
    /// Selective acknowledgments may be sent (RFC 2018 section 2).
    SackPermitted,
    /// Selective acknowledgments: left and right edges, four bytes each (RFC 2018 section 3).
    Sack(&'a [u8]),
    /// Timestamps (RFC 7323 section 3.2).
    Timestamps {
        /// The clock of the sender.
        value: u32,
        /// The newest clock seen from the other end.
        echo: u32,
    },
    /// Any other kind, or a known one with a length that it cannot have.
    Unknown {
        /// The option kind.
        kind: u8,
        /// What follows kind and length.
        data: &'a [u8],
    },
}

/// The options of a TCP header, in order, without padding.
#[derive(Clone, Debug)]
pub struct TcpOptions<'a> {
    options: &'a [u8],
    at: usize,
}

impl<'a> Iterator for TcpOptions<'a> {
    type Item = TcpOption<'a>;

    fn next(&mut self) -> Option<TcpOption<'a>> {
        loop {
            let &kind = self.options.get(self.at)?;
            match kind {
                END => return None,
                NO_OPERATION => self.at += 1,
                _ => {
                    let len = usize::from(*self.options.get(self.at + 1)?);
                    // A length below 2 would not get on, one beyond the header has no data.
                    let data = self.options.get(self.at + 2..self.at + len)?;
                    self.at += len;
                    return Some(TcpOption::new(kind, data));
                }
            }
        }
    }
}

impl<'a> TcpOption<'a> {
    fn new(kind: u8, data: &'a [u8]) -> Self {
        match (kind, data.len()) {
            (MSS, 2) => Self::Mss(u16_at(data, 0)),
            (WINDOW_SCALE, 1) => Self::WindowScale(u8_at(data, 0)),
            (SACK_PERMITTED, 0) => Self::SackPermitted,
            (SACK, 8 | 16 | 24 | 32) => Self::Sack(data),
            (TIMESTAMPS, 8) => Self::Timestamps { value: u32_at(data, 0), echo: u32_at(data, 4) },
            _ => Self::Unknown { kind, data },
        }
    }
}
