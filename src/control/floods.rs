//! Floods in few lines: what is dropped or given up in a burst is said once in a while, with how much it was.

use std::time::{Duration, Instant};

use crate::lb::handle::WorkerHandle;
use crate::lb::verdict::DropReason;

/// The least time between two lines about one kind.
const PAUSE: Duration = Duration::from_secs(10);
/// From so many a second on, what also happens in quiet times is worth a line; and only if it is so many times what it was.
const LOUD: u64 = 1000;
const JUMP: u64 = 10;

/// Reasons that mean that something here is full: each is worth a line.
const FULL: [DropReason; 12] = [
    DropReason::TableFull,
    DropReason::NoBuffer,
    DropReason::PortsExhausted,
    DropReason::NoBackend,
    DropReason::FragmentQueueFull,
    DropReason::FragmentTableFull,
    DropReason::NeighborQueueFull,
    DropReason::NeighborTableFull,
    DropReason::TxFull,
    DropReason::RingFull,
    DropReason::PuntFull,
    DropReason::PuntLimited,
];
/// Reasons that are no loss: messages that were taken in.
const TAKEN_IN: [DropReason; 2] = [DropReason::NeighborUpdate, DropReason::IcmpTunnel];

/// See the module.
#[derive(Debug, Default)]
pub struct Floods {
    kinds: Vec<Flood>,
}

/// One line about one kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// Label of the kind, as in metrics.
    pub kind: &'static str,
    /// How many since the last line about it; in all, if it is over.
    pub count: u64,
    /// Over so many seconds.
    pub seconds: u64,
    /// Whether it is over.
    pub over: bool,
    /// The sentence.
    pub text: String,
}

#[derive(Debug)]
struct Flood {
    kind: &'static str,
    what: String,
    why: String,
    is_always_said: bool,
    /// What was counted at the last look.
    seen: u64,
    /// What was counted at the last line, or when it became loud.
    said: u64,
    since: Instant,
    /// What was counted when it began, and when that was.
    began: Option<(u64, Instant)>,
    /// Before this moment nothing more is said.
    pause_until: Option<Instant>,
    /// A second's worth, as it has been of late.
    usual: u64,
    /// How often it began.
    begun: u64,
}

impl Floods {
    /// The lines that are due; to be called once a second.
    pub fn look(&mut self, workers: &[WorkerHandle], now: Instant) -> Vec<Line> {
        let counts = counts(workers);
        if self.kinds.is_empty() {
            self.kinds = kinds(now);
        }
        self.kinds.iter_mut().zip(counts).filter_map(|(kind, count)| kind.look(count, now)).collect()
    }
}

impl Floods {
    /// Each kind that there has been, and how often one began.
    pub fn begun(&self) -> impl Iterator<Item = (&'static str, u64)> {
        self.kinds.iter().map(|flood| (flood.kind, flood.begun))
    }
}

impl Flood {
    fn look(&mut self, count: u64, now: Instant) -> Option<Line> {
        let fresh = count.saturating_sub(self.seen);
        self.seen = count;
        let is_loud = match self.is_always_said {
            true => fresh > 0,
            false => fresh >= LOUD && fresh >= self.usual.saturating_mul(JUMP),
        };
        self.usual = (self.usual * 7 + fresh) / 8;
        let is_due = self.pause_until.is_none_or(|end| now >= end);
        // What came during the pause is told at its end, even if it has stopped.
        let has_rest = self.pause_until.is_some() && count > self.said && self.is_always_said;
        if !is_due || !(is_loud || has_rest) {
            if is_due && !is_loud {
                let over =
                    self.began.take().map(|(counted, began)| self.over(count.saturating_sub(counted), now - began));
                (self.said, self.since, self.pause_until) = (count, now, None);
                return over;
            }
            return None;
        }
        let (fresh, elapsed) = (count.saturating_sub(self.said), now.saturating_duration_since(self.since));
        let seconds = elapsed.as_secs().max(1);
        if self.began.is_none() {
            self.begun += 1;
            self.began = Some((self.said, self.since));
        }
        (self.said, self.since, self.pause_until) = (count, now, Some(now + PAUSE));
        let text = format!("{fresh} {} in {seconds} s: {}", self.what, self.why);
        Some(Line { kind: self.kind, count: fresh, seconds, over: false, text })
    }

    fn over(&self, count: u64, elapsed: Duration) -> Line {
        let seconds = elapsed.as_secs();
        let text = format!("over: {count} {} in {seconds} s", self.what);
        Line { kind: self.kind, count, seconds, over: true, text }
    }
}

