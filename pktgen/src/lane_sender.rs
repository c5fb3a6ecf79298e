//! Sends a stream of packets at its rate.

use dpdk_ffi::{MbufBurst, Mempool, TxQueue};

use crate::clock::Clock;
use crate::lane::BURST;
use crate::live::{Control, EndedBy};
use crate::pace::Pace;
use crate::profile::Rate;
use crate::stream::Stream;

/// What was sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SenderCounts {
    /// Packets that the device took.
    pub packets: u64,
    /// Bytes of them, without frame check sequences.
    pub bytes: u64,
    /// Of the packets, those with a stamp.
    pub stamped: u64,
    /// Packets for which no buffer was free.
    pub no_buffer: u64,
    /// Packets that were due while the sender was held up for too long.
    pub missed: u64,
    /// Nanoseconds from the first turn to the end of sending.
    pub ns: u64,
}

/// See the module.
#[derive(Debug)]
pub struct SenderLane {
    /// What was sent so far.
    pub counts: SenderCounts,
    stream: Stream,
    rate: Rate,
    duration_ticks: Option<u64>,
    packets_left: u64,
    /// Packets that were made, of which the device has not taken those that are still here.
    burst: MbufBurst<BURST>,
    /// Set at the first turn.
    started: Option<(u64, Pace)>,
    has_ended: bool,
}

/// What marks a packet with a stamp, in a field of the mbuf that is of no use in sending.
const MARK_STAMPED: u16 = 1;
const MARK_PLAIN: u16 = 0;

impl SenderLane {
    /// Sends `stream` for so many ticks and packets.
    #[must_use]
    pub const fn new(stream: Stream, rate: Rate, duration_ticks: Option<u64>, packets_max: Option<u64>) -> Self {
        let packets_left = match packets_max {
            Some(packets) => packets,
            None => u64::MAX,
        };
        let counts = SenderCounts { packets: 0, bytes: 0, stamped: 0, no_buffer: 0, missed: 0, ns: 0 };
        Self {
            counts,
            stream,
            rate,
            duration_ticks,
            packets_left,
            burst: MbufBurst::new(),
            started: None,
            has_ended: false,
        }
    }

    /// Sends what is due; whether anything was.
    #[inline]
    pub fn turn(
        &mut self,
        tx: &mut TxQueue,
        pool: &Mempool,
        clock: &Clock,
        now: u64,
        is_sending: bool,
        control: &Control,
    ) -> bool {
        if !self.burst.is_empty() {
            self.transmit(tx);
            if !self.burst.is_empty() {
                return false;
            }
        }
        let (start, pace) = self.started.get_or_insert_with(|| (now, Pace::new(self.rate, clock.hz(), now)));
        if !self.has_ended {
            self.counts.ns = clock.ns(now) - clock.ns(*start);
        }
        let is_over = self.duration_ticks.is_some_and(|duration| now.saturating_sub(*start) >= duration);
        if !is_sending || is_over || self.packets_left == 0 {
            self.has_ended = true;
            self.counts.missed = pace.lost();
            control.drain(if is_over { EndedBy::Duration } else { EndedBy::Packets });
            return false;
        }
        let due = pace.take(now, self.packets_left.min(BURST as u64)) as usize;
        if due == 0 {
            return false;
        }
        self.make(due, pool, clock.ns(now));
        self.transmit(tx);
        true
    }

    fn make(&mut self, count: usize, pool: &Mempool, ns: u64) {
        if count == BURST {
            pool.alloc_burst(&mut self.burst);
        } else {
            while self.burst.len() < count {
                let Some(mbuf) = pool.alloc() else { break };
                // It has room, as less than a whole burst is due.
                let _ = self.burst.push(mbuf);
            }
        }
        self.counts.no_buffer += (count - self.burst.len()) as u64;
        self.packets_left -= self.burst.len() as u64;
        for mbuf in self.burst.as_mut_slice() {
            let len = self.stream.next_len();
            let is_stamped = mbuf.append(len).is_some_and(|frame| self.stream.write(frame, ns));
            mbuf.set_port(if is_stamped { MARK_STAMPED } else { MARK_PLAIN });
        }
    }

    #[inline]
    fn transmit(&mut self, tx: &mut TxQueue) {
        let (packets, bytes, stamped) = sums(&self.burst);
        tx.burst(&mut self.burst);
        let (packets_left, bytes_left, stamped_left) = sums(&self.burst);
        self.counts.packets += packets - packets_left;
        self.counts.bytes += bytes - bytes_left;
        self.counts.stamped += stamped - stamped_left;
    }

    /// Gives back what the device did not take.
    pub fn finish(&mut self) {
        self.burst.clear();
    }
}

/// Packets, bytes and stamped packets of a burst.
#[inline]
fn sums(burst: &MbufBurst<BURST>) -> (u64, u64, u64) {
    burst.as_slice().iter().fold((0, 0, 0), |(packets, bytes, stamped), mbuf| {
        (packets + 1, bytes + mbuf.frame_len() as u64, stamped + u64::from(mbuf.port() == MARK_STAMPED))
    })
}
