//! The fields of a frame by name, and which of them differ between what came and what left.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::wire::ethernet::{self, EtherType, MacAddr};
use crate::wire::icmp::IcmpPacket;
use crate::wire::icmpv6::Icmpv6Packet;
use crate::wire::tcp::{TcpOption, TcpPacket};
use crate::wire::udp::UdpPacket;
use crate::wire::{gre, icmp, ipv4, ipv6, protocol};

/// A field that is not the same before and after.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = FieldChange)]
pub struct Change {
    /// Its name, with its header's.
    pub field: String,
    /// As it came; none if it was not there.
    pub before: Option<String>,
    /// As it leaves; none if it is not there any more.
    pub after: Option<String>,
}

/// The changes between a frame and what left for it. `overhead` is the length of what a tunnel puts before the packet, in
/// bytes.
pub(super) fn changes(before: &[u8], after: &[u8], overhead: usize) -> Vec<Change> {
    let (before, after) = (fields(before, 0), fields(after, overhead));
    let value_of = |fields: &[(String, String)], name: &str| {
        fields.iter().find(|(field, _)| field == name).map(|(_, value)| value.clone())
    };
    let gone = before.iter().filter(|(name, _)| value_of(&after, name).is_none());
    let gone = gone.map(|(name, value)| Change { field: name.clone(), before: Some(value.clone()), after: None });
    let new = after.iter().filter_map(|(name, value)| {
        let was = value_of(&before, name);
        (was.as_ref() != Some(value)).then(|| Change { field: name.clone(), before: was, after: Some(value.clone()) })
    });
    gone.chain(new).collect()
}

/// One line about a frame, as people write it.
pub(super) fn summary(frame: &[u8]) -> String {
    let fields = fields(frame, 0);
    let of = |name: &str| fields.iter().find(|(field, _)| field == name).map(|(_, value)| value.as_str());
    let len = frame.len();
    let either = |v4: &str, v6: &str| of(v4).or_else(|| of(v6));
    let ends = either("IPv4 source", "IPv6 source").zip(either("IPv4 destination", "IPv6 destination"));
    let Some((src, dst)) = ends else {
        let kind = of("Ethernet type").unwrap_or("a cut frame");
        return format!("{kind}, {len} bytes");
    };
    let ports = |name: &str| Some((of(&format!("{name} source port"))?, of(&format!("{name} destination port"))?));
    let end = |address: &str, port: &str| {
        if address.contains(':') { format!("[{address}]:{port}") } else { format!("{address}:{port}") }
    };
    for (name, word) in [("TCP", "tcp"), ("UDP", "udp")] {
        if let Some((sport, dport)) = ports(name) {
            let flags = of("TCP flags").map_or(String::new(), |flags| format!(" {flags}"));
            return format!("{word} {} > {}{flags}, {len} bytes", end(src, sport), end(dst, dport));
        }
    }
    let what = either("ICMP message", "ICMPv6 message").or(either("IPv4 protocol", "IPv6 next header")).unwrap_or("ip");
    format!("{what} {src} > {dst}, {len} bytes")
}

type Fields = Vec<(String, String)>;

fn fields(frame: &[u8], overhead: usize) -> Fields {
    let mut fields = Fields::new();
    let Some((dst, src)) = ethernet::dst(frame).zip(ethernet::src(frame)) else { return fields };
    let mut put = |name: &str, value: String| fields.push((format!("Ethernet {name}"), value));
    put("destination", dst.to_string());
    put("source", src.to_string());
    let word = |at: usize| frame.get(at..at + 2).map(|bytes| u16::from_be_bytes([bytes[0], bytes[1]]));
    let (mut at, mut ethertype) = (12, word(12));
    while let Some(tag) = ethertype.filter(|&ethertype| EtherType(ethertype).is_tag()) {
        put("VLAN", format!("{} (0x{tag:04x})", word(at + 2).unwrap_or(0) & 0xfff));
        (at, ethertype) = (at + 4, word(at + 4));
    }
    let name = match ethertype {
        Some(0x0800) => "IPv4".to_owned(),
        Some(0x86dd) => "IPv6".to_owned(),
        Some(0x0806) => "ARP".to_owned(),
        Some(other) => format!("0x{other:04x}"),
        None => "cut".to_owned(),
    };
    put("type", name);
    let packet = frame.get(at + 2..).unwrap_or_default();
    let (is_v4, is_ip) = (ethertype == Some(0x0800), matches!(ethertype, Some(0x0800 | 0x86dd)));
    if is_ip && overhead > 0 && overhead < packet.len() {
        outer(&mut fields, packet, overhead, is_v4);
        let inside = packet.get(overhead..).unwrap_or_default();
        ip(&mut fields, "", inside, inside.first().is_some_and(|first| first >> 4 == 4));
    } else if is_ip {
        ip(&mut fields, "", packet, is_v4);
    }
    fields
}

