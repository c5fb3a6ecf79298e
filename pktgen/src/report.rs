//! What a run ends with: the report, as JSON whose fields stay, and as lines for people.

use std::fmt;

use hdrhistogram::Histogram;
use serde::Serialize;

use crate::device::Devices;
use crate::engine::Outcome;
use crate::lane::Lane;
use crate::live::{EndedBy, per_second};
use crate::profile::{Profile, TrafficKind};
use crate::spread::Spread;

/// The whole report; docs/pktgen.md has the meaning of each field.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// File that the profile was read from.
    pub profile: String,
    /// Time of sending, in seconds.
    pub seconds: f64,
    /// Why it ended.
    pub ended_by: EndedBy,
    /// What was sent; nothing without a client that sends packets.
    pub sent: Option<Sent>,
    /// What was received.
    pub received: Received,
    /// Packets that were sent and not received.
    pub lost: u64,
    /// Of the packets that were sent, the share that was lost.
    pub loss_ratio: f64,
    /// Packets that came after one of their flow with a greater number.
    pub reordered: u64,
    /// How far the latest of them was behind, in packets of its flow.
    pub reorder_distance_max: u32,
    /// Packets that came again.
    pub duplicated: u64,
    /// Where packets went.
    pub backends: Vec<Backend>,
    /// How often a flow went to another backend than before.
    pub flows_moved: u64,
    /// Time from sending to receiving.
    pub latency_ns: Option<Quantiles>,
    /// What became of connections; nothing without a client that makes them.
    pub connections: Option<Connections>,
    /// What servers answered; nothing without one.
    pub server: Option<ServerReport>,
    /// Every port.
    pub ports: Vec<PortReport>,
}

/// What was sent.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Sent {
    /// Packets.
    pub packets: u64,
    /// Bytes, without frame check sequences.
    pub bytes: u64,
    /// Packets that carried a stamp.
    pub stamped: u64,
    /// Packets a second.
    pub pps: f64,
    /// Packets a second that were wanted; nothing for as fast as it goes.
    pub target_pps: Option<f64>,
    /// Packets that were due while the sender was held up.
    pub missed: u64,
    /// Packets for which no buffer was free.
    pub no_buffer: u64,
}

/// What was received.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Received {
    /// Test packets.
    pub packets: u64,
    /// Test packets that carried a stamp of this run.
    pub stamped: u64,
    /// Test packets a second of sending.
    pub pps: f64,
    /// Test packets that came back to a client's address.
    pub returned: u64,
    /// Packets with a wrong TCP or UDP checksum.
    pub bad_checksums: u64,
    /// Packets of an earlier run.
    pub stale: u64,
    /// Frames that are no right IP packets.
    pub malformed: u64,
    /// All other frames.
    pub other: u64,
    /// Frames in all.
    pub frames: u64,
    /// Bytes of them, without frame check sequences.
    pub bytes: u64,
}

/// What a backend got.
#[derive(Clone, Debug, Serialize)]
pub struct Backend {
    /// What told it: `outer_address`, `address` or `mac`.
    pub by: &'static str,
    /// Its address.
    pub address: String,
    /// Packets, each once.
    pub packets: u64,
    /// Share of the packets of all backends.
    pub share: f64,
    /// Flows that went there last.
    pub flows: u64,
}

/// Quantiles of times in nanoseconds.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Quantiles {
    /// How many times.
    pub count: u64,
    /// Least.
    pub min: u64,
    /// Mean.
    pub mean: f64,
    /// Median.
    pub p50: u64,
    /// 90 % are not above.
    pub p90: u64,
    /// 99 % are not above.
    pub p99: u64,
    /// 99.9 % are not above.
    pub p999: u64,
    /// Greatest.
    pub max: u64,
}

/// What became of connections.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Connections {
    /// SYN sent.
    pub opened: u64,
    /// SYN answered.
    pub established: u64,
    /// Closed in both directions.
    pub completed: u64,
    /// Given up after the last repetition.
    pub timed_out: u64,
    /// Ended by a RST.
    pub reset: u64,
    /// Neither closed nor given up at the end.
    pub unfinished: u64,
    /// Segments sent again.
    pub retransmits: u64,
    /// Data segments acknowledged.
    pub data_segments: u64,
    /// Connections opened a second.
    pub opened_cps: f64,
    /// Connections completed a second.
    pub cps: f64,
    /// Connections a second that were wanted; nothing for as fast as it goes.
    pub target_cps: Option<f64>,
    /// Time from SYN to its answer.
    pub handshake_ns: Option<Quantiles>,
    /// Time from SYN to the last ACK.
    pub lifetime_ns: Option<Quantiles>,
}

/// What servers answered.
#[derive(Clone, Debug, Default, Serialize)]
pub struct ServerReport {
    /// SYNs.
    pub syns: u64,
    /// Data segments.
    pub data_segments: u64,
    /// FINs.
    pub fins: u64,
    /// RSTs that came.
    pub resets: u64,
    /// Datagrams.
    pub datagrams: u64,
    /// Packets with a wrong checksum, which were not answered.
    pub bad_checksums: u64,
    /// By address and port, the SYNs and datagrams that came.
    pub backends: Vec<Backend>,
}

