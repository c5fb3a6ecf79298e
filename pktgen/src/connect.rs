//! The client side of TCP connections, a great many at once: SYN, ACK, data, FIN, with every answer waited for.

use std::collections::VecDeque;

use hdrhistogram::{CreationError, Histogram};
use tidegate::wire::tcp::flags::{ACK, FIN, PSH, RST, SYN};

use crate::receiver::histogram;
use crate::rng::hash;
use crate::template::Numbers;

/// How often a segment is repeated before the connection is given up.
const RETRIES_MAX: u8 = 3;

/// What is to be done with each connection.
#[derive(Clone, Copy, Debug)]
pub struct ConnectPlan {
    /// Distinct clients; each has one connection at a time.
    pub flows: u32,
    /// Connections at once at most.
    pub concurrent_max: u32,
    /// Data segments of each connection.
    pub data_segments: u16,
    /// Bytes of data in each.
    pub data_len: u16,
    /// Until a segment is repeated, in nanoseconds.
    pub retransmit_ns: u64,
    /// Decides sequence numbers.
    pub seed: u64,
}

/// What became of the connections.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ConnectCounts {
    /// SYN sent.
    pub opened: u64,
    /// SYN and ACK received.
    pub established: u64,
    /// Closed in both directions.
    pub completed: u64,
    /// Given up after the last repetition.
    pub timed_out: u64,
    /// Ended by a RST.
    pub reset: u64,
    /// Segments sent again.
    pub retransmits: u64,
    /// Data segments acknowledged.
    pub data_segments: u64,
}

/// A segment that came in.
#[derive(Clone, Copy, Debug)]
pub struct SegmentIn {
    /// Sequence number.
    pub seq: u32,
    /// Acknowledgment number.
    pub ack: u32,
    /// Flags.
    pub flags: u8,
    /// Bytes of data.
    pub data_len: u32,
}

/// A segment to send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SegmentOut {
    /// The client, by number.
    pub flow: u32,
    /// Sequence numbers and flags.
    pub numbers: Numbers,
    /// Bytes of data.
    pub data_len: u16,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    #[default]
    Closed,
    SynSent,
    /// Waits for data to be acknowledged.
    Data,
    FinSent,
}

#[derive(Clone, Copy, Debug, Default)]
struct Connection {
    state: State,
    retries: u8,
    /// Whether there is an entry for it among the timers.
    is_timed: bool,
    /// Whether the other end has sent its FIN.
    peer_closed: bool,
    data_left: u16,
    /// First sequence number that is not acknowledged.
    unacked: u32,
    /// Sequence number behind what was sent.
    next: u32,
    /// What the other end is to send next.
    peer_next: u32,
    opened_ns: u64,
    sent_ns: u64,
    /// Connections of this client so far.
    count: u32,
}

/// See the module.
#[derive(Debug)]
pub struct Connect {
    plan: ConnectPlan,
    connections: Vec<Connection>,
    /// Clients with a segment on its way, by the time at which it is looked after; at most one entry each.
    timers: VecDeque<(u64, u32)>,
    next_flow: u32,
    active: u32,
    counts: ConnectCounts,
    handshake: Histogram<u64>,
    lifetime: Histogram<u64>,
}

impl Connect {
    /// No connection yet.
    ///
    /// # Errors
    /// As [`histogram`].
    pub fn new(plan: ConnectPlan) -> Result<Self, CreationError> {
        let flows = plan.flows as usize;
        Ok(Self {
            plan,
            connections: vec![Connection::default(); flows],
            timers: VecDeque::with_capacity(flows),
            next_flow: 0,
            active: 0,
            counts: ConnectCounts::default(),
            handshake: histogram()?,
            lifetime: histogram()?,
        })
    }

    /// What became of the connections so far.
    #[must_use]
    pub const fn counts(&self) -> ConnectCounts {
        self.counts
    }

    /// Connections that are neither closed nor given up.
    #[must_use]
    pub const fn active(&self) -> u32 {
        self.active
    }

    /// Time from SYN to its answer, in nanoseconds; connections whose SYN was repeated are left out.
    #[must_use]
    pub const fn handshake(&self) -> &Histogram<u64> {
        &self.handshake
    }

    /// Time from SYN to the last ACK, in nanoseconds.
    #[must_use]
    pub const fn lifetime(&self) -> &Histogram<u64> {
        &self.lifetime
    }

