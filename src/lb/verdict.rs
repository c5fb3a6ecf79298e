//! The one fate of each packet.

use super::fragments::DatagramTag;
use super::ids::{PortId, WorkerId};
use super::neighbor::NeighborSlot;
use super::punt::PuntClass;

/// What becomes of a packet. Input packets are the sum of verdicts, always.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// Leaves by this port.
    Tx(PortId),
    /// Leaves by this port, but is too long for it: to be sent in pieces, see [`pieces`](super::pieces).
    Fragment(PortId),
    /// Was turned into our answer to its sender; leaves by this port.
    Reply(PortId),
    /// Is complete but for the next hop's MAC address, which is being asked for: wait in the shard's bounded queue. It
    /// ends as `Tx` or as a drop.
    Hold(NeighborSlot),
    /// A fragment whose datagram's first one has not come yet: wait in the worker's bounded queue. It goes through the
    /// packet path again, or ends as a drop.
    Await(DatagramTag),
    /// Belongs to another worker's shard; that one gives it its final verdict.
    Handoff(WorkerId),
    /// Is for the host's own network stack, through this port's device there; the VLAN tag is off.
    Punt(PortId, PuntClass),
    /// Freed and counted.
    Drop(DropReason),
}

macro_rules! drop_reasons {
    ($($variant:ident $label:literal $meaning:literal)*) => {
        /// Why a packet was dropped: counter index, metric label and text in one.
        #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
        #[repr(u8)]
        pub enum DropReason {
            $(#[doc = $meaning] $variant,)*
        }

        impl DropReason {
            /// Every reason, in the order of the counters.
            pub const ALL: &[DropReason] = &[$(DropReason::$variant,)*];

            /// The word in stats, metrics and the command line.
            pub fn label(self) -> &'static str {
                match self { $(DropReason::$variant => $label,)* }
            }

            /// One sentence for an operator.
            pub fn meaning(self) -> &'static str {
                match self { $(DropReason::$variant => $meaning,)* }
            }
        }
    };
}

