//! The five-tuples of the generated traffic, computed from their numbers.

use crate::rng::{Rng, hash};
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::str::FromStr;
use thiserror::Error;
use tidegate::wire::parse::FiveTuple;

/// Lowest port that clients use; those below belong to services.
const CLIENT_PORT_MIN: u16 = 1024;
/// Ports of one client address.
const CLIENT_PORTS: u64 = 65_536 - CLIENT_PORT_MIN as u64;
/// No more addresses than these are taken from a network; enough for every possible number of flows.
const CLIENTS_MAX: u128 = 1 << 32;

/// Why an argument about flows cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum FlowsError {
    /// Neither `ADDRESS/LENGTH` nor an address.
    #[error("`{0}` is no network, write it like 198.18.0.0/15 or 2001:db8::/64")]
    Prefix(String),
    /// The address has bits that the length cuts off.
    #[error("`{given}` has address bits behind the prefix length, the network is {network}")]
    HostBits {
        /// As given.
        given: String,
        /// What it would be with these bits cleared.
        network: Prefix,
    },
    /// Not an address with or without a port.
    #[error("`{0}` is no VIP, write it like 192.0.2.10:80 or [2001:db8::10]:80; without the port it is 80")]
    Vip(String),
    /// Nobody connects to port 0.
    #[error("`{0}` has port 0, ports are 1 to 65535")]
    PortZero(String),
    /// Clients and VIP could not talk.
    #[error("clients {client} and VIP {vip} are not of one address family")]
    Families {
        /// The clients' network.
        client: Prefix,
        /// The VIP.
        vip: IpAddr,
    },
    /// Not so many five-tuples are there.
    #[error("{flows} flows are too many for the clients of {client}: {possible} differ by address and port")]
    TooMany {
        /// How many were asked for.
        flows: u32,
        /// The clients' network.
        client: Prefix,
        /// How many there are.
        possible: u64,
    },
}

/// An IP network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Prefix {
    address: IpAddr,
    len: u8,
}

impl Prefix {
    /// The clients of IPv4 traffic by default: the network set aside for benchmarks (RFC 2544 appendix C.2.2).
    pub const DEFAULT_V4: Self = Self { address: IpAddr::V4(Ipv4Addr::new(198, 18, 0, 0)), len: 15 };
    /// The clients of IPv6 traffic by default, from the network for documentation (RFC 3849).
    pub const DEFAULT_V6: Self =
        Self { address: IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0xc, 0, 0, 0, 0, 0)), len: 64 };

    /// Whether this is an IPv6 network.
    #[must_use]
    pub const fn is_ipv6(&self) -> bool {
        self.address.is_ipv6()
    }

    /// Whether `address` is in this network.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        let bits = if self.is_ipv6() { 128 } else { 32 } - u32::from(self.len);
        let cut = |address| number(address).checked_shr(bits).unwrap_or(0);
        address.is_ipv6() == self.is_ipv6() && cut(address) == cut(self.address)
    }

    /// The first address that a host may have, as a number, and how many there are (at most 2^32).
    fn hosts(&self) -> (u128, u64) {
        let (base, bits) = match self.address {
            IpAddr::V4(address) => (u128::from(address.to_bits()), 32 - u32::from(self.len)),
            IpAddr::V6(address) => (address.to_bits(), 128 - u32::from(self.len)),
        };
        let all = 1_u128.checked_shl(bits).unwrap_or(u128::MAX);
        // All zeros is the network (RFC 1122) or the subnet's routers (RFC 4291 section 2.6.1), all ones is IPv4's
        // broadcast; networks of one and two addresses have neither (RFC 3021, RFC 6164).
        let (first, count) = match (self.address, bits) {
            (_, 0 | 1) => (base, all),
            (IpAddr::V4(_), _) => (base + 1, all - 2),
            (IpAddr::V6(_), _) => (base + 1, all - 1),
        };
        (first, count.min(CLIENTS_MAX) as u64)
    }
}

impl FromStr for Prefix {
    type Err = FlowsError;