    /// Opens a connection of the next client that has none; `None` when there are enough.
    pub fn open(&mut self, now_ns: u64) -> Option<SegmentOut> {
        if self.active >= self.plan.concurrent_max {
            return None;
        }
        // Fewer are active than there are clients, and they end about in the order in which they began.
        for _ in 0..64 {
            let flow = self.next_flow;
            self.next_flow = if flow + 1 >= self.plan.flows { 0 } else { flow + 1 };
            let connection = self.connections.get_mut(flow as usize)?;
            if connection.state != State::Closed {
                continue;
            }
            let count = connection.count.wrapping_add(1);
            let initial = hash(self.plan.seed ^ u64::from(count) << 32, u64::from(flow)) as u32;
            *connection = Connection {
                state: State::SynSent,
                is_timed: connection.is_timed,
                data_left: self.plan.data_segments,
                unacked: initial,
                next: initial.wrapping_add(1),
                opened_ns: now_ns,
                sent_ns: now_ns,
                count,
                ..Connection::default()
            };
            self.active += 1;
            self.counts.opened += 1;
            self.watch(flow, now_ns);
            return Some(SegmentOut { flow, numbers: Numbers { seq: initial, ack: 0, flags: SYN }, data_len: 0 });
        }
        None
    }

    /// Takes a segment that came for a client; what is to be sent for it is added to `out`.
    pub fn take(&mut self, flow: u32, segment: SegmentIn, now_ns: u64, out: &mut Vec<SegmentOut>) {
        let Some(connection) = self.connections.get_mut(flow as usize) else { return };
        if segment.flags & RST != 0 {
            // One that answers nothing of this connection is old or forged (RFC 9293 section 3.10.7.3).
            if connection.state != State::Closed && (segment.ack == connection.next || segment.flags & ACK == 0) {
                self.counts.reset += 1;
                self.close(flow);
            }
            return;
        }
        match connection.state {
            State::Closed => {
                // As in TIME-WAIT: the last ACK was lost, the other end asks again.
                if segment.flags & FIN != 0 {
                    let ack = segment.seq.wrapping_add(segment.data_len).wrapping_add(1);
                    out.push(SegmentOut { flow, numbers: Numbers { seq: segment.ack, ack, flags: ACK }, data_len: 0 });
                }
            }
            State::SynSent => {
                if segment.flags & (SYN | ACK) != SYN | ACK || segment.ack != connection.next {
                    return;
                }
                if connection.retries == 0 {
                    self.handshake.saturating_record(now_ns.saturating_sub(connection.opened_ns).max(1));
                }
                self.counts.established += 1;
                connection.peer_next = segment.seq.wrapping_add(1);
                connection.unacked = connection.next;
                out.push(bare_ack(flow, connection));
                self.go_on(flow, now_ns, out);
            }
            State::Data | State::FinSent => self.take_established(flow, segment, now_ns, out),
        }
    }

    fn take_established(&mut self, flow: u32, segment: SegmentIn, now_ns: u64, out: &mut Vec<SegmentOut>) {
        let Some(connection) = self.connections.get_mut(flow as usize) else { return };
        let has_fin = segment.flags & FIN != 0;
        let asks = segment.data_len > 0 || has_fin || segment.flags & SYN != 0;
        // In sequence, or else what was expected is said again.
        if asks && segment.seq == connection.peer_next && segment.flags & SYN == 0 {
            connection.peer_next = segment.seq.wrapping_add(segment.data_len).wrapping_add(u32::from(has_fin));
            connection.peer_closed |= has_fin;
        }
        let is_acked =
            segment.flags & ACK != 0 && segment.ack == connection.next && connection.unacked != connection.next;
        if is_acked {
            connection.unacked = connection.next;
        }
        let all_acked = connection.unacked == connection.next;
        match connection.state {
            State::Data if is_acked => {
                self.counts.data_segments += 1;
                // The acknowledgment of what came goes with what is sent.
                self.go_on(flow, now_ns, out);
            }
            State::FinSent if all_acked && connection.peer_closed => {
                out.push(bare_ack(flow, connection));
                self.counts.completed += 1;
                self.lifetime.saturating_record(now_ns.saturating_sub(connection.opened_ns).max(1));
                self.close(flow);
            }
            _ if asks => out.push(bare_ack(flow, connection)),
            _ => {}
        }
    }

    /// Sends the next data segment, or the FIN.
    fn go_on(&mut self, flow: u32, now_ns: u64, out: &mut Vec<SegmentOut>) {
        let data_len = self.plan.data_len;
        let Some(connection) = self.connections.get_mut(flow as usize) else { return };
        connection.retries = 0;
        connection.sent_ns = now_ns;
        if connection.data_left > 0 && data_len > 0 {
            connection.data_left -= 1;
            connection.state = State::Data;
            connection.next = connection.unacked.wrapping_add(u32::from(data_len));
        } else {
            connection.state = State::FinSent;
            connection.next = connection.unacked.wrapping_add(1);
        }
        out.push(outstanding(flow, connection, data_len));
        self.watch(flow, now_ns);
    }