/// A tunnel's headers, which end where the packet begins that they carry.
fn outer(fields: &mut Fields, packet: &[u8], overhead: usize, is_v4: bool) {
    let ip_len = if is_v4 { ipv4::HEADER_LEN } else { ipv6::HEADER_LEN };
    ip_header(fields, "outer ", packet, is_v4);
    let Some(rest) = packet.get(ip_len..overhead).filter(|rest| !rest.is_empty()) else { return };
    let number = |at: usize| rest.get(at..at + 2).map_or(0, |bytes| u16::from_be_bytes([bytes[0], bytes[1]]));
    if rest.len() == gre::HEADER_LEN {
        fields.push(("outer GRE protocol".to_owned(), format!("0x{:04x}", number(2))));
    } else {
        fields.push(("outer UDP source port".to_owned(), number(0).to_string()));
        fields.push(("outer UDP destination port".to_owned(), format!("{} (GUE)", number(2))));
    }
}

fn ip(fields: &mut Fields, prefix: &str, packet: &[u8], is_v4: bool) {
    let Some((protocol, l4)) = ip_header(fields, prefix, packet, is_v4) else { return };
    let mut put = |name: &str, value: String| fields.push((format!("{prefix}{name}"), value));
    match protocol {
        protocol::TCP => {
            let Ok(tcp) = TcpPacket::new_checked(l4) else { return };
            put("TCP source port", tcp.sport().to_string());
            put("TCP destination port", tcp.dport().to_string());
            put("TCP sequence number", tcp.seq().to_string());
            put("TCP acknowledgment number", tcp.ack().to_string());
            put("TCP flags", flags(tcp.flags()));
            put("TCP checksum", format!("0x{:04x}", tcp.checksum()));
            for option in tcp.options() {
                if let TcpOption::Mss(mss) = option {
                    put("TCP MSS", mss.to_string());
                }
            }
            put("TCP header length", tcp.header_len().to_string());
        }
        protocol::UDP => {
            let Ok(udp) = UdpPacket::new_checked(l4) else { return };
            put("UDP source port", udp.sport().to_string());
            put("UDP destination port", udp.dport().to_string());
            put("UDP checksum", format!("0x{:04x}", udp.checksum()));
        }
        protocol::ICMP => {
            let Ok(message) = IcmpPacket::new_checked(l4) else { return };
            put("ICMP message", message4(message.kind(), message.code()));
            put("ICMP checksum", format!("0x{:04x}", message.checksum()));
            if icmp::is_error(message.kind()) {
                ip_header(fields, "quoted ", message.quote(), true);
            }
        }
        protocol::ICMPV6 => {
            let Ok(message) = Icmpv6Packet::new_checked(l4) else { return };
            put("ICMPv6 message", format!("type {} code {}", message.kind(), message.code()));
            if message.kind() < 128 {
                ip_header(fields, "quoted ", message.quote(), false);
            }
        }
        _ => {}
    }
}