/// A port, as DPDK counts.
#[derive(Clone, Debug, Serialize)]
pub struct PortReport {
    /// Name in the profile.
    pub name: String,
    /// Device in the profile.
    pub device: String,
    /// Driver.
    pub driver: String,
    /// MAC address.
    pub mac: String,
    /// Frames received.
    pub rx_packets: u64,
    /// Frames that the device dropped because nobody took them.
    pub rx_missed: u64,
    /// Frames that were received with an error.
    pub rx_errors: u64,
    /// Frames that were dropped because no buffer was free.
    pub rx_no_mbuf: u64,
    /// Frames sent.
    pub tx_packets: u64,
    /// Frames that could not be sent.
    pub tx_errors: u64,
    /// Answers that the device had no room for.
    pub answers_dropped: u64,
}

impl Report {
    /// The report about a run that is over.
    #[must_use]
    pub fn new(file: &str, profile: &Profile, devices: &Devices, outcome: &Outcome) -> Self {
        let lanes = &outcome.lanes;
        let seconds = outcome.seconds;
        let sent = sent(profile, lanes, seconds);
        let received = received(lanes, seconds);
        let sum = |of: fn(&Lane) -> u64| lanes.iter().map(of).sum::<u64>();
        let duplicated = sum(|lane| lane.receiver.sequence().duplicates());
        // Packets with a stamp are counted once each; of the others it cannot be told which came twice.
        let unique = received.packets - duplicated;
        let sent_packets = sent.map_or(0, |sent| sent.packets);
        let lost = sent_packets.saturating_sub(unique);
        Self {
            profile: file.to_owned(),
            seconds,
            ended_by: outcome.ended_by,
            sent,
            received,
            lost,
            loss_ratio: ratio(lost, sent_packets),
            reordered: sum(|lane| lane.receiver.sequence().reordered()),
            reorder_distance_max: lanes.iter().map(|l| l.receiver.sequence().distance_max()).max().unwrap_or(0),
            duplicated,
            backends: backends(lanes.iter().map(|lane| lane.receiver.spread())),
            flows_moved: sum(|lane| lane.receiver.spread().moved()),
            latency_ns: Quantiles::of(lanes.iter().map(|lane| lane.receiver.latency())),
            connections: connections(profile, lanes, seconds),
            server: server(lanes),
            ports: ports(devices, lanes),
        }
    }
}

fn sent(profile: &Profile, lanes: &[Lane], seconds: f64) -> Option<Sent> {
    let counts = lanes.iter().find_map(|lane| lane.sender.as_ref())?.counts;
    Some(Sent {
        packets: counts.packets,
        bytes: counts.bytes,
        stamped: counts.stamped,
        pps: rate(counts.packets, seconds),
        target_pps: profile.traffic.as_ref().and_then(|traffic| traffic.rate.per_second()),
        missed: counts.missed,
        no_buffer: counts.no_buffer,
    })
}

fn received(lanes: &[Lane], seconds: f64) -> Received {
    let mut sum = Received::default();
    for lane in lanes {
        let counts = &lane.receiver.counts;
        sum.packets += counts.packets;
        sum.stamped += counts.stamped;
        sum.returned += counts.returned;
        sum.bad_checksums += counts.bad_checksums + lane.client.as_ref().map_or(0, |client| client.bad_checksums);
        sum.stale += counts.stale;
        sum.malformed += counts.malformed;
        sum.other += counts.other;
        sum.frames += counts.frames;
        sum.bytes += counts.bytes;
    }
    Received { pps: rate(sum.packets, seconds), ..sum }
}

fn backends<'s>(spreads: impl Iterator<Item = &'s Spread>) -> Vec<Backend> {
    let mut shares = std::collections::BTreeMap::new();
    for share in spreads.flat_map(Spread::shares) {
        let sum = shares.entry(share.target).or_insert((0, 0));
        *sum = (sum.0 + share.packets, sum.1 + share.flows);
    }
    let all: u64 = shares.values().map(|(packets, _)| packets).sum();
    let backend = |(target, (packets, flows)): (crate::spread::Target, (u64, u64))| Backend {
        by: target.by(),
        address: target.to_string(),
        packets,
        share: ratio(packets, all),
        flows,
    };
    shares.into_iter().map(backend).collect()
}

fn connections(profile: &Profile, lanes: &[Lane], seconds: f64) -> Option<Connections> {
    let traffic = profile.traffic.as_ref().filter(|traffic| traffic.kind == TrafficKind::Connections)?;
    let connect = &lanes.iter().find_map(|lane| lane.client.as_ref())?.connect;
    let counts = connect.counts();
    Some(Connections {
        opened: counts.opened,
        established: counts.established,
        completed: counts.completed,
        timed_out: counts.timed_out,
        reset: counts.reset,
        unfinished: connect.active().into(),
        retransmits: counts.retransmits,
        data_segments: counts.data_segments,
        opened_cps: rate(counts.opened, seconds),
        cps: rate(counts.completed, seconds),
        target_cps: traffic.rate.per_second(),
        handshake_ns: Quantiles::of(std::iter::once(connect.handshake())),
        lifetime_ns: Quantiles::of(std::iter::once(connect.lifetime())),
    })
}

