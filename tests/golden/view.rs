//! A frame as another library reads it, or a part of one as far as it is there.

use std::net::IpAddr;

use etherparse::{LinkSlice, NetSlice, SlicedPacket};

use crate::oracle::rule;
use crate::packet::*;

/// A frame with an IP packet, read by the other parser.
pub struct View {
    pub dst_mac: Mac,
    pub src_mac: Mac,
    pub vlans: Vec<u16>,
    pub src: IpAddr,
    pub dst: IpAddr,
    /// Behind extension headers.
    pub protocol: u8,
    pub ttl: u8,
    pub tos: u8,
    pub df: bool,
    /// The IP packet, without what Ethernet puts behind it.
    pub packet: Vec<u8>,
    /// Where the upper layer begins in it.
    pub l4: usize,
    /// Bytes of the frame behind the packet.
    pub trailer: usize,
}

impl View {
    pub fn read(frame: &[u8]) -> Result<Self, String> {
        let sliced = SlicedPacket::from_ethernet(frame).map_err(|e| format!("unreadable frame: {e}"))?;
        let Some(LinkSlice::Ethernet2(link)) = &sliced.link else { return Err("no ethernet header".into()) };
        let vlans: Vec<u16> = sliced.vlan_ids().iter().map(|v| v.value()).collect();
        let start = 14 + 4 * vlans.len();
        let (src, dst, ttl, tos, df, len, payload) = match &sliced.net {
            Some(NetSlice::Ipv4(v4)) => {
                let h = v4.header();
                let tos = h.dcp().value() << 2 | h.ecn().value();
                let (src, dst) = (h.source_addr().into(), h.destination_addr().into());
                rule(ones_sum(&frame[start..start + usize::from(h.ihl()) * 4]) == 0xffff, "wrong ip checksum")?;
                (src, dst, h.ttl(), tos, h.dont_fragment(), usize::from(h.total_len()), v4.payload())
            }
            Some(NetSlice::Ipv6(v6)) => {
                let h = v6.header();
                let (src, dst) = (h.source_addr().into(), h.destination_addr().into());
                let len = 40 + usize::from(h.payload_length());
                (src, dst, h.hop_limit(), h.traffic_class(), true, len, v6.payload())
            }
            other => return Err(format!("no ip packet: {other:?}")),
        };
        let l4 = payload.payload.as_ptr() as usize - frame.as_ptr() as usize - start;
        rule(len >= l4 + 4, "nothing behind the ip header")?;
        Ok(Self {
            dst_mac: link.destination(),
            src_mac: link.source(),
            vlans,
            src,
            dst,
            protocol: payload.ip_number.0,
            ttl,
            tos,
            df,
            packet: frame[start..start + len].to_vec(),
            l4,
            trailer: frame.len() - start - len,
        })
    }

    pub fn upper(&self) -> &[u8] {
        &self.packet[self.l4..]
    }

    /// Identification and offset of a fragment.
    pub fn fragment(&self) -> Option<(u32, u16)> {
        let p = &self.packet;
        let (id, field, offset) = match self.src {
            IpAddr::V4(_) => {
                let field = u16::from_be_bytes([p[6], p[7]]);
                (u32::from(u16::from_be_bytes([p[4], p[5]])), field & 0x3fff, (field & 0x1fff) * 8)
            }
            IpAddr::V6(_) if p[6] == 44 => {
                let field = u16::from_be_bytes([p[42], p[43]]);
                (u32::from_be_bytes([p[44], p[45], p[46], p[47]]), field & 0xfff9, field & 0xfff8)
            }
            IpAddr::V6(_) => return None,
        };
        (field != 0).then_some((id, offset))
    }

    /// Whether the upper layer's header is in another fragment.
    pub fn is_later(&self) -> bool {
        self.fragment().is_some_and(|(_, offset)| offset != 0)
    }

    /// What all fragments of a datagram have in common.
    pub fn datagram(&self) -> Option<String> {
        self.fragment().map(|(id, _)| format!("{} {} {} {id}", self.protocol, self.src, self.dst))
    }

    /// Whether ports are in front of the upper layer.
    pub fn has_ports(&self) -> bool {
        matches!(self.protocol, TCP | UDP) && !self.is_later()
    }

    pub fn l4_sum(&self) -> u16 {
        l4_sum(self.src, self.dst, self.protocol, self.upper())
    }

    pub fn port_at(&self, at: usize) -> u16 {
        let byte = |at: usize| self.packet.get(self.l4 + at).copied().unwrap_or(0);
        u16::from_be_bytes([byte(at), byte(at + 1)])
    }
}

/// Source, destination, protocol and where the upper layer begins, of a quote.
pub fn quoted(quote: &[u8]) -> Result<(IpAddr, IpAddr, u8, usize), String> {
    let cut = || "the quote is cut".to_owned();
    if quote.first().ok_or_else(cut)? >> 4 == 4 {
        let l4 = usize::from(quote[0] & 15) * 4;
        quote.get(l4 + 3).ok_or_else(cut)?;
        let addr = |at: usize| Some(IpAddr::from(<[u8; 4]>::try_from(quote.get(at..at + 4)?).ok()?));
        return Ok((addr(12).ok_or_else(cut)?, addr(16).ok_or_else(cut)?, quote[9], l4));
    }
    quote.get(43).ok_or_else(cut)?;
    let addr = |at: usize| Some(IpAddr::from(<[u8; 16]>::try_from(quote.get(at..at + 16)?).ok()?));
    Ok((addr(8).ok_or_else(cut)?, addr(24).ok_or_else(cut)?, quote[6], 40))
}
