//! Why packets are dropped, and what an operator can do about it.

macro_rules! drop_reasons {
    ($($variant:ident $label:literal $meaning:literal $cause:literal $cure:literal)*) => {
        /// Why a packet was dropped: counter index, metric label and texts in one.
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

            /// What is behind it as a rule.
            pub fn cause(self) -> &'static str {
                match self { $(DropReason::$variant => $cause,)* }
            }

            /// What to do about it; begins with [`Self::NOTHING`] where such packets are meant to be dropped.
            pub fn cure(self) -> &'static str {
                match self { $(DropReason::$variant => $cure,)* }
            }
        }
    };
}

drop_reasons! {
    Runt "runt"
        "The frame is shorter than the headers it announces."
        "A damaged frame, a sender that cuts frames short, or headers that a driver spreads over several buffers."
        "Nothing, if there are few. If they grow, look at the cable and at the error counters of the sender's NIC."
    UnknownEthertype "unknown_ethertype"
        "Neither IPv4, IPv6 nor ARP."
        "Spanning tree, LLDP and the like from the switch."
        "Nothing."
    VlanStack "vlan_stack"
        "More VLAN tags than are looked behind."
        "A switch port that adds tags to tagged frames (802.1ad), or a forged frame."
        "Give the balancer's switch port one tag at most."
    VlanMismatch "vlan_mismatch"
        "The VLAN tag is not the port's, or is missing on a tagged port."
        "The switch port carries other VLANs than the configuration says, or the driver takes the tag off."
        "Set `vlan` in the [[port]] to that of the traffic, or limit the switch port to the VLANs that have a [[port]]."
    ForeignMac "foreign_mac"
        "The destination MAC address is another host's."
        "The switch floods frames to a host that it has not learned, or a neighbour has an old MAC address for the VIP."
        "Nothing, if there are few. If clients' packets are among them, clear the router's ARP entry of the VIP, and see that no other host has the VIP or the port's `mac`."
    IpVersion "ip_version"
        "The IP version does not fit the ethertype (RFC 791, 8200)."
        "A broken or hostile sender."
        "Nothing."
    IpHeaderLength "ip_header_length"
        "The IPv4 header length is below 5 words (RFC 791)."
        "A broken or hostile sender."
        "Nothing."
    IpTotalShort "ip_total_short"
        "The IP length is shorter than its own header (RFC 791)."
        "A broken or hostile sender, or a sender's NIC that was to set the length (TSO) and did not."
        "Nothing, if there are few. From a virtual machine or veth of this machine: `ethtool -K DEV tso off gso off` there."
    IpTotalLong "ip_total_long"
        "The IP length is longer than the frame (RFC 791)."
        "A frame cut on the way, or a capture with a snap length."
        "Nothing, if there are few. In a replay, capture whole packets: `tcpdump -s 0`."
    IpChecksum "ip_checksum"
        "The IPv4 header checksum is wrong (RFC 1812 5.2.2)."
        "A damaged packet, or a sender on this machine that leaves checksums to a NIC that is none."
        "Nothing, if there are few. From a virtual machine or veth of this machine: `ethtool -K DEV tx off` there."
    Ip6Extension "ip6_extension"
        "The IPv6 extension headers are too many, out of order, cut short or of a refused kind (RFC 8200 4)."
        "A hostile sender, or a protocol that is carried in extension headers, such as segment routing."
        "Nothing."
    Ip6Jumbo "ip6_jumbo"
        "IPv6 payload length 0 with a payload: jumbograms are not supported (RFC 2675)."
        "A broken or hostile sender, or a sender's NIC that was to set the length (TSO) and did not."
        "Nothing, if there are few. From a virtual machine or veth of this machine: `ethtool -K DEV tso off gso off` there."
    L4Truncated "l4_truncated"
        "The transport header does not fit into the IP packet."
        "A broken or hostile sender."
        "Nothing."
    TcpOffset "tcp_offset"
        "The TCP data offset is below 5 or beyond the segment (RFC 9293 3.1)."
        "A broken or hostile sender."
        "Nothing."
    UdpLength "udp_length"
        "The UDP length is below 8 or beyond the IP packet (RFC 768)."
        "A broken or hostile sender."
        "Nothing."
    UdpNoChecksum "udp6_no_checksum"
        "UDP over IPv6 without a checksum (RFC 8200 8.1)."
        "A tunnel that leaves it out (RFC 6935), or a broken sender."
        "Switch the UDP checksum on at the sender (vxlan: `noudp6zerocsumtx`; fou and gue: `encap-udp6-csum`)."
    TinyFragment "tiny_fragment"
        "A first fragment without its transport header, or a TCP fragment at offset 1 (RFC 1858, 3128)."
        "Somebody tries to get past filters."
        "Nothing."
    Fragment "fragment"
        "A fragment of another protocol than TCP and UDP, or of any with dataplane.fragments = 0."
        "A ping that is larger than the MTU, or fragments are switched off."
        "Ping with less, or set `dataplane.fragments`."
    FragmentInvalid "fragment_invalid"
        "A fragment that no sender makes: empty, beyond 65,535 bytes, of odd length, or one of too many pieces (RFC 8200 4.5)."
        "A broken or hostile sender."
        "Nothing."
    FragmentOverlap "fragment_overlap"
        "The datagram's fragments overlap or contradict each other: nothing more of it is taken (RFC 5722, 8200 4.5)."
        "Somebody tries to get past filters, or a sender that uses an identification anew too soon (RFC 6864)."
        "Nothing, if there are few. If a known sender is behind it, let it send smaller datagrams, or search for the path MTU."
    FragmentTimeout "fragment_timeout"
        "The first fragment of the datagram did not come within a second."
        "Loss on the way, a filter that lets only some fragments pass, or a flood of forged fragments."
        "Look for loss on the way. On `net_af_packet` use another driver: the kernel keeps fragments to itself there."
    FragmentQueueFull "fragment_queue_full"
        "Too many fragments wait for the first ones of their datagrams."
        "A flood of fragments without their first ones, or much loss on the way."
        "Other traffic does not suffer. Let senders send datagrams that fit, and filter the flood before it comes here."
    FragmentTableFull "fragment_table_full"
        "The fragment table has no place for the datagram."
        "More datagrams in fragments at a time than `dataplane.fragments`, or a flood of them."
        "Raise `dataplane.fragments`."
    TtlExceeded "ttl_exceeded"
        "TTL or hop limit used up, and no error was due to the sender (RFC 1812 5.3.1)."
        "A routing loop before the balancer, or a traceroute faster than the limit of our own ICMP errors."
        "Look for a loop with `traceroute` from a client to the VIP; a router and the balancer may send to each other."
    Martian "martian"
        "The source address can be nobody's: multicast, broadcast, loopback or unspecified (RFC 1812 5.3.7)."
        "A forged source, or a host that has no address yet."
        "Nothing here. Filter such sources where they enter the network (RFC 2827)."
    Looped "looped"
        "The source is the balancer itself (its address, or its MAC address where there would be an answer) or the backend chosen: it would loop (RFC 2003 4)."
        "A backend that is a client of its own VIP, or a router that sends our own packets back to us."
        "Let backends ask each other by their own addresses, and see that the gateway's routes to the backends do not lead here."
    NotOurs "not_ours"
        "The destination is neither a VIP nor an address of ours, and no connection knows it."
        "Broadcasts and group traffic of the network; a VIP that is routed here and in no service; in NAT, a backend that uses the balancer as its way to the rest of the network."
        "Compare destinations with `tidegate show services`. Give backends another way for traffic of their own, or take the route to the VIP away."
    NoService "no_service"
        "The destination is ours, but nothing is served on this protocol and port."
        "A port scan, a service that is missing, or SSH and BGP to a port of ours without a host path."
        "Add the service. For traffic to own addresses see the port's `host` in `tidegate show ports`."
    NoConnection "no_connection"
        "Not the start of a connection, and no connection knows it (NAT modes)."
        "The connection was idle for longer than its timeout, ended, or was opened before a restart; one of its directions goes past the balancer; or a scan."
        "Raise [service.timeouts], see that replies come back through the balancer (`config/backend-check.sh nat`), and set `reset_unknown` so that clients need not wait."
    NoBackend "no_backend"
        "The service has no backend that takes new connections."
        "All are down, drain or have weight 0."
        "See `tidegate show backends` for the reason of each. A `role = \"last-resort\"` backend, `panic_threshold` or `unreachable` say what clients get in such a case."
    TupleConflict "tuple_conflict"
        "The client's port already talks to this backend through another VIP (RFC 4787)."
        "Two services in mode nat have the same backend address and port, and a client uses one source port for both."
        "Give one of the services another backend port, or use `full-nat`."
    ProxyForged "proxy_forged"
        "The client's data would reach the backend in the place of the PROXY header."
        "A client that sends bytes before the first one of its connection: broken or hostile."
        "Nothing."
    PortsExhausted "ports_exhausted"
        "All local ports towards the backend are in use or rest."
        "More new connections than `local_addresses` have ports for within `local_port_rest`."
        "Add to `local_addresses`, widen `local_ports`, shorten `dataplane.local_port_rest`, or add backends."
    BackendsFull "backends_full"
        "Every backend of the service that takes new connections has its connections_max of them."
        "More load than the backends may have."
        "Add backends, or raise their `connections_max`."
    TableFull "table_full"
        "The connection table has no place left."
        "More open connections than `dataplane.connections`, or idle ones that are kept for long."
        "Raise `dataplane.connections`, or lower the idle times in [service.timeouts]."
    TooBig "too_big"
        "Does not fit the outgoing MTU, and no error was due to the sender (RFC 1191, 4459)."
        "A packet without DF that grows in NAT, an ICMP message longer than the MTU, or more errors than the limit allows."
        "Raise the `mtu` of the port that it leaves by, lower the MSS on the backends, or set `mtu_policy` to \"clamp\" or \"fragment\"."
    Untranslatable "untranslatable"
        "Has no counterpart in the backend's or client's IP version (RFC 7915)."
        "full-NAT between IPv4 and IPv6, and a packet with what only one of them knows, such as a routing header."
        "Nothing; backends of the VIP's own IP version avoid it."
    TunnelInvalid "tunnel_invalid"
        "A tunnel from the outer tier to us with a wrong header, or nothing inside that begins as IP does (RFC 2784)."
        "An outer tier that uses a key, a checksum or another version of GRE."
        "Let the outer tier send plain GRE or IPIP."
    TunnelNotVip "tunnel_not_vip"
        "A tunnel from the outer tier to us, and what is inside is not for a VIP."
        "The outer tier has a VIP that is in no service here, or tunnels of others end here."
        "Add the service, or narrow `decapsulate_from`."
    TunnelCongested "tunnel_congested"
        "A tunnel from the outer tier met congestion, and what is inside does not know ECN (RFC 6040 4.2)."
        "A router on the way from the outer tier marks packets instead of dropping them."
        "Look for the full link between the outer tier and here."
    NoRoute "no_route"
        "No port's network holds the next hop, and there is no gateway for its family."
        "A client or backend beyond the port's networks, without `gateway` or `gateway6`."
        "Set `gateway` or `gateway6` in the [[port]], or add the network to its `addresses`."
    NoHeadroom "no_headroom"
        "The packet buffer has no room for the new header."
        "A driver that gives buffers with less room in front than DPDK's 128 bytes."
        "Report it with the output of `tidegate show ports --json`; another driver of the device helps meanwhile."
    NeighborUnresolved "neighbor_unresolved"
        "The next hop did not answer ARP or neighbour discovery in time."
        "A gateway or backend that is off, has another address, or is in another VLAN."
        "See `tidegate show neighbors`. From a host in the same network: `ping` the next hop. Where ARP is filtered, set `neighbors` in the [[port]]."
    NeighborQueueFull "neighbor_queue_full"
        "Too many packets already wait for next hops to answer."
        "A next hop that does not answer, under traffic; or the first moment after a start."
        "As for neighbor_unresolved, if it goes on."
    NeighborTableFull "neighbor_table_full"
        "The neighbour table has no place for another next hop."
        "Clients in the port's own networks beyond the table's size, as a rule a prefix that is much too wide or a scan."
        "Let clients come through a router, or make the prefix lengths in `addresses` what they are on the network."
    NeighborUpdate "neighbor_update"
        "An ARP or neighbour discovery message taken in; it asks for no answer."
        "Neighbours answer and announce themselves, as they should."
        "Nothing: these were used, not lost."
    NeighborInvalid "neighbor_invalid"
        "An ARP or neighbour discovery message that breaks its RFC (826, 4861 7.1)."
        "A switch that sends our own messages back (a loop), or a hostile neighbour."
        "Nothing, if there are few. If they keep coming, look for a loop in the switches."
    AddressConflict "address_conflict"
        "Another host claims one of our addresses or VIPs (RFC 5227)."
        "A backend that answers ARP for the VIP (dsr and tunnels), another balancer with the same VIP, or an address given twice."
        "On each backend: `config/backend-check.sh MODE VIP`. Then find the host by its MAC address in the switch."
    IcmpChecksum "icmp_checksum"
        "The ICMP checksum, or the quoted IP header's, is wrong (RFC 5508 REQ-3)."
        "A router that quotes packets wrongly, or a forged error."
        "Nothing."
    IcmpQuote "icmp_quote"
        "An ICMP error whose quoted packet cannot be read (RFC 792)."
        "A router that quotes less than eight bytes of the transport header, or a forged error."
        "Nothing."
    IcmpNoConnection "icmp_no_connection"
        "An ICMP error about a connection that is not known (NAT modes, RFC 5508 REQ-4)."
        "An error that comes after the connection's end, or a forged one."
        "Nothing."
    IcmpMtu "icmp_mtu"
        "An ICMP error that tells an MTU below 576 (IPv4) or 1280 (IPv6), or one that the packet it quotes fits: not believed (RFC 5927 7)."
        "A forged error that is to slow connections down; rarely a link with such an MTU."
        "Nothing. If a path to clients really is that narrow, lower the MSS on the backends."
    IcmpTunnel "icmp_tunnel"
        "An ICMP error about one of our tunnel packets, taken in; no error was due to the inner packet's sender."
        "A router on the way to a backend tells a narrower MTU, or that the backend cannot be reached."
        "Nothing, if there are few: these were used, not lost. If they keep coming, look at the path to the backends."
    IcmpNotServed "icmp_not_served"
        "An ICMP message that is neither an echo request nor an error."
        "Scans, redirects, timestamp requests, router advertisements."
        "Nothing."
    EchoLimited "echo_limited"
        "An echo request beyond the rate limit."
        "A flood of pings, or monitoring with very many of them."
        "Nothing; other traffic does not suffer."
    NoBuffer "no_buffer"
        "No packet buffer was free for the pieces of a packet that was too long."
        "Many packets in pieces at a time, with few buffers."
        "Raise `dataplane.mbufs`, or spare the pieces: a larger MTU towards the backends, or a lower MSS."
    PuntLimited "punt_limited"
        "For the host, but beyond the rate limit of its class (`[host]`)."
        "A flood at one of our own addresses, or more traffic of the host's than was foreseen."
        "`tidegate show drops` has the class; raise its limit in [host] if the traffic is wanted."
    PuntFull "punt_full"
        "For the host, but too many packets of its class already wait there."
        "The host's end gets too little CPU, or a burst."
        "Keep workers and the kernel on different CPUs (`workers = [..]`), or lower the class's limit in [host]."
    TxFull "tx_full"
        "The port's transmit queue stayed full."
        "More packets than the link can carry, or pause frames from the switch."
        "See `tidegate show ports`. Spread the traffic over more ports or a faster link, and switch flow control off."
    RingFull "ring_full"
        "The owning worker's ring stayed full."
        "A worker that has more to do than it can, or does not get its CPU."
        "See `tidegate show workers`: give workers CPUs of their own, add workers, or have the device spread flows (RSS, or `spread = \"queues\"`)."
}

impl DropReason {
    /// Number of reasons.
    pub const COUNT: usize = Self::ALL.len();

    /// How the cure of a reason begins about which nothing needs to be done.
    pub const NOTHING: &str = "Nothing";

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
        }
    }

    #[test]
    fn texts_are_sentences_that_fit_a_table() {
        for reason in DropReason::ALL {
            for text in [reason.meaning(), reason.cause(), reason.cure()] {
                assert!(text.ends_with('.') && !text.contains(['|', '\n']), "{}: {text}", reason.label());
            }
        }
    }
}
