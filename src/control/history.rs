//! The last hour by the second, for graphs: in memory that never grows.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::quantiles::{Quantiles, counts};
use crate::lb::counters::Counters;
use crate::lb::handle::WorkerHandle;

/// Seconds that are kept.
const SECONDS: usize = 3600;
/// A second and what happened in it: 40 bytes, so an hour is 144 KB.
#[derive(Clone, Copy, Debug, Default)]
struct Second {
    /// Since 1970.
    at_s: u64,
    rx_packets_per_s: f32,
    tx_packets_per_s: f32,
    drops_per_s: f32,
    new_connections_per_s: f32,
    connections: u32,
    latency_p50_ns: u32,
    latency_p99_ns: u32,
}

/// `GET /v1/history`: one array a figure, all of one length, oldest first.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct History {
    /// Seconds since 1970 at the end of each step.
    pub at: Vec<u64>,
    /// Packets received a second.
    pub rx_packets_per_s: Vec<f32>,
    /// Packets sent a second, answers included.
    pub tx_packets_per_s: Vec<f32>,
    /// Packets dropped a second, whatever the reason.
    pub drops_per_s: Vec<f32>,
    /// Connections opened a second.
    pub new_connections_per_s: Vec<f32>,
    /// Open connections at the end of the step.
    pub connections: Vec<u32>,
    /// Nanoseconds in the balancer that half of the sampled packets stayed below; 0 where none was.
    pub latency_p50_ns: Vec<u32>,
    /// The same for 99 %; of several seconds the largest.
    pub latency_p99_ns: Vec<u32>,
}

/// See the module.
#[derive(Debug, Default)]
pub struct Recorder {
    /// A ring, once it is full; `next` is the oldest then.
    seconds: Vec<Second>,
    next: usize,
    /// When the counters were last looked at, on a clock that never goes back, and what they said.
    before: Option<(Duration, Totals)>,
}

#[derive(Clone, Debug, Default)]
struct Totals {
    rx_packets: u64,
    tx_packets: u64,
    drops: u64,
    created: u64,
    latency: BTreeMap<u64, u64>,
}

impl Totals {
    fn of(workers: &[WorkerHandle]) -> Self {
        let sum = |of: fn(&Counters) -> u64| workers.iter().map(|worker| of(&worker.counters)).sum();
        let mut latency = BTreeMap::new();
        for (ns, count) in workers.iter().flat_map(counts).filter(|(_, count)| *count > 0) {
            *latency.entry(ns).or_default() += count;
        }
        Self {
            rx_packets: sum(|c| c.rx_packets.get()),
            tx_packets: sum(|c| c.tx_packets.get() + c.replies.get()),
            drops: sum(Counters::drops_total),
            created: sum(|c| c.connections_created.get()),
            latency,
        }
    }
}

impl Recorder {
    /// Takes down what happened since the last call; to be called once a second. `uptime` is the time on a clock that never
    /// goes back, `now` what people's clocks show.
    pub fn look(&mut self, uptime: Duration, now: SystemTime, workers: &[WorkerHandle]) {
        let totals = Totals::of(workers);
        if let Some((then, before)) = &self.before {
            let seconds = uptime.saturating_sub(*then).as_secs_f32();
            if seconds < 0.5 {
                return;
            }
            let rate = |of: fn(&Totals) -> u64| of(&totals).saturating_sub(of(before)) as f32 / seconds;
            let of_bucket = |ns: &u64| before.latency.get(ns).copied().unwrap_or(0);
            let latency = Quantiles::of(totals.latency.iter().map(|(ns, n)| (*ns, n.saturating_sub(of_bucket(ns)))));
            let clamp = |ns: u64| u32::try_from(ns).unwrap_or(u32::MAX);
            let connections: u64 = workers.iter().map(|worker| worker.counters.connections_active.get()).sum();
            self.put(Second {
                at_s: now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs(),
                rx_packets_per_s: rate(|t| t.rx_packets),
                tx_packets_per_s: rate(|t| t.tx_packets),
                drops_per_s: rate(|t| t.drops),
                new_connections_per_s: rate(|t| t.created),
                connections: u32::try_from(connections).unwrap_or(u32::MAX),
                latency_p50_ns: clamp(latency.p50),
                latency_p99_ns: clamp(latency.p99),
            });
        }
        self.before = Some((uptime, totals));
    }

    fn put(&mut self, second: Second) {
        if self.seconds.len() < SECONDS {
            self.seconds.reserve_exact(SECONDS - self.seconds.len());
            self.seconds.push(second);
        } else if let Some(place) = self.seconds.get_mut(self.next) {
            *place = second;
        }
        self.next = (self.next + 1) % SECONDS;
    }

