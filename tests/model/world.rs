//! The network around the balancer as plain values: ports, services in every mode, and the text of their configuration.

use std::net::IpAddr;

use crate::packet::{Mac, ip, own_mac};

/// How a service reaches its backends. A mode that is added here needs a way out in `forward` and in `outputs`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Mode {
    Nat,
    FullNat,
    Gre,
    Ipip,
    Gue,
    Dsr,
}

impl Mode {
    /// Whether replies pass here.
    pub fn is_nat(self) -> bool {
        matches!(self, Mode::Nat | Mode::FullNat)
    }

    pub fn word(self) -> &'static str {
        match self {
            Mode::Nat => "nat",
            Mode::FullNat => "full-nat",
            Mode::Gre => "gre",
            Mode::Ipip => "ipip",
            Mode::Gue => "gue",
            Mode::Dsr => "dsr",
        }
    }
}

/// What the administrator wants of a backend.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum State {
    Up,
    Drain,
    Down,
}

impl State {
    pub fn word(self) -> &'static str {
        match self {
            State::Up => "up",
            State::Drain => "drain",
            State::Down => "down",
        }
    }
}

#[derive(Clone, Debug)]
pub struct Backend {
    pub name: String,
    pub address: IpAddr,
    /// Where NAT sends to; the VIP's port unless given.
    pub port: Option<u16>,
    pub weight: u32,
    pub state: State,
}

#[derive(Clone, Debug)]
pub struct Service {
    pub name: &'static str,
    pub vip: IpAddr,
    /// Every port of the VIP unless given.
    pub port: Option<u16>,
    pub is_tcp: bool,
    pub mode: Mode,
    pub idle: Idle,
    pub backends: Vec<Backend>,
}

impl Service {
    pub fn protocol(&self) -> u8 {
        if self.is_tcp { 6 } else { 17 }
    }

    /// What full-NAT connects from.
    pub fn local_addresses(&self) -> Vec<IpAddr> {
        // Of the backends' family, whatever the VIP's is.
        let is_v4 = self.backends.first().is_some_and(|backend| backend.address.is_ipv4());
        let all = match (self.mode, is_v4) {
            (Mode::FullNat, true) => &["10.1.0.100"][..],
            (Mode::FullNat, false) => &["fd01::100"],
            _ => &[],
        };
        all.iter().map(|text| ip(text)).collect()
    }
}

/// Seconds that a connection may be idle in each state (rule 17).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Idle {
    pub syn: u64,
    pub established: u64,
    pub fin: u64,
    pub udp_oneway: u64,
    pub udp: u64,
}

/// Long ones, and short ones so that time passes often enough.
const DEFAULT: Idle = Idle { syn: 30, established: 7440, fin: 10, udp_oneway: 60, udp: 300 };
const SHORT: Idle = Idle { syn: 3, established: 40, fin: 2, udp_oneway: 5, udp: 20 };

#[derive(Clone, Debug)]
pub struct Port {
    pub name: &'static str,
    pub mac: Mac,
    /// With the length of the prefix in bits.
    pub addresses: Vec<(IpAddr, u32)>,
    pub gateways: Vec<IpAddr>,
    pub mtu: usize,
    pub vlan: Option<u16>,
    /// Next hops that are known.
    pub neighbors: Vec<IpAddr>,
}

#[derive(Clone, Debug)]
pub struct World {
    pub workers: usize,
    pub ports: Vec<Port>,
    pub services: Vec<Service>,
}

/// How many worlds [`world`] knows; ports differ between them, which no reload may change.
pub const WORLDS: usize = 4;
/// The one with full-NAT, whose pools of local ports take a while to make.
pub const FULL_NAT: usize = 3;
/// How many configurations of a world follow each other by reloads.
pub const VARIANTS: usize = 6;

/// A world under one of its configurations.
pub fn world(number: usize, variant: usize) -> World {
    // Two arms; two arms, of which one is tagged and the other smaller; and one arm for everything.
    let ports = match number {
        0 => vec![wan(1500, &[]), lan(1400, None)],
        1 => vec![wan(1400, &[]), lan(1500, Some(100))],
        2 => vec![wan(1500, &["10.1.0.", "fd01::"])],
        _ => vec![wan(1500, &[]), lan(1400, None)],
    };
    let mut services = services(number);
    vary(&mut services, variant);
    World { workers: [1, 2, 4, 2][number % WORLDS], ports, services }
}

