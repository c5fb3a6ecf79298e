//! What a packet of a known connection needs of its backend, prepared, so that it touches no more than this.

use std::net::IpAddr;

use super::connection::{Direction, Phase, State};
use super::ids::{BackendId, PortId};
use super::neighbor::{NeighborSlot, Neighbors};
use super::snapshot::{Backend, Encap, Inner, Mode, Outer, Port, Vary, varied4, vary4, vary6};
use super::table::Words;
use crate::wire::ethernet::{self, EtherType, MacAddr};
use crate::wire::parse::{Kind, Parsed};

/// Ethernet header with a VLAN tag, and the longest tunnel header but for the length and the checksum of UDP, which differ from
/// packet to packet; a cache line has room for more by two.
const HEADER_MAX: usize = 62;

/// How a lane changes a packet. Tunnels with lengths that are known here are for ports without a VLAN, and copy the DSCP.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Change {
    /// A new Ethernet header: `dsr`.
    #[default]
    Mac,
    /// And addresses and ports: `nat`.
    Translate,
    /// GRE over IPv4.
    GreIn4,
    /// GRE over IPv6.
    GreIn6,
    /// IP over IPv4.
    IpipIn4,
    /// GRE that is out of the ordinary.
    Gre,
    /// IP in IP likewise, and over IPv6.
    Ipip,
    /// UDP.
    Gue,
}

impl From<Encap> for Change {
    fn from(encap: Encap) -> Self {
        match encap {
            Encap::Gre => Self::Gre,
            Encap::Ipip => Self::Ipip,
            Encap::Gue => Self::Gue,
        }
    }
}

/// Where NAT keeps what packets are sent to: behind the longest Ethernet header.
const INSIDE_AT: usize = 18;
/// Ethernet header, and the outer headers behind it.
const GRE_IN_4: usize = 14 + 20 + 4;
const GRE_IN_6: usize = 14 + 40 + 4;
const IPIP_IN_4: usize = 14 + 20;

/// See the module. Valid while [`Lane::is_current`]; made anew by the first packet after that.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C, align(64))]
pub struct Lane {
    // First, so that it lies in one cache line and the rest in another.
    header: Header,
    /// Whose lane this is, and when its next hop was last said to be in use.
    way: Way,
    /// The version of the neighbour table that this was prepared for; 0 for never.
    version: u32,
    /// Of the prepared tunnel header, as in [`Vary`].
    sum: u32,
    /// As in [`Vary`].
    seed: u32,
    /// The next hop.
    pub neighbor: NeighborSlot,
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
    /// As in [`Vary`].
    dscp: u8,
    /// See [`Lane::steady`].
    steady: [u16; State::COUNT],
}

/// A backend, and the neighbour table's stamp when the next hop to it was last said to be in use; 0 for never.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
struct Way {
    backend: BackendId,
    stamp: u32,
}

impl Way {
    /// Both in one word, because they are compared for every packet.
    #[inline(always)]
    fn word(self) -> u64 {
        u64::from(self.backend.bits()) | u64::from(self.stamp) << 32
    }
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
    /// Stands for no time at all: no deadline is ever this far ahead, see [`Timeouts::MAX_S`](super::connection::Timeouts).
    pub const UNSTEADY: u16 = 1 << 15;