    fn from_str(text: &str) -> Result<Self, FlowsError> {
        let wrong = || FlowsError::Prefix(text.to_owned());
        let (address, len) = match text.split_once('/') {
            Some((address, len)) => (address, Some(len)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| wrong())?;
        let len_max = if address.is_ipv4() { 32 } else { 128 };
        let len = match len {
            Some(len) if len.bytes().all(|digit| digit.is_ascii_digit()) => len.parse().map_err(|_| wrong())?,
            Some(_) => return Err(wrong()),
            None => len_max,
        };
        if len > len_max {
            return Err(wrong());
        }
        let cleared = match address {
            IpAddr::V4(address) => {
                let mask = u32::MAX.checked_shl(32 - u32::from(len)).unwrap_or(0);
                IpAddr::V4(Ipv4Addr::from_bits(address.to_bits() & mask))
            }
            IpAddr::V6(address) => {
                let mask = u128::MAX.checked_shl(128 - u32::from(len)).unwrap_or(0);
                IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & mask))
            }
        };
        let network = Self { address: cleared, len };
        if cleared != address {
            return Err(FlowsError::HostBits { given: text.to_owned(), network });
        }
        Ok(network)
    }
}

impl fmt::Display for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.len)
    }
}

/// The address and port that the clients connect to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Vip(pub SocketAddr);

impl Vip {
    /// The VIP of IPv4 traffic by default, from a network for documentation (RFC 5737).
    pub const DEFAULT_V4: Self = Self(SocketAddr::new(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 10)), 80));
    /// The VIP of IPv6 traffic by default, from the network for documentation (RFC 3849).
    pub const DEFAULT_V6: Self =
        Self(SocketAddr::new(IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0x10)), 80));
}

impl FromStr for Vip {
    type Err = FlowsError;

    fn from_str(text: &str) -> Result<Self, FlowsError> {
        let bracketed = || text.strip_prefix('[')?.strip_suffix(']')?.parse::<Ipv6Addr>().ok();
        let vip = if let Ok(vip) = text.parse::<SocketAddr>() {
            vip
        } else if let Ok(address) = text.parse::<Ipv4Addr>() {
            SocketAddr::from((address, 80))
        } else if let Some(address) = bracketed() {
            SocketAddr::from((address, 80))
        } else {
            return Err(FlowsError::Vip(text.to_owned()));
        };
        if vip.port() == 0 {
            return Err(FlowsError::PortZero(text.to_owned()));
        }
        Ok(Self(vip))
    }
}

/// A number of distinct five-tuples from clients to one VIP.
#[derive(Debug, Clone)]
pub struct Flows {
    count: u32,
    vip: SocketAddr,
    protocol: u8,
    /// The first client address as a number.
    first: u128,
    clients: u64,
    seed: u64,
}

impl Flows {
    /// The flows of a seed. The VIP's own address is never a client.
    ///
    /// # Errors
    /// Two address families, or more flows than the network has pairs of address and port.
    pub fn new(client: Prefix, vip: Vip, protocol: u8, count: u32, seed: u64) -> Result<Self, FlowsError> {
        if client.is_ipv6() != vip.0.is_ipv6() {
            return Err(FlowsError::Families { client, vip: vip.0.ip() });
        }
        let (first, hosts) = client.hosts();
        let vip_is_inside = (first..first + u128::from(hosts)).contains(&number(vip.0.ip()));
        let clients = hosts - u64::from(vip_is_inside);
        let possible = clients * CLIENT_PORTS;
        if u64::from(count) > possible {
            return Err(FlowsError::TooMany { flows: count, client, possible });
        }
        Ok(Self { count, vip: vip.0, protocol, first, clients, seed })
    }

    /// The flow of a client's address and port, if it is one of these.
    #[must_use]
    pub fn flow_of(&self, address: IpAddr, port: u16) -> Option<u32> {
        if address.is_ipv6() != self.vip.is_ipv6() {
            return None;
        }
        let (address, vip) = (number(address), number(self.vip.ip()));
        let skipped = u128::from(vip >= self.first && address > vip);
        let client = u64::try_from(address.checked_sub(self.first + skipped)?).ok()?;
        if client >= self.clients || address == vip {
            return None;
        }
        let place = u64::from(port.checked_sub(CLIENT_PORT_MIN)?);
        let round = (place + CLIENT_PORTS - hash(self.seed, client + 1) % CLIENT_PORTS) % CLIENT_PORTS;
        let first = hash(self.seed, 0) % self.clients;
        let flow = round * self.clients + (client + self.clients - first) % self.clients;
        u32::try_from(flow).ok().filter(|flow| *flow < self.count)
    }

