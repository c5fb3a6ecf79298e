//! Packets for the cases, built byte by byte and without the product's own code, so that a fault there cannot hide here.

use std::net::{IpAddr, SocketAddr};

pub const TCP: u8 = 6;
pub const UDP: u8 = 17;
pub const ICMP: u8 = 1;
pub const ICMP6: u8 = 58;

pub const FIN: u8 = 0x01;
pub const SYN: u8 = 0x02;
pub const RST: u8 = 0x04;
pub const ACK: u8 = 0x10;

pub const DF: u16 = 0x4000;
pub const MF: u16 = 0x2000;

pub const IPV4: u16 = 0x0800;
pub const ARP: u16 = 0x0806;
pub const IPV6: u16 = 0x86dd;

pub type Mac = [u8; 6];
pub const BROADCAST: Mac = [0xff; 6];

/// The balancer's address on a port, by the port's place in the configuration.
pub fn own_mac(port: usize) -> Mac {
    [2, 0xaa, 0, 0, 0, port as u8 + 1]
}

/// The VLAN of a frame with one tag; `None` for one without.
pub fn vlan_of(frame: &[u8]) -> Option<u16> {
    (frame[12..14] == [0x81, 0]).then(|| u16::from_be_bytes([frame[14], frame[15]]) & 0x0fff)
}

/// The MAC address that the host with this address has in every case.
pub fn mac_of(addr: IpAddr) -> Mac {
    match addr {
        IpAddr::V4(a) => {
            let [a, b, c, d] = a.octets();
            [2, 4, a, b, c, d]
        }
        IpAddr::V6(a) => {
            let o = a.octets();
            [2, 6, o[12], o[13], o[14], o[15]]
        }
    }
}

pub fn ip(text: &str) -> IpAddr {
    text.parse().unwrap_or_else(|_| panic!("{text} is no address"))
}

fn socket(text: &str) -> SocketAddr {
    text.parse().unwrap_or_else(|_| panic!("{text} is no address with a port"))
}

/// The octets of an address.
pub fn octets(addr: IpAddr) -> Vec<u8> {
    match addr {
        IpAddr::V4(a) => a.octets().to_vec(),
        IpAddr::V6(a) => a.octets().to_vec(),
    }
}

/// The one's complement sum of RFC 1071, word by word.
pub fn ones_sum(data: &[u8]) -> u16 {
    let words = data.chunks(2).map(|w| u64::from(w[0]) << 8 | u64::from(w.get(1).copied().unwrap_or(0)));
    let mut sum: u64 = words.sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum as u16
}

/// The pseudo-header that upper-layer checksums cover.
pub fn pseudo(src: IpAddr, dst: IpAddr, protocol: u8, len: usize) -> Vec<u8> {
    let mut bytes = [octets(src), octets(dst)].concat();
    match src {
        IpAddr::V4(_) => bytes.extend([0, protocol]),
        IpAddr::V6(_) => bytes.extend([0, 0, 0, 0, 0, protocol]),
    }
    let at = bytes.len() - if src.is_ipv4() { 0 } else { 4 };
    if src.is_ipv4() {
        bytes.extend((len as u16).to_be_bytes());
    } else {
        bytes[at - 2..at + 2].copy_from_slice(&(len as u32).to_be_bytes());
    }
    bytes
}

/// The sum over pseudo-header and upper layer: 0xffff where the checksum in it is right.
pub fn l4_sum(src: IpAddr, dst: IpAddr, protocol: u8, l4: &[u8]) -> u16 {
    let pseudo = if protocol == ICMP { Vec::new() } else { pseudo(src, dst, protocol, l4.len()) };
    ones_sum(&[pseudo, l4.to_vec()].concat())
}

/// Where the upper layer keeps its checksum.
pub fn checksum_at(protocol: u8) -> usize {
    match protocol {
        TCP => 16,
        UDP => 6,
        _ => 2,
    }
}