    /// The last hour in `points` steps at most, each the mean of its seconds.
    pub fn history(&self, points: usize) -> History {
        let (newer, older) =
            if self.seconds.len() == SECONDS { self.seconds.split_at(self.next) } else { (&self.seconds[..], &[][..]) };
        let all: Vec<Second> = older.iter().chain(newer).copied().collect();
        let step = all.len().div_ceil(points.max(1)).max(1);
        let mut history = History::default();
        // The newest step is whole, the oldest may be short.
        let short = all.len() % step;
        let (first, rest) = all.split_at(short);
        for seconds in [first].into_iter().filter(|first| !first.is_empty()).chain(rest.chunks(step)) {
            history.push(seconds);
        }
        history
    }
}

impl History {
    fn push(&mut self, seconds: &[Second]) {
        let Some(last) = seconds.last() else { return };
        let mean = |of: fn(&Second) -> f32| seconds.iter().map(of).sum::<f32>() / seconds.len() as f32;
        self.at.push(last.at_s);
        self.rx_packets_per_s.push(mean(|s| s.rx_packets_per_s));
        self.tx_packets_per_s.push(mean(|s| s.tx_packets_per_s));
        self.drops_per_s.push(mean(|s| s.drops_per_s));
        self.new_connections_per_s.push(mean(|s| s.new_connections_per_s));
        self.connections.push(last.connections);
        // Seconds without a sample say nothing of the time.
        let sampled = || seconds.iter().map(|s| s.latency_p50_ns).filter(|&ns| ns > 0);
        let sum: u64 = sampled().map(u64::from).sum();
        self.latency_p50_ns.push((sum / sampled().count().max(1) as u64) as u32);
        self.latency_p99_ns.push(seconds.iter().map(|s| s.latency_p99_ns).max().unwrap_or(0));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::fixture::{self, CONFIG, file};
    use crate::lb::latency::PacketClass;
    use crate::lb::verdict::DropReason;

    fn workers() -> Vec<WorkerHandle> {
        let dir = tempfile::tempdir().unwrap();
        fixture::manager(&file(dir.path(), "a.toml", CONFIG)).worker_handles()
    }

    fn second(n: u64) -> (Duration, SystemTime) {
        (Duration::from_secs(n), UNIX_EPOCH + Duration::from_secs(1_000_000 + n))
    }

    #[test]
    fn a_second_has_what_happened_in_it_over_all_workers() {
        let (workers, mut recorder) = (workers(), Recorder::default());
        let mut look = |n| {
            let (uptime, now) = second(n);
            recorder.look(uptime, now, &workers);
        };
        workers[0].counters.rx_packets.add(1_000);
        look(1);
        workers[0].counters.rx_packets.add(300);
        workers[1].counters.rx_packets.add(700);
        workers[1].counters.replies.add(8);
        workers[1].counters.drop_one(DropReason::Runt);
        workers[0].latency.record(PacketClass::Forward, 900, 10);
        look(3);
        look(4);
        let history = recorder.history(100);
        assert_eq!(history.at, [1_000_003, 1_000_004]);
        assert_eq!(history.rx_packets_per_s, [500.0, 0.0]);
        assert_eq!(history.tx_packets_per_s, [4.0, 0.0]);
        assert_eq!(history.drops_per_s, [0.5, 0.0]);
        assert!((850..=1000).contains(&history.latency_p50_ns[0]), "{}", history.latency_p50_ns[0]);
        assert_eq!(history.latency_p99_ns[1], 0, "what was measured before is not measured again");
    }

    #[test]
    fn an_hour_is_kept_in_order_and_no_more() {
        let (workers, mut recorder) = (workers(), Recorder::default());
        for n in 0..=(SECONDS as u64 + 100) {
            workers[0].counters.rx_packets.add(n);
            let (uptime, now) = second(n);
            recorder.look(uptime, now, &workers);
        }
        assert_eq!((recorder.seconds.len(), recorder.seconds.capacity()), (SECONDS, SECONDS));
        let all = recorder.history(SECONDS);
        assert_eq!(all.at.len(), SECONDS);
        assert!(all.at.windows(2).all(|pair| pair[1] == pair[0] + 1));
        assert_eq!(all.at.last(), Some(&(1_000_000 + SECONDS as u64 + 100)));
        assert_eq!(all.rx_packets_per_s.first(), Some(&101.0));
        let few = recorder.history(100);
        assert_eq!(few.at.len(), 100);
        assert_eq!(few.at.last(), all.at.last());
        let mean = all.rx_packets_per_s[SECONDS - 36..].iter().sum::<f32>() / 36.0;
        assert!((few.rx_packets_per_s[99] - mean).abs() < 1.0);
    }

    #[test]
    fn nothing_is_known_at_first_and_a_look_too_early_is_none() {
        let (workers, mut recorder) = (workers(), Recorder::default());
        assert_eq!(recorder.history(10), History::default());
        for ms in [1000, 1100, 2000] {
            recorder.look(Duration::from_millis(ms), UNIX_EPOCH, &workers);
        }
        assert_eq!(recorder.history(10).at.len(), 1);
    }
}
