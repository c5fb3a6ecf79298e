//! What tests of the packet path share: a small network, frames to send through it, and a look at every counter.

mod chain;
mod check;
mod fragments;
mod frame;
mod net;
mod onlooker;

pub use chain::Chain;
pub use check::{checksums_are_right, l4_checksum_is_right, tunnel_of};
pub use fragments::{fragments, reassembled};
pub use frame::{Frame, arp, icmp4, icmp6, internet_checksum, neighbor_message};
pub use net::{Net, Sent, TestPacket};

use std::net::IpAddr;

use super::connection::Timeouts;
use super::hash::{HashKey, hash_words};
use super::ids::BackendId;
use super::scheduler::Kind;
use super::snapshot::{BackendSpec, ClientAddress, Mode, PortSpec, ServiceSpec, SnapshotSpec};
use crate::wire::ethernet::MacAddr;

/// The client's side router, by MAC address.
pub const ROUTER: MacAddr = MacAddr([2, 0, 0, 0, 0, 1]);
/// The first port of the balancer.
pub const WAN: MacAddr = MacAddr([2, 0, 0, 0, 0, 2]);
/// Its second.
pub const LAN: MacAddr = MacAddr([2, 0, 0, 0, 0, 3]);

pub fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// `address:port`, an IPv6 address in brackets.
pub fn end(text: &str) -> (IpAddr, u16) {
    let end: std::net::SocketAddr = text.parse().unwrap();
    (end.ip(), end.port())
}

/// MAC address of backend `n`.
pub fn backend_mac(n: u8) -> MacAddr {
    MacAddr([2, 0, 0, 0, 1, n])
}

/// Two ports: clients behind a router on the first, backends 1 to 9 in the second's network, all known by MAC address.
pub fn ports() -> Vec<PortSpec> {
    let port = |name: &str, mac, addresses: &[(&str, u8)], gateways: &[&str], neighbors| PortSpec {
        name: name.into(),
        mac,
        addresses: addresses.iter().map(|&(a, len)| (ip(a), len)).collect(),
        gateways: gateways.iter().map(|a| ip(a)).collect(),
        mtu: 1500,
        vlan: None,
        neighbors,
        outer_tier: Vec::new(),
        is_placed: false,
        host: false,
        rss: None,
    };
    let backends = (1..10)
        .flat_map(|n| [(ip(&format!("10.1.0.{n}")), backend_mac(n)), (ip(&format!("fd01::{n}")), backend_mac(n))]);
    vec![
        port(
            "wan",
            WAN,
            &[("10.0.0.2", 24), ("fd00::2", 64)],
            &["10.0.0.1", "fd00::1"],
            vec![(ip("10.0.0.1"), ROUTER), (ip("fd00::1"), ROUTER)],
        ),
        port("lan", LAN, &[("10.1.0.254", 24), ("fd01::fe", 64)], &[], backends.collect()),
    ]
}

/// A service on `vip` (port 0: every port) whose backends take the slots from `slot` on.
pub fn service(name: &str, mode: Mode, protocol: u8, vip: (&str, u16), slot: usize, backends: &[&str]) -> ServiceSpec {
    let backend = |(i, text): (usize, &&str)| {
        let (address, port) = match text.parse::<std::net::SocketAddr>() {
            Ok(end) => (end.ip(), Some(end.port())),
            Err(_) => (ip(text), None),
        };
        BackendSpec {
            id: BackendId::new(slot + i, 0),
            name: format!("b{i}").into(),
            address,
            port,
            weight: 100,
            connections_max: 0,
            serves: true,
            admits: true,
        }
    };
    ServiceSpec {
        name: name.into(),
        is_retired: false,
        vip: ip(vip.0),
        port: Some(vip.1).filter(|&p| p != 0),
        protocol,
        mode,
        client_address: ClientAddress::None,
        tunnel_source: None,
        local_addresses: Vec::new(),
        local_ports: 1024..=65_535,
        reset_idle: false,
        reset_unknown: false,
        unreachable: false,
        passes_echo: false,
        tunnel: Default::default(),
        mtu_policy: Default::default(),
        scheduler: Kind::Maglev,
        persistence_s: 0,
        maglev_size: 251,
        timeouts: Timeouts::default(),
        backends: backends.iter().enumerate().map(backend).collect(),
    }
}

