//! What a packet of a known connection needs of its backend, prepared, so that it touches no more than this.

use super::clock::Tick;
use super::connection::{Phase, State};
use super::ids::{BackendId, PortId};
use super::neighbor::NeighborSlot;
use super::snapshot::{Backend, Inner, Mode, OUTER_MAX, Outer, Port, vary4, vary6};
use crate::wire::ethernet::{self, EtherType, MacAddr};
use crate::wire::parse::{Kind, Parsed};

/// Ethernet header with a VLAN tag, and the longest tunnel header.
const HEADER_MAX: usize = 18 + OUTER_MAX;

/// How a lane changes a packet. The tunnels, whose lengths are known here, are for ports without a VLAN.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Change {
    /// A new Ethernet header: `dsr`.
    #[default]
    Mac,
    /// And addresses and ports: `nat`.
    Translate,
    /// IPv4 in GRE over IPv4.
    Gre4In4,
    /// IPv6 in GRE over IPv4.
    Gre6In4,
    /// GRE over IPv6.
    GreIn6,
    /// GRE behind a VLAN tag.
    GreTagged,
}

/// Ethernet header, and the outer headers behind it.
const GRE_IN_4: usize = 14 + 20 + 4;
const GRE_IN_6: usize = 14 + 40 + 4;
/// As much of the inner header as the outer one takes from.
const INNER: usize = 8;

/// See the module. Valid while [`Lane::is_current`]; made anew by the first packet after that.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C, align(64))]
pub struct Lane {
    /// Of the neighbour table when this was prepared; 0 for never.
    version: u32,
    backend: BackendId,
    /// Of the prepared IPv4 tunnel header.
    sum: u32,
    /// The largest IP packet, in bytes, that fits.
    pub ip_len_max: u16,
    /// Packets with this TTL, or less, do not go on.
    pub ttl_min: u8,
    /// Where it leaves.
    pub port: PortId,
    /// What is done to a packet.
    pub change: Change,
    l2_len: u8,
    header_len: u8,
    /// The next hop.
    pub neighbor: NeighborSlot,
    /// Idle time in seconds of a connection by its phase, 0 where the next packet of the client may change the phase.
    steady_s: [u16; Phase::COUNT],
    /// When its next hop was last said to be in use.
    seen: Tick,
    header: Header,
}

/// Ethernet and tunnel header; an array this long has no `Default` of its own.
#[derive(Clone, Copy, Debug)]
struct Header([u8; HEADER_MAX]);

impl Default for Header {
    fn default() -> Self {
        Self([0; HEADER_MAX])
    }
}

impl Lane {
    /// The lane to `backend` behind `mac` on `port`, from a packet of one of its connections; `None` if its packets
    /// cannot be sent.
    pub fn new(
        version: u32,
        backend: &Backend,
        (id, port): (PortId, &Port),
        (neighbor, mac): (NeighborSlot, MacAddr),
        parsed: &Parsed,
    ) -> Option<Self> {
        let mut lane =
            Self { version, backend: backend.id, ip_len_max: backend.mtu, port: id, neighbor, ..Self::default() };
        for (place, phase) in lane.steady_s.iter_mut().zip(Phase::ALL) {
            let is_steady = match phase {
                // Until the backend has answered, which is seen in NAT alone.
                Phase::UdpOneway => backend.mode.is_nat(),
                Phase::TcpEstablished | Phase::Udp => true,
                Phase::TcpSyn | Phase::TcpFin => false,
            };
            *place = if is_steady { backend.timeouts.of(phase) } else { 0 };
        }
        let inner = if parsed.kind == Kind::V6 { EtherType(0x86dd) } else { EtherType(0x0800) };
        let ethertype = match (backend.mode, &backend.outer) {
            (Mode::Dsr, _) => inner,
            (Mode::Nat, _) => {
                (lane.change, lane.ttl_min) = (Change::Translate, 1);
                inner
            }
            (Mode::Gre, Some(outer)) => {
                lane.change = match (port.vlan, outer.is_v4(), parsed.kind) {
                    (Some(_), ..) => Change::GreTagged,
                    (None, false, _) => Change::GreIn6,
                    (None, true, Kind::V6) => Change::Gre6In4,
                    (None, true, _) => Change::Gre4In4,
                };
                lane.ip_len_max = backend.mtu.checked_sub(outer.overhead() as u16)?;
                EtherType(outer.ethertype())
            }
            (Mode::Gre, None) => return None,
        };
        lane.write_header(port, mac, ethertype, backend.outer.as_ref(), parsed)?;
        Some(lane)
    }

