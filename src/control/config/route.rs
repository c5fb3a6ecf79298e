//! The next hop of an address by the ports' networks and gateways.

use std::net::IpAddr;

use super::model::{Config, Port};
use super::net::same_family;

/// Where a packet to some address leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Route {
    /// Index into [`Config::ports`].
    pub port: usize,
    /// The neighbour that takes the packet: the address itself where it is on-link, else a gateway.
    pub next_hop: IpAddr,
}

impl Route {
    /// Whether `address`, which this is the route of, is a neighbour itself.
    pub fn is_on_link(&self, address: IpAddr) -> bool {
        self.next_hop == address
    }
}

impl Config {
    /// On-link by the longest prefix, else by the first port with a gateway of the family; `None` where there is neither.
    pub fn route(&self, address: IpAddr) -> Option<Route> {
        route(&self.ports, address)
    }
}

impl Port {
    /// The gateway of the family of `address`.
    pub fn gateway_for(&self, address: IpAddr) -> Option<IpAddr> {
        match address {
            IpAddr::V4(_) => self.gateway.map(IpAddr::V4),
            IpAddr::V6(_) => self.gateway6.map(IpAddr::V6),
        }
    }

    /// The first own address of the family of `address`.
    pub fn first_address_for(&self, address: IpAddr) -> Option<IpAddr> {
        self.addresses.iter().map(|net| net.address()).find(|own| same_family(*own, address))
    }
}

/// As [`Config::route`].
pub fn route(ports: &[Port], address: IpAddr) -> Option<Route> {
    let on_link = ports
        .iter()
        .enumerate()
        .flat_map(|(port, config)| config.addresses.iter().map(move |net| (port, net)))
        .filter(|(_, net)| net.contains(address))
        .min_by_key(|(_, net)| std::cmp::Reverse(net.prefix_len()))
        .map(|(port, _)| port);
    let is_link_local = matches!(address, IpAddr::V6(v6) if super::values::is_link_local(v6));
    match on_link {
        Some(port) => Some(Route { port, next_hop: address }),
        None if is_link_local => None,
        None => ports
            .iter()
            .enumerate()
            .find_map(|(port, config)| Some(Route { port, next_hop: config.gateway_for(address)? })),
    }
}

#[cfg(test)]
mod tests {
    use super::super::net::IpNet;
    use super::super::words::HostPath;
    use super::*;

    fn port(addresses: &[&str], gateway: Option<&str>) -> Port {
        Port {
            name: "p".into(),
            device: "net_null0".into(),
            addresses: addresses.iter().map(|text| IpNet::parse(text).unwrap()).collect(),
            gateway: gateway.map(|text| text.parse().unwrap()),
            gateway6: None,
            mtu: 1500,
            mac: None,
            vlan: None,
            host: HostPath::Auto,
            host_device: None,
            decapsulate_from: Vec::new(),
            spread: super::super::words::Spread::Auto,
            neighbors: Default::default(),
        }
    }

    #[test]
    fn on_link_beats_gateway_and_the_longest_prefix_wins() {
        let ports = [
            port(&["10.0.0.2/8"], Some("10.0.0.1")),
            port(&["10.1.0.2/16", "fd00::2/64"], None),
            port(&["10.1.2.2/24"], Some("10.1.2.1")),
        ];
        let route =
            |text: &str| route(&ports, text.parse().unwrap()).map(|route| (route.port, route.next_hop.to_string()));
        assert_eq!(route("10.9.9.9"), Some((0, "10.9.9.9".into())));
        assert_eq!(route("10.1.9.9"), Some((1, "10.1.9.9".into())));
        assert_eq!(route("10.1.2.9"), Some((2, "10.1.2.9".into())));
        assert_eq!(route("192.0.2.1"), Some((0, "10.0.0.1".into())));
        assert_eq!(route("fd00::9"), Some((1, "fd00::9".into())));
        assert_eq!(route("fd01::9"), None);
        assert_eq!(route("fe80::9"), None);
    }
}