/// An IP packet.
#[derive(Clone, Debug)]
pub struct Ip {
    pub src: IpAddr,
    pub dst: IpAddr,
    pub protocol: u8,
    pub ttl: u8,
    /// DSCP and ECN.
    pub tos: u8,
    pub id: u16,
    /// Flags and offset as in the IPv4 header.
    pub fragment: u16,
    /// IPv4 options, whole words.
    pub options: Vec<u8>,
    /// IPv6 extension headers: number and all bytes but the first.
    pub extensions: Vec<(u8, Vec<u8>)>,
    pub l4: Vec<u8>,
}

impl Ip {
    pub fn new(src: IpAddr, dst: IpAddr, protocol: u8, l4: Vec<u8>) -> Self {
        let (options, extensions) = (Vec::new(), Vec::new());
        Self { src, dst, protocol, ttl: 61, tos: 0, id: 0x1234, fragment: DF, options, extensions, l4 }
    }

    pub fn ttl(self, ttl: u8) -> Self {
        Self { ttl, ..self }
    }

    pub fn tos(self, tos: u8) -> Self {
        Self { tos, ..self }
    }

    pub fn fragment(self, fragment: u16) -> Self {
        Self { fragment, ..self }
    }

    pub fn options(self, options: &[u8]) -> Self {
        Self { options: options.to_vec(), ..self }
    }

    pub fn extension(mut self, number: u8, rest: &[u8]) -> Self {
        self.extensions.push((number, rest.to_vec()));
        self
    }

    /// With the upper-layer checksum changed by something that is not a multiple of 0xffff.
    pub fn wrong_checksum(mut self) -> Self {
        let at = checksum_at(self.protocol);
        self.l4[at] ^= 0x5a;
        self.l4[at + 1] ^= 0x21;
        self
    }

    pub fn bytes(&self) -> Vec<u8> {
        match (self.src, self.dst) {
            (IpAddr::V4(src), IpAddr::V4(dst)) => {
                let header_len = 20 + self.options.len();
                let mut b = vec![0x40 | (header_len / 4) as u8, self.tos];
                b.extend(((header_len + self.l4.len()) as u16).to_be_bytes());
                b.extend(self.id.to_be_bytes());
                b.extend(self.fragment.to_be_bytes());
                b.extend([self.ttl, self.protocol, 0, 0]);
                b.extend(src.octets());
                b.extend(dst.octets());
                b.extend(&self.options);
                fix_header(&mut b);
                b.extend(&self.l4);
                b
            }
            (IpAddr::V6(src), IpAddr::V6(dst)) => {
                let mut numbers: Vec<u8> = self.extensions.iter().map(|(n, _)| *n).collect();
                numbers.push(self.protocol);
                let mut body = Vec::new();
                for ((_, rest), next) in self.extensions.iter().zip(&numbers[1..]) {
                    body.push(*next);
                    body.extend(rest);
                }
                body.extend(&self.l4);
                let mut b = vec![0x60 | self.tos >> 4, self.tos << 4, 0, 0];
                b.extend((body.len() as u16).to_be_bytes());
                b.extend([numbers[0], self.ttl]);
                b.extend(src.octets());
                b.extend(dst.octets());
                b.extend(body);
                b
            }
            _ => panic!("two families in one packet"),
        }
    }

    /// The frame in which the gateway, or the host itself on its own link, sends it to the balancer's first port.
    pub fn frame(&self) -> Vec<u8> {
        self.frame_from(self.src)
    }

    /// The frame from the host or router with that address.
    pub fn frame_from(&self, hop: IpAddr) -> Vec<u8> {
        ethernet(own_mac(0), mac_of(hop), &[], ethertype(self.src), &self.bytes())
    }
}

/// The ethertype of an address's family.
pub fn ethertype(addr: IpAddr) -> u16 {
    if addr.is_ipv4() { IPV4 } else { IPV6 }
}

/// Makes the checksum of an IPv4 header right.
pub fn fix_header(header: &mut [u8]) {
    header[10..12].fill(0);
    let len = usize::from(header[0] & 15) * 4;
    let sum = !ones_sum(&header[..len]);
    header[10..12].copy_from_slice(&sum.to_be_bytes());
}