    fn write_header(
        &mut self,
        port: &Port,
        mac: MacAddr,
        ethertype: EtherType,
        outer: Option<&Outer>,
        parsed: &Parsed,
    ) -> Option<()> {
        let l2_len = ethernet::emit(&mut self.header.0, mac, port.mac, port.vlan, ethertype)?;
        let mut len = l2_len;
        if let Some(outer) = outer {
            let bytes = outer.header(parsed);
            len += outer.overhead();
            self.header.0.get_mut(l2_len..len)?.copy_from_slice(bytes.get(..outer.overhead())?);
            self.sum = outer.sum();
        }
        (self.l2_len, self.header_len) = (l2_len as u8, len as u8);
        Some(())
    }

    /// Whether this still is the way to `backend`; `version` is the neighbour table's.
    #[inline(always)]
    pub fn is_current(&self, version: u32, backend: BackendId) -> bool {
        self.version == version && self.backend == backend
    }

    /// How many seconds a connection in `state` may be idle; 0 unless this still is the way to `backend` and a plain
    /// packet of the client leaves that state as it is.
    #[inline(always)]
    pub fn steady_s(&self, version: u32, backend: BackendId, state: State) -> u16 {
        let is_way = self.is_current(version, backend);
        self.steady_s.get(usize::from(state.byte())).copied().filter(|_| is_way).unwrap_or(0)
    }

    /// True for the first packet of each second.
    #[inline(always)]
    pub fn is_unseen(&mut self, now: Tick) -> bool {
        std::mem::replace(&mut self.seen, now) != now
    }

    /// Bytes of the Ethernet and tunnel header.
    #[inline(always)]
    pub fn header_len(&self) -> usize {
        usize::from(self.header_len)
    }

    /// Puts the headers of a tunnel to the front of a frame; the inner packet of `ip_len` bytes is in its place already.
    #[inline(always)]
    pub fn write(&self, frame: &mut [u8], ip_len: u16, is_v6: bool) {
        match self.change {
            Change::Mac | Change::Translate => self.write_mac(frame),
            Change::Gre4In4 => self.write_in_4::<false>(frame, ip_len),
            Change::Gre6In4 => self.write_in_4::<true>(frame, ip_len),
            Change::GreIn6 => self.write_in_6(frame, ip_len, is_v6),
            Change::GreTagged => self.write_tagged(frame, ip_len, is_v6),
        }
    }

    #[inline(always)]
    fn write_mac(&self, frame: &mut [u8]) {
        match (self.header_len, frame.first_chunk_mut::<14>(), self.header.0.first_chunk::<14>()) {
            (14, Some(to), Some(from)) => *to = *from,
            _ => self.copy_header(frame),
        }
    }

    #[inline(always)]
    fn write_in_4<const V6: bool>(&self, frame: &mut [u8], ip_len: u16) {
        let (Some(to), Some(from)) =
            (frame.first_chunk_mut::<{ GRE_IN_4 + INNER }>(), self.header.0.first_chunk::<GRE_IN_4>())
        else {
            return;
        };
        let inner = Inner::read(to[GRE_IN_4..].first_chunk().copied().unwrap_or_default(), ip_len, V6);
        // In the widest stores, the last of which overlaps the one before it.
        to[..32].copy_from_slice(&from[..32]);
        to[30..GRE_IN_4].copy_from_slice(&from[30..]);
        if let Some(outer) = to[14..].first_chunk_mut() {
            vary4(outer, self.sum, &inner);
        }
    }

    #[inline(always)]
    fn write_in_6(&self, frame: &mut [u8], ip_len: u16, is_v6: bool) {
        let (Some(to), Some(from)) =
            (frame.first_chunk_mut::<{ GRE_IN_6 + INNER }>(), self.header.0.first_chunk::<GRE_IN_6>())
        else {
            return;
        };
        let inner = Inner::read(to[GRE_IN_6..].first_chunk().copied().unwrap_or_default(), ip_len, is_v6);
        to[..48].copy_from_slice(&from[..48]);
        to[42..GRE_IN_6].copy_from_slice(&from[42..]);
        if let Some(outer) = to[14..].first_chunk_mut() {
            vary6(outer, &inner);
        }
    }

    #[inline(never)]
    fn write_tagged(&self, frame: &mut [u8], ip_len: u16, is_v6: bool) {
        let header = frame.get(self.header_len()..).and_then(|ip| ip.first_chunk());
        let inner = Inner::read(header.copied().unwrap_or_default(), ip_len, is_v6);
        self.copy_header(frame);
        let Some(outer) = frame.get_mut(usize::from(self.l2_len)..) else { return };
        let is_v4 = self.header_len - self.l2_len == 24;
        if let Some(outer) = outer.first_chunk_mut().filter(|_| is_v4) {
            vary4(outer, self.sum, &inner);
        } else if let Some(outer) = outer.first_chunk_mut() {
            vary6(outer, &inner);
        }
    }

    fn copy_header(&self, frame: &mut [u8]) {
        let len = self.header_len();
        if let (Some(to), Some(from)) = (frame.get_mut(..len), self.header.0.get(..len)) {
            to.copy_from_slice(from);
        }
    }
}

#[cfg(test)]
mod tests;
