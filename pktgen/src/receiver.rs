//! What is known of the test packets that came back.

use std::net::IpAddr;

use hdrhistogram::{CreationError, Histogram};
use tidegate::wire::protocol;

use crate::flows::Flows;
use crate::profile::Traffic;
use crate::seen::Seen;
use crate::sequence::{Fate, Sequence};
use crate::spread::{Spread, Target};
use crate::stamp::Stamp;

/// Longest time that is told apart, in nanoseconds: a minute.
const LATENCY_NS_MAX: u64 = 60_000_000_000;
/// Significant digits of latency.
const LATENCY_DIGITS: u8 = 3;

/// An empty histogram of nanoseconds.
///
/// # Errors
/// Never, as its bounds are right.
pub fn histogram() -> Result<Histogram<u64>, CreationError> {
    Histogram::new_with_bounds(1, LATENCY_NS_MAX, LATENCY_DIGITS)
}

/// Counters of received frames.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReceiverCounts {
    /// Frames in all.
    pub frames: u64,
    /// Bytes of them, without frame check sequences.
    pub bytes: u64,
    /// Test packets: of the protocol, and from or to a client or with a stamp.
    pub packets: u64,
    /// Test packets with a stamp of this run.
    pub stamped: u64,
    /// Test packets that went to a client's address: answers.
    pub returned: u64,
    /// Test packets with a wrong TCP or UDP checksum.
    pub bad_checksums: u64,
    /// Stamps of another run.
    pub stale: u64,
    /// Frames that are no right IP packets.
    pub malformed: u64,
    /// All other frames.
    pub other: u64,
}

/// See the module.
#[derive(Clone, Debug)]
pub struct Receiver {
    run: u16,
    protocol: u8,
    flows: Option<Flows>,
    /// Sorted.
    server_addresses: Vec<IpAddr>,
    verify: bool,
    /// The counters, to be added to by whoever receives the frames.
    pub counts: ReceiverCounts,
    sequence: Sequence,
    spread: Spread,
    latency: Histogram<u64>,
}

impl Receiver {
    /// Nothing received of the traffic of run `run`, if there is any.
    ///
    /// # Errors
    /// As [`histogram`].
    pub fn new(traffic: Option<&Traffic>, run: u16) -> Result<Self, CreationError> {
        let flows = traffic.map_or(0, |traffic| traffic.flows.count());
        let mut server_addresses: Vec<IpAddr> =
            traffic.iter().flat_map(|traffic| &traffic.servers).map(std::net::SocketAddr::ip).collect();
        server_addresses.sort_unstable();
        Ok(Self {
            run,
            protocol: traffic.map_or(0, |traffic| traffic.protocol.number()),
            flows: traffic.map(|traffic| traffic.flows.clone()),
            server_addresses,
            verify: traffic.is_some_and(|traffic| traffic.verify),
            counts: ReceiverCounts::default(),
            sequence: Sequence::new(flows),
            spread: Spread::new(flows),
            latency: histogram()?,
        })
    }

    /// Counts an IP packet that came at `now_ns` of the run.
    #[inline]
    pub fn take(&mut self, frame: &[u8], seen: &Seen, now_ns: u64) {
        let tuple = &seen.tuple;
        if !matches!(tuple.protocol, protocol::UDP | protocol::TCP) || tuple.protocol != self.protocol {
            self.counts.other += 1;
            return;
        }
        let stamp = Stamp::read(seen.payload(frame));
        let flow = match stamp {
            Some(stamp) if stamp.run == self.run => Some(stamp.flow),
            Some(_) => {
                self.counts.stale += 1;
                return;
            }
            None => None,
        };
        let (is_answer, is_ours) = match (flow, &self.flows) {
            (Some(_), Some(flows)) => (flows.has_client(tuple.dst), true),
            // Without a stamp the addresses have to tell.
            (None, Some(flows)) => {
                let is_answer = flows.has_client(tuple.dst);
                (is_answer, is_answer || flows.has_client(tuple.src))
            }
            (_, None) => (false, false),
        };
        if !is_ours {
            self.counts.other += 1;
            return;
        }
        self.counts.packets += 1;
        if self.verify && seen.is_checksum_right(frame) == Some(false) {
            self.counts.bad_checksums += 1;
        }
        let mut is_first = true;
        if let Some(stamp) = stamp {
            self.counts.stamped += 1;
            is_first = self.sequence.take(stamp.flow, stamp.seq) != Some(Fate::Duplicate);
            if is_first {
                self.latency.saturating_record(stamp.age_ns(now_ns).max(1));
            }
        }
        if is_answer {
            self.counts.returned += 1;
        } else if is_first {
            let target = self.target(seen);
            self.spread.count(target, flow);
        }
    }

    fn target(&self, seen: &Seen) -> Target {
        let destination = seen.destination();
        match seen.outer {
            Some(outer) => Target::Outer(outer),
            None if self.server_addresses.binary_search(&destination.ip()).is_ok() => Target::Mac(seen.macs.0),
            None => Target::Address(destination),
        }
    }

    /// Order of the stamped packets.
    #[must_use]
    pub const fn sequence(&self) -> &Sequence {
        &self.sequence
    }

