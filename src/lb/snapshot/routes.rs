//! Which port a packet leaves by, and to which next hop.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::lb::ids::PortId;

/// Where to send a packet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Hop {
    /// The port it leaves by.
    pub port: PortId,
    /// Who takes it on that link: the destination itself or a gateway.
    pub next: IpAddr,
}

/// Connected networks and gateways of all ports.
#[derive(Clone, Debug, Default)]
pub struct Routes {
    v4: Vec<(Ipv4Addr, u32, PortId)>,
    v6: Vec<(Ipv6Addr, u128, PortId)>,
    gateway4: Option<(PortId, Ipv4Addr)>,
    gateway6: Option<(PortId, Ipv6Addr)>,
}

impl Routes {
    /// Adds a connected network of `port`: an address in it and its prefix length in bits.
    pub fn connect(&mut self, port: PortId, address: IpAddr, prefix_len: u8) {
        match address {
            IpAddr::V4(a) => {
                let mask = u32::MAX.checked_shl(32 - u32::from(prefix_len.min(32))).unwrap_or(0);
                self.v4.push((Ipv4Addr::from(u32::from(a) & mask), mask, port));
                // Longest first, so that the first fit is the right one.
                self.v4.sort_by_key(|&(_, mask, _)| std::cmp::Reverse(mask));
            }
            IpAddr::V6(a) => {
                let mask = u128::MAX.checked_shl(128 - u32::from(prefix_len.min(128))).unwrap_or(0);
                self.v6.push((Ipv6Addr::from(u128::from(a) & mask), mask, port));
                self.v6.sort_by_key(|&(_, mask, _)| std::cmp::Reverse(mask));
            }
        }
    }

    /// Sets the gateway of `port`; the first port with one keeps the family's default route.
    pub fn gateway(&mut self, port: PortId, gateway: IpAddr) {
        match gateway {
            IpAddr::V4(a) => _ = self.gateway4.get_or_insert((port, a)),
            IpAddr::V6(a) => _ = self.gateway6.get_or_insert((port, a)),
        }
    }

    /// The next hop for an IPv4 destination.
    #[inline]
    pub fn v4(&self, to: Ipv4Addr) -> Option<Hop> {
        let bits = u32::from(to);
        let connected = self.v4.iter().find(|&&(net, mask, _)| bits & mask == u32::from(net));
        match connected {
            Some(&(_, _, port)) => Some(Hop { port, next: IpAddr::V4(to) }),
            None => self.gateway4.map(|(port, next)| Hop { port, next: IpAddr::V4(next) }),
        }
    }

    /// The next hop for an IPv6 destination.
    #[inline]
    pub fn v6(&self, to: Ipv6Addr) -> Option<Hop> {
        let bits = u128::from(to);
        let connected = self.v6.iter().find(|&&(net, mask, _)| bits & mask == u128::from(net));
        match connected {
            Some(&(_, _, port)) => Some(Hop { port, next: IpAddr::V6(to) }),
            None => self.gateway6.map(|(port, next)| Hop { port, next: IpAddr::V6(next) }),
        }
    }

    /// The next hop for a destination of either family.
    pub fn find(&self, to: IpAddr) -> Option<Hop> {
        match to {
            IpAddr::V4(a) => self.v4(a),
            IpAddr::V6(a) => self.v6(a),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn longest_network_first_then_the_gateway() {
        let mut routes = Routes::default();
        routes.connect(PortId(0), "10.0.0.2".parse().unwrap(), 8);
        routes.connect(PortId(1), "10.1.0.1".parse().unwrap(), 16);
        routes.connect(PortId(1), "fd00::1".parse().unwrap(), 64);
        let to = |s: &str| routes.find(s.parse().unwrap()).map(|h| (h.port.0, h.next.to_string()));
        assert_eq!(to("10.1.2.3"), Some((1, "10.1.2.3".into())));
        assert_eq!(to("10.2.2.3"), Some((0, "10.2.2.3".into())));
        assert_eq!(to("192.0.2.1"), None);
        routes.gateway(PortId(0), "10.0.0.1".parse().unwrap());
        routes.gateway(PortId(1), "10.1.0.254".parse().unwrap());
        let to = |s: &str| routes.find(s.parse().unwrap()).map(|h| (h.port.0, h.next.to_string()));
        assert_eq!(to("192.0.2.1"), Some((0, "10.0.0.1".into())));
        assert_eq!(to("fd00::7"), Some((1, "fd00::7".into())));
        assert_eq!(to("fd01::7"), None);
    }

    #[test]
    fn prefix_lengths_0_and_full_do_not_overflow() {
        let mut routes = Routes::default();
        routes.connect(PortId(0), "10.0.0.2".parse().unwrap(), 32);
        routes.connect(PortId(1), "fd00::2".parse().unwrap(), 128);
        assert!(routes.find("10.0.0.2".parse().unwrap()).is_some());
        assert!(routes.find("10.0.0.3".parse().unwrap()).is_none());
        routes.connect(PortId(2), "0.0.0.0".parse().unwrap(), 0);
        assert_eq!(routes.find("8.8.8.8".parse().unwrap()).map(|h| h.port), Some(PortId(2)));
    }
}
