//! Health checks that go to a VIP by one backend, from the host's frame to the server's and back.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use crate::lb::connection::flags::*;
use crate::lb::ids::{BackendId, PortId};
use crate::lb::path::send_probe;
use crate::lb::probe::{Lease, ProbePorts, STAND_IN_MAC, host_end, stand_in};
use crate::lb::punt::PuntClass;
use crate::lb::snapshot::{Mode, SnapshotSpec};
use crate::lb::testing::*;
use crate::lb::verdict::{DropReason, Verdict};

/// Where the backends are.
const LAN_PORT: PortId = PortId(1);

fn hosted() -> SnapshotSpec {
    let mut spec = all_modes();
    spec.services.push(service("ipip", Mode::Ipip, 6, ("192.0.2.60", 80), 41, &["10.1.0.3"]));
    spec.services.push(service("gue", Mode::Gue, 6, ("192.0.2.61", 80), 42, &["10.1.0.3"]));
    spec.ports.iter_mut().for_each(|port| port.host = true);
    spec
}

struct Host {
    net: Net,
    ports: Arc<ProbePorts>,
}

impl Host {
    fn new() -> Self {
        let mut net = Net::new(hosted());
        let ports: Arc<ProbePorts> = Arc::default();
        net.shards[0].probes = ports.clone();
        Self { net, ports }
    }

    fn backend(&self, service: &str) -> (BackendId, IpAddr, IpAddr) {
        let service = self.net.snapshot.services().iter().find(|s| &*s.name == service).unwrap();
        let backend = self.net.snapshot.backend(service.backends[0]).unwrap();
        (backend.id, service.vip, backend.address)
    }

    fn lease(&self, service: &str) -> Lease {
        self.ports.lease(self.backend(service).0).unwrap()
    }

    /// What becomes of a frame that the kernel sends.
    fn send(&mut self, port: PortId, frame: &Frame) -> (Verdict, Vec<u8>) {
        let mut packet = TestPacket::new(port.0, &frame.build());
        let verdict = send_probe(&mut self.net.shards[0], &self.net.snapshot, self.net.now, port, &mut packet);
        (verdict, crate::lb::packet::Packet::bytes(&packet).to_vec())
    }
}

fn ends(lease: &Lease, vip: IpAddr, vport: u16) -> (SocketAddr, SocketAddr) {
    let of = |end: Option<IpAddr>, port| SocketAddr::new(end.unwrap(), port);
    (of(host_end(LAN_PORT, vip.is_ipv4()), lease.port()), of(stand_in(LAN_PORT, vip.is_ipv4()), vport))
}

/// From the kernel to the stand-in.
fn from_host(frame: Frame) -> Frame {
    frame.with(|f| {
        f.src_mac = LAN;
        f.dst_mac = STAND_IN_MAC;
    })
}

fn own(vip: IpAddr) -> IpAddr {
    ip(if vip.is_ipv4() { "10.1.0.254" } else { "fd01::fe" })
}

fn text(address: SocketAddr) -> String {
    address.to_string()
}

#[test]
fn a_probe_leaves_for_the_vip_by_the_backend_it_checks_and_its_answer_comes_back() {
    for service in ["gre44", "gre46", "gre64", "gre66", "dsr4", "dsr6", "ipip", "gue"] {
        let mut host = Host::new();
        let lease = host.lease(service);
        let (_, vip, server) = host.backend(service);
        let (end, target) = ends(&lease, vip, 80);
        let frame = from_host(Frame::syn(&text(end), &text(target)));
        let (verdict, out) = host.send(LAN_PORT, &frame);
        assert_eq!(verdict, Verdict::Tx(LAN_PORT), "{service}");
        let asked = (SocketAddr::new(own(vip), lease.port()), SocketAddr::new(vip, 80));
        let inner = Frame::syn(&text(asked.0), &text(asked.1)).with(|f| f.ttl = 63).packet();
        assert!(out.ends_with(&inner), "{service}: the server gets a packet to the VIP, all checksums right");
        let mac = backend_mac(if server.to_string().ends_with('3') { 3 } else { out[5] });
        assert_eq!(out[..12], [mac.0, LAN.0].concat(), "{service}");
        if service.starts_with("gre") {
            assert_eq!(tunnel_of(&out).1, server, "{service}");
        }
        assert_eq!(host.net.shards[0].counters.connections_active.get(), 0, "{service}");
        let answer = Frame::tcp(&text(asked.1), &text(asked.0), SYN | ACK).on_lan(backend_mac(3));
        let back = host.net.send(1, &answer.build());
        assert_eq!(back.verdict, Verdict::Punt(LAN_PORT, PuntClass::Management), "{service}");
        let expected = Frame::tcp(&text(target), &text(end), SYN | ACK).with(|f| f.ttl = 63).packet();
        assert_eq!(back.frame[14..], expected, "{service}");
        assert_eq!(back.frame[..6], LAN.0);
        // By another port, too: the device is the one that the check was sent from.
        let by_wan = host.net.send(0, &Frame::tcp(&text(asked.1), &text(asked.0), SYN | ACK).build());
        assert_eq!(by_wan.verdict, Verdict::Punt(LAN_PORT, PuntClass::Management));
        assert_eq!((&by_wan.frame[..6], &by_wan.frame[14..]), (&LAN.0[..], &expected[..]), "{service}");
    }
}