    /// How many flows there are.
    #[must_use]
    pub const fn count(&self) -> u32 {
        self.count
    }

    /// Whether the flows are IPv6.
    #[must_use]
    pub const fn is_ipv6(&self) -> bool {
        self.vip.is_ipv6()
    }

    /// The IP protocol number.
    #[must_use]
    pub const fn protocol(&self) -> u8 {
        self.protocol
    }

    /// The address and port of a client whom nothing but the generator decides.
    #[must_use]
    pub fn random_source(&self, rng: &mut Rng) -> (IpAddr, u16) {
        let port = CLIENT_PORT_MIN + rng.below(CLIENT_PORTS) as u16;
        (self.client_address(rng.below(self.clients)), port)
    }

    /// Whether `address` can be a client's.
    #[must_use]
    pub fn has_client(&self, address: IpAddr) -> bool {
        address.is_ipv6() == self.vip.is_ipv6()
            && (self.first..=self.first + u128::from(self.clients)).contains(&number(address))
            && address != self.vip.ip()
    }

    /// The five-tuple of flow `flow`, from the client to the VIP.
    ///
    /// The flows go round the client addresses first, from a place that the seed gives, and each address goes through
    /// its ports from a place of its own; so no two flows below [`count`](Self::count) are equal.
    #[must_use]
    pub fn tuple(&self, flow: u32) -> FiveTuple<IpAddr> {
        let clients = self.clients.max(1);
        let client = (u64::from(flow) + hash(self.seed, 0) % clients) % clients;
        let round = u64::from(flow) / clients;
        let port = (round + hash(self.seed, client + 1) % CLIENT_PORTS) % CLIENT_PORTS;
        FiveTuple {
            src: self.client_address(client),
            dst: self.vip.ip(),
            sport: CLIENT_PORT_MIN + port as u16,
            dport: self.vip.port(),
            protocol: self.protocol,
        }
    }

    fn client_address(&self, client: u64) -> IpAddr {
        let mut address = self.first + u128::from(client);
        // The VIP, where it lies between the clients, is skipped.
        let vip = number(self.vip.ip());
        if vip >= self.first && address >= vip {
            address += 1;
        }
        match self.vip {
            SocketAddr::V4(_) => IpAddr::V4(Ipv4Addr::from_bits(address as u32)),
            SocketAddr::V6(_) => IpAddr::V6(Ipv6Addr::from_bits(address)),
        }
    }
}

fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => u128::from(address.to_bits()),
        IpAddr::V6(address) => address.to_bits(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    fn flows(client: &str, vip: &str, count: u32, seed: u64) -> Result<Flows, FlowsError> {
        Flows::new(client.parse().unwrap(), vip.parse().unwrap(), 6, count, seed)
    }

    /// Source addresses and ports of all flows.
    fn sources(flows: &Flows) -> HashSet<(IpAddr, u16)> {
        (0..flows.count()).map(|flow| flows.tuple(flow)).map(|tuple| (tuple.src, tuple.sport)).collect()
    }

    #[test]
    fn networks_and_vips_are_read() {
        for text in ["198.18.0.0/15", "10.0.0.1/32", "0.0.0.0/0", "::/0", "2001:db8::/64", "2001:db8::1/128"] {
            assert_eq!(text.parse::<Prefix>().unwrap().to_string(), text);
        }
        assert_eq!("10.0.0.1".parse::<Prefix>().unwrap().to_string(), "10.0.0.1/32");
        for text in ["", "x", "10.0.0.0/", "10.0.0.0/33", "10.0.0.0/+8", "10.0.0/8", "::/129", "10.0.0.0/8/8"] {
            assert_eq!(text.parse::<Prefix>(), Err(FlowsError::Prefix(text.to_owned())), "{text}");
        }
        let error = "198.18.0.5/15".parse::<Prefix>().unwrap_err();
        assert!(error.to_string().ends_with("the network is 198.18.0.0/15"), "{error}");
        for (text, vip) in [
            ("192.0.2.1", "192.0.2.1:80"),
            ("192.0.2.1:8080", "192.0.2.1:8080"),
            ("[::1]", "[::1]:80"),
            ("[::1]:443", "[::1]:443"),
        ] {
            assert_eq!(text.parse::<Vip>().unwrap().0.to_string(), vip);
        }
        for text in ["", "192.0.2.1:", "192.0.2.1:65536", "2001:db8::1", "[::1", "[192.0.2.1]:80", "host:80"] {
            assert_eq!(text.parse::<Vip>(), Err(FlowsError::Vip(text.to_owned())), "{text}");
        }
        assert_eq!("192.0.2.1:0".parse::<Vip>(), Err(FlowsError::PortZero("192.0.2.1:0".to_owned())));
    }

    #[test]
    fn every_flow_is_another_tuple_inside_the_network() {
        for (client, vip, count) in [
            ("10.0.0.0/30", "192.0.2.1", 2 * 64_512),
            ("10.0.0.0/29", "10.0.0.3", 5 * 64_512),
            ("10.0.0.2/31", "10.0.0.3", 64_512),
            ("10.0.0.2", "10.0.0.3", 64_512),
            ("0.0.0.0/0", "192.0.2.1", 100_000),
            ("2001:db8::4/127", "[2001:db8::1]", 2 * 64_512),
            ("::/0", "[2001:db8::1]", 100_000),
        ] {
            let flows = flows(client, vip, count, 3).unwrap();
            let sources = sources(&flows);
            assert_eq!(sources.len(), count as usize, "{client}");
            assert!(sources.iter().all(|&(address, port)| address != flows.vip.ip() && port >= 1024));
            if client == "10.0.0.0/29" {
                let addresses: HashSet<IpAddr> = sources.iter().map(|source| source.0).collect();
                let expected = [1, 2, 4, 5, 6].map(|host| IpAddr::from([10, 0, 0, host]));
                assert_eq!(addresses, HashSet::from(expected));
            }
        }
    }

    #[test]
    fn flows_are_found_by_their_source() {
        for (client, vip, count) in
            [("10.0.0.0/29", "10.0.0.3", 5 * 64_512), ("2001:db8:c::/64", "[2001:db8::1]", 9999)]
        {
            let flows = flows(client, vip, count, 3).unwrap();
            for flow in (0..count).step_by(7) {
                let tuple = flows.tuple(flow);
                assert_eq!(flows.flow_of(tuple.src, tuple.sport), Some(flow));
            }
            let outside = if client.contains(':') { "2001:db8:d::1" } else { "10.0.0.8" };
            assert_eq!(flows.flow_of(outside.parse().unwrap(), 2000), None);
            assert_eq!(flows.flow_of(flows.vip.ip(), 2000), None);
            assert_eq!(flows.flow_of(flows.tuple(0).src, 80), None, "below the clients' ports");
            assert_eq!(flows.flow_of("192.0.2.1".parse().unwrap(), 2000), None);
        }
    }

    #[test]
    fn networks_contain_their_addresses() {
        let contains =
            |prefix: &str, address: &str| prefix.parse::<Prefix>().unwrap().contains(address.parse().unwrap());
        assert!(contains("10.0.0.0/29", "10.0.0.7") && !contains("10.0.0.0/29", "10.0.0.8"));
        assert!(contains("0.0.0.0/0", "1.2.3.4") && !contains("0.0.0.0/0", "::1"));
        assert!(contains("2001:db8::/32", "2001:db8:ffff::1") && !contains("2001:db8::1/128", "2001:db8::2"));
    }

    #[test]
    fn more_flows_than_tuples_are_refused() {
        let error = flows("10.0.0.2/31", "10.0.0.3", 64_513, 0).unwrap_err();
        assert!(
            error.to_string().contains("64513 flows are too many for the clients of 10.0.0.2/31: 64512"),
            "{error}"
        );
        assert!(matches!(flows("10.0.0.3", "10.0.0.3", 1, 0), Err(FlowsError::TooMany { possible: 0, .. })));
        assert!(matches!(flows("10.0.0.0/8", "[::1]", 1, 0), Err(FlowsError::Families { .. })));
    }

    #[test]
    fn the_seed_decides() {
        let sources = |seed| sources(&flows("198.18.0.0/15", "192.0.2.1", 100, seed).unwrap());
        assert_eq!(sources(1), sources(1));
        assert!(sources(1).is_disjoint(&sources(2)));
    }
}