fn wan(mtu: usize, also: &[&str]) -> Port {
    let mut addresses = vec![(ip("10.0.0.2"), 24), (ip("fd00::2"), 64)];
    let mut neighbors = vec![ip("10.0.0.1"), ip("fd00::1"), ip("10.0.0.77"), ip("fd00::77")];
    for net in also {
        addresses.push((ip(&format!("{net}2")), if net.contains(':') { 64 } else { 24 }));
        neighbors.extend(hosts(net));
    }
    let gateways = vec![ip("10.0.0.1"), ip("fd00::1")];
    Port { name: "wan", mac: own_mac(0), addresses, gateways, mtu, vlan: None, neighbors }
}

fn lan(mtu: usize, vlan: Option<u16>) -> Port {
    let addresses = vec![(ip("10.1.0.2"), 24), (ip("fd01::2"), 64)];
    let neighbors = [hosts("10.1.0."), hosts("fd01::")].concat();
    Port { name: "lan", mac: own_mac(1), addresses, gateways: Vec::new(), mtu, vlan, neighbors }
}

/// The backends' addresses in a network.
fn hosts(net: &str) -> Vec<IpAddr> {
    (11..15).map(|host| ip(&format!("{net}{host}"))).collect()
}

fn services(number: usize) -> Vec<Service> {
    const V4: &str = "10.1.0.";
    const V6: &str = "fd01::";
    let make = |name, vip: &str, port, is_tcp, mode, net: &str, backend_port: Option<u16>| Service {
        name,
        vip: ip(vip),
        port,
        is_tcp,
        mode,
        idle: if number == 0 { DEFAULT } else { SHORT },
        // The first has a port of its own, where it may.
        backends: (11..14)
            .map(|host| Backend {
                name: format!("b{host}"),
                address: ip(&format!("{net}{host}")),
                port: backend_port.filter(|_| host != 13),
                weight: 100,
                state: State::Up,
            })
            .collect(),
    };
    let mut all = vec![
        make("nat4", "192.0.2.10", Some(80), true, Mode::Nat, V4, Some(8080)),
        make("nat4u", "192.0.2.10", Some(53), false, Mode::Nat, V4, Some(8053)),
        // The same backends through another VIP: the pairs of client and backend can meet.
        make("twin4", "192.0.2.11", Some(80), true, Mode::Nat, V4, Some(8080)),
        make("nat6", "2001:db8::10", Some(80), true, Mode::Nat, V6, Some(8080)),
        make("nat6u", "2001:db8::10", Some(53), false, Mode::Nat, V6, None),
        make("every", "192.0.2.12", None, false, Mode::Nat, V4, None),
        make("gre44", "192.0.2.20", None, true, Mode::Gre, V4, None),
        make("gre44u", "192.0.2.20", Some(53), false, Mode::Gre, V4, None),
        make("gre46", "192.0.2.21", Some(80), true, Mode::Gre, V6, None),
        make("gre64", "2001:db8::20", Some(80), true, Mode::Gre, V4, None),
        make("gre66u", "2001:db8::21", Some(53), false, Mode::Gre, V6, None),
        make("ipip44", "192.0.2.23", Some(80), true, Mode::Ipip, V4, None),
        make("ipip46u", "192.0.2.24", Some(53), false, Mode::Ipip, V6, None),
        make("ipip64u", "2001:db8::23", Some(53), false, Mode::Ipip, V4, None),
        make("ipip66", "2001:db8::24", None, true, Mode::Ipip, V6, None),
        make("gue44u", "192.0.2.25", Some(53), false, Mode::Gue, V4, None),
        make("gue46", "192.0.2.26", None, true, Mode::Gue, V6, None),
        make("gue46u", "192.0.2.26", Some(53), false, Mode::Gue, V6, None),
        make("gue64", "2001:db8::25", Some(80), true, Mode::Gue, V4, None),
        make("gue66", "2001:db8::26", Some(80), true, Mode::Gue, V6, None),
        make("full4", "192.0.2.50", Some(80), true, Mode::FullNat, V4, Some(8080)),
        make("full4u", "192.0.2.50", None, false, Mode::FullNat, V4, None),
        make("full6", "2001:db8::50", Some(80), true, Mode::FullNat, V6, None),
        make("full46", "192.0.2.51", Some(80), true, Mode::FullNat, V6, Some(8080)),
        make("full46u", "192.0.2.51", None, false, Mode::FullNat, V6, None),
        make("full64", "2001:db8::51", Some(80), true, Mode::FullNat, V4, Some(8080)),
        make("full64u", "2001:db8::51", Some(53), false, Mode::FullNat, V4, None),
        make("dsr4", "192.0.2.30", Some(80), true, Mode::Dsr, V4, None),
        make("dsr6u", "2001:db8::30", Some(53), false, Mode::Dsr, V6, None),
    ];
    all.retain(|service| (service.mode == Mode::FullNat) == (number == FULL_NAT) || service.name == "nat4");
    // A backend behind the gateway: not in the port's network.
    if let Some(service) = all.iter_mut().find(|service| service.name == "gre44") {
        service.backends[2].address = ip("10.9.0.13");
    }
    all
}