    /// Repeats what was not answered in time, at most `count` segments; adds them to `out`.
    pub fn look_after(&mut self, now_ns: u64, count: usize, out: &mut Vec<SegmentOut>) {
        for _ in 0..count {
            let Some(&(deadline_ns, flow)) = self.timers.front().filter(|(deadline_ns, _)| *deadline_ns <= now_ns)
            else {
                return;
            };
            debug_assert!(deadline_ns <= now_ns);
            self.timers.pop_front();
            let data_len = self.plan.data_len;
            let Some(connection) = self.connections.get_mut(flow as usize) else { continue };
            connection.is_timed = false;
            if connection.state == State::Closed {
                continue;
            }
            let deadline_ns = connection.sent_ns + self.plan.retransmit_ns;
            if deadline_ns > now_ns {
                let sent_ns = connection.sent_ns;
                self.watch(flow, sent_ns);
            } else if connection.unacked == connection.next && connection.retries < RETRIES_MAX {
                // Ours is acknowledged; it is the other end's turn, which cannot be hurried.
                connection.retries += 1;
                connection.sent_ns = now_ns;
                self.watch(flow, now_ns);
            } else if connection.retries < RETRIES_MAX {
                connection.retries += 1;
                connection.sent_ns = now_ns;
                out.push(outstanding(flow, connection, data_len));
                self.counts.retransmits += 1;
                self.watch(flow, now_ns);
            } else {
                self.counts.timed_out += 1;
                self.close(flow);
            }
        }
    }

    fn watch(&mut self, flow: u32, from_ns: u64) {
        let Some(connection) = self.connections.get_mut(flow as usize) else { return };
        if !std::mem::replace(&mut connection.is_timed, true) {
            self.timers.push_back((from_ns + self.plan.retransmit_ns, flow));
        }
    }

    fn close(&mut self, flow: u32) {
        if let Some(connection) = self.connections.get_mut(flow as usize) {
            connection.state = State::Closed;
            self.active -= 1;
        }
    }
}

fn bare_ack(flow: u32, connection: &Connection) -> SegmentOut {
    let numbers = Numbers { seq: connection.next, ack: connection.peer_next, flags: ACK };
    SegmentOut { flow, numbers, data_len: 0 }
}