#[test]
fn a_refused_datagram_is_told_to_the_host_in_its_own_words() {
    for service in ["gre44u", "gre66u"] {
        let mut host = Host::new();
        let lease = host.lease(service);
        let (_, vip, _) = host.backend(service);
        let (end, target) = ends(&lease, vip, 53);
        let frame = from_host(Frame::udp(&text(end), &text(target)));
        let (verdict, out) = host.send(LAN_PORT, &frame);
        assert_eq!(verdict, Verdict::Tx(LAN_PORT));
        let (_, _, _, _, inner) = tunnel_of(&out);
        let told = if vip.is_ipv4() {
            icmp4(&vip.to_string(), &own(vip).to_string(), [3, 3], [0; 4], &inner)
        } else {
            icmp6(&vip.to_string(), &own(vip).to_string(), [1, 4], [0; 4], &inner)
        };
        let back = host.net.send(1, &told.on_lan(backend_mac(3)).build());
        assert_eq!(back.verdict, Verdict::Punt(LAN_PORT, PuntClass::Management), "{service}");
        checksums_are_right(&back.frame);
        let quoted = Frame::udp(&text(end), &text(target)).with(|f| f.ttl = 63).packet();
        assert!(back.frame.ends_with(&quoted), "{service}: {:02x?}", back.frame);
    }
}

#[test]
fn what_belongs_to_no_check_goes_nowhere_and_what_comes_for_none_is_the_hosts_as_it_is() {
    let mut host = Host::new();
    let lease = host.lease("gre44");
    let nat = host.lease("nat4");
    let (_, vip, _) = host.backend("gre44");
    let (end, target) = ends(&lease, vip, 80);
    let mut refused = |port, frame: Frame| host.send(port, &from_host(frame)).0;
    let dropped = Verdict::Drop(DropReason::NotOurs);
    let other = |number| text(SocketAddr::new(end.ip(), number));
    assert_eq!(refused(LAN_PORT, Frame::syn(&other(lease.port() + 7), &text(target))), dropped, "no lease");
    assert_eq!(refused(LAN_PORT, Frame::syn(&other(nat.port()), &text(target))), dropped, "no tunnel");
    assert_eq!(refused(PortId(0), Frame::syn(&text(end), &text(target))), dropped, "another port's device");
    assert_eq!(refused(LAN_PORT, Frame::syn(&text(end), "192.0.2.20:80")), dropped, "not the stand-in");
    let long = Frame::ack(&text(end), &text(target)).with(|f| f.payload = vec![0; 1470]);
    assert_eq!(refused(LAN_PORT, long), Verdict::Drop(DropReason::TooBig), "told to nobody on the wire");
    // The same numbers from elsewhere are the host's own business.
    let to = format!("10.1.0.254:{}", lease.port());
    let from_elsewhere = Frame::tcp("192.0.2.77:80", &to, SYN | ACK).on_lan(backend_mac(3)).build();
    assert_eq!(host.net.send(1, &from_elsewhere).frame, from_elsewhere);
    let below = Frame::tcp("192.0.2.20:80", "10.1.0.254:61439", SYN | ACK).on_lan(backend_mac(3)).build();
    assert_eq!(host.net.send(1, &below).frame, below);
    // After a reload there may be another backend in the slot.
    let mut spec = hosted();
    spec.services[4].backends[0].id = BackendId::new(8, 1);
    host.net.reload(spec);
    let late = Frame::tcp("192.0.2.20:80", &to, SYN | ACK).on_lan(backend_mac(3)).build();
    assert_eq!(host.net.send(1, &late).frame, late);
}