    /// The lane to `backend` behind `mac` on `port`, from a packet of one of its connections; `None` if its packets
    /// cannot be sent.
    pub fn new(
        version: u32,
        backend: &Backend,
        (id, port): (PortId, &Port),
        (neighbor, mac): (NeighborSlot, MacAddr),
        parsed: &Parsed,
    ) -> Option<Self> {
        let steady = [Self::UNSTEADY; State::COUNT];
        let mut lane = Self {
            steady,
            way: Way { backend: backend.id, stamp: 0 },
            version,

            ip_len_max: backend.mtu,
            port: id,
            neighbor,
            ..Self::default()
        };
        for phase in Phase::ALL {
            let is_steady = match phase {
                // Until the backend has answered, which is seen in NAT alone.
                Phase::UdpOneway => backend.mode.is_nat(),
                Phase::TcpEstablished | Phase::Udp => true,
                Phase::TcpSyn | Phase::TcpFin | Phase::IcmpEcho => false,
            };
            let index = State::new(phase, Direction::Request).index();
            lane.steady[index] = if is_steady { backend.timeouts.of(phase) } else { Self::UNSTEADY };
        }
        let inner = if parsed.kind == Kind::V6 { EtherType(0x86dd) } else { EtherType(0x0800) };
        let ethertype = match (backend.mode, &backend.outer) {
            (Mode::Dsr, _) => inner,
            (Mode::Nat, _) => {
                (lane.change, lane.ttl_min) = (Change::Translate, 1);
                lane.set_inside(backend.address, backend.port);
                inner
            }
            // Where it comes from differs from connection to connection.
            (Mode::FullNat, _) => return None,
            (Mode::Gre | Mode::Ipip | Mode::Gue, Some(outer)) => {
                let Vary { encap, sum, seed, dscp } = outer.vary();
                lane.change = match (encap, outer.is_v4()) {
                    _ if port.vlan.is_some() || dscp != Vary::COPY => encap.into(),
                    (Encap::Gre, true) => Change::GreIn4,
                    (Encap::Gre, false) => Change::GreIn6,
                    (Encap::Ipip, true) => Change::IpipIn4,
                    _ => encap.into(),
                };
                (lane.sum, lane.seed, lane.dscp) = (sum, seed, dscp);
                lane.ip_len_max = backend.mtu.checked_sub(outer.overhead() as u16)?;
                EtherType(outer.ethertype())
            }
            (Mode::Gre | Mode::Ipip | Mode::Gue, None) => return None,
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
            // What a header has from its packet is written anew for each.
            let version = if parsed.kind == Kind::V6 { [0x60] } else { [0x40] };
            let bytes = outer.header(&Inner::of(parsed), &version);
            len += outer.overhead();
            let kept = len.min(HEADER_MAX);
            self.header.0.get_mut(l2_len..kept)?.copy_from_slice(bytes.get(..kept - l2_len)?);
        }
        (self.l2_len, self.header_len) = (l2_len as u8, len as u8);
        Some(())
    }

    /// NAT has no outer header: what packets are sent to takes its place.
    fn set_inside(&mut self, address: IpAddr, port: u16) {
        let [_, rest @ ..] = self.header.0.as_chunks_mut::<INSIDE_AT>().0 else { return };
        if let Some(place) = rest.first_mut() {
            match address {
                IpAddr::V4(address) => place[..4].copy_from_slice(&address.octets()),
                IpAddr::V6(address) => place[..16].copy_from_slice(&address.octets()),
            }
            place[16..18].copy_from_slice(&port.to_be_bytes());
        }
    }

    /// NAT: the backend's address, in network order from the first byte on, and its port, 0 for the VIP's.
    #[inline(always)]
    pub fn inside(&self) -> (&[u8; 16], u16) {
        const NONE: &[u8; 16] = &[0; 16];
        let at = self.header.0[INSIDE_AT..].first_chunk::<18>();
        at.and_then(|at| Some((at.first_chunk::<16>()?, u16::from_be_bytes([at[16], at[17]])))).unwrap_or((NONE, 0))
    }

    /// Whether this still is the way to `backend`; `version` is the neighbour table's.
    #[inline(always)]
    pub fn is_current(&self, version: u32, backend: BackendId) -> bool {
        self.version == version && self.way.backend == backend
    }

    /// Makes it be prepared anew. What was already given this lane can still be sent by it.
    pub fn outdate(&mut self) {
        (self.version, self.way.stamp) = (0, 0);
    }

    /// Whether this is known to be the way to `backend` as of the neighbour table's `stamp`.
    #[inline(always)]
    pub fn is_way(&self, stamp: u32, backend: BackendId) -> bool {
        self.way.word() == Way { backend, stamp }.word()
    }

    /// Whether this still is the way to `backend`. If so, its next hop is said to be in use, and [`Self::is_way`] is true
    /// until `stamp` changes.
    #[inline(never)]
    pub fn renew(&mut self, neighbors: &mut Neighbors, stamp: u32, backend: BackendId) -> bool {
        let is_current = self.is_current(neighbors.version(), backend);
        if is_current {
            self.way.stamp = stamp;
            neighbors.touch(self.neighbor);
        }
        is_current
    }

    /// How many seconds a connection in `state` may be idle, if a plain packet of the client leaves that state as it is, else
    /// [`Lane::UNSTEADY`].
    #[inline(always)]
    pub fn steady(&self, state: State) -> u16 {
        self.steady[state.index()]
    }

    /// Bytes of the Ethernet and tunnel header.
    #[inline(always)]
    pub fn header_len(&self) -> usize {
        usize::from(self.header_len)
    }

    /// Whether a packet gets an outer header.
    #[inline(always)]
    pub fn is_tunnel(&self) -> bool {
        !matches!(self.change, Change::Mac | Change::Translate)
    }

