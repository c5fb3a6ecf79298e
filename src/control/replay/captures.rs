//! The captures of a replay: inputs merged by time and sorted by port, outputs by port or device.

use std::fs::File;
use std::io::BufWriter;
use std::path::{Path, PathBuf};

use super::ReplayError;
use crate::control::config::Config;
use crate::lb::ids::PortId;
use crate::lb::path::BURST;
use crate::lb::vlan::Vlans;
use crate::wire::pcap::{Reader, Resolution, Writer};
use crate::wire::pcapng::read::is_pcapng;
use crate::wire::pcapng::{self, Direction};

/// All packets that come in, in order of time.
pub(in crate::control) struct Inputs {
    packets: Vec<Input>,
    nanoseconds: bool,
}

struct Input {
    timestamp_ns: u64,
    port: PortId,
    frame: Vec<u8>,
}

/// Packets of one port with one timestamp, as one receive burst.
pub(in crate::control) struct Batch<'a> {
    pub timestamp_ns: u64,
    pub port: PortId,
    pub frames: Vec<&'a [u8]>,
}

impl Inputs {
    /// Reads all captures, so that a broken one is found before anything is written.
    pub(in crate::control) fn load(config: &Config, files: &[(Option<String>, PathBuf)]) -> Result<Self, ReplayError> {
        let mut inputs = Self { packets: Vec::new(), nanoseconds: false };
        for (port, path) in by_port(config, files, "--in")? {
            // A capture is of a wire, and has the frames of all ports that share it.
            let vlans = Vlans::new(sharing(config, port).map(|id| (vlan(config, id), id)));
            inputs.read(config, port, vlans.as_ref(), path)?;
        }
        // Stable: packets with the same time keep the order of ports and of the captures.
        inputs.packets.sort_by_key(|p| p.timestamp_ns);
        Ok(inputs)
    }

    /// One frame that comes in by a port.
    pub(in crate::control) fn one(port: PortId, frame: Vec<u8>) -> Self {
        Self { packets: vec![Input { timestamp_ns: 0, port, frame }], nanoseconds: false }
    }

    /// The frames, each with the port that it comes in by.
    pub(in crate::control) fn frames(&self) -> impl Iterator<Item = (PortId, &[u8])> {
        self.packets.iter().map(|packet| (packet.port, packet.frame.as_slice()))
    }

    /// `vlans` tells the ports apart that share the device.
    fn read(&mut self, config: &Config, port: PortId, vlans: Option<&Vlans>, path: &Path) -> Result<(), ReplayError> {
        let own = config.ports.get(port.index()).map_or("", |port| &port.name);
        // Our own captures have all ports in one file.
        let is_own = |name: &str| name == own || config.ports.iter().all(|port| port.name != name);
        each_record(path, is_own, |timestamp_ns, frame| {
            self.nanoseconds |= !timestamp_ns.is_multiple_of(1000);
            let port = vlans.map_or(port, |vlans| vlans.port_of(frame));
            self.packets.push(Input { timestamp_ns, port, frame: frame.to_vec() });
        })
    }

    /// Time of the first packet in nanoseconds since 1970; 0 without packets.
    pub(in crate::control) fn start_ns(&self) -> u64 {
        self.packets.first().map_or(0, |p| p.timestamp_ns)
    }

    /// The unit that loses nothing.
    pub(in crate::control) fn resolution(&self) -> Resolution {
        if self.nanoseconds { Resolution::Nanos } else { Resolution::Micros }
    }

    /// The packets, as bursts.
    pub(in crate::control) fn batches(&self) -> impl Iterator<Item = Batch<'_>> {
        self.packets.chunk_by(|a, b| (a.timestamp_ns, a.port) == (b.timestamp_ns, b.port)).flat_map(|same| {
            same.chunks(BURST).filter_map(|burst| {
                let first = burst.first()?;
                let frames = burst.iter().map(|p| p.frame.as_slice()).collect();
                Some(Batch { timestamp_ns: first.timestamp_ns, port: first.port, frames })
            })
        })
    }
}

/// The frames of a capture: those that came by `port` if it tells its ports apart and has that one, else all of them.
pub(in crate::control) fn captured(port: Option<&str>, path: &Path) -> Result<Vec<Vec<u8>>, ReplayError> {
    let mut frames = Vec::new();
    let mut named = false;
    each_record(path, |name| port == Some(name), |_, _| named = true)?;
    each_record(path, |name| !named || port == Some(name), |_, frame| frames.push(frame.to_vec()))?;
    Ok(frames)
}

