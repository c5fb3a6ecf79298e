//! What a case consists of, and what it expects of each packet.

use std::collections::BTreeMap;

use crate::packet::{self, Ip, own_mac};

/// What must become of one packet that comes in. Addresses of backends are `address` or, with NAT, `address:port`;
/// any of those named will do.
#[derive(Clone, Debug)]
pub enum Expect {
    /// Leaves in a GRE tunnel.
    Gre { from: &'static str, to: &'static [&'static str] },
    /// Leaves in a tunnel of this kind.
    Tunnel { kind: Kind, from: &'static str, to: &'static [&'static str] },
    /// The same, the MSS that it announces lowered to this.
    Clamped { kind: Kind, from: &'static str, to: &'static [&'static str], mss: u16 },
    /// Leaves in such a tunnel, in so many pieces.
    Pieces { count: usize, kind: Kind, from: &'static str, to: &'static [&'static str] },
    /// Leaves to a backend, its destination replaced.
    Nat(&'static [&'static str]),
    /// Leaves to a backend from one of these addresses, both ends replaced; the local port is any of full-NAT's.
    FullNat { from: &'static [&'static str], to: &'static [&'static str] },
    /// Leaves as exactly this packet.
    Becomes(Box<Ip>),
    /// Leaves to the client, its source replaced by the VIP.
    Back(&'static str),
    /// Leaves as it is, to a backend's MAC address.
    Direct(&'static [&'static str]),
    /// An ICMP error about the VIP's packet to a client, through NAT to the backend behind it.
    ErrorToBackend(&'static [&'static str]),
    /// An ICMP error about the client's packet to a backend, through NAT to the client: VIP and client.
    ErrorToClient(&'static str, &'static str),
    /// An ICMP error about our own tunnel packet, turned into one for the inner packet's sender: that the host cannot be
    /// reached, or that so many bytes would fit.
    TunnelError(Option<u32>),
    /// Answered: nobody is at the VIP's port.
    Refused,
    /// Answered: TTL used up.
    Exceeded,
    /// Answered: does not fit, but this many bytes would.
    TooBig(u32),
    /// Answered: echo reply.
    Echo,
    /// Answered: ARP reply.
    Arp,
    /// Answered: neighbour advertisement.
    Advert,
    /// Handed to the host.
    Host,
    /// Dropped, counted under this reason.
    Drop(&'static str),
}

/// What a tunnel is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Gre,
    Ipip,
    Gue,
}

/// One packet that comes in.
#[derive(Clone, Debug)]
pub struct Input {
    /// The frame as if it had not come in a tunnel, if it does.
    pub inside: Option<Vec<u8>>,
    pub port: usize,
    pub at_us: u64,
    pub frame: Vec<u8>,
    pub expect: Expect,
    /// Its connection may have a new backend from here on, if the old one is not among those named.
    pub moves: bool,
}

/// How the case goes with `tidegate run`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Run {
    /// The same frames; forwarded packets in order, answers in order.
    Same,
    /// The same frames; each flow in order. Several workers race.
    Flows,
    /// As `Same`, but for questions to neighbours: how many there are depends on the time.
    AsksVary,
    /// Not at all, for this reason.
    Skip(&'static str),
}

pub const NEEDS_EVENTS: Run = Run::Skip("events are for replay only");
pub const NEEDS_HOST: Run = Run::Skip("run would make a device of the kernel's");
pub const NEEDS_TIME: Run = Run::Skip("run has no virtual time");

/// See the module.
#[derive(Clone, Debug)]
pub struct Case {
    pub name: &'static str,
    pub config: String,
    /// VLAN of each port.
    pub vlans: Vec<Option<u16>>,
    /// All ports are on one device: there is one capture for each direction, the first port's.
    pub shares_device: bool,
    pub inputs: Vec<Input>,
    /// Lines of the events' file.
    pub events: Vec<String>,
    /// Other files that events name.
    pub files: BTreeMap<&'static str, String>,
    pub run: Run,
    /// Connections opened, timed out, and pushed out; `None` where the hash decides how many.
    pub connections: Option<(u64, u64, u64)>,
    /// Questions to neighbours and announcements: the port and the address that they are about.
    pub asks: Vec<(usize, &'static str)>,
    /// DSCP and TTL of outer headers where they are set.
    pub marks: (Option<u8>, u8),
    now_us: u64,
}

impl Case {
    /// A case with as many ports as `config` has.
    pub fn new(name: &'static str, config: String) -> Self {
        let ports = config.matches("[[port]]").count();
        Self {
            name,
            config,
            vlans: vec![None; ports],
            shares_device: false,
            inputs: Vec::new(),
            events: Vec::new(),
            files: BTreeMap::new(),
            run: Run::Same,
            connections: Some((0, 0, 0)),
            asks: Vec::new(),
            marks: (None, 64),
            now_us: 0,
        }
    }

    /// The names of the ports.
    pub fn port_names(&self) -> &'static [&'static str] {
        &["wan", "lan"][..self.vlans.len()]
    }

    /// The names of the ports that have captures.
    pub fn capture_names(&self) -> &'static [&'static str] {
        if self.shares_device { &["wan"] } else { self.port_names() }
    }

    /// The MTU of its ports in bytes.
    pub fn mtu(&self) -> usize {
        self.config.lines().find_map(|line| line.strip_prefix("mtu = ")?.parse().ok()).unwrap_or(1500)
    }

    /// The MAC address of a port.
    pub fn own_mac(&self, port: usize) -> packet::Mac {
        own_mac(if self.shares_device { 0 } else { port })
    }

    /// The frames of all captures, by port.
    pub fn by_port(&self, captures: Vec<Vec<Vec<u8>>>) -> Vec<Vec<Vec<u8>>> {
        if !self.shares_device {
            return captures;
        }
        let of = |vlan: Option<u16>| {
            let frames = captures.iter().flatten();
            frames.filter(|frame| packet::vlan_of(frame) == vlan).cloned().collect::<Vec<_>>()
        };
        let ports: Vec<_> = self.vlans.iter().map(|&vlan| of(vlan)).collect();
        let sorted: usize = ports.iter().map(Vec::len).sum();
        assert_eq!(sorted, captures.iter().map(Vec::len).sum::<usize>(), "a frame is on no port's VLAN");
        ports
    }

    /// The next packets come this many milliseconds after the first.
    pub fn at_ms(&mut self, ms: u64) -> &mut Self {
        self.now_us = ms * 1000;
        self
    }

    /// A packet from the gateway's side, or from a host on the first port's own network.
    pub fn send(&mut self, ip: &Ip, expect: Expect) -> &mut Self {
        let on_link = ["10.0.0.", "fd00::"].iter().any(|net| ip.src.to_string().starts_with(net));
        let gateway = packet::ip(if ip.src.is_ipv4() { "10.0.0.1" } else { "fd00::1" });
        self.frame(0, ip.frame_from(if on_link { ip.src } else { gateway }), expect)
    }

    /// A packet that comes in by the second port.
    pub fn send_lan(&mut self, ip: &Ip, expect: Expect) -> &mut Self {
        let frame = packet::ethernet(own_mac(1), packet::mac_of(ip.src), &[], packet::ethertype(ip.src), &ip.bytes());
        self.frame(1, frame, expect)
    }

    /// Any frame.
    pub fn frame(&mut self, port: usize, frame: Vec<u8>, expect: Expect) -> &mut Self {
        self.inputs.push(Input { inside: None, port, at_us: self.now_us, frame, expect, moves: false });
        self.now_us += 1000;
        self
    }

    /// A packet from the gateway's side in a tunnel of an outer tier, which is to become what it would become without.
    pub fn tunnelled(&mut self, outer: &Ip, inner: &Ip, expect: Expect) -> &mut Self {
        let gateway = packet::ip(if outer.src.is_ipv4() { "10.0.0.1" } else { "fd00::1" });
        self.frame(0, outer.frame_from(gateway), expect);
        if let Some(last) = self.inputs.last_mut() {
            last.inside = Some(inner.frame_from(gateway));
        }
        self
    }

    /// The connection of the packet added last gets a new backend if its old one is not among those named.
    pub fn moves(&mut self) -> &mut Self {
        if let Some(last) = self.inputs.last_mut() {
            last.moves = true;
        }
        self
    }

    /// A line of the events' file.
    pub fn event(&mut self, at_s: f64, what: &str) -> &mut Self {
        self.events.push(format!("{{\"at\": {at_s:?}, {what}}}"));
        self
    }

    pub fn run(&mut self, run: Run) -> &mut Self {
        self.run = run;
        self
    }

    pub fn connections(&mut self, created: u64, expired: u64, evicted: u64) -> &mut Self {
        self.connections = Some((created, expired, evicted));
        self
    }

    pub fn any_connections(&mut self) -> &mut Self {
        self.connections = None;
        self
    }
}

/// A whole TCP conversation's client side.
pub fn client_side(case: &mut Case, client: &str, vip: &str, expect: &Expect) {
    use packet::{ACK, FIN, SYN, tcp};
    case.send(&tcp(client, vip, SYN, b""), expect.clone());
    case.send(&tcp(client, vip, ACK, b""), expect.clone());
    case.send(&tcp(client, vip, ACK | 8, b"GET / HTTP/1.1\r\n\r\n"), expect.clone());
    case.send(&tcp(client, vip, FIN | ACK, b""), expect.clone());
}

// ---- configurations ----------------------------------------------------------------------------------------------

/// What all cases have in common. `dataplane` is for lines that differ.
pub fn dataplane(lines: &str) -> String {
    let defaults = [("workers", "1"), ("connections", "1000"), ("mbufs", "4096"), ("idle", "\"sleep\"")];
    let mut text = String::from("[dataplane]\nhash_key = \"00112233445566778899aabbccddeeff\"\n");
    for (key, value) in defaults {
        if !lines.lines().any(|line| line.starts_with(&format!("{key} ="))) {
            text.push_str(&format!("{key} = {value}\n"));
        }
    }
    text + lines
}

/// The only port, or the clients' one: gateways are static neighbours, and so are `neighbors`.
pub fn wan(lines: &str, neighbors: &[&str]) -> String {
    let own = "addresses = [\"10.0.0.2/24\", \"fd00::2/64\"]\ngateway = \"10.0.0.1\"\ngateway6 = \"fd00::1\"\n";
    port(0, "wan", own, lines, &[&["10.0.0.1", "fd00::1"], neighbors].concat())
}

/// The backends' port.
pub fn lan(lines: &str, neighbors: &[&str]) -> String {
    port(1, "lan", "addresses = [\"10.1.0.2/24\", \"fd00:1::2/64\"]\n", lines, neighbors)
}

/// A port; its `device` has places for the captures' names.
pub fn port(index: usize, name: &str, own: &str, lines: &str, neighbors: &[&str]) -> String {
    let mac = |mac: packet::Mac| mac.map(|b| format!("{b:02x}")).join(":");
    let entries: Vec<String> =
        neighbors.iter().map(|n| format!("\"{n}\" = \"{}\"", mac(packet::mac_of(packet::ip(n))))).collect();
    format!(
        "\n[[port]]\nname = \"{name}\"\ndevice = \"net_pcap{index},rx_pcap=@IN.{name}@,tx_pcap=@OUT.{name}@\"\n\
         mac = \"{}\"\n{own}{lines}neighbors = {{ {} }}\n",
        mac(own_mac(index)),
        entries.join(", ")
    )
}

/// A service; `vip` is `address`, or `address port` for one port of it. Each backend is `name address` and the lines
/// that go with it, parted by semicolons.
pub fn service(name: &str, vip: &str, protocol: &str, mode: &str, lines: &str, backends: &[&str]) -> String {
    let (address, port) = vip.split_once(' ').unwrap_or((vip, ""));
    let mut text = format!("\n[[service]]\nname = \"{name}\"\nvip = \"{address}\"\n");
    if !port.is_empty() {
        text.push_str(&format!("port = {port}\n"));
    }
    text.push_str(&format!("protocol = \"{protocol}\"\nmode = \"{mode}\"\n{lines}"));
    for backend in backends {
        let (head, rest) = backend.split_once(';').unwrap_or((backend, ""));
        let (name, address) = head.split_once(' ').unwrap_or((head, ""));
        text.push_str(&format!("\n[[service.backend]]\nname = \"{name}\"\naddress = \"{address}\"\n"));
        for line in rest.split(';').filter(|line| !line.is_empty()) {
            text.push_str(&format!("{}\n", line.trim()));
        }
    }
    text
}
