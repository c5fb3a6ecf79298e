//! What the packet path can say of its decisions about one packet, step by step, to whoever explains them.
//!
//! Only packets that ask for it are told: for all others, [`Packet::note`](super::packet::Packet::note) is no code at all.

use std::net::{IpAddr, SocketAddr};

use super::connection::{Direction, Phase};
use super::ids::{BackendId, PortId, ServiceId, WorkerId};
use super::snapshot::{ClientAddress, Mode};
use super::verdict::{DropReason, Verdict};
use crate::wire::ethernet::MacAddr;
use crate::wire::parse::{ParseError, Parsed};

/// One decision, with what it was made by.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Step {
    /// It is this worker's turn.
    Worker(WorkerId),
    /// The frame is not taken further.
    Malformed(ParseError),
    /// The headers, as they were read.
    Parsed(Parsed),
    /// The VLAN is not the port's; 0 for untagged, `None` for a port without tags.
    Vlan {
        /// Of the frame.
        found: u16,
        /// Of the port.
        port: Option<u16>,
    },
    /// The destination MAC address is not the port's.
    Mac {
        /// Of the frame.
        found: MacAddr,
        /// Of the port.
        port: MacAddr,
    },
    /// A tunnel from the outer tier was taken off; the packet inside goes on.
    TunnelOff,
    /// A fragment, which its datagram's home worker looks at.
    Fragment {
        /// The home worker.
        home: WorkerId,
    },
    /// The ports of the fragment's datagram, which its first fragment has told.
    FragmentPorts {
        /// Source port.
        sport: u16,
        /// Destination port.
        dport: u16,
    },
    /// An ICMP error, about a packet of the connection with this tuple, seen from the end that the error is for.
    Quoted {
        /// Source of packets in the direction that the error is about, reversed.
        src: SocketAddr,
        /// Destination of them.
        dst: SocketAddr,
        /// IP protocol number.
        protocol: u8,
    },
    /// An ICMP error about a tunnel packet of ours.
    AboutTunnel,
    /// A connection knows the packet.
    Connection {
        /// Whose it is.
        backend: BackendId,
        /// Which way the packet goes.
        direction: Direction,
        /// How far the connection has come.
        phase: Phase,
        /// Seconds until it would have ended.
        left_s: u16,
    },
    /// The connection is over, because its backend is gone or down.
    BackendGone(BackendId),
    /// The connection was closing, and this SYN opens another.
    Reopened,
    /// The packet takes the connection on.
    Phase {
        /// From here.
        from: Phase,
        /// To there.
        to: Phase,
    },
    /// No connection knows the packet.
    NoConnection,
    /// Whose VIP it is for.
    Service(ServiceId),
    /// How it begins a connection; `None`: it cannot, and goes by the hash alone.
    Begins(Option<Beginning>),
    /// The hash gave the backend.
    ByHash {
        /// Of the five-tuple or the client, under the service's key.
        hash: u64,
        /// The slot of the lookup table.
        slot: usize,
        /// Whose slot it is.
        backend: Option<BackendId>,
    },
    /// The scheduler gave the backend.
    ByScheduler(Option<BackendId>),
    /// The client's address had this backend last; `taken` says whether that one takes it again.
    ByClient {
        /// The last backend.
        backend: BackendId,
        /// Whether it gets this connection, too.
        taken: bool,
    },
    /// The local end that full-NAT connects to the backend from.
    LocalEnd(SocketAddr),
    /// The connection is in the table.
    Opened(Phase),
    /// It is forwarded without one; a reason if one was wanted.
    Stateless(Option<DropReason>),
    /// To which backend, and how.
    To {
        /// The backend.
        backend: BackendId,
        /// How packets reach it.
        mode: Mode,
    },
    /// To the client that a reply is for.
    ToClient(SocketAddr),
    /// Between IP versions.
    Crosses,
    /// The backend is told who the client is.
    Tells(ClientAddress),
    /// Does the packet fit?
    Fits {
        /// Its IP length in bytes, with the tunnel's headers.
        len: usize,
        /// What fits on the way, in bytes.
        mtu: u16,
    },
    /// Too long, and may go in pieces.
    Pieces,
    /// The next hop, and its MAC address if that is known.
    Hop {
        /// By this port.
        port: PortId,
        /// To whom.
        next: IpAddr,
        /// Where that is.
        mac: Option<MacAddr>,
    },
    /// What its sender should be told.
    Trouble(Told),
    /// And why it is not.
    Untold(Untold),
    /// The packet path's last word.
    Verdict(Verdict),
}

/// How a packet begins a connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Beginning {
    /// By a SYN.
    Syn,
    /// In the middle of a TCP connection that another node may have owned.
    Adopted,
    /// The first datagram.
    Udp,
    /// A ping.
    Echo,
}

/// What a sender is told.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Told {
    /// Time exceeded.
    TimeExceeded,
    /// So many bytes would fit.
    TooBig(u16),
    /// Host unreachable.
    HostUnreachable,
    /// Port unreachable.
    PortUnreachable,
    /// A RST.
    Reset,
}

/// Why a sender is not told anything.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Untold {
    /// No errors about errors, later fragments or what went to a group.
    NotDue,
    /// It has no address that an answer could go to, or one of ours.
    NoSender,
    /// Too many errors in this second.
    Limited,
    /// IPv4 without DF.
    WithoutDf,
}
