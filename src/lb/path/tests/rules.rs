//! Rules over all values of a field, through the whole packet path.

use crate::lb::connection::flags::*;
use crate::lb::snapshot::Mode;
use crate::lb::testing::*;

/// Rule 12: every value that the checksum of a packet can have, there and back.
#[test]
fn every_checksum_survives_nat_there_and_back() {
    let (client, backend) = ("198.51.100.7:40000", "10.1.0.5:8080");
    let mut net = Net::new(spec(vec![
        service("tcp", Mode::Nat, 6, ("192.0.2.10", 80), 0, &[backend]),
        service("udp", Mode::Nat, 17, ("192.0.2.10", 80), 1, &[backend]),
    ]));
    net.send(0, &Frame::syn(client, "192.0.2.10:80").build()).tx();
    for word in 0..=u16::MAX {
        for make in [|from: &str, to: &str| Frame::tcp(from, to, ACK), |from: &str, to: &str| Frame::udp(from, to)] {
            let there = make(client, "192.0.2.10:80").with(|frame| frame.payload = word.to_be_bytes().to_vec()).build();
            checksums_are_right(net.send(0, &there).tx().1);
            let back = make(backend, client).with(|frame| frame.payload = word.to_be_bytes().to_vec());
            checksums_are_right(net.send(1, &back.on_lan(backend_mac(5)).build()).tx().1);
        }
    }
}
