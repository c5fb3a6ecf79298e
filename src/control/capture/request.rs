//! What a capture is asked for, and what is said of one.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::parser::FilterError;
use super::parser::parse;
use crate::lb::capture::filter::{Filter, TooLong};
use crate::lb::ids::PortId;
use crate::lb::snapshot::Snapshot;

/// Body of POST /v1/capture; all of it may be left out.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CaptureRequest {
    /// Which packets, in the words of tcpdump; all of them if empty.
    #[serde(default)]
    pub filter: String,
    /// Only packets that come in or leave by this port.
    pub port: Option<String>,
    /// Bytes of each frame at the most.
    pub snaplen: Option<u32>,
    /// Ends after so many packets.
    pub count: Option<u64>,
    /// Ends after so many seconds.
    pub seconds: Option<u32>,
    /// Ends before its output is longer than this.
    pub bytes_max: Option<u64>,
    /// Packets a second at the most, over all workers.
    pub rate: Option<u32>,
    /// Packets that may wait to be written.
    pub buffer: Option<u32>,
    /// `pcapng` or `text`.
    #[serde(default)]
    pub format: Format,
}

/// How packets are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// A pcapng file.
    #[default]
    Pcapng,
    /// A line a packet.
    Text,
}

/// GET /v1/capture.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct CaptureStatus {
    /// Whether one runs.
    pub running: bool,
    /// The filter of that one, or else of the last one.
    pub filter: String,
    /// Packets written.
    pub packets: u64,
    /// Matching packets that found the buffer full.
    pub lost: u64,
    /// Matching packets beyond the rate.
    pub limited: u64,
    /// Why it ended: `count`, `seconds`, `size`, `asked`, `client gone`, `client stalled`.
    pub ended: Option<String>,
}

/// Why there is no capture.
#[derive(Debug, thiserror::Error)]
pub enum CaptureError {
    /// The filter cannot be read.
    #[error("filter: {0}")]
    Filter(#[from] FilterError),
    /// The filter is too long.
    #[error(transparent)]
    TooLong(#[from] TooLong),
    /// There is no such port.
    #[error("no port is named {name}; there are: {known}")]
    Port {
        /// What was asked for.
        name: String,
        /// Those that there are.
        known: String,
    },
    /// A number is out of its range.
    #[error("{name} = {value}: {least} to {most} are possible")]
    Range {
        /// Which.
        name: &'static str,
        /// What was asked for.
        value: u64,
        /// The least.
        least: u64,
        /// The most.
        most: u64,
    },
    /// One at a time.
    #[error("a capture runs already (filter: {0}); it ends with its client, or by `tidegate capture --stop`")]
    Busy(String),
    /// A worker does not answer.
    #[error("worker {0} does not answer: it is not running, or far too busy; see `tidegate show workers`")]
    NoAnswer(u16),
}

/// A request whose values are all known and possible.
#[derive(Debug)]
pub struct Settings {
    pub(super) text: String,
    pub(super) filter: Filter,
    pub(super) port: Option<PortId>,
    pub(super) frame_bytes: usize,
    pub(super) count: u64,
    pub(super) seconds: u32,
    pub(super) bytes_max: u64,
    pub(super) rate: u64,
    pub(super) slots: usize,
    pub(super) format: Format,
}

/// Beyond the largest packet: VLAN tags and the longest tunnel header.
const OVERHEAD_BYTES: usize = 128;
/// Bytes of frames that a capture buffers when it is not asked for another number of packets.
const BUFFER_BYTES: usize = 16 << 20;
/// Bytes that it may be asked for.
const BUFFER_BYTES_MAX: usize = 256 << 20;
const RATE_DEFAULT: u32 = 50_000;
/// Longest capture in seconds: a year.
const SECONDS_MAX: u64 = 31_536_000;

impl CaptureRequest {
    /// Checks all of it.
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub fn settings(&self, snapshot: &Snapshot) -> Result<Settings, CaptureError> {
        let port = self.port.as_deref().map(|name| find_port(snapshot, name)).transpose()?;
        let mtu = snapshot.ports().map(|(_, port)| port.mtu).max().unwrap_or(1500);
        let frame_bytes = match self.snaplen {
            Some(bytes) => ranged("snaplen", bytes.into(), 64, 65_535)? as usize,
            None => usize::from(mtu) + OVERHEAD_BYTES,
        };
        // Each slot has the frame before and after.
        let slots = match self.buffer {
            Some(packets) => {
                ranged("buffer", packets.into(), 1, (BUFFER_BYTES_MAX / (2 * frame_bytes)) as u64)? as usize
            }
            None => (BUFFER_BYTES / (2 * frame_bytes)).clamp(64, 16_384),
        };
        Ok(Settings {
            filter: Filter::new(&parse(&self.filter)?)?,
            text: self.filter.trim().to_owned(),
            port,
            frame_bytes,
            count: self.count.map_or(Ok(u64::MAX), |count| ranged("count", count, 1, u64::MAX))?,
            seconds: self.seconds.map_or(Ok(SECONDS_MAX), |s| ranged("seconds", s.into(), 1, SECONDS_MAX))? as u32,
            bytes_max: self.bytes_max.map_or(Ok(u64::MAX), |bytes| ranged("bytes_max", bytes, 4096, u64::MAX))?,
            rate: ranged("rate", self.rate.unwrap_or(RATE_DEFAULT).into(), 1, 10_000_000)?,
            slots,
            format: self.format,
        })
    }
}

fn ranged(name: &'static str, value: u64, least: u64, most: u64) -> Result<u64, CaptureError> {
    if (least..=most).contains(&value) { Ok(value) } else { Err(CaptureError::Range { name, value, least, most }) }
}

fn find_port(snapshot: &Snapshot, name: &str) -> Result<PortId, CaptureError> {
    let found = snapshot.ports().find(|(_, port)| &*port.name == name).map(|(id, _)| id);
    found.ok_or_else(|| {
        let known: Vec<&str> = snapshot.ports().map(|(_, port)| &*port.name).collect();
        CaptureError::Port { name: name.to_owned(), known: known.join(", ") }
    })
}
