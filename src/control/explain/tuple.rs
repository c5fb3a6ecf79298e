//! Packets that somebody only describes: `tcp 198.51.100.7:40000 > 192.0.2.10:80`.

use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

use crate::wire::ethernet::{self, EtherType, MacAddr};
use crate::wire::ipv4::{self, Ipv4Repr};
use crate::wire::ipv6::{self, Ipv6Repr};
use crate::wire::tcp::{self, TcpPacket};
use crate::wire::udp::{self, UdpPacket, UdpRepr};
use crate::wire::{checksum, icmp, icmpv6, protocol};

/// A packet as far as it was described.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Described {
    protocol: u8,
    src: SocketAddr,
    dst: SocketAddr,
    /// Of TCP.
    flags: u8,
    ttl: u8,
    /// Of the IP packet in bytes, if more than its headers.
    length: u16,
    df: bool,
}

/// A description that is none, and what would be right.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("\"{text}\": {why}; write it like {EXAMPLE}")]
pub struct DescribedError {
    text: String,
    why: String,
}

const EXAMPLE: &str = "\"tcp 198.51.100.7:40000 > 192.0.2.10:80\", and behind that any of: syn ack fin rst psh, ttl N, \
                       length N, df";

/// Where the frame of a described packet comes from; nobody's own address.
const SENDER: MacAddr = MacAddr([2, 0x74, 0x67, 0, 0, 1]);
/// An identifier of pings.
const ECHO_ID: u16 = 0x7467;

impl FromStr for Described {
    type Err = DescribedError;

    fn from_str(text: &str) -> Result<Self, DescribedError> {
        parse(text).map_err(|why| DescribedError { text: text.to_owned(), why })
    }
}

fn parse(text: &str) -> Result<Described, String> {
    let spaced = text.replace('>', " > ");
    let mut words = spaced.split_whitespace();
    let mut next = |what: &str| words.next().ok_or_else(|| format!("it ends where {what} is meant"));
    let name = next("a protocol")?;
    let src = next("a source")?;
    match next("a >")? {
        ">" => {}
        other => return Err(format!("{other} is where a > is meant")),
    }
    let dst = next("a destination")?;
    let has_ports = matches!(name, "tcp" | "udp");
    let (src, dst) = (end(src, has_ports)?, end(dst, has_ports)?);
    if src.is_ipv4() != dst.is_ipv4() {
        return Err("source and destination are of two IP versions".to_owned());
    }
    let protocol = match (name, src.is_ipv4()) {
        ("tcp", _) => protocol::TCP,
        ("udp", _) => protocol::UDP,
        ("icmp" | "ping", true) => protocol::ICMP,
        ("icmp" | "icmp6" | "ping", false) => protocol::ICMPV6,
        (number, _) => number.parse().map_err(|_| format!("{number} is no protocol: tcp, udp, icmp or a number"))?,
    };
    let mut packet = Described { protocol, src, dst, flags: 0, ttl: 64, length: 0, df: false };
    while let Some(word) = words.next() {
        let mut number = || {
            let value = words.next().ok_or_else(|| format!("{word} needs a number"))?;
            value.parse::<u16>().map_err(|_| format!("{word} {value}: a number from 0 to 65535 is meant"))
        };
        match word {
            "syn" => packet.flags |= tcp::flags::SYN,
            "ack" => packet.flags |= tcp::flags::ACK,
            "fin" => packet.flags |= tcp::flags::FIN,
            "rst" => packet.flags |= tcp::flags::RST,
            "psh" => packet.flags |= tcp::flags::PSH,
            "ttl" => {
                let ttl = number()?;
                packet.ttl = u8::try_from(ttl).map_err(|_| format!("ttl {ttl}: at most 255"))?;
            }
            "length" => packet.length = number()?,
            "df" => packet.df = true,
            other => return Err(format!("{other} is not known")),
        }
    }
    if packet.flags != 0 && protocol != protocol::TCP {
        return Err("only TCP has flags".to_owned());
    }
    if protocol == protocol::TCP && packet.flags == 0 {
        packet.flags = tcp::flags::SYN;
    }
    Ok(packet)
}