    /// Puts the headers to the front of a frame, in which the packet of `ip_len` bytes is in its place already; `start` is
    /// the first eight of them, read as a little-endian word, and `words` its five-tuple.
    #[inline(always)]
    pub fn write(&self, frame: &mut [u8], start: u64, ip_len: u16, is_v6: bool, words: &Words) {
        let inner = Inner::read(start, ip_len, is_v6);
        // Asked for in turn, the most frequent first: a jump by table would be a few instructions more.
        if self.change == Change::GreIn4 {
            self.write_in_4(frame, &inner);
        } else if self.change == Change::GreIn6 {
            self.write_in_6(frame, &inner);
        } else if self.is_tunnel() {
            self.write_other(frame, start, ip_len, is_v6, words);
        } else {
            self.write_mac(frame);
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
    fn write_in_4(&self, frame: &mut [u8], inner: &Inner) {
        let (Some(to), Some(from)) = (frame.first_chunk_mut::<GRE_IN_4>(), self.header.0.first_chunk::<GRE_IN_4>())
        else {
            return;
        };
        // In wide stores, none of which crosses into the next cache line where the packet came with the usual headroom: that
        // would make it several times slower. Where one could end where the next begins, the compiler would join them.
        copy::<0, 16>(to, from);
        copy::<8, 16>(to, from);
        copy::<24, 8>(to, from);
        copy::<30, 8>(to, from);
        if let Some(outer) = to[14..].first_chunk_mut() {
            vary4(outer, self.sum, inner, Encap::Gre.header_len() as u16);
        }
    }

    #[inline(always)]
    fn write_in_6(&self, frame: &mut [u8], inner: &Inner) {
        let (Some(to), Some(from)) = (frame.first_chunk_mut::<GRE_IN_6>(), self.header.0.first_chunk::<GRE_IN_6>())
        else {
            return;
        };
        // As above.
        copy::<0, 16>(to, from);
        copy::<16, 16>(to, from);
        copy::<28, 16>(to, from);
        copy::<44, 8>(to, from);
        copy::<50, 8>(to, from);
        if let Some(outer) = to[14..].first_chunk_mut() {
            vary6(outer, inner, Encap::Gre.header_len() as u16);
        }
    }

    /// The tunnels besides GRE, and GRE where it is out of the ordinary.
    #[inline(never)]
    fn write_other(&self, frame: &mut [u8], start: u64, ip_len: u16, is_v6: bool, words: &Words) {
        let mut inner = Inner::read(start, ip_len, is_v6);
        let encap = match self.change {
            Change::Gre => Encap::Gre,
            Change::Ipip => Encap::Ipip,
            Change::Gue => Encap::Gue,
            _ => return self.write_ipip(frame, &inner),
        };
        self.copy_header(frame);
        let Some((head, packet)) = frame.split_at_mut_checked(self.header_len()) else { return };
        let vary = Vary { encap, sum: self.sum, seed: self.seed, dscp: self.dscp };
        inner.entropy = vary.entropy(words, is_v6);
        vary.write(head.get_mut(usize::from(self.l2_len)..).unwrap_or_default(), &inner, packet);
    }

    #[inline(always)]
    fn write_ipip(&self, frame: &mut [u8], inner: &Inner) {
        let (Some(to), Some(from)) = (frame.first_chunk_mut::<IPIP_IN_4>(), self.header.0.first_chunk::<IPIP_IN_4>())
        else {
            return;
        };
        // As above; the next cache line begins behind 20 bytes of this header.
        copy::<0, 16>(to, from);
        copy::<4, 16>(to, from);
        copy::<20, 8>(to, from);
        copy::<26, 8>(to, from);
        let (first, check) = varied4(self.sum, inner, 0);
        let [a, b, c, d, rest @ ..] = first.to_le_bytes();
        to[14..18].copy_from_slice(&[a, b, c, d]);
        to[18..20].copy_from_slice(&rest[..2]);
        to[20..22].copy_from_slice(&rest[2..]);
        to[24..26].copy_from_slice(&check.to_le_bytes());
    }

    fn copy_header(&self, frame: &mut [u8]) {
        let len = self.header_len().min(HEADER_MAX);
        if let (Some(to), Some(from)) = (frame.get_mut(..len), self.header.0.get(..len)) {
            to.copy_from_slice(from);
        }
    }
}

/// Copies `LEN` bytes at `AT` in one store.
#[inline(always)]
fn copy<const AT: usize, const LEN: usize>(to: &mut [u8], from: &[u8]) {
    if let (Some(to), Some(from)) = (to[AT..].first_chunk_mut::<LEN>(), from[AT..].first_chunk::<LEN>()) {
        *to = *from;
    }
}

#[cfg(test)]
mod tests;
