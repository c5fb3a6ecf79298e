//! Quantiles of the time that packets spend in the balancer.

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::lb::handle::WorkerHandle;
use crate::lb::latency::PacketClass;

/// Quantiles of a distribution; all 0 when nothing was measured.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Quantiles {
    /// Half are below.
    pub p50: u64,
    /// 90 % are below.
    #[serde(default)]
    pub p90: u64,
    /// 99 % are below.
    pub p99: u64,
    /// 99.9 % are below.
    pub p999: u64,
    /// The largest.
    pub max: u64,
    /// How many were measured.
    pub count: u64,
}

/// Time of packets in the balancer, all together and by what happened to them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct LatencyNs {
    /// Of all sampled packets: of every class but `held`.
    #[serde(flatten)]
    pub all: Quantiles,
    /// By class.
    #[serde(default)]
    pub classes: Classes,
}

/// Each class of packets, by what happened to them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Classes {
    /// Forwarded by the worker that received them, on connections that were known.
    pub forward: Quantiles,
    /// Forwarded by the worker that received them, and opened a connection.
    pub new: Quantiles,
    /// Forwarded or answered by another worker than the one that received them; the wait between the two is included.
    pub handoff: Quantiles,
    /// Answered by the balancer itself: ARP, neighbour discovery, echo, ICMP errors.
    pub answer: Quantiles,
    /// Waited for their next hop's MAC address. All of them are measured, not samples.
    pub held: Quantiles,
}

impl Classes {
    /// Names and quantiles, in the order of the fields.
    pub fn rows(&self) -> [(&'static str, &Quantiles); 5] {
        let Self { forward, new, handoff, answer, held } = self;
        [("forward", forward), ("new", new), ("handoff", handoff), ("answer", answer), ("held", held)]
    }
}

impl LatencyNs {
    /// Over all workers.
    pub fn of(workers: &[WorkerHandle]) -> Self {
        let of = |class| Quantiles::of(workers.iter().flat_map(|worker| worker.latency.counts(class)));
        let classes = Classes {
            forward: of(PacketClass::Forward),
            new: of(PacketClass::New),
            handoff: of(PacketClass::Handoff),
            answer: of(PacketClass::Answer),
            held: of(PacketClass::Held),
        };
        Self { all: Quantiles::of(workers.iter().flat_map(sampled)), classes }
    }
}

impl Quantiles {
    /// Of the packets that one worker sent.
    pub fn of_worker(worker: &WorkerHandle) -> Self {
        Self::of(sampled(worker))
    }

    /// Of values and how often each occurred.
    pub(super) fn of(counts: impl IntoIterator<Item = (u64, u64)>) -> Self {
        let Ok(mut histogram) = Histogram::<u64>::new(3) else { return Self::default() };
        for (ns, count) in counts {
            // Not the saturating way: that one clips to the range so far instead of widening it.
            if histogram.record_n(ns, count).is_err() {
                return Self::default();
            }
        }
        if histogram.is_empty() {
            return Self::default();
        }
        Self {
            p50: histogram.value_at_quantile(0.50),
            p90: histogram.value_at_quantile(0.90),
            p99: histogram.value_at_quantile(0.99),
            p999: histogram.value_at_quantile(0.999),
            max: histogram.max(),
            count: histogram.len(),
        }
    }
}

/// How often each time was measured for the sampled packets of a worker since the start, by its value.
pub(super) fn counts(worker: &WorkerHandle) -> impl Iterator<Item = (u64, u64)> {
    sampled(worker)
}

fn sampled(worker: &WorkerHandle) -> impl Iterator<Item = (u64, u64)> {
    PacketClass::ALL.iter().filter(|class| class.is_sampled()).flat_map(|&class| worker.latency.counts(class))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use crossbeam::queue::ArrayQueue;

    use super::*;
    use crate::lb::counters::Counters;
    use crate::lb::ids::WorkerId;

    fn worker(id: u16) -> WorkerHandle {
        WorkerHandle {
            id: WorkerId(id),
            cpu: None,
            counters: Arc::new(Counters::new(1)),
            team: Arc::default(),
            latency: Arc::default(),
            connections_max: 10,
            table_bytes: 64,
            table_memory: None,
            requests: Arc::new(ArrayQueue::new(1)),
        }
    }

    fn near(value: u64, wanted: u64) -> bool {
        value.abs_diff(wanted) * 100 <= wanted * 7
    }

    #[test]
    fn quantiles_are_those_of_all_workers_and_classes_together() {
        let workers = [worker(0), worker(1)];
        assert_eq!(LatencyNs::of(&workers).all, Quantiles::default());
        workers[0].latency.record(PacketClass::Forward, 1_000, 850);
        workers[1].latency.record(PacketClass::New, 3_000, 148);
        workers[1].latency.record(PacketClass::Handoff, 50_000, 1);
        workers[1].latency.record(PacketClass::Answer, 2_000_000, 1);
        let q = LatencyNs::of(&workers).all;
        assert_eq!(q.count, 1_000);
        assert!(near(q.p50, 1_000) && near(q.p90, 3_000) && near(q.p99, 3_000), "{q:?}");
        assert!(near(q.p999, 50_000) && near(q.max, 2_000_000), "{q:?}");
        let of_second = Quantiles::of_worker(&workers[1]);
        assert!(of_second.count == 150 && near(of_second.p50, 3_000), "{of_second:?}");
    }

    #[test]
    fn classes_are_apart_and_held_is_no_part_of_the_total() {
        let workers = [worker(0)];
        workers[0].latency.record(PacketClass::New, 1_000, 1);
        workers[0].latency.record(PacketClass::Held, 900_000_000, 7);
        let latency = LatencyNs::of(&workers);
        let counts = latency.classes.rows().map(|(class, q)| (class, q.count));
        assert_eq!(counts, [("forward", 0), ("new", 1), ("handoff", 0), ("answer", 0), ("held", 7)]);
        assert!(latency.all.count == 1 && near(latency.all.max, 1_000), "{latency:?}");
        assert!(near(latency.classes.held.p50, 900_000_000));
    }

    #[test]
    fn json_has_the_total_and_the_classes_side_by_side() {
        let value = serde_json::to_value(LatencyNs::of(&[worker(0)])).unwrap();
        for key in ["p50", "p90", "p99", "p999", "max", "count"] {
            assert_eq!((&value[key], &value["classes"]["new"][key]), (&0.into(), &0.into()), "{key}: {value}");
        }
        assert_eq!(serde_json::from_value::<LatencyNs>(value).unwrap(), LatencyNs::of(&[worker(0)]));
    }
}
