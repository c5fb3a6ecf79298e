//! Where the headers of any frame are, as far as it has them: a damaged frame is looked at as well as a whole one.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::wire::protocol;

/// What the frame carries.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Carries {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
    /// ARP for IPv4.
    Arp,
    /// Something else.
    Other,
}

/// See the module.
#[derive(Clone, Copy, Debug)]
pub struct View<'a> {
    /// The first contiguous piece of the frame.
    pub bytes: &'a [u8],
    /// Length of the whole frame in bytes.
    pub frame_len: usize,
    /// What is behind the VLAN tags.
    pub carries: Carries,
    /// Of what is behind the VLAN tags.
    pub ethertype: u16,
    /// The outermost VLAN.
    pub vlan: Option<u16>,
    /// Where the network header begins.
    pub l3: usize,
    /// The upper layer, behind all extension headers; 0 where there is none.
    pub protocol: u8,
    /// Where the upper layer's header begins; `None` in later fragments and where it is cut off.
    pub l4: Option<usize>,
}

/// VLAN tags that are looked behind.
const TAGS_MAX: usize = 4;
/// IPv6 extension headers that are looked behind.
const EXTENSIONS_MAX: usize = 8;

impl<'a> View<'a> {
    /// Looks at a frame whose first contiguous piece is `bytes`.
    pub fn of(bytes: &'a [u8], frame_len: usize) -> Self {
        let mut view =
            Self { bytes, frame_len, carries: Carries::Other, ethertype: 0, vlan: None, l3: 14, protocol: 0, l4: None };
        view.ethertype = view.word(12).unwrap_or_default();
        for _ in 0..TAGS_MAX {
            if !matches!(view.ethertype, 0x8100 | 0x88A8 | 0x9100) {
                break;
            }
            let tag = view.word(view.l3).map(|tag| tag & 0x0FFF);
            view.vlan = view.vlan.or(tag);
            view.ethertype = view.word(view.l3 + 2).unwrap_or_default();
            view.l3 += 4;
        }
        match view.ethertype {
            0x0800 => view.v4(),
            0x86DD => view.v6(),
            0x0806 if view.word(view.l3 + 2) == Some(0x0800) => view.carries = Carries::Arp,
            _ => {}
        }
        view
    }

    /// The same of a packet that begins with its IP header, as behind a tunnel's.
    pub fn of_ip(bytes: &'a [u8]) -> Self {
        let ethertype = if bytes.first().is_some_and(|first| first >> 4 == 6) { 0x86DD } else { 0x0800 };
        let (carries, frame_len) = (Carries::Other, bytes.len());
        let mut view = Self { bytes, frame_len, carries, ethertype, vlan: None, l3: 0, protocol: 0, l4: None };
        if ethertype == 0x86DD {
            view.v6()
        } else {
            view.v4()
        }
        view
    }

    fn v4(&mut self) {
        let Some(first) = self.byte(self.l3) else { return };
        self.carries = Carries::V4;
        self.protocol = self.byte(self.l3 + 9).unwrap_or_default();
        let header_len = usize::from(first & 0x0F) * 4;
        let is_first = self.word(self.l3 + 6).is_some_and(|word| word & 0x1FFF == 0);
        self.l4 = Some(self.l3 + header_len).filter(|_| is_first && header_len >= 20);
    }

    fn v6(&mut self) {
        let Some(mut next) = self.byte(self.l3 + 6) else { return };
        self.carries = Carries::V6;
        let mut at = self.l3 + 40;
        let mut is_first = true;
        for _ in 0..EXTENSIONS_MAX {
            let len = match next {
                protocol::HOP_BY_HOP | protocol::ROUTING | protocol::DESTINATION_OPTIONS => {
                    self.byte(at + 1).map(|len| usize::from(len) * 8 + 8)
                }
                protocol::FRAGMENT => {
                    is_first &= self.word(at + 2).is_some_and(|word| word & 0xFFF8 == 0);
                    Some(8)
                }
                _ => break,
            };
            let (Some(after), Some(len)) = (self.byte(at), len) else { break };
            (next, at) = (after, at + len);
            if !is_first {
                break;
            }
        }
        self.protocol = next;
        self.l4 = Some(at).filter(|_| is_first);
    }

    /// One byte, if the piece has it.
    #[inline]
    pub fn byte(&self, at: usize) -> Option<u8> {
        self.bytes.get(at).copied()
    }

    /// 16 bits, if the piece has them.
    #[inline]
    pub fn word(&self, at: usize) -> Option<u16> {
        self.chunk(at).map(u16::from_be_bytes)
    }

    #[inline]
    fn chunk<const N: usize>(&self, at: usize) -> Option<[u8; N]> {
        self.bytes.get(at..)?.first_chunk().copied()
    }

    /// Source and destination; of an ARP message those that it is about.
    pub fn addresses(&self) -> Option<(IpAddr, IpAddr)> {
        let v4 = |at| self.chunk::<4>(at).map(|octets| IpAddr::V4(Ipv4Addr::from(octets)));
        let v6 = |at| self.chunk::<16>(at).map(|octets| IpAddr::V6(Ipv6Addr::from(octets)));
        match self.carries {
            Carries::V4 => v4(self.l3 + 12).zip(v4(self.l3 + 16)),
            Carries::V6 => v6(self.l3 + 8).zip(v6(self.l3 + 24)),
            Carries::Arp => v4(self.l3 + 14).zip(v4(self.l3 + 24)),
            Carries::Other => None,
        }
    }

    /// Source and destination port of TCP, UDP and SCTP.
    pub fn ports(&self) -> Option<(u16, u16)> {
        let l4 = self.l4.filter(|_| matches!(self.protocol, protocol::TCP | protocol::UDP | protocol::SCTP))?;
        self.word(l4).zip(self.word(l4 + 2))
    }

    /// TCP's flags.
    pub fn tcp_flags(&self) -> Option<u8> {
        self.l4.filter(|_| self.protocol == protocol::TCP).and_then(|l4| self.byte(l4 + 13))
    }

    /// Length of the IP packet by its header.
    pub fn ip_len(&self) -> Option<usize> {
        match self.carries {
            Carries::V4 => self.word(self.l3 + 2).map(usize::from),
            Carries::V6 => self.word(self.l3 + 4).map(|len| usize::from(len) + 40),
            Carries::Arp | Carries::Other => None,
        }
    }
}