/// `ADDRESS:PORT`, `[ADDRESS]:PORT`, or an address alone where there are no ports.
fn end(text: &str, has_ports: bool) -> Result<SocketAddr, String> {
    if let Ok(end) = text.parse::<SocketAddr>() {
        return if has_ports { Ok(end) } else { Err(format!("{text}: only TCP and UDP have ports")) };
    }
    let address = text.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    match address {
        Ok(_) if has_ports => Err(format!("{text} has no port")),
        Ok(address) => Ok(SocketAddr::new(address, 0)),
        Err(_) if has_ports => Err(format!("{text} is no ADDRESS:PORT")),
        Err(_) => Err(format!("{text} is no address")),
    }
}

impl Described {
    /// Source and destination address.
    pub fn ends(&self) -> (IpAddr, IpAddr) {
        (self.src.ip(), self.dst.ip())
    }

    /// Its frame, as it comes to the port with this address.
    pub fn frame(&self, port: MacAddr, vlan: Option<u16>) -> Vec<u8> {
        let is_v4 = self.src.is_ipv4();
        let ip_len = if is_v4 { ipv4::HEADER_LEN } else { ipv6::HEADER_LEN };
        let l4_min = match self.protocol {
            protocol::TCP => 20,
            protocol::UDP => udp::HEADER_LEN,
            protocol::ICMP | protocol::ICMPV6 => icmp::HEADER_LEN,
            _ => 0,
        };
        let l4_len = usize::from(self.length).saturating_sub(ip_len).max(l4_min);
        let l2_len = ethernet::header_len(vlan);
        let mut frame = vec![0; l2_len + ip_len + l4_len];
        let ethertype = if is_v4 { EtherType::IPV4 } else { EtherType::IPV6 };
        ethernet::emit(&mut frame, port, SENDER, vlan, ethertype);
        let packet = frame.get_mut(l2_len..).unwrap_or_default();
        if let Some((header, l4)) = packet.split_at_mut_checked(ip_len) {
            self.put_ip(header, l4.len() as u16);
            self.put_l4(l4);
        }
        frame
    }

    fn put_ip(&self, header: &mut [u8], payload_len: u16) {
        let (protocol, ttl) = (self.protocol, self.ttl);
        match (self.src.ip(), self.dst.ip()) {
            (IpAddr::V4(src), IpAddr::V4(dst)) => {
                Ipv4Repr { src, dst, protocol, ttl, traffic_class: 0, id: 1, df: self.df, payload_len }.emit(header)
            }
            (IpAddr::V6(src), IpAddr::V6(dst)) => {
                let (next_header, hop_limit) = (protocol, ttl);
                Ipv6Repr { src, dst, next_header, hop_limit, traffic_class: 0, flow_label: 0, payload_len }.emit(header)
            }
            _ => None,
        };
    }

