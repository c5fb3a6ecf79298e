//! From the text of a profile to its model, with every fault noted at its place.

use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use tidegate::control::config::reader::Reader;
use tidegate::control::config::source::{Findings, Span};
use tidegate::control::config::values::{integer, station_mac};
use tidegate::control::config::{Errors, parse_table, read_text};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::keys::{self, ADDRESSES_MAX, EAL_ARGS_MAX, PACKET_SIZE_MAX, PACKET_SIZE_MIN, PORTS_MAX, SERVERS_MAX};
use super::keys::{RATE_MAX, SIZES_MAX};
use super::model::{Mode, Port, Profile, Rate, Rfc2544, Traffic, TrafficKind};
use crate::conversation::Segment;
use crate::flows::{Flows, Prefix, Vip};
use crate::frame::{FCS_LEN, Protocol, headers_len};
use crate::traffic::{IMIX, Order};
use tidegate::wire::tcp::flags::{ACK, SYN};

/// The sizes that RFC 2544 section 9.1 names for Ethernet.
const STANDARD_SIZES: [u16; 7] = [64, 128, 256, 512, 1024, 1280, 1518];

impl Profile {
    /// Reads and checks the file at `path`.
    ///
    /// # Errors
    /// Everything that is wrong with it, or why it cannot be read.
    pub fn load(path: &Path) -> Result<Self, Errors> {
        Self::parse(&read_text(path)?, &path.to_string_lossy())
    }

    /// Checks `text`; messages name it `file_name`.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub fn parse(text: &str, file_name: &str) -> Result<Self, Errors> {
        let (source, root) = parse_table(text, file_name)?;
        let mut findings = Findings::default();
        let profile = read(&root, &mut findings);
        source.judge(findings)?;
        // Without a finding there is a profile.
        profile.ok_or_else(|| Errors::of_file(file_name.to_owned(), "the profile is not complete".to_owned()))
    }
}

fn read(root: &Spanned<DeTable<'_>>, findings: &mut Findings) -> Option<Profile> {
    let mut root = Reader::new(root.get_ref(), 0..0, &keys::ROOT, findings);
    let duration = root.duration_ms("duration").map(duration_of);
    let wait = root.duration_ms("wait").map_or(Duration::from_secs(1), duration_of);
    let seed = value_or(root.int("seed"), 1);
    let workers_at = root.key_span("workers");
    let workers = value_or(root.int("workers"), 1_usize);
    let mbufs = value_or(root.int("mbufs"), 16_384);
    let link_timeout = root.duration_ms("link_timeout").map_or(Duration::from_secs(10), duration_of);
    let eal = root.parsed_items("eal", EAL_ARGS_MAX, |text| (!text.contains('\0')).then(|| text.to_owned()));
    let eal = eal.into_iter().map(Spanned::into_inner).collect();
    let has_ports = root.has("port");
    let tables = root.tables("port", PORTS_MAX);
    if !has_ports {
        root.findings.error_of_file("there is no [[port]]; one or two are needed");
    }
    let mut ports = Vec::new();
    for (number, (table, span)) in tables.into_iter().enumerate() {
        ports.extend(read_port(Reader::new(table, span, &keys::PORT, root.findings), number));
    }
    let is_good = root.findings.is_good();
    let clients = ports.iter().filter(|port: &&Port| port.mode.is_client()).count();
    let vlan = ports.iter().find(|port| port.mode.is_client()).and_then(|port| port.vlan);
    let traffic_at = root.key_span("traffic");
    let traffic = root.table("traffic", &keys::TRAFFIC).and_then(|reader| read_traffic(reader, vlan, seed));
    let rfc2544 = root.table("rfc2544", &keys::RFC2544).map_or_else(standard, read_rfc2544);
    if is_good && has_ports {
        match (clients, &traffic_at) {
            (0, Some(at)) => root.findings.error(at, "no port is in mode client or both, so nobody sends this traffic"),
            (1.., None) => root.findings.error_of_file("there is no [traffic], which a client port needs"),
            (2.., _) => root.findings.error_of_file("two ports are clients; one of them can be, the other receives"),
            _ => {}
        }
        check_workers(workers, workers_at, &ports, traffic.as_ref(), root.findings);
    }
    Some(Profile { duration, wait, seed, workers, mbufs, link_timeout, eal, ports, traffic, rfc2544 })
}

