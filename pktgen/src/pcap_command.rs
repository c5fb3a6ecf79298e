//! `pktgen pcap`: writes generated traffic to a capture file.

use crate::conversation::Kind;
use crate::flows::{Flows, FlowsError, Prefix, Vip};
use crate::frame::{FRAME_LEN_MAX, FRAME_LEN_MIN, Link, Protocol};
use crate::traffic::{Order, Payload, Plan, Size, Traffic};
use std::fmt;
use std::fs::File;
use std::io::{self, BufWriter, ErrorKind, Write};
use std::path::PathBuf;
use thiserror::Error;
use tidegate::wire::ethernet::MacAddr;
use tidegate::wire::pcap::{Resolution, Writer};

const NANOS_PER_SECOND: u128 = 1_000_000_000;

/// Arguments of `pktgen pcap`.
#[derive(Debug, Clone, clap::Args)]
pub struct PcapArgs {
    /// Capture file to write, `-` for standard output
    #[arg(long, value_name = "FILE")]
    pub out: PathBuf,
    /// Distinct five-tuples
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub flows: u32,
    /// Frames in all, at least one a flow
    #[arg(
        long,
        value_name = "N",
        help = "Frames in all, at least one a flow [default: every flow once from beginning to end]"
    )]
    pub packets: Option<u64>,
    /// Transport protocol
    #[arg(long, value_enum, default_value_t)]
    pub protocol: Protocol,
    /// IP version
    #[arg(
        long,
        value_name = "4|6",
        value_parser = clap::value_parser!(u8).range(4..=6),
        help = "IP version [default: that of --vip or --client, else 4]"
    )]
    pub family: Option<u8>,
    /// What TCP flows do
    #[arg(long, value_enum, help = "What TCP flows do [default: handshake]")]
    pub kind: Option<Kind>,
    /// Data segments in each connection of kind handshake
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(0..=1_000_000))]
    pub data_segments: u32,
    /// Length of frames with payload, without the frame check sequence: 60 to 9000 bytes; TCP segments without data
    /// are always short
    #[arg(
        long,
        value_name = "BYTES",
        conflicts_with = "imix",
        help = "Length of frames with payload, without the frame check sequence: 60 to 9000 bytes; \
                TCP segments without data are always short [default: 60, or a little more than the headers]"
    )]
    pub size: Option<usize>,
    /// Lengths of the simple Internet mix: 7:4:1 of 60, 590 and 1514 bytes
    #[arg(long)]
    pub imix: bool,
    /// Destination MAC address
    #[arg(long, value_name = "MAC", default_value = "02:00:00:00:00:02")]
    pub dst_mac: MacAddr,
    /// Source MAC address
    #[arg(long, value_name = "MAC", default_value = "02:00:00:00:00:01")]
    pub src_mac: MacAddr,
    /// VLAN of tagged frames
    #[arg(long, value_name = "ID", value_parser = clap::value_parser!(u16).range(1..=4094))]
    pub vlan: Option<u16>,
    /// Network of the clients
    #[arg(long, value_name = "PREFIX", help = "Network of the clients [default: 198.18.0.0/15 or 2001:db8:c::/64]")]
    pub client: Option<Prefix>,
    /// Address and port that the clients connect to, IPv6 in brackets
    #[arg(
        long,
        value_name = "ADDR[:PORT]",
        help = "Address and port that the clients connect to, IPv6 in brackets \
                [default: 192.0.2.10:80 or [2001:db8::10]:80]"
    )]
    pub vip: Option<Vip>,
    /// Decides addresses, ports, sequence numbers, order and random payload
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub seed: u64,
    /// Frames a second, for the timestamps; the first is at 0
    #[arg(long, value_name = "PPS", default_value_t = 1_000_000, value_parser = clap::value_parser!(u64).range(1..=1_000_000_000))]
    pub rate: u64,
    /// Order of flows; either way each has one frame a round
    #[arg(long, value_enum, default_value_t)]
    pub order: Order,
    /// What the payload is
    #[arg(long, value_enum, default_value_t)]
    pub payload: Payload,
}

/// Why no capture was written.
#[derive(Debug, Error)]
pub enum PcapCommandError {
    /// The flows cannot be made.
    #[error(transparent)]
    Flows(#[from] FlowsError),
    /// There is no such IP version, or not that of the addresses.
    #[error("--family {family} does not go with {address}; leave one of them out")]
    Family {
        /// The version as given.
        family: u8,
        /// The client network or VIP.
        address: String,
    },
    /// There is no such IP version.
    #[error("--family {0} is no IP version, there are 4 and 6")]
    NoFamily(u8),
    /// UDP has no connections.
    #[error("--kind is for TCP; add --protocol tcp")]
    KindWithoutTcp,
    /// The size is out of bounds.
    #[error("--size {0} is not possible, frames have {FRAME_LEN_MIN} to {FRAME_LEN_MAX} bytes")]
    Size(usize),
    /// The headers do not fit.
    #[error("--size {size} is too small, the headers take {min} bytes")]
    SizeBelowHeaders {
        /// The size as given, in bytes.
        size: usize,
        /// What the headers take, in bytes.
        min: usize,
    },
    /// Some flows would not be there.
    #[error("--packets {packets} is less than --flows {flows}, each flow needs one packet at least")]
    TooFewPackets {
        /// The packets as given.
        packets: u64,
        /// The flows as given.
        flows: u32,
    },
    /// The file cannot be written.
    #[error("cannot write {}: {source}", path.display())]
    Output {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
}

impl PcapCommandError {
    /// What the command exits with: 1 if it failed while running, 2 for wrong usage.
    #[must_use]
    pub const fn exit_status(&self) -> u8 {
        if matches!(self, Self::Output { .. }) { 1 } else { 2 }
    }
}

/// What was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Summary {
    /// Frames.
    pub packets: u64,
    /// Distinct five-tuples.
    pub flows: u32,
    /// Bytes of all frames, without frame check sequences.
    pub bytes: u64,
    /// The capture file.
    pub path: PathBuf,
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { packets, flows, bytes, path } = self;
        write!(f, "{}: {packets} packets of {flows} flows, {bytes} bytes", path.display())
    }
}