/// What a new configuration changes.
fn vary(services: &mut Vec<Service>, variant: usize) {
    match variant {
        0 => {}
        // A backend goes from every service, and the others have other weights.
        1 => services.iter_mut().for_each(|service| {
            service.backends.remove(0);
            service.backends[0].weight = 10;
        }),
        // One comes.
        2 => services.iter_mut().filter(|service| service.mode != Mode::Dsr).for_each(|service| {
            let address = ip(if service.backends[0].address.is_ipv4() { "10.1.0.14" } else { "fd01::14" });
            let (name, port) = ("b14".to_owned(), service.backends[1].port);
            service.backends.push(Backend { name, address, port, weight: 50, state: State::Up });
        }),
        // Services go.
        3 => services.retain(|service| !matches!(service.name, "nat4" | "gre66u" | "dsr4" | "full4u")),
        // Tunnels where NAT was, and the other way round where the families allow it.
        4 => services.iter_mut().filter(|s| matches!(s.name, "nat4" | "nat6" | "gre44u")).for_each(|service| {
            let is_nat = service.mode == Mode::Nat;
            service.mode = if is_nat { Mode::Gre } else { Mode::Nat };
            service.backends.iter_mut().for_each(|backend| backend.port = None);
        }),
        // Nobody is left for new connections, somewhere.
        _ => services.iter_mut().step_by(2).for_each(|service| {
            let states = [State::Drain, State::Down, State::Drain];
            service.backends.iter_mut().zip(states).for_each(|(backend, state)| backend.state = state);
        }),
    }
}

impl World {
    /// As a file.
    pub fn text(&self) -> String {
        let list = |items: Vec<String>| items.join(", ");
        let mac = |mac: Mac| mac.map(|byte| format!("{byte:02x}")).join(":");
        let mut text = format!("[dataplane]\nworkers = {}\nconnections = 20_000\n", self.workers);
        for (index, port) in self.ports.iter().enumerate() {
            let addresses = port.addresses.iter().map(|(address, len)| format!("\"{address}/{len}\"")).collect();
            let known =
                port.neighbors.iter().map(|&host| format!("\"{host}\" = \"{}\"", mac(crate::packet::mac_of(host))));
            text += &format!(
                "[[port]]\nname = \"{}\"\ndevice = \"net_null{index}\"\nmac = \"{}\"\nmtu = {}\naddresses = [{}]\n",
                port.name,
                mac(port.mac),
                port.mtu,
                list(addresses)
            );
            text += &format!("neighbors = {{ {} }}\n", list(known.collect()));
            for gateway in &port.gateways {
                text += &format!("gateway{} = \"{gateway}\"\n", if gateway.is_ipv4() { "" } else { "6" });
            }
            text += &port.vlan.map_or(String::new(), |vlan| format!("vlan = {vlan}\n"));
        }
        self.services.iter().for_each(|service| text += &service_text(service));
        text
    }
}

fn service_text(service: &Service) -> String {
    let Idle { syn, established, fin, udp_oneway, udp } = service.idle;
    let port = service.port.map_or(String::new(), |port| format!("port = {port}\n"));
    let local: Vec<String> = service.local_addresses().iter().map(|address| format!("\"{address}\"")).collect();
    let local = if local.is_empty() { String::new() } else { format!("local_addresses = [{}]\n", local.join(", ")) };
    let mut text = format!(
        "[[service]]\nname = \"{}\"\nvip = \"{}\"\n{port}protocol = \"{}\"\nmode = \"{}\"\n{local}maglev_size = 251\n\
         [service.timeouts]\ntcp_syn = {syn}\ntcp_established = {established}\ntcp_fin = {fin}\n\
         udp_oneway = {udp_oneway}\nudp = {udp}\n",
        service.name,
        service.vip,
        if service.is_tcp { "tcp" } else { "udp" },
        service.mode.word(),
    );
    for backend in &service.backends {
        let port = backend.port.map_or(String::new(), |port| format!("port = {port}\n"));
        text += &format!(
            "[[service.backend]]\nname = \"{}\"\naddress = \"{}\"\nweight = {}\nstate = \"{}\"\n{port}",
            backend.name,
            backend.address,
            backend.weight,
            backend.state.word(),
        );
    }
    text
}