/// Two loops need something to share.
fn check_workers(workers: usize, at: Option<Span>, ports: &[Port], traffic: Option<&Traffic>, findings: &mut Findings) {
    let [port] = ports else { return };
    let sends_packets = traffic.is_some_and(|traffic| traffic.kind != TrafficKind::Connections);
    if let (2, Some(at), false) = (workers, at, port.mode == Mode::Client && sends_packets) {
        findings.error(&at, "two workers need two ports, or one client port that sends packets or a SYN flood");
    }
}

fn read_port(mut reader: Reader<'_, '_, '_>, number: usize) -> Option<Port> {
    let name = reader.name("name").map_or_else(|| format!("port{number}"), Spanned::into_inner);
    reader.require("device");
    let device = reader.text("device").map(Spanned::into_inner);
    let mode = value_or(reader.word("mode"), Mode::Client);
    let mac = reader.parsed("mac", station_mac).map(Spanned::into_inner);
    if mode.is_client() {
        reader.require("gateway_mac");
    }
    let gateway_mac = reader.parsed("gateway_mac", station_mac).map(Spanned::into_inner);
    let addresses = reader.parsed_items("addresses", ADDRESSES_MAX, |text| text.parse::<IpAddr>().ok());
    let addresses = addresses.into_iter().map(Spanned::into_inner).collect();
    let vlan = reader.int("vlan").map(Spanned::into_inner);
    Some(Port { name, device: device?, mode, mac, gateway_mac, addresses, vlan })
}

fn read_traffic(mut reader: Reader<'_, '_, '_>, vlan: Option<u16>, seed: u64) -> Option<Traffic> {
    let kind = value_or(reader.word("kind"), TrafficKind::Packets);
    let protocol = read_protocol(&mut reader, kind);
    let rate = read_rate_of(&mut reader, kind);
    let flows = value_or(reader.int("flows"), 1000_u32);
    let concurrent_max = value_or(reader.int("cc"), flows);
    let order = value_or(reader.word("order"), Order::RoundRobin);
    let packets_max = reader.int("packets").map(Spanned::into_inner);
    let open = flag(&mut reader, "open", false);
    let data_segments = value_or(reader.int("data_segments"), 1);
    let retransmit_timeout = reader.duration_ms("retransmit_timeout").map_or(Duration::from_secs(1), duration_of);
    let verify = flag(&mut reader, "verify", true);
    only_for(&mut reader, kind, TrafficKind::Connections, &["cps", "cc", "data_segments", "retransmit_timeout"]);
    if protocol == Protocol::Udp || kind != TrafficKind::Packets {
        refuse_key(&mut reader, "open", "`open` is for TCP traffic of kind packets");
    }
    let (servers, flows) = read_ends(&mut reader, protocol, flows, seed)?;
    let least = least_len(kind, protocol, vlan, flows.is_ipv6(), open);
    let frame_lens = read_frame_lens(&mut reader, least)?;
    Some(Traffic {
        kind,
        protocol,
        rate,
        concurrent_max,
        flows,
        servers,
        order,
        frame_lens,
        header_len_max: least,
        packets_max,
        open,
        data_segments,
        retransmit_timeout,
        verify,
    })
}

fn read_protocol(reader: &mut Reader<'_, '_, '_>, kind: TrafficKind) -> Protocol {
    let default = if kind == TrafficKind::Packets { Protocol::Udp } else { Protocol::Tcp };
    let Some(protocol) = reader.word::<Protocol>("protocol") else { return default };
    if *protocol.get_ref() == Protocol::Udp && kind != TrafficKind::Packets {
        reader.findings.error(&protocol.span(), format!("`{kind}` is made of TCP; leave `protocol` out"));
    }
    protocol.into_inner()
}