/// The segment that is on its way.
fn outstanding(flow: u32, connection: &Connection, data_len: u16) -> SegmentOut {
    let (flags, data_len) = match connection.state {
        State::SynSent | State::Closed => (SYN, 0),
        State::Data => (PSH | ACK, data_len),
        State::FinSent => (FIN | ACK, 0),
    };
    let ack = if flags == SYN { 0 } else { connection.peer_next };
    SegmentOut { flow, numbers: Numbers { seq: connection.unacked, ack, flags }, data_len }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAN: ConnectPlan =
        ConnectPlan { flows: 4, concurrent_max: 3, data_segments: 2, data_len: 100, retransmit_ns: 1000, seed: 1 };

    /// What a server that has nothing to say answers.
    fn answer(out: SegmentOut) -> Option<SegmentIn> {
        let Numbers { seq, ack, flags } = out.numbers;
        let data_len = u32::from(out.data_len);
        match flags {
            SYN => Some(SegmentIn { seq: 5000, ack: seq.wrapping_add(1), flags: SYN | ACK, data_len: 0 }),
            _ if flags & FIN != 0 => {
                Some(SegmentIn { seq: ack, ack: seq.wrapping_add(1), flags: FIN | ACK, data_len: 0 })
            }
            _ if data_len > 0 => Some(SegmentIn { seq: ack, ack: seq.wrapping_add(data_len), flags: ACK, data_len: 0 }),
            _ => None,
        }
    }

    /// Exchanges segments until nothing is sent any more; returns what the client sent.
    fn talk(connect: &mut Connect, first: SegmentOut) -> Vec<SegmentOut> {
        let mut sent = vec![first];
        let mut at = 0;
        while let Some(&segment) = sent.get(at) {
            at += 1;
            if let Some(answer) = answer(segment) {
                connect.take(segment.flow, answer, at as u64, &mut sent);
            }
        }
        sent
    }

    #[test]
    fn a_connection_goes_from_syn_to_the_last_ack() {
        let mut connect = Connect::new(PLAN).unwrap();
        let syn = connect.open(0).unwrap();
        let sent = talk(&mut connect, syn);
        let initial = syn.numbers.seq;
        let relative: Vec<_> = sent
            .iter()
            .map(|s| (s.numbers.flags, s.numbers.seq.wrapping_sub(initial), s.numbers.ack, s.data_len))
            .collect();
        assert_eq!(
            relative,
            [
                (SYN, 0, 0, 0),
                (ACK, 1, 5001, 0),
                (PSH | ACK, 1, 5001, 100),
                (PSH | ACK, 101, 5001, 100),
                (FIN | ACK, 201, 5001, 0),
                (ACK, 202, 5002, 0),
            ]
        );
        let counts = connect.counts();
        assert_eq!((counts.opened, counts.established, counts.completed, counts.data_segments), (1, 1, 1, 2));
        assert_eq!((connect.active(), connect.handshake().len(), connect.lifetime().len()), (0, 1, 1));
    }

    #[test]
    fn clients_take_turns_and_their_number_at_once_is_bounded() {
        let mut connect = Connect::new(PLAN).unwrap();
        let opened: Vec<u32> = std::iter::from_fn(|| connect.open(0)).map(|syn| syn.flow).collect();
        assert_eq!(opened, [0, 1, 2]);
        let syn = SegmentOut {
            flow: 1,
            ..connect.open(0).unwrap_or(SegmentOut { flow: 1, numbers: Numbers::default(), data_len: 0 })
        };
        let reset = SegmentIn { seq: 0, ack: 0, flags: RST, data_len: 0 };
        connect.take(syn.flow, reset, 1, &mut Vec::new());
        assert_eq!((connect.counts().reset, connect.active()), (1, 2));
        assert_eq!(connect.open(2).unwrap().flow, 3);
    }

    #[test]
    fn what_is_not_answered_is_repeated_and_then_given_up() {
        let mut connect = Connect::new(PLAN).unwrap();
        let syn = connect.open(0).unwrap();
        let mut out = Vec::new();
        connect.look_after(999, 10, &mut out);
        assert!(out.is_empty());
        for time in [1000, 2000, 3000] {
            connect.look_after(time, 10, &mut out);
        }
        assert_eq!(out, [syn; 3]);
        connect.look_after(4000, 10, &mut out);
        let counts = connect.counts();
        assert_eq!((counts.timed_out, counts.retransmits, connect.active(), out.len()), (1, 3, 0, 3));
        let flows = connect.open(5000).unwrap();
        assert_ne!(flows.numbers.seq, syn.numbers.seq);
    }

    #[test]
    fn a_lost_segment_is_repeated_and_the_connection_completes() {
        let mut connect = Connect::new(PLAN).unwrap();
        let syn = connect.open(0).unwrap();
        let mut out = Vec::new();
        connect.take(0, answer(syn).unwrap(), 10, &mut out);
        let data = out[1];
        out.clear();
        // The entry made for the SYN is used again for the data.
        connect.look_after(1000, 10, &mut out);
        assert!(out.is_empty());
        connect.look_after(1010, 10, &mut out);
        assert_eq!(out, [data]);
        let sent = talk(&mut connect, data);
        assert_eq!(sent.last().unwrap().numbers.flags, ACK);
        assert_eq!((connect.counts().completed, connect.counts().retransmits), (1, 1));
    }

    #[test]
    fn data_and_fin_of_the_other_end_are_acknowledged() {
        let mut connect = Connect::new(ConnectPlan { data_segments: 0, ..PLAN }).unwrap();
        let syn = connect.open(0).unwrap();
        let mut out = Vec::new();
        connect.take(0, answer(syn).unwrap(), 1, &mut out);
        let fin = out[1].numbers;
        assert_eq!(fin.flags, FIN | ACK);
        let mut take = |seq, ack, flags, data_len| {
            let mut out = Vec::new();
            connect.take(0, SegmentIn { seq, ack, flags, data_len }, 2, &mut out);
            out.iter().map(|s| (s.numbers.flags, s.numbers.ack)).collect::<Vec<_>>()
        };
        assert_eq!(take(5001, fin.seq, ACK, 50), [(ACK, 5051)]);
        assert_eq!(take(5101, fin.seq, ACK, 50), [(ACK, 5051)], "out of sequence");
        assert_eq!(take(5051, fin.seq.wrapping_add(1), ACK, 0), []);
        assert_eq!(take(5051, fin.seq.wrapping_add(1), FIN | ACK, 0), [(ACK, 5052)]);
        assert_eq!(take(5051, fin.seq.wrapping_add(1), FIN | ACK, 0), [(ACK, 5052)], "as in TIME-WAIT");
        assert_eq!(connect.counts().completed, 1);
    }
}