fn server(lanes: &[Lane]) -> Option<ServerReport> {
    let servers: Vec<_> = lanes.iter().flat_map(|lane| &lane.ports).filter_map(|port| port.server.as_ref()).collect();
    if servers.is_empty() {
        return None;
    }
    let mut sum = ServerReport::default();
    for server in &servers {
        let counts = server.counts();
        sum.syns += counts.syns;
        sum.data_segments += counts.data_segments;
        sum.fins += counts.fins;
        sum.resets += counts.resets;
        sum.datagrams += counts.datagrams;
        sum.bad_checksums += counts.bad_checksums;
    }
    sum.backends = backends(servers.iter().map(|server| server.spread()));
    Some(sum)
}

fn ports(devices: &Devices, lanes: &[Lane]) -> Vec<PortReport> {
    let port = |(place, device): (usize, &crate::device::Device)| {
        let stats = device.port.stats().unwrap_or_default();
        let halves = lanes.iter().flat_map(|lane| &lane.ports).filter(|port| port.place == place);
        PortReport {
            name: device.name.clone(),
            device: device.device.clone(),
            driver: device.driver.clone(),
            mac: device.mac.to_string(),
            rx_packets: stats.rx_packets,
            rx_missed: stats.rx_missed,
            rx_errors: stats.rx_errors,
            rx_no_mbuf: stats.rx_no_mbuf,
            tx_packets: stats.tx_packets,
            tx_errors: stats.tx_errors,
            answers_dropped: halves.map(|port| port.out.dropped).sum(),
        }
    };
    devices.ports.iter().enumerate().map(port).collect()
}

impl Quantiles {
    /// Those of all histograms together; `None` if they are empty.
    pub fn of<'h>(histograms: impl Iterator<Item = &'h Histogram<u64>>) -> Option<Self> {
        let mut all: Option<Histogram<u64>> = None;
        for histogram in histograms.filter(|histogram| !histogram.is_empty()) {
            match &mut all {
                // All are made with the same bounds, so they go together.
                Some(all) => all.add(histogram).unwrap_or_default(),
                None => all = Some(histogram.clone()),
            }
        }
        let all = all?;
        Some(Self {
            count: all.len(),
            min: all.min(),
            mean: all.mean(),
            p50: all.value_at_quantile(0.5),
            p90: all.value_at_quantile(0.9),
            p99: all.value_at_quantile(0.99),
            p999: all.value_at_quantile(0.999),
            max: all.max(),
        })
    }
}

fn ratio(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 / whole as f64 }
}

fn rate(count: u64, seconds: f64) -> f64 {
    if seconds > 0.0 { count as f64 / seconds } else { 0.0 }
}

/// A few lines for people.
impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ms = |ns: u64| format!("{:.1}", ns as f64 / 1000.0);
        if let Some(sent) = &self.sent {
            writeln!(f, "sent      {} packets, {} pps in {:.3} s", sent.packets, per_second(sent.pps), self.seconds)?;
            writeln!(f, "received  {} packets, {} pps", self.received.packets, per_second(self.received.pps))?;
            writeln!(f, "lost      {} ({:.4} %)", self.lost, self.loss_ratio * 100.0)?;
            writeln!(f, "reordered {}, duplicated {}", self.reordered, self.duplicated)?;
        }
        if let Some(c) = &self.connections {
            writeln!(
                f,
                "opened    {} connections, {} cps in {:.3} s",
                c.opened,
                per_second(c.opened_cps),
                self.seconds
            )?;
            writeln!(
                f,
                "completed {}, {} cps; timed out {}, reset {}, unfinished {}",
                c.completed,
                per_second(c.cps),
                c.timed_out,
                c.reset,
                c.unfinished
            )?;
        }
        if let Some(s) = &self.server {
            writeln!(
                f,
                "answered  {} SYNs, {} data segments, {} FINs, {} datagrams",
                s.syns, s.data_segments, s.fins, s.datagrams
            )?;
        }
        let times = [("latency", self.latency_ns), ("handshake", self.connections.and_then(|c| c.handshake_ns))];
        for (name, q) in times.iter().filter_map(|(name, times)| times.map(|q| (name, q))) {
            let [min, p50, p99, p999, max] = [q.min, q.p50, q.p99, q.p999, q.max].map(ms);
            writeln!(f, "{name:9} min {min}, p50 {p50}, p99 {p99}, p99.9 {p999}, max {max} us")?;
        }
        for backend in self.backends.iter().chain(self.server.iter().flat_map(|server| &server.backends)).take(64) {
            let Backend { address, packets, share, flows, .. } = backend;
            writeln!(f, "backend   {address}: {packets} packets ({:.2} %), {flows} flows", share * 100.0)?;
        }
        Ok(())
    }
}