/// With local addresses on the backends' network.
pub fn full_nat(service: ServiceSpec) -> ServiceSpec {
    ServiceSpec { local_addresses: vec![ip("10.1.0.100"), ip("fd01::100")], ..service }
}

pub fn spec(services: Vec<ServiceSpec>) -> SnapshotSpec {
    SnapshotSpec { generation: 1, workers: 1, hash_key: HashKey::from_bytes([7; 16]), ports: ports(), services }
}

/// Some of the services with other schedulers, limits and persistence, as the seed says; 0 leaves all as it is.
pub fn scheduled(mut spec: SnapshotSpec, seed: u64) -> SnapshotSpec {
    for (n, service) in (1..).zip(&mut spec.services) {
        let chance = hash_words(HashKey::from_bytes([1; 16]), &[seed, n]);
        if seed != 0 && chance % 8 < Kind::ALL.len() as u64 {
            service.scheduler = Kind::ALL[(chance % 8) as usize];
            service.persistence_s = if chance & 0x100 == 0 { 0 } else { 40 };
            service.backends[0].connections_max = if chance & 0x600 == 0 { 2 } else { 0 };
        }
    }
    spec
}

/// One VIP of each family for each mode, with TCP on port 80 and UDP on port 53; two backends each.
///
/// NAT on .10, GRE on .20 (IPv4 and IPv6 backends), DSR on .30, full-NAT on .50 from 10.1.0.100 and fd01::100, and on .51 to backends
/// of the other IP version.
pub fn all_modes() -> SnapshotSpec {
    let (tcp, udp) = (6, 17);
    let nat4 = ["10.1.0.1:8080", "10.1.0.2:8080"];
    let nat6 = ["[fd01::1]:8080", "[fd01::2]:8080"];
    let v4 = ["10.1.0.3", "10.1.0.4"];
    let v6 = ["fd01::3", "fd01::4"];
    let s = service;
    spec(vec![
        s("nat4", Mode::Nat, tcp, ("192.0.2.10", 80), 0, &nat4),
        s("nat4u", Mode::Nat, udp, ("192.0.2.10", 53), 2, &nat4),
        s("nat6", Mode::Nat, tcp, ("2001:db8::10", 80), 4, &nat6),
        s("nat6u", Mode::Nat, udp, ("2001:db8::10", 53), 6, &nat6),
        s("gre44", Mode::Gre, tcp, ("192.0.2.20", 80), 8, &v4),
        s("gre44u", Mode::Gre, udp, ("192.0.2.20", 53), 10, &v4),
        s("gre46", Mode::Gre, tcp, ("192.0.2.21", 80), 12, &v6),
        s("gre64", Mode::Gre, tcp, ("2001:db8::20", 80), 14, &v4),
        s("gre66", Mode::Gre, tcp, ("2001:db8::21", 80), 16, &v6),
        s("gre66u", Mode::Gre, udp, ("2001:db8::21", 53), 18, &v6),
        s("dsr4", Mode::Dsr, tcp, ("192.0.2.30", 80), 20, &v4),
        s("dsr6", Mode::Dsr, tcp, ("2001:db8::30", 80), 22, &v6),
        s("any", Mode::Nat, udp, ("192.0.2.40", 0), 24, &["10.1.0.5"]),
        full_nat(s("full4", Mode::FullNat, tcp, ("192.0.2.50", 80), 25, &nat4)),
        full_nat(s("full4u", Mode::FullNat, udp, ("192.0.2.50", 53), 27, &nat4)),
        full_nat(s("full6", Mode::FullNat, tcp, ("2001:db8::50", 80), 29, &nat6)),
        full_nat(s("full6u", Mode::FullNat, udp, ("2001:db8::50", 53), 31, &nat6)),
        full_nat(s("full46", Mode::FullNat, tcp, ("192.0.2.51", 80), 33, &nat6)),
        full_nat(s("full46u", Mode::FullNat, udp, ("192.0.2.51", 53), 35, &nat6)),
        full_nat(s("full64", Mode::FullNat, tcp, ("2001:db8::51", 80), 37, &nat4)),
        full_nat(s("full64u", Mode::FullNat, udp, ("2001:db8::51", 53), 39, &nat4)),
    ])
}
