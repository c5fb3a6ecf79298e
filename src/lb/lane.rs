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

/// How a lane changes a packet.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Change {
    /// A new Ethernet header: `dsr`.
    #[default]
    Mac,
    /// And addresses and ports: `nat`.
    Translate,
    /// And an IPv4 tunnel header.
    Tunnel4,
    /// And an IPv6 tunnel header.
    Tunnel6,
}

impl Change {
    /// Whether the packet goes into a tunnel.
    #[inline(always)]
    pub fn is_tunnel(self) -> bool {
        matches!(self, Change::Tunnel4 | Change::Tunnel6)
    }
}

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
                lane.change = if outer.is_v4() { Change::Tunnel4 } else { Change::Tunnel6 };
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

    /// Writes the headers to the front of a frame.
    #[inline(always)]
    pub fn write(&self, frame: &mut [u8], inner: &Inner) {
        // Lengths known at compile time become a few stores; the others are a call.
        match self.header_len {
            14 => self.put::<14, 8>(frame),
            38 => self.put::<38, 32>(frame),
            58 => self.put::<58, 48>(frame),
            _ => self.put_any(frame),
        }
        let Some(outer) = frame.get_mut(usize::from(self.l2_len)..) else { return };
        match self.change {
            Change::Tunnel4 => {
                if let Some(outer) = outer.first_chunk_mut() {
                    vary4(outer, self.sum, inner);
                }
            }
            Change::Tunnel6 => {
                if let Some(outer) = outer.first_chunk_mut() {
                    vary6(outer, inner);
                }
            }
            Change::Mac | Change::Translate => {}
        }
    }

    /// Writes `N` bytes, `BULK` of them in the widest stores and the last ones, which overlap them, in one more.
    #[inline(always)]
    fn put<const N: usize, const BULK: usize>(&self, frame: &mut [u8]) {
        let (Some(to), Some(from)) = (frame.first_chunk_mut::<N>(), self.header.0.first_chunk::<N>()) else { return };
        if let (Some(to), Some(from)) = (to.first_chunk_mut::<BULK>(), from.first_chunk::<BULK>()) {
            *to = *from;
        }
        if N == 58 {
            if let (Some(to), Some(from)) = (to.last_chunk_mut::<16>(), from.last_chunk::<16>()) {
                *to = *from;
            }
        } else if let (Some(to), Some(from)) = (to.last_chunk_mut::<8>(), from.last_chunk::<8>()) {
            *to = *from;
        }
    }

    fn put_any(&self, frame: &mut [u8]) {
        let len = self.header_len();
        if let (Some(to), Some(from)) = (frame.get_mut(..len), self.header.0.get(..len)) {
            to.copy_from_slice(from);
        }
    }
}