drop_reasons! {
    Runt "runt" "The frame is shorter than the headers it announces."
    UnknownEthertype "unknown_ethertype" "Neither IPv4, IPv6 nor ARP."
    VlanStack "vlan_stack" "More VLAN tags than are looked behind."
    VlanMismatch "vlan_mismatch" "The VLAN tag is not the port's, or is missing on a tagged port."
    ForeignMac "foreign_mac" "The destination MAC address is another host's."
    IpVersion "ip_version" "The IP version does not fit the ethertype (RFC 791)."
    IpHeaderLength "ip_header_length" "The IPv4 header length is below 5 words (RFC 791)."
    IpTotalShort "ip_total_short" "The IP length is shorter than its own header (RFC 791)."
    IpTotalLong "ip_total_long" "The IP length is longer than the frame (RFC 791)."
    IpChecksum "ip_checksum" "The IPv4 header checksum is wrong (RFC 1812 5.2.2)."
    Ip6Extension "ip6_extension" "The IPv6 extension headers are too many, out of order, cut short or of a refused kind."
    Ip6Jumbo "ip6_jumbo" "IPv6 payload length 0 with a payload: jumbograms are not supported (RFC 2675)."
    L4Truncated "l4_truncated" "The transport header does not fit into the IP packet."
    TcpOffset "tcp_offset" "The TCP data offset is below 5 or beyond the segment (RFC 9293 3.1)."
    UdpLength "udp_length" "The UDP length is below 8 or beyond the IP packet (RFC 768)."
    UdpNoChecksum "udp6_no_checksum" "UDP over IPv6 without a checksum (RFC 8200 8.1)."
    TinyFragment "tiny_fragment" "A first fragment without its transport header, or a TCP fragment at offset 1 (RFC 1858, 3128)."
    Fragment "fragment" "A fragment of another protocol than TCP and UDP, or of any with dataplane.fragments = 0."
    FragmentInvalid "fragment_invalid" "A fragment that no sender makes: empty, beyond 65,535 bytes, of odd length, or one of too many pieces (RFC 8200 4.5)."
    FragmentOverlap "fragment_overlap" "The datagram's fragments overlap or contradict each other: nothing more of it is taken (RFC 5722, 8200 4.5)."
    FragmentTimeout "fragment_timeout" "The first fragment of the datagram did not come within a second."
    FragmentQueueFull "fragment_queue_full" "Too many fragments wait for the first ones of their datagrams."
    FragmentTableFull "fragment_table_full" "The fragment table has no place for the datagram; raise dataplane.fragments."
    TtlExceeded "ttl_exceeded" "TTL or hop limit used up, and no error was due to the sender (RFC 1812 5.3.1)."
    Martian "martian" "The source address can be nobody's: multicast, broadcast, loopback or unspecified (RFC 1812 5.3.7)."
    Looped "looped" "The source is the balancer itself (its address, or its MAC address where there would be an answer) or the backend chosen: it would loop (RFC 2003 4)."
    NotOurs "not_ours" "The destination is neither a VIP nor an address of ours, and no connection knows it."
    NoService "no_service" "The destination is ours, but nothing is served on this protocol and port."
    NoConnection "no_connection" "Not the start of a connection, and no connection knows it (NAT modes)."
    NoBackend "no_backend" "The service has no backend that takes new connections."
    TupleConflict "tuple_conflict" "The client's port already talks to this backend through another VIP (RFC 4787)."
    ProxyForged "proxy_forged" "The client's data would reach the backend in the place of the PROXY header."
    PortsExhausted "ports_exhausted" "All local ports towards the backend are in use or rest; add to local_addresses."
    BackendsFull "backends_full" "Every backend of the service that takes new connections has its connections_max of them."
    TableFull "table_full" "The connection table has no place left; raise dataplane.connections."
    TooBig "too_big" "Does not fit the outgoing MTU, and no error was due to the sender."
    Untranslatable "untranslatable" "Has no counterpart in the backend's or client's IP version (RFC 7915)."
    TunnelInvalid "tunnel_invalid" "A tunnel from the outer tier to us with a wrong header, or nothing inside that begins as IP does."
    TunnelNotVip "tunnel_not_vip" "A tunnel from the outer tier to us, and what is inside is not for a VIP."
    TunnelCongested "tunnel_congested" "A tunnel from the outer tier met congestion, and what is inside does not know ECN (RFC 6040 4.2)."
    NoRoute "no_route" "No port's network holds the next hop, and there is no gateway for its family."
    NoHeadroom "no_headroom" "The packet buffer has no room for the new header."
    NeighborUnresolved "neighbor_unresolved" "The next hop did not answer ARP or neighbour discovery in time."
    NeighborQueueFull "neighbor_queue_full" "Too many packets already wait for next hops to answer."
    NeighborTableFull "neighbor_table_full" "The neighbour table has no place for another next hop."
    NeighborUpdate "neighbor_update" "An ARP or neighbour discovery message taken in; it asks for no answer."
    NeighborInvalid "neighbor_invalid" "An ARP or neighbour discovery message that breaks its RFC (826, 4861 7.1)."
    AddressConflict "address_conflict" "Another host claims one of our addresses or VIPs (RFC 5227)."
    IcmpChecksum "icmp_checksum" "The ICMP checksum, or the quoted IP header's, is wrong (RFC 5508 REQ-3)."
    IcmpQuote "icmp_quote" "An ICMP error whose quoted packet cannot be read."
    IcmpNoConnection "icmp_no_connection" "An ICMP error about a connection that is not known (NAT modes, RFC 5508 REQ-4)."
    IcmpMtu "icmp_mtu" "An ICMP error that tells an MTU below 576 (IPv4) or 1280 (IPv6), or one that the packet it quotes fits: not believed."
    IcmpTunnel "icmp_tunnel" "An ICMP error about one of our tunnel packets, taken in; no error was due to the inner packet's sender."
    IcmpNotServed "icmp_not_served" "An ICMP message that is neither an echo request nor an error."
    EchoLimited "echo_limited" "An echo request beyond the rate limit."
    NoBuffer "no_buffer" "No packet buffer was free for the pieces of a packet that was too long; raise dataplane.mbufs."
    PuntLimited "punt_limited" "For the host, but beyond the rate limit of its class (`[host]`)."
    PuntFull "punt_full" "For the host, but too many packets of its class already wait there."
    TxFull "tx_full" "The port's transmit queue stayed full."
    RingFull "ring_full" "The owning worker's ring stayed full."
}

impl DropReason {
    /// Number of reasons.
    pub const COUNT: usize = Self::ALL.len();

    /// Index into the counters.
    #[inline]
    pub fn index(self) -> usize {
        self as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn labels_are_unique_snake_case_and_in_counter_order() {
        let labels: HashSet<_> = DropReason::ALL.iter().map(|r| r.label()).collect();
        assert_eq!(labels.len(), DropReason::COUNT);
        for (index, reason) in DropReason::ALL.iter().enumerate() {
            assert_eq!(reason.index(), index);
            assert!(reason.label().chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_'));
            assert!(reason.meaning().ends_with('.'));
        }
    }
}
