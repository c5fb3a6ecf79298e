//! One run or trial: the loops are made from a profile, go on until its end, and come back with what they counted.

use std::sync::Arc;
use std::time::{Duration, Instant};

use dpdk_ffi::{LcoreError, LcoreHandle, clock};
use hdrhistogram::CreationError;
use thiserror::Error;

use crate::clock::Clock;
use crate::connect::{Connect, ConnectPlan};
use crate::device::Devices;
use crate::frame::Link;
use crate::lane::{Lane, LanePort, Out};
use crate::lane_client::ClientLane;
use crate::lane_sender::SenderLane;
use crate::live::{Control, EndedBy, Live, Phase, Totals};
use crate::neighbor::Neighbor;
use crate::profile::{Mode, Profile, Traffic, TrafficKind};
use crate::receiver::Receiver;
use crate::server::Server;
use crate::stream::Stream;

/// Why a run did not come to its end.
#[derive(Debug, Error)]
pub enum EngineError {
    /// A loop did not start, or ended in a panic.
    #[error(transparent)]
    Lcore(#[from] LcoreError),
    /// No histogram.
    #[error("cannot make a histogram: {0}")]
    Histogram(#[from] CreationError),
    /// The headers do not fit.
    #[error("the headers of this traffic do not fit a frame; choose other servers or another protocol")]
    Headers,
    /// A port without the queue that its mode needs.
    #[error("port {0} has no transmit queue; name a device that can send")]
    NoQueue(String),
}

/// What a run counted.
#[derive(Debug)]
pub struct Outcome {
    /// The loops, over.
    pub lanes: Vec<Lane>,
    /// Time of sending, in seconds.
    pub seconds: f64,
    /// Why it ended.
    pub ended_by: EndedBy,
}

/// Between two looks at a run.
const LOOK: Duration = Duration::from_millis(5);
/// Between two lines about it.
const LINE: Duration = Duration::from_secs(1);

/// Whoever watches a run.
pub trait Watcher {
    /// Whether it is to end now.
    fn is_over(&self) -> bool;
    /// Once a second: the seconds since the start, and what happened in the last of them.
    fn line(&mut self, seconds: u64, line: &str);
}

/// Runs a profile's traffic to its end; `run` is the mark of its stamps.
///
/// # Errors
/// See [`EngineError`]. The queues are gone then.
pub fn run(
    devices: &mut Devices,
    profile: &Profile,
    run: u16,
    watcher: &mut dyn Watcher,
) -> Result<Outcome, EngineError> {
    let control = Arc::new(Control::default());
    let clock = Clock::new(clock::tsc(), devices.hz);
    let lanes = Maker { profile, run, clock, control: &control }.lanes(devices)?;
    let live: Vec<Arc<Live>> = lanes.iter().map(|lane| lane.live.clone()).collect();
    let has_sender = profile.traffic.is_some();
    let waits_for_connections = profile.traffic.as_ref().is_some_and(|t| t.kind == TrafficKind::Connections);
    let mut handles: Vec<LcoreHandle<Lane>> = Vec::new();
    for (lcore, lane) in devices.eal.worker_lcores().into_iter().zip(lanes) {
        match devices.eal.launch(lcore, move || lane.run()) {
            Ok(handle) => handles.push(handle),
            Err(error) => {
                control.stop();
                handles.into_iter().for_each(|handle| drop(handle.join()));
                return Err(error.into());
            }
        }
    }
    let duration = profile.duration.filter(|_| !has_sender);
    watch(&control, &live, &handles, Ends { duration, wait: profile.wait, waits_for_connections }, watcher);
    control.stop();
    let lanes = handles.into_iter().map(LcoreHandle::join).collect::<Result<Vec<Lane>, _>>()?;
    let ns = lanes.iter().map(|lane| lane.sender.as_ref().map_or(0, |s| s.counts.ns)).max().unwrap_or(0);
    let ns = lanes.iter().map(|lane| lane.client.as_ref().map_or(0, |c| c.ns)).fold(ns, u64::max);
    let ns = if has_sender { ns } else { clock.ns(clock::tsc()) };
    Ok(Outcome { lanes, seconds: ns as f64 / 1e9, ended_by: control.ended_by() })
}

/// Gives the queues of a run that is over back to their ports.
pub fn give_back(devices: &mut Devices, lanes: Vec<Lane>) {
    for port in lanes.into_iter().flat_map(|lane| lane.ports) {
        if let Some(device) = devices.ports.get_mut(port.place) {
            device.rx.extend(port.rx);
            device.tx = device.tx.take().or(port.out.tx);
        }
    }
}

/// When a run is over.
struct Ends {
    /// For runs that only answer; the others end themselves.
    duration: Option<Duration>,
    wait: Duration,
    waits_for_connections: bool,
}

fn watch(control: &Control, live: &[Arc<Live>], handles: &[LcoreHandle<Lane>], ends: Ends, watcher: &mut dyn Watcher) {
    let totals = || Totals::of(live.iter().map(Arc::as_ref));
    let start = Instant::now();
    let (mut before, mut line_at) = (Totals::default(), start + LINE);
    let mut drained_at = None;
    loop {
        std::thread::sleep(LOOK);
        let now = Instant::now();
        if watcher.is_over() {
            control.drain(EndedBy::Signal);
        }
        if ends.duration.is_some_and(|duration| now - start >= duration) {
            control.drain(EndedBy::Duration);
        }
        if now >= line_at {
            let totals = totals();
            let since = LINE + (now - line_at);
            watcher.line((now - start).as_secs(), &totals.line(&before, since.as_secs_f64()));
            before = totals;
            line_at = now + LINE;
        }
        // A loop that ended by itself has panicked, which joining it tells.
        if handles.iter().any(LcoreHandle::is_finished) {
            return;
        }
        if control.phase() == Phase::Sending {
            continue;
        }
        let drained_at = *drained_at.get_or_insert(now);
        let is_done = ends.waits_for_connections && totals().active == 0;
        if now - drained_at >= ends.wait || is_done {
            return;
        }
    }
}

/// What loops are made of.
struct Maker<'m> {
    profile: &'m Profile,
    run: u16,
    clock: Clock,
    control: &'m Arc<Control>,
}

impl Maker<'_> {
    /// One loop for all, one a port, or on a single port one that sends and one that receives.
    fn lanes(&self, devices: &mut Devices) -> Result<Vec<Lane>, EngineError> {
        let mut ports = Vec::new();
        for (place, port) in self.profile.ports.iter().enumerate() {
            ports.extend(self.port(place, port, devices));
        }
        // The client's comes first, as that is the one that a loop sends by.
        ports.sort_by_key(|port| !port.mode.is_client());
        let mut shares: Vec<Vec<LanePort>> = match (self.profile.workers, ports.len()) {
            (2, 2) => ports.into_iter().map(|port| vec![port]).collect(),
            (2, 1) => split(ports),
            _ => vec![ports],
        };
        shares.retain(|ports| !ports.is_empty());
        let lanes = shares.into_iter().map(|ports| self.lane(ports, devices));
        lanes.collect()
    }

