//! Valid frames of every kind that is parsed, written by the book and not by the code under test.

use proptest::collection::vec;
use proptest::prelude::*;

/// The checksum of RFC 1071, as slow and plain as it can be.
pub fn reference_checksum(data: &[u8]) -> u16 {
    let mut sum = 0u64;
    for pair in data.chunks(2) {
        sum += u64::from(pair[0]) << 8 | u64::from(*pair.get(1).unwrap_or(&0));
    }
    while sum > 0xFFFF {
        sum = (sum >> 16) + (sum & 0xFFFF);
    }
    !(sum as u16)
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Upper {
    Tcp { option_words: u8, flags: u8 },
    Udp,
    Icmp,
    Other(u8),
}

/// What a frame shall hold.
#[derive(Clone, Debug)]
pub struct Spec {
    pub tags: Vec<(u16, u16)>,
    pub v6: bool,
    pub src: [u8; 16],
    pub dst: [u8; 16],
    /// Words of IPv4 options.
    pub option_words: u8,
    /// IPv6 extension headers: kind and length in units of eight bytes beyond the first.
    pub extensions: Vec<(u8, u8)>,
    /// Offset in units of eight bytes, whether more follow, identification.
    pub fragment: Option<(u16, bool, u32)>,
    pub upper: Upper,
    pub sport: u16,
    pub dport: u16,
    pub ttl: u8,
    pub traffic_class: u8,
    pub df: bool,
    pub id: u16,
    pub payload: Vec<u8>,
    pub padding: u8,
}

/// An untagged IPv4 TCP SYN.
pub fn plain() -> Spec {
    Spec {
        tags: vec![],
        v6: false,
        src: [10, 1, 2, 3, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1],
        dst: [192, 0, 2, 10, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2],
        option_words: 0,
        extensions: vec![],
        fragment: None,
        upper: Upper::Tcp { option_words: 0, flags: 0x02 },
        sport: 40_000,
        dport: 80,
        ttl: 64,
        traffic_class: 0,
        df: true,
        id: 7,
        payload: vec![],
        padding: 0,
    }
}

impl Spec {
    pub fn protocol(&self) -> u8 {
        match self.upper {
            Upper::Tcp { .. } => 6,
            Upper::Udp => 17,
            Upper::Icmp => {
                if self.v6 {
                    58
                } else {
                    1
                }
            }
            Upper::Other(protocol) => protocol,
        }
    }

    pub fn is_later(&self) -> bool {
        self.fragment.is_some_and(|(offset, _, _)| offset != 0)
    }

    pub fn l3(&self) -> usize {
        14 + 4 * self.tags.len()
    }

    pub fn l4(&self) -> usize {
        self.l3() + if self.v6 { 40 + self.chain().len() } else { 20 + 4 * usize::from(self.option_words) }
    }

    /// The frame without padding.
    pub fn build(&self) -> Vec<u8> {
        let mut frame = vec![2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1];
        for (tpid, tag) in &self.tags {
            frame.extend(tpid.to_be_bytes());
            frame.extend(tag.to_be_bytes());
        }
        frame.extend(if self.v6 { [0x86, 0xDD] } else { [0x08, 0x00] });
        frame.extend(if self.v6 { self.ipv6() } else { self.ipv4() });
        frame
    }

    pub fn build_padded(&self) -> Vec<u8> {
        let mut frame = self.build();
        frame.extend(std::iter::repeat_n(0xEE, self.padding.into()));
        frame
    }

    fn ipv4(&self) -> Vec<u8> {
        let upper = self.upper();
        let header_len = 20 + 4 * usize::from(self.option_words);
        let (offset, more, id) = self.fragment.unwrap_or((0, false, self.id.into()));
        let mut packet = vec![0x40 | (header_len / 4) as u8, self.traffic_class];
        packet.extend(((header_len + upper.len()) as u16).to_be_bytes());
        packet.extend((id as u16).to_be_bytes());
        packet.extend((offset | u16::from(more) << 13 | u16::from(self.df) << 14).to_be_bytes());
        packet.extend([self.ttl, self.protocol(), 0, 0]);
        packet.extend(&self.src[..4]);
        packet.extend(&self.dst[..4]);
        packet.resize(header_len, 1);
        let check = reference_checksum(&packet);
        packet[10..12].copy_from_slice(&check.to_be_bytes());
        packet.extend(upper);
        packet
    }

    fn ipv6(&self) -> Vec<u8> {
        let (chain, upper) = (self.chain(), self.upper());
        let mut packet = vec![0x60 | self.traffic_class >> 4, self.traffic_class << 4, 0xAB, 0xCD];
        packet.extend(((chain.len() + upper.len()) as u16).to_be_bytes());
        packet.extend([self.kinds()[0], self.ttl]);
        packet.extend(self.src);
        packet.extend(self.dst);
        packet.extend(chain);
        packet.extend(upper);
        packet
    }

    /// Extension headers and, last, the upper layer.
    fn kinds(&self) -> Vec<u8> {
        let mut kinds: Vec<u8> = self.extensions.iter().map(|&(kind, _)| kind).collect();
        kinds.extend(self.fragment.map(|_| 44));
        kinds.push(self.protocol());
        kinds
    }

    fn chain(&self) -> Vec<u8> {
        let (kinds, mut chain) = (self.kinds(), vec![]);
        for (index, &(kind, units)) in self.extensions.iter().enumerate() {
            // Routing headers are of type 2 and done with.
            chain.extend([kinds[index + 1], units, if kind == 43 { 2 } else { 1 }, 0]);
            chain.extend(vec![0; 4 + 8 * usize::from(units)]);
        }
        if let Some((offset, more, id)) = self.fragment {
            chain.extend([self.protocol(), 0]);
            chain.extend((offset << 3 | u16::from(more)).to_be_bytes());
            chain.extend(id.to_be_bytes());
        }
        chain
    }

    fn upper(&self) -> Vec<u8> {
        if self.is_later() {
            return self.payload.clone();
        }
        let mut upper = match self.upper {
            Upper::Tcp { option_words, flags } => {
                let mut tcp = vec![0; 20 + 4 * usize::from(option_words)];
                tcp[12] = (5 + option_words) << 4;
                tcp[13] = flags;
                tcp
            }
            Upper::Udp => {
                let [high, low] = (8 + self.payload.len() as u16).to_be_bytes();
                vec![0, 0, 0, 0, high, low, 0x12, 0x34]
            }
            Upper::Icmp => vec![if self.v6 { 128 } else { 8 }, 0, 0, 0, 0, 1, 0, 2],
            Upper::Other(_) => vec![],
        };
        if matches!(self.upper, Upper::Tcp { .. } | Upper::Udp) {
            upper[..2].copy_from_slice(&self.sport.to_be_bytes());
            upper[2..4].copy_from_slice(&self.dport.to_be_bytes());
        }
        upper.extend(&self.payload);
        upper
    }
}

/// Any valid frame.
pub fn spec() -> impl Strategy<Value = Spec> {
    let tag = (prop::sample::select(vec![0x8100, 0x88A8, 0x9100]), any::<u16>());
    let tags = prop_oneof![3 => Just(vec![]), 2 => vec(tag, 0..=3)];
    let upper = prop_oneof![
        4 => (0..=10u8, any::<u8>()).prop_map(|(option_words, flags)| Upper::Tcp { option_words, flags }),
        4 => Just(Upper::Udp),
        1 => Just(Upper::Icmp),
        1 => prop::sample::select(vec![4u8, 47, 50, 89, 132, 253]).prop_map(Upper::Other),
    ];
    let extension = (prop::sample::select(vec![43u8, 60]), 0..4u8);
    let extensions = prop_oneof![
        3 => Just(vec![]),
        1 => (any::<bool>(), vec(extension, 0..5)).prop_map(|(hop_by_hop, mut rest)| {
            if hop_by_hop {
                rest.insert(0, (0, 1));
            }
            rest
        }),
    ];
    let offset = prop_oneof![Just(0), 2..8_000u16];
    let fragment = prop_oneof![4 => Just(None), 1 => (offset, any::<bool>(), any::<u32>()).prop_map(Some)];
    let option_words = prop_oneof![2 => Just(0), 1 => 0..=10u8];
    let link = (tags, any::<bool>(), 0..50u8);
    let network = (any::<[u8; 16]>(), any::<[u8; 16]>(), option_words, extensions, fragment);
    let fields = (any::<u8>(), any::<u8>(), any::<bool>(), any::<u16>());
    let transport = (upper, any::<u16>(), any::<u16>(), vec(any::<u8>(), 0..100));
    (link, network, fields, transport).prop_map(|(link, network, fields, transport)| {
        let (tags, v6, padding) = link;
        let (src, dst, option_words, extensions, fragment) = network;
        let (ttl, traffic_class, df, id) = fields;
        let (upper, sport, dport, mut payload) = transport;
        if payload.is_empty() && (upper == Upper::Other(253) || fragment.is_some()) {
            payload.push(0);
        }
        // An empty IPv6 payload promises a header that is not there.
        if matches!(upper, Upper::Other(_)) && payload.is_empty() {
            payload = vec![1; 9];
        }
        Spec {
            tags,
            v6,
            src,
            dst,
            option_words,
            extensions,
            fragment,
            upper,
            sport,
            dport,
            ttl,
            traffic_class,
            df,
            id,
            payload,
            padding,
        }
    })
}