fn kinds(now: Instant) -> Vec<Flood> {
    let flood = |kind, what: String, why, is_always_said| Flood {
        kind,
        what,
        why,
        is_always_said,
        seen: 0,
        said: 0,
        since: now,
        began: None,
        pause_until: None,
        usual: 0,
        begun: 0,
    };
    let told = DropReason::ALL.iter().filter(|reason| !TAKEN_IN.contains(reason));
    let drops = told.map(|reason| {
        let what = format!("packets dropped as {}", reason.label());
        let is_full = FULL.contains(reason);
        let why = if is_full { format!("{} {}", reason.meaning(), reason.cure()) } else { reason.meaning().to_owned() };
        flood(reason.label(), what, why.trim_end_matches('.').to_owned(), is_full)
    });
    let others = [
        ("evicted", "half-open connections gave way to newer ones", "a flood of SYNs, or a table that is too small"),
        (
            "errors_limited",
            "ICMP errors were due to senders and not sent",
            "there were more than the rate limit allows",
        ),
    ];
    drops.chain(others.map(|(kind, what, why)| flood(kind, what.to_owned(), why.to_owned(), true))).collect()
}

/// In the order of [`kinds`].
fn counts(workers: &[WorkerHandle]) -> Vec<u64> {
    let sum = |of: &dyn Fn(&WorkerHandle) -> u64| workers.iter().map(of).sum::<u64>();
    let told = DropReason::ALL.iter().filter(|reason| !TAKEN_IN.contains(reason));
    let drops = told.map(|reason| sum(&|worker| worker.counters.drops(*reason)));
    let others =
        [sum(&|worker| worker.counters.connections_evicted.get()), sum(&|worker| worker.counters.errors_limited.get())];
    drops.chain(others).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::fixture::{CONFIG, file, manager};

    struct Bench {
        workers: Vec<WorkerHandle>,
        floods: Floods,
        now: Instant,
    }

    impl Bench {
        fn start() -> Self {
            let dir = tempfile::tempdir().unwrap();
            let workers = manager(&file(dir.path(), "t.toml", CONFIG)).worker_handles();
            let mut bench = Self { workers, floods: Floods::default(), now: Instant::now() };
            assert_eq!(bench.second(), [""; 0]);
            bench
        }

        /// The lines that are due a second later.
        fn second(&mut self) -> Vec<String> {
            self.now += Duration::from_secs(1);
            self.floods.look(&self.workers, self.now).into_iter().map(|line| line.text).collect()
        }

        fn drop(&self, reason: DropReason, count: usize) {
            (0..count).for_each(|_| self.workers[1].counters.drop_one(reason));
        }
    }

    #[test]
    fn a_flood_is_a_line_each_ten_seconds_and_two_at_its_end() {
        let mut bench = Bench::start();
        let mut lines = Vec::new();
        for second in 0..40 {
            bench.drop(DropReason::TableFull, if second < 15 { 1_000 } else { 0 });
            lines.extend(bench.second().into_iter().map(|line| (second, line)));
        }
        let line = |count, seconds| {
            let why = "The connection table has no place left.";
            let cure = "Raise `dataplane.connections`, or lower the idle times in [service.timeouts]";
            format!("{count} packets dropped as table_full in {seconds} s: {why} {cure}")
        };
        let over = "over: 15000 packets dropped as table_full in 31 s".to_owned();
        assert_eq!(lines, [(0, line(1_000, 1)), (10, line(10_000, 10)), (20, line(4_000, 10)), (30, over)]);
    }

    #[test]
    fn what_is_usual_is_not_said_and_a_jump_is() {
        let mut bench = Bench::start();
        for _ in 0..100 {
            bench.drop(DropReason::NotOurs, 900);
            assert_eq!(bench.second(), [""; 0]);
        }
        for _ in 0..30 {
            bench.drop(DropReason::NotOurs, 2_000);
            assert_eq!(bench.second(), [""; 0], "not ten times as many");
        }
        bench.drop(DropReason::NotOurs, 40_000);
        let said = bench.second();
        assert!(said.len() == 1 && said[0].starts_with("40000 packets dropped as not_ours in 1 s: "), "{said:?}");
        bench.drop(DropReason::NeighborUpdate, 5_000);
        assert_eq!(bench.second(), [""; 0], "taken in is not lost");
        bench.workers[0].counters.connections_evicted.add(7);
        bench.workers[0].counters.errors_limited.add(1);
        let said = bench.second();
        assert!(said.len() == 2 && said[0].starts_with("7 half-open connections gave way"), "{said:?}");
    }
}