/// Writes the capture. `None` if it went to standard output, whose reader may also have had enough.
///
/// # Errors
/// Arguments that do not go together; an output that cannot be written.
pub fn run(arguments: &PcapArgs) -> Result<Option<Summary>, PcapCommandError> {
    let plan = arguments.plan()?;
    let failed = |source| PcapCommandError::Output { path: arguments.out.clone(), source };
    let to_stdout = arguments.out.as_os_str() == "-";
    let written = if to_stdout {
        write(plan, arguments.rate, io::stdout().lock())
    } else {
        write(plan, arguments.rate, File::create(&arguments.out).map_err(failed)?)
    };
    match written {
        Ok((packets, bytes)) if !to_stdout => {
            Ok(Some(Summary { packets, flows: arguments.flows, bytes, path: arguments.out.clone() }))
        }
        Ok(_) => Ok(None),
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(None),
        Err(error) => Err(failed(error)),
    }
}

/// Writes all frames and returns how many there were, with the sum of their bytes.
fn write(plan: Plan, rate: u64, out: impl Write) -> io::Result<(u64, u64)> {
    // A classic capture in nanoseconds, because at 10 Gbit/s several frames come in a microsecond.
    let mut writer = Writer::new(BufWriter::with_capacity(1 << 18, out), Resolution::Nanos)?;
    let mut traffic = Traffic::new(plan);
    let mut frame = Vec::new();
    let (mut packets, mut bytes) = (0_u64, 0);
    while traffic.next_frame(&mut frame) {
        let timestamp_ns = u128::from(packets) * NANOS_PER_SECOND / u128::from(rate);
        writer.write(u64::try_from(timestamp_ns).unwrap_or(u64::MAX), &frame)?;
        packets += 1;
        bytes += frame.len() as u64;
    }
    writer.finish()?;
    Ok((packets, bytes))
}

impl PcapArgs {
    /// The plan that the arguments make together.
    ///
    /// # Errors
    /// Arguments that do not go together.
    pub fn plan(&self) -> Result<Plan, PcapCommandError> {
        if self.kind.is_some() && self.protocol != Protocol::Tcp {
            return Err(PcapCommandError::KindWithoutTcp);
        }
        let kind = self.kind.unwrap_or_default();
        let is_ipv6 = self.is_ipv6()?;
        let (client, vip) = match is_ipv6 {
            true => (self.client.unwrap_or(Prefix::DEFAULT_V6), self.vip.unwrap_or(Vip::DEFAULT_V6)),
            false => (self.client.unwrap_or(Prefix::DEFAULT_V4), self.vip.unwrap_or(Vip::DEFAULT_V4)),
        };
        let flows = Flows::new(client, vip, self.protocol.number(), self.flows, self.seed)?;
        let packets_a_flow = if self.protocol == Protocol::Tcp { kind.segments(self.data_segments) } else { 1 };
        let packets = self.packets.unwrap_or(u64::from(self.flows) * packets_a_flow);
        if packets < u64::from(self.flows) {
            return Err(PcapCommandError::TooFewPackets { packets, flows: self.flows });
        }
        let size = match self.size {
            Some(size) if !(FRAME_LEN_MIN..=FRAME_LEN_MAX).contains(&size) => return Err(PcapCommandError::Size(size)),
            Some(size) => Size::Fixed(size),
            None if self.imix => Size::Imix,
            None => Size::Least,
        };
        let plan = Plan {
            flows,
            kind,
            data_segments: self.data_segments,
            packets,
            size,
            order: self.order,
            payload: self.payload,
            link: Link { dst: self.dst_mac, src: self.src_mac, vlan: self.vlan },
            seed: self.seed,
        };
        match (size, plan.frame_len_min()) {
            (Size::Fixed(size), min) if size < min => Err(PcapCommandError::SizeBelowHeaders { size, min }),
            _ => Ok(plan),
        }
    }

    /// The family as given, or as the addresses have it.
    fn is_ipv6(&self) -> Result<bool, PcapCommandError> {
        let vip = self.vip.map(|vip| (vip.0.is_ipv6(), vip.0.to_string()));
        let client = self.client.map(|client| (client.is_ipv6(), client.to_string()));
        let wanted = match self.family {
            None => return Ok(vip.or(client).is_some_and(|(is_ipv6, _)| is_ipv6)),
            Some(4) => false,
            Some(6) => true,
            Some(family) => return Err(PcapCommandError::NoFamily(family)),
        };
        match vip.into_iter().chain(client).find(|(is_ipv6, _)| *is_ipv6 != wanted) {
            Some((_, address)) => Err(PcapCommandError::Family { family: if wanted { 6 } else { 4 }, address }),
            None => Ok(wanted),
        }
    }
}