    /// Where packets went.
    #[must_use]
    pub const fn spread(&self) -> &Spread {
        &self.spread
    }

    /// Time from the making of a packet to its reception, in nanoseconds.
    #[must_use]
    pub const fn latency(&self) -> &Histogram<u64> {
        &self.latency
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::Link;
    use crate::profile::Profile;
    use crate::seen::see;
    use crate::stream::Stream;
    use tidegate::wire::ethernet::MacAddr;

    const LINK: Link = Link { dst: MacAddr([2, 0, 0, 0, 0, 2]), src: MacAddr([2, 0, 0, 0, 0, 1]), vlan: None };

    fn traffic(keys: &str) -> Traffic {
        let text = format!(
            "[[port]]\ndevice = 'net_null0'\ngateway_mac = '02:00:00:00:00:02'\n[traffic]\nservers = ['192.0.2.1:80']\n{keys}"
        );
        Profile::parse(&text, "f").unwrap_or_else(|errors| panic!("{errors}")).traffic.unwrap()
    }

    /// Frames of run 9, made at 0, 1000, 2000 and so on.
    fn frames(traffic: &Traffic, count: u64) -> Vec<Vec<u8>> {
        let mut stream = Stream::new(traffic, LINK, 1, 9).unwrap();
        let frame = |n| {
            let mut frame = vec![0; stream.next_len()];
            stream.write(&mut frame, n * 1000);
            frame
        };
        (0..count).map(frame).collect()
    }

    fn take(receiver: &mut Receiver, mut frame: Vec<u8>, now_ns: u64) {
        let len = frame.len();
        let seen = see(&mut frame, len).unwrap();
        receiver.take(&frame, &seen, now_ns);
    }

    #[test]
    fn loss_order_and_time_are_known() {
        let traffic = traffic("flows = 1");
        let mut receiver = Receiver::new(Some(&traffic), 9).unwrap();
        let mut frames = frames(&traffic, 10);
        frames.remove(3);
        frames.swap(5, 6);
        frames.push(frames[0].clone());
        for frame in frames {
            take(&mut receiver, frame, 20_000);
        }
        let sequence = receiver.sequence();
        assert_eq!((sequence.unique(), sequence.reordered(), sequence.duplicates()), (9, 1, 1));
        assert_eq!((receiver.counts.packets, receiver.counts.stamped), (10, 10));
        let latency = receiver.latency();
        assert_eq!(latency.len(), 9, "a duplicate is not measured");
        assert!(
            (10_990..=11_010).contains(&latency.min()) && (19_900..=20_100).contains(&latency.max()),
            "{latency:?}"
        );
    }

    #[test]
    fn backends_are_found_by_address_or_mac() {
        let traffic = traffic("flows = 4");
        let mut receiver = Receiver::new(Some(&traffic), 9).unwrap();
        for (n, mut frame) in frames(&traffic, 4).into_iter().enumerate() {
            let len = frame.len();
            let mut seen = see(&mut frame, len).unwrap();
            match n {
                0 => {}
                1 => seen.tuple.dst = [10, 0, 0, 11].into(),
                2 => seen.outer = Some([10, 1, 0, 11].into()),
                _ => std::mem::swap(&mut seen.tuple.src, &mut seen.tuple.dst),
            }
            receiver.take(&frame, &seen, 0);
        }
        let found: Vec<_> = receiver.spread().shares().iter().map(|s| (s.target.by(), s.target.to_string())).collect();
        let expected = [("outer_address", "10.1.0.11"), ("address", "10.0.0.11:80"), ("mac", "02:00:00:00:00:02")];
        assert_eq!(found, expected.map(|(by, target)| (by, target.to_owned())));
        assert_eq!(receiver.counts.returned, 1);
    }

    #[test]
    fn strangers_and_wrong_checksums_are_told_apart() {
        let traffic = traffic("flows = 1\npacket_size = 100");
        let mut receiver = Receiver::new(Some(&traffic), 9).unwrap();
        let frame = frames(&traffic, 1).remove(0);
        let mut other_run = Receiver::new(Some(&traffic), 8).unwrap();
        take(&mut other_run, frame.clone(), 0);
        assert_eq!((other_run.counts.stale, other_run.counts.packets), (1, 0));
        let mut wrong = frame.clone();
        wrong[80] ^= 1;
        take(&mut receiver, wrong, 0);
        assert_eq!((receiver.counts.bad_checksums, receiver.counts.packets), (1, 1));
        let mut none = Receiver::new(None, 9).unwrap();
        take(&mut none, frame, 0);
        assert_eq!((none.counts.other, none.counts.packets), (1, 0));
    }

    #[test]
    fn packets_without_a_stamp_count() {
        let traffic = traffic("kind = 'syn_flood'");
        let mut receiver = Receiver::new(Some(&traffic), 9).unwrap();
        frames(&traffic, 50).into_iter().for_each(|frame| take(&mut receiver, frame, 0));
        assert_eq!((receiver.counts.packets, receiver.counts.stamped, receiver.latency().len()), (50, 0, 0));
    }
}
