//! ARP for IPv4 over Ethernet (RFC 826).

use std::net::Ipv4Addr;

use super::bytes::{array, put, put_u16, u16_at, v4_at};
use super::ethernet::{EtherType, MacAddr};

/// Length of a packet in bytes.
pub const LEN: usize = 28;

/// Who asks or answers for which address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arp {
    /// [`REQUEST`](Arp::REQUEST), [`REPLY`](Arp::REPLY) or another operation.
    pub operation: u16,
    /// Hardware address of the sender.
    pub sha: MacAddr,
    /// Protocol address of the sender; unspecified in a probe (RFC 5227 section 1.1).
    pub spa: Ipv4Addr,
    /// Hardware address of the target; has no meaning in a request.
    pub tha: MacAddr,
    /// Protocol address of the target.
    pub tpa: Ipv4Addr,
}

/// Why bytes are not ARP for IPv4 over Ethernet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ArpError {
    /// The packet is shorter than 28 bytes.
    #[error("arp packet of {0} bytes: 28 are needed")]
    Truncated(usize),
    /// The hardware is not Ethernet.
    #[error("arp hardware type {0} with addresses of {1} bytes: only ethernet, 1 with 6 bytes, is known")]
    Hardware(u16, u8),
    /// The protocol is not IPv4.
    #[error("arp protocol type 0x{0:04x} with addresses of {1} bytes: only ipv4, 0x0800 with 4 bytes, is known")]
    Protocol(u16, u8),
}

impl Arp {
    /// Operation of a request.
    pub const REQUEST: u16 = 1;
    /// Operation of a reply.
    pub const REPLY: u16 = 2;

    /// Reads the packet at the start of `data`; what follows it is padding.
    pub fn parse(data: &[u8]) -> Result<Self, ArpError> {
        if data.len() < LEN {
            return Err(ArpError::Truncated(data.len()));
        }
        let [hardware_len, protocol_len] = array(data, 4);
        let (hardware, protocol) = (u16_at(data, 0), u16_at(data, 2));
        if (hardware, hardware_len) != (1, 6) {
            return Err(ArpError::Hardware(hardware, hardware_len));
        }
        if (protocol, protocol_len) != (EtherType::IPV4.0, 4) {
            return Err(ArpError::Protocol(protocol, protocol_len));
        }
        Ok(Self {
            operation: u16_at(data, 6),
            sha: MacAddr(array(data, 8)),
            spa: v4_at(data, 14),
            tha: MacAddr(array(data, 18)),
            tpa: v4_at(data, 24),
        })
    }

    /// Writes the packet at the start of `buf` and returns its length, 28 bytes.
    pub fn emit(&self, buf: &mut [u8]) -> Option<usize> {
        let buf = buf.get_mut(..LEN)?;
        put_u16(buf, 0, 1);
        put_u16(buf, 2, EtherType::IPV4.0);
        put(buf, 4, [6, 4]);
        put_u16(buf, 6, self.operation);
        put(buf, 8, self.sha.0);
        put(buf, 14, self.spa.octets());
        put(buf, 18, self.tha.0);
        put(buf, 24, self.tpa.octets());
        Some(LEN)
    }

    /// Asks who has `tpa`. With `spa` equal to `tpa` this is a gratuitous announcement (RFC 5227 section 2.3).
    pub const fn request(sha: MacAddr, spa: Ipv4Addr, tpa: Ipv4Addr) -> Self {
        Self { operation: Self::REQUEST, sha, spa, tha: MacAddr::ZERO, tpa }
    }

    /// The answer to this request that `tpa` is at `sha`.
    pub const fn reply(&self, sha: MacAddr) -> Self {
        Self { operation: Self::REPLY, sha, spa: self.tpa, tha: self.sha, tpa: self.spa }
    }

    /// Whether the sender announces its own address.
    pub fn is_gratuitous(&self) -> bool {
        self.spa == self.tpa
    }
}
