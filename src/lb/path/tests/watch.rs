//! What captures show where nothing but tunnels and NAT is configured, so that they save themselves most second looks: every
//! burst of these tests is looked at (`testing::onlooker`), each time for something else.

use super::nat::ends;
use crate::lb::connection::flags::*;
use crate::lb::snapshot::{Mode, ServiceSpec};
use crate::lb::testing::*;

/// So many that every filter has its turn with every packet.
const ROUNDS: u64 = 400;

fn services(mode: Mode) -> impl Iterator<Item = ServiceSpec> {
    all_modes().services.into_iter().filter(move |service| service.mode == mode)
}

#[test]
fn answers_and_rewritten_packets_are_seen_by_whatever_they_match() {
    let nat = services(Mode::Nat).map(|service| ServiceSpec { reset_unknown: true, ..service });
    let mut net = Net::new(spec(nat.chain(services(Mode::Gre)).chain(services(Mode::Dsr)).collect()));
    for round in 0..ROUNDS {
        net.pass_s(1);
        for (client, vip, stranger) in [
            ("198.51.100.7:40000", "192.0.2.10:80", "198.51.100.1:40001"),
            ("[2001:db8:c::7]:40000", "[2001:db8::10]:80", "[2001:db8:c::1]:40001"),
        ] {
            let request = |flags: u8| Frame::tcp(client, vip, flags);
            let (peer, backend) = ends(net.send(0, &request(if round == 0 { SYN } else { ACK }).build()).tx().1);
            let answer = Frame::tcp(&backend.to_string(), &peer.to_string(), if round == 0 { SYN | ACK } else { ACK });
            assert_eq!(ends(net.send(1, &answer.on_lan(backend_mac(1)).build()).tx().1).0.to_string(), vip);
            // An ICMP error of ours, and a RST.
            net.send(0, &request(ACK).with(|f| f.ttl = 1).build()).reply();
            net.send(0, &Frame::tcp(stranger, vip, ACK).build()).reply();
        }
        for (client, vip) in [("198.51.100.7:40000", "192.0.2.20:80"), ("[2001:db8:c::7]:40000", "[2001:db8::20]:80")] {
            let too_long = Frame::tcp(client, vip, ACK).with(|f| (f.payload, f.df) = (vec![0; 1440], true));
            net.send(0, &Frame::tcp(client, vip, ACK).build()).tx();
            net.send(0, &too_long.build()).reply();
        }
        net.send(0, &Frame::tcp("198.51.100.7:40000", "192.0.2.30:80", ACK).build()).tx();
    }
}