    fn port(&self, place: usize, port: &crate::profile::Port, devices: &mut Devices) -> Option<LanePort> {
        let device = devices.ports.get_mut(place)?;
        let server = port.mode.is_server().then(|| Server::new(device.mac, port.gateway_mac, self.profile.seed));
        // A port that is both sends its answers to whoever asked, not to the gateway of its clients.
        let server = match port.mode {
            Mode::Both => Some(Server::new(device.mac, None, self.profile.seed)),
            _ => server,
        };
        let clients = self.profile.traffic.as_ref().map(|traffic| traffic.flows.clone());
        Some(LanePort {
            place,
            mode: port.mode,
            rx: std::mem::take(&mut device.rx),
            out: Out::new(device.tx.take()),
            server,
            neighbor: Neighbor::new(device.mac, port.addresses.clone()),
            clients,
        })
    }

    fn lane(&self, ports: Vec<LanePort>, devices: &Devices) -> Result<Lane, EngineError> {
        let traffic = self.profile.traffic.as_ref();
        let sends = |port: &&LanePort| port.mode.is_client() && port.out.tx.is_some();
        let sender_port = ports.first().filter(sends);
        let mut lane_sender = None;
        let mut lane_client = None;
        if let (Some(port), Some(traffic)) = (sender_port, traffic) {
            let link = self.link(port.place, devices);
            let duration_ticks = self.profile.duration.map(|duration| self.clock.ticks(duration));
            if traffic.kind == TrafficKind::Connections {
                lane_client = Some(self.client(traffic, link, duration_ticks)?);
            } else {
                let stream = Stream::new(traffic, link, self.profile.seed, self.run).ok_or(EngineError::Headers)?;
                lane_sender = Some(SenderLane::new(stream, traffic.rate, duration_ticks, traffic.packets_max));
            }
        }
        Ok(Lane {
            ports,
            receiver: Receiver::new(traffic, self.run)?,
            sender: lane_sender,
            client: lane_client,
            pool: devices.pool.clone(),
            clock: self.clock,
            control: self.control.clone(),
            live: Arc::default(),
        })
    }

    fn client(&self, traffic: &Traffic, link: Link, duration_ticks: Option<u64>) -> Result<ClientLane, EngineError> {
        let plan = ConnectPlan {
            flows: traffic.flows.count(),
            concurrent_max: traffic.concurrent_max,
            data_segments: traffic.data_segments,
            data_len: ClientLane::data_len(traffic, link),
            retransmit_ns: traffic.retransmit_timeout.as_nanos() as u64,
            seed: self.profile.seed,
        };
        ClientLane::new(traffic, Connect::new(plan)?, link, duration_ticks).ok_or(EngineError::Headers)
    }

    fn link(&self, place: usize, devices: &Devices) -> Link {
        let port = self.profile.ports.get(place);
        let src = devices.ports.get(place).map(|device| device.mac).unwrap_or_default();
        let dst = port.and_then(|port| port.gateway_mac).unwrap_or_default();
        Link { dst, src, vlan: port.and_then(|port| port.vlan) }
    }
}

/// A port's two halves: one loop sends by it, the other receives.
fn split(ports: Vec<LanePort>) -> Vec<Vec<LanePort>> {
    let halves = |mut port: LanePort| {
        let receiving = LanePort {
            place: port.place,
            mode: Mode::Receive,
            rx: std::mem::take(&mut port.rx),
            out: Out::new(None),
            server: None,
            neighbor: port.neighbor.clone(),
            clients: None,
        };
        [vec![port], vec![receiving]]
    };
    ports.into_iter().flat_map(halves).collect()
}