/// `cps` of connections, else `pps`.
fn read_rate_of(reader: &mut Reader<'_, '_, '_>, kind: TrafficKind) -> Rate {
    let cps = reader.read("cps", |value, _| rate(value)).map(Spanned::into_inner);
    let pps = reader.read("pps", |value, _| rate(value)).map(Spanned::into_inner);
    if kind == TrafficKind::Connections {
        refuse_key(reader, "pps", "`pps` is for packets; connections have `cps`");
        return cps.unwrap_or(Rate::PerSecond(1000.0));
    }
    pps.unwrap_or(Rate::Max)
}

/// Clients and servers of one family, apart from each other.
fn read_ends(
    reader: &mut Reader<'_, '_, '_>,
    protocol: Protocol,
    count: u32,
    seed: u64,
) -> Option<(Vec<SocketAddr>, Flows)> {
    reader.require("servers");
    let servers = reader.parsed_items("servers", SERVERS_MAX, |text| text.parse::<Vip>().ok());
    let (Some(first), true) = (servers.first(), reader.findings.is_good()) else {
        if let (Some(at), true) = (reader.key_span("servers"), reader.findings.is_good()) {
            reader.findings.error(&at, "`servers` is empty; one server is needed at least");
        }
        return None;
    };
    let first = *first.get_ref();
    let (clients, at) = match reader.parsed("clients", |text| text.parse::<Prefix>().ok()) {
        Some(clients) => (*clients.get_ref(), clients.span()),
        None if first.0.is_ipv6() => (Prefix::DEFAULT_V6, reader.header()),
        None => (Prefix::DEFAULT_V4, reader.header()),
    };
    for server in &servers {
        let address = server.get_ref().0;
        if address.is_ipv6() != first.0.is_ipv6() {
            reader.findings.error(&server.span(), format!("{address} is not of the address family of {}", first.0));
        } else if clients.contains(address.ip()) {
            reader.findings.error(&server.span(), format!("{address} is in the network of the clients, {clients}"));
        }
    }
    match Flows::new(clients, first, protocol.number(), count, seed) {
        Ok(flows) => Some((servers.into_iter().map(|server| server.into_inner().0).collect(), flows)),
        Err(error) => {
            reader.findings.error(&at, error.to_string());
            None
        }
    }
}

/// Length of the longest headers that are sent, in bytes.
fn least_len(kind: TrafficKind, protocol: Protocol, vlan: Option<u16>, is_ipv6: bool, open: bool) -> u16 {
    let has_syn = open || kind != TrafficKind::Packets;
    let segment = Segment { seq: 0, ack: 0, flags: if has_syn { SYN } else { ACK }, has_data: false };
    headers_len(vlan, is_ipv6, (protocol == Protocol::Tcp).then_some(&segment)) as u16
}

fn read_frame_lens(reader: &mut Reader<'_, '_, '_>, least: u16) -> Option<Vec<u16>> {
    let default = vec![(PACKET_SIZE_MIN - FCS_LEN).max(least)];
    let Some((value, key)) = reader.value("packet_size") else { return Some(default) };
    let lens: Option<Vec<u16>> = match value.get_ref() {
        DeValue::String(word) if word == "imix" => Some(IMIX.iter().map(|&len| (len as u16).max(least)).collect()),
        DeValue::Array(items) if (1..=SIZES_MAX).contains(&items.len()) => {
            items.iter().map(|item| packet_size(item.get_ref()).map(|size| size - FCS_LEN)).collect()
        }
        value => packet_size(value).map(|size| vec![size - FCS_LEN]),
    };
    let Some(lens) = lens else {
        reader.refuse("packet_size", value, &key.kind);
        return None;
    };
    if let Some(short) = lens.iter().find(|&&len| len < least) {
        let message = format!(
            "packets of {} bytes are too small: their headers and check sequence take {}",
            short + FCS_LEN,
            least + FCS_LEN
        );
        reader.findings.error(&value.span(), message);
        return None;
    }
    Some(lens)
}