/// The fields of an IP header; the upper layer and what it is, unless a fragment keeps it elsewhere.
fn ip_header<'a>(fields: &mut Fields, prefix: &str, packet: &'a [u8], is_v4: bool) -> Option<(u8, &'a [u8])> {
    let mut put = |name: &str, value: String| fields.push((format!("{prefix}{name}"), value));
    if !is_v4 {
        let ip = packet.get(..ipv6::HEADER_LEN)?;
        let half = |at: usize| u16::from_be_bytes([ip[at], ip[at + 1]]);
        let address = |at: usize| ip[at..at + 16].first_chunk::<16>().map(|octets| std::net::Ipv6Addr::from(*octets));
        put("IPv6 source", address(8)?.to_string());
        put("IPv6 destination", address(24)?.to_string());
        put("IPv6 hop limit", ip[7].to_string());
        put("IPv6 traffic class", format!("0x{:02x}", (half(0) >> 4) as u8));
        put("IPv6 payload length", half(4).to_string());
        put("IPv6 next header", protocol_name(ip[6]));
        return Some((ip[6], packet.get(ipv6::HEADER_LEN..)?));
    }
    let ip = packet.get(..ipv4::HEADER_LEN)?;
    let half = |at: usize| u16::from_be_bytes([ip[at], ip[at + 1]]);
    let address = |at: usize| std::net::Ipv4Addr::new(ip[at], ip[at + 1], ip[at + 2], ip[at + 3]);
    put("IPv4 source", address(12).to_string());
    put("IPv4 destination", address(16).to_string());
    put("IPv4 TTL", ip[8].to_string());
    put("IPv4 DSCP and ECN", format!("0x{:02x}", ip[1]));
    put("IPv4 total length", half(2).to_string());
    put("IPv4 identification", half(4).to_string());
    put("IPv4 DF", if ip[6] & 0x40 == 0 { "0" } else { "1" }.to_owned());
    let (more, offset) = (ip[6] & 0x20 != 0, u32::from(half(6) & 0x1fff) * 8);
    if more || offset > 0 {
        put("IPv4 fragment", format!("at {offset}{}", if more { ", more follow" } else { ", the last" }));
    }
    put("IPv4 protocol", protocol_name(ip[9]));
    put("IPv4 checksum", format!("0x{:04x}", half(10)));
    let l4 = packet.get(usize::from(ip[0] & 15) * 4..)?;
    (offset == 0).then_some((ip[9], l4))
}

/// Letters as tcpdump prints them.
fn flags(flags: u8) -> String {
    const LETTERS: [(u8, &str); 8] =
        [(2, "SYN"), (1, "FIN"), (4, "RST"), (8, "PSH"), (16, "ACK"), (32, "URG"), (64, "ECE"), (128, "CWR")];
    let set: Vec<_> = LETTERS.iter().filter(|(bit, _)| flags & bit != 0).map(|(_, word)| *word).collect();
    if set.is_empty() { "no flags".to_owned() } else { set.join("+") }
}

fn message4(kind: u8, code: u8) -> String {
    let name = match (kind, code) {
        (icmp::kind::ECHO_REPLY, _) => "icmp echo reply",
        (icmp::kind::ECHO_REQUEST, _) => "icmp echo request",
        (icmp::kind::DESTINATION_UNREACHABLE, icmp::code::FRAGMENTATION_NEEDED) => "icmp fragmentation needed",
        (icmp::kind::DESTINATION_UNREACHABLE, icmp::code::PORT_UNREACHABLE) => "icmp port unreachable",
        (icmp::kind::DESTINATION_UNREACHABLE, _) => return format!("icmp unreachable, code {code}"),
        (icmp::kind::TIME_EXCEEDED, _) => "icmp time exceeded",
        _ => return format!("icmp type {kind} code {code}"),
    };
    name.to_owned()
}

/// A protocol's name, or its number.
pub(super) fn protocol_name(number: u8) -> String {
    let name = match number {
        protocol::TCP => "tcp",
        protocol::UDP => "udp",
        protocol::ICMP => "icmp",
        protocol::ICMPV6 => "icmp6",
        protocol::GRE => "gre",
        protocol::IPV4 => "ipip",
        protocol::IPV6 => "ip6",
        other => return other.to_string(),
    };
    name.to_owned()
}

/// A MAC address, or what stands for one that is not known.
pub(super) fn mac(mac: Option<MacAddr>) -> String {
    mac.map_or_else(|| "not known yet".to_owned(), |mac| mac.to_string())
}