    fn put_l4(&self, l4: &mut [u8]) {
        let len = l4.len();
        let pseudo = match (self.src.ip(), self.dst.ip()) {
            (IpAddr::V4(src), IpAddr::V4(dst)) => checksum::pseudo_v4(src, dst, self.protocol, len as u16),
            (IpAddr::V6(src), IpAddr::V6(dst)) => checksum::pseudo_v6(src, dst, self.protocol, len as u32),
            _ => 0,
        };
        let (sport, dport) = (self.src.port(), self.dst.port());
        match (self.protocol, self.src.ip(), self.dst.ip()) {
            (protocol::TCP, ..) => {
                if let Some(header) = l4.first_chunk_mut::<20>() {
                    header[12..16].copy_from_slice(&[5 << 4, self.flags, 0xff, 0xff]);
                }
                if let Ok(mut segment) = TcpPacket::new_checked(l4) {
                    segment.set_sport(sport);
                    segment.set_dport(dport);
                    segment.fill_checksum(pseudo);
                }
            }
            (protocol::UDP, ..) => {
                UdpRepr { sport, dport, payload_len: (len - udp::HEADER_LEN) as u16 }.emit(l4);
                if let Ok(mut datagram) = UdpPacket::new_checked(l4) {
                    datagram.fill_checksum(pseudo);
                }
            }
            (protocol::ICMP, ..) => {
                let payload = vec![0; len - icmp::HEADER_LEN];
                icmp::emit_echo(l4, icmp::kind::ECHO_REQUEST, ECHO_ID, 1, &payload);
            }
            (protocol::ICMPV6, IpAddr::V6(src), IpAddr::V6(dst)) => {
                let payload = vec![0; len - icmp::HEADER_LEN];
                icmpv6::emit_echo(l4, (src, dst), icmpv6::kind::ECHO_REQUEST, ECHO_ID, 1, &payload);
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::parse::{FiveTuple, parse};

    fn frame(text: &str) -> Vec<u8> {
        text.parse::<Described>().unwrap().frame(MacAddr([2, 0, 0, 0, 0, 9]), None)
    }

    #[test]
    fn a_described_packet_is_what_it_says() {
        let frame = frame("tcp 198.51.100.7:40000 > 192.0.2.10:80 ack psh ttl 3 length 100 df");
        let parsed = parse(&frame, frame.len()).unwrap();
        let FiveTuple { src, dst, sport, dport, protocol } = parsed.five_tuple_v4(&frame);
        let tuple = (src.to_string(), sport, dst.to_string(), dport, protocol);
        assert_eq!(tuple, ("198.51.100.7".to_owned(), 40_000, "192.0.2.10".to_owned(), 80, 6));
        assert_eq!((parsed.ttl, parsed.ip_len, parsed.df, parsed.tcp_flags), (3, 100, true, 0x18));
        assert!(TcpPacket::new_checked(&frame[34..]).unwrap().is_checksum_valid(checksum::pseudo_v4(src, dst, 6, 80)));
    }

    #[test]
    fn all_kinds_parse_with_right_checksums() {
        for text in [
            "udp [2001:db8::1]:1>[2001:db8::2]:2",
            "icmp 10.0.0.1 > 10.0.0.2",
            "ping fd00::1 > fd00::2",
            "47 10.0.0.1 > 10.0.0.2",
        ] {
            let frame = frame(text);
            let parsed = parse(&frame, frame.len());
            assert!(parsed.is_ok(), "{text}: {parsed:?}");
        }
        let frame = frame("ping 10.0.0.1 > 10.0.0.2 length 84");
        assert!(icmp::IcmpPacket::new_checked(&frame[34..]).unwrap().is_checksum_valid());
    }

    #[test]
    fn what_is_wrong_is_named() {
        let said = |text: &str| text.parse::<Described>().unwrap_err().to_string();
        for (text, why) in [
            ("", "a protocol is meant"),
            ("tcp", "a source is meant"),
            ("tcp 10.0.0.1:1 10.0.0.2:2", "where a > is meant"),
            ("tcp 10.0.0.1 > 10.0.0.2:2", "10.0.0.1 has no port"),
            ("tcp 10.0.0.1:1 > 10.0.0.256:2", "is no ADDRESS:PORT"),
            ("tcp 10.0.0.1:1 > [::1]:2", "two IP versions"),
            ("icmp 10.0.0.1:1 > 10.0.0.2", "only TCP and UDP have ports"),
            ("sctp 10.0.0.1 > 10.0.0.2", "sctp is no protocol"),
            ("udp 10.0.0.1:1 > 10.0.0.2:2 syn", "only TCP has flags"),
            ("tcp 10.0.0.1:1 > 10.0.0.2:2 ttl 256", "at most 255"),
            ("tcp 10.0.0.1:1 > 10.0.0.2:2 ttl", "ttl needs a number"),
            ("tcp 10.0.0.1:1 > 10.0.0.2:2 quick", "quick is not known"),
        ] {
            assert!(said(text).contains(why), "{text}: {}", said(text));
            assert!(said(text).contains("write it like"), "{text}");
        }
    }
}