/// Frames that came, of interfaces that `is_wanted` is true of; interfaces have names in pcapng files alone.
fn each_record(
    path: &Path,
    is_wanted: impl Fn(&str) -> bool,
    mut each: impl FnMut(u64, &[u8]),
) -> Result<(), ReplayError> {
    let bytes = std::fs::read(path).map_err(|source| ReplayError::Read {
        path: path.to_owned(),
        source,
        wanted: "a capture",
    })?;
    if is_pcapng(&bytes) {
        let failed = |source| ReplayError::Pcapng { path: path.to_owned(), source };
        let mut reader = pcapng::read::Reader::new(&bytes).map_err(failed)?;
        while let Some(record) = reader.next_record().map_err(failed)? {
            if record.direction != Some(Direction::Out) && is_wanted(record.interface) {
                each(record.timestamp_ns, record.data);
            }
        }
        return Ok(());
    }
    let failed = |source| ReplayError::Capture { path: path.to_owned(), source };
    let mut reader = Reader::new(bytes.as_slice()).map_err(failed)?;
    while let Some(record) = reader.next_record().map_err(failed)? {
        if is_wanted("") {
            each(record.timestamp_ns, record.data);
        }
    }
    Ok(())
}

/// The captures written, one a port or one a device; what leaves by a port without one is counted only.
pub(in crate::control) struct Outputs {
    writers: Vec<Option<(PathBuf, Writer<BufWriter<File>>)>>,
    /// Whose capture each port writes to.
    places: Vec<PortId>,
}

impl Outputs {
    /// For what is only counted.
    pub(in crate::control) fn none() -> Self {
        Self { writers: Vec::new(), places: Vec::new() }
    }

    pub(in crate::control) fn open(
        config: &Config,
        files: &[(Option<String>, PathBuf)],
        resolution: Resolution,
    ) -> Result<Self, ReplayError> {
        let mut writers: Vec<_> = config.ports.iter().map(|_| None).collect();
        for (port, path) in by_port(config, files, "--out")? {
            let failed = |source| ReplayError::Write { path: path.to_owned(), source };
            let file = File::create(path).map_err(failed)?;
            let writer = Writer::new(BufWriter::new(file), resolution).map_err(failed)?;
            if let Some(place) = writers.get_mut(port.index()) {
                *place = Some((path.to_owned(), writer));
            }
        }
        // One without a capture of its own writes to that of another port on its device.
        let has = |id: &PortId| writers.get(id.index()).is_some_and(Option::is_some);
        let place = |id| if has(&id) { id } else { sharing(config, id).find(has).unwrap_or(id) };
        let places = (0..config.ports.len() as u8).map(|id| place(PortId(id))).collect();
        Ok(Self { writers, places })
    }

    pub(in crate::control) fn write(
        &mut self,
        port: PortId,
        timestamp_ns: u64,
        frame: &[u8],
    ) -> Result<(), ReplayError> {
        let place = self.places.get(port.index()).copied().unwrap_or(port);
        let Some(Some((path, writer))) = self.writers.get_mut(place.index()) else { return Ok(()) };
        writer.write(timestamp_ns, frame).map_err(|source| ReplayError::Write { path: path.clone(), source })
    }

    pub(in crate::control) fn finish(self) -> Result<(), ReplayError> {
        for (path, writer) in self.writers.into_iter().flatten() {
            writer.finish().map_err(|source| ReplayError::Write { path, source })?;
        }
        Ok(())
    }
}

/// The ports on the device of a port, itself among them.
fn sharing(config: &Config, port: PortId) -> impl Iterator<Item = PortId> {
    let device = config.ports.get(port.index()).map(|port| port.device.as_str());
    config.ports.iter().zip(0..).filter(move |(port, _)| Some(port.device.as_str()) == device).map(|(_, id)| PortId(id))
}

fn vlan(config: &Config, port: PortId) -> Option<u16> {
    config.ports.get(port.index()).and_then(|port| port.vlan)
}

/// Which port each file is for.
fn by_port<'a>(
    config: &Config,
    files: &'a [(Option<String>, PathBuf)],
    flag: &str,
) -> Result<Vec<(PortId, &'a Path)>, ReplayError> {
    let names = || config.ports.iter().map(|p| p.name.as_str()).collect::<Vec<_>>().join(", ");
    let mut seen = vec![false; config.ports.len()];
    let mut found = Vec::new();
    for (name, path) in files {
        let index = match name {
            Some(name) => config.ports.iter().position(|p| &p.name == name),
            None if config.ports.len() == 1 => Some(0),
            None => {
                let message = format!("{flag} {}: which port? write {flag} PORT={}", path.display(), path.display());
                return Err(ReplayError::Usage(format!("{message} with one of: {}", names())));
            }
        };
        let Some(index) = index else {
            let name = name.as_deref().unwrap_or_default();
            return Err(ReplayError::Usage(format!("{flag} {name}=...: no such port; there are: {}", names())));
        };
        if seen.get_mut(index).is_none_or(|seen| std::mem::replace(seen, true)) {
            return Err(ReplayError::Usage(format!("{flag} {}: a second file for one port", path.display())));
        }
        found.push((PortId(index as u8), path.as_path()));
    }
    Ok(found)
}