fn read_rfc2544(mut reader: Reader<'_, '_, '_>) -> Rfc2544 {
    let standard = standard();
    let packet_sizes = reader.read("sizes", |value, _| {
        let items = value.as_array().filter(|items| (1..=SIZES_MAX).contains(&items.len()))?;
        items.iter().map(|item| packet_size(item.get_ref())).collect::<Option<Vec<u16>>>()
    });
    let resolution = reader.read("resolution", |value, _| number(value).filter(|n| (0.01..=50.0).contains(n)));
    let tolerance = reader.read("loss_tolerance", |value, _| number(value).filter(|n| (0.0..=100.0).contains(n)));
    Rfc2544 {
        packet_sizes: value_or(packet_sizes, standard.packet_sizes),
        trial: reader.duration_ms("trial").map_or(standard.trial, duration_of),
        wait: reader.duration_ms("wait").map_or(standard.wait, duration_of),
        pause: reader.duration_ms("pause").map_or(standard.pause, duration_of),
        rate_max: value_or(reader.read("rate_max", |value, _| rate(value)), standard.rate_max),
        resolution: resolution.map_or(standard.resolution, |percent| percent.into_inner() / 100.0),
        loss_tolerance: tolerance.map_or(standard.loss_tolerance, |percent| percent.into_inner() / 100.0),
    }
}

/// The search without any key.
fn standard() -> Rfc2544 {
    Rfc2544 {
        packet_sizes: STANDARD_SIZES.to_vec(),
        trial: Duration::from_secs(60),
        wait: Duration::from_secs(2),
        pause: Duration::from_secs(5),
        rate_max: Rate::Max,
        resolution: 0.01,
        loss_tolerance: 0.0,
    }
}

fn only_for(reader: &mut Reader<'_, '_, '_>, kind: TrafficKind, wanted: TrafficKind, keys: &[&str]) {
    for key in keys.iter().filter(|_| kind != wanted) {
        refuse_key(reader, key, &format!("`{key}` is for traffic of kind {wanted}"));
    }
}

fn refuse_key(reader: &mut Reader<'_, '_, '_>, key: &str, message: &str) {
    if let Some(at) = reader.key_span(key) {
        reader.findings.error(&at, message);
    }
}

fn value_or<T>(value: Option<Spanned<T>>, default: T) -> T {
    value.map_or(default, Spanned::into_inner)
}

fn duration_of(ms: Spanned<u64>) -> Duration {
    Duration::from_millis(ms.into_inner())
}

fn flag(reader: &mut Reader<'_, '_, '_>, name: &str, default: bool) -> bool {
    value_or(reader.read(name, |value, _| if let DeValue::Boolean(flag) = value { Some(*flag) } else { None }), default)
}

fn packet_size(value: &DeValue<'_>) -> Option<u16> {
    let size = u16::try_from(integer(value)?).ok()?;
    (PACKET_SIZE_MIN..=PACKET_SIZE_MAX).contains(&size).then_some(size)
}

fn number(value: &DeValue<'_>) -> Option<f64> {
    match value {
        DeValue::Float(float) => float.as_str().replace('_', "").parse().ok(),
        value => integer(value).map(|n| n as f64),
    }
}

/// `1000`, `1.5e6`, `"10k"`, `"1.5M"`, `"0.2G"` or `"max"`.
fn rate(value: &DeValue<'_>) -> Option<Rate> {
    let per_second = match value {
        DeValue::String(text) if text == "max" => return Some(Rate::Max),
        DeValue::String(text) => {
            let (digits, unit) = text.split_at(text.find(|c: char| !c.is_ascii_digit() && c != '.')?);
            let factor = match unit {
                "k" => 1e3,
                "M" => 1e6,
                "G" => 1e9,
                _ => return None,
            };
            digits.parse::<f64>().ok()? * factor
        }
        value => number(value)?,
    };
    (1.0..=RATE_MAX as f64).contains(&per_second).then_some(Rate::PerSecond(per_second))
}