/// Makes the checksum of an upper layer right.
pub fn fix_l4(src: IpAddr, dst: IpAddr, protocol: u8, l4: &mut [u8]) {
    let at = checksum_at(protocol);
    l4[at..at + 2].fill(0);
    let sum = !l4_sum(src, dst, protocol, l4);
    let sum = if protocol == UDP && sum == 0 { 0xffff } else { sum };
    l4[at..at + 2].copy_from_slice(&sum.to_be_bytes());
}

/// A TCP segment, `from` and `to` being `address:port`.
pub fn tcp(from: &str, to: &str, flags: u8, payload: &[u8]) -> Ip {
    let (from, to) = (socket(from), socket(to));
    let mut l4 = [from.port().to_be_bytes(), to.port().to_be_bytes()].concat();
    l4.extend([0, 0, 0x10, flags, 0, 0, 0x20, flags, 0x50, flags, 0xfa, 0xf0, 0, 0, 0, 0]);
    l4.extend(payload);
    fix_l4(from.ip(), to.ip(), TCP, &mut l4);
    Ip::new(from.ip(), to.ip(), TCP, l4)
}

/// A UDP datagram.
pub fn udp(from: &str, to: &str, payload: &[u8]) -> Ip {
    let (from, to) = (socket(from), socket(to));
    let mut l4 = [from.port().to_be_bytes(), to.port().to_be_bytes()].concat();
    l4.extend((8 + payload.len() as u16).to_be_bytes());
    l4.extend([0, 0]);
    l4.extend(payload);
    fix_l4(from.ip(), to.ip(), UDP, &mut l4);
    Ip::new(from.ip(), to.ip(), UDP, l4)
}

/// An ICMP or ICMPv6 message: `rest` is the second word.
pub fn icmp(from: &str, to: &str, kind: u8, code: u8, rest: u32, body: &[u8]) -> Ip {
    let (src, dst) = (ip(from), ip(to));
    let protocol = if src.is_ipv4() { ICMP } else { ICMP6 };
    let mut l4 = vec![kind, code, 0, 0];
    l4.extend(rest.to_be_bytes());
    l4.extend(body);
    fix_l4(src, dst, protocol, &mut l4);
    Ip::new(src, dst, protocol, l4)
}

/// A frame with the tags' VIDs, outermost first.
pub fn ethernet(dst: Mac, src: Mac, tags: &[u16], ethertype: u16, payload: &[u8]) -> Vec<u8> {
    let mut frame = [dst, src].concat();
    for tag in tags {
        frame.extend(0x8100u16.to_be_bytes());
        frame.extend(tag.to_be_bytes());
    }
    frame.extend(ethertype.to_be_bytes());
    frame.extend(payload);
    frame
}

/// An ARP message.
pub fn arp(operation: u16, sender: (Mac, &str), target: (Mac, &str)) -> Vec<u8> {
    let mut b = vec![0, 1, 8, 0, 6, 4];
    b.extend(operation.to_be_bytes());
    b.extend(sender.0);
    b.extend(octets(ip(sender.1)));
    b.extend(target.0);
    b.extend(octets(ip(target.1)));
    b
}

/// A neighbour solicitation (RFC 4861 section 4.3) for `target` to its solicited-node group, as a frame.
pub fn solicitation(from: &str, target: &str) -> Vec<u8> {
    let t = octets(ip(target));
    let group = format!("ff02::1:ff{:02x}:{:02x}{:02x}", t[13], t[14], t[15]);
    let mut body = t.clone();
    if from != "::" {
        body.extend([1, 1]);
        body.extend(mac_of(ip(from)));
    }
    let packet = icmp(from, &group, 135, 0, 0, &body).ttl(255);
    let src = if from == "::" { mac_of(ip("fd00::77")) } else { mac_of(ip(from)) };
    ethernet([0x33, 0x33, 0xff, t[13], t[14], t[15]], src, &[], IPV6, &packet.bytes())
}

/// A frame padded to the shortest that Ethernet has, with bytes that are nobody's.
pub fn padded(mut frame: Vec<u8>) -> Vec<u8> {
    while frame.len() < 60 {
        frame.push(0xee);
    }
    frame
}
