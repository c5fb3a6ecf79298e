//! Writes packets as a pcapng file or as lines.

use std::sync::Arc;

use hyper::body::Bytes;

use super::eyes::WallClock;
use super::request::{Format, Settings};
use super::{line, words};
use crate::lb::capture::{Frame, Shot};
use crate::lb::ids::PortId;
use crate::lb::snapshot::Snapshot;
use crate::lb::verdict::Verdict;
use crate::wire::pcapng::{self, Direction, Interface, Packet, Statistics};

/// What is written and not yet taken.
pub(super) struct Output {
    text: Vec<u8>,
    format: Format,
    /// Of the ports, in order.
    names: Vec<Arc<str>>,
    clock: WallClock,
    start_ns: u64,
    /// Packets so far.
    packets: u64,
    /// Frames in the file, by port, and on which way.
    frames: Vec<[u64; 2]>,
}

impl Output {
    /// With the beginning of the file.
    pub(super) fn new(settings: &Settings, snapshot: &Snapshot, clock: WallClock, start_ns: u64) -> Self {
        let names: Vec<Arc<str>> = snapshot.ports().map(|(_, port)| port.name.clone()).collect();
        let frames = vec![[0; 2]; names.len()];
        let mut text = Vec::new();
        if settings.format == Format::Pcapng {
            pcapng::section(&mut text, concat!("tidegate ", env!("CARGO_PKG_VERSION")));
            for (_, port) in snapshot.ports() {
                for (name, description) in
                    [(port.name.to_string(), "as packets came"), (format!("{} (out)", port.name), "as packets left")]
                {
                    pcapng::interface(
                        &mut text,
                        &Interface {
                            name: &name,
                            description,
                            mac: Some(port.mac.0),
                            filter: &settings.text,
                            frame_bytes_max: settings.frame_bytes as u32,
                        },
                    );
                }
            }
        }
        Self { text, format: settings.format, names, clock, start_ns, packets: 0, frames }
    }

    /// Bytes that wait to be taken.
    pub(super) fn len(&self) -> usize {
        self.text.len()
    }

    /// Takes back what was written after there were `len` bytes.
    pub(super) fn cut(&mut self, len: usize) {
        self.text.truncate(len);
    }

    /// What is written, if anything.
    pub(super) fn take(&mut self) -> Option<Bytes> {
        Some(std::mem::take(&mut self.text)).filter(|text| !text.is_empty()).map(Bytes::from)
    }

    /// A packet as it came, and as it left if it did.
    pub(super) fn packet(&mut self, shot: &Shot) {
        self.packets += 1;
        let verdict = words::of_verdict(shot.verdict, |port| self.name(port));
        if self.format == Format::Text {
            let port = self.name(shot.came_by);
            self.text.extend(line::of_shot(shot, &port, self.clock.unix_ns(shot.at), &verdict).into_bytes());
            return;
        }
        let comment = format!("{verdict} (worker {})", shot.worker.0);
        self.frame(shot, &shot.before, shot.came_by, Direction::In, &comment);
        if let Verdict::Tx(port) | Verdict::Fragment(port) | Verdict::Reply(port) = shot.verdict {
            self.frame(shot, &shot.after, port, Direction::Out, &comment);
        }
    }

    fn frame(&mut self, shot: &Shot, frame: &Frame, port: PortId, direction: Direction, comment: &str) {
        let is_out = direction == Direction::Out;
        if let Some(count) = self.frames.get_mut(port.index()).and_then(|ways| ways.get_mut(usize::from(is_out))) {
            *count += 1;
        }
        pcapng::packet(
            &mut self.text,
            &Packet {
                interface: u32::from(port.0) * 2 + u32::from(is_out),
                timestamp_ns: self.clock.unix_ns(shot.at),
                frame_len: frame.frame_len as u32,
                data: frame.bytes(),
                direction,
                id: self.packets,
                comment,
            },
        );
    }

    /// The end of the file. What was lost is not known by port, so the first one has it.
    pub(super) fn statistics(&mut self, dropped: u64, now_ns: u64) {
        if self.format == Format::Text {
            return;
        }
        for (interface, &frames) in (0..).zip(self.frames.as_flattened()) {
            let dropped = if interface == 0 { dropped } else { 0 };
            pcapng::statistics(
                &mut self.text,
                &Statistics {
                    interface,
                    timestamp_ns: now_ns,
                    start_ns: self.start_ns,
                    received: frames + dropped,
                    dropped,
                },
            );
        }
    }

    fn name(&self, port: PortId) -> String {
        self.names.get(port.index()).map_or_else(|| port.0.to_string(), |name| name.to_string())
    }
}
