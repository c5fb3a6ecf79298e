//! What the poll loops and the main thread tell each other while a run goes on.

use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};

/// A counter that one thread writes and others read.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Sets it; only the thread that owns it may.
    #[inline]
    pub fn set(&self, value: u64) {
        self.0.store(value, Ordering::Relaxed);
    }

    /// Its value.
    #[must_use]
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// The counters of one loop, brought up to date once a turn.
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct Live {
    /// Test packets sent.
    pub sent: Counter,
    /// Test packets received.
    pub received: Counter,
    /// Stamped packets received, each once.
    pub unique: Counter,
    /// Connections opened.
    pub opened: Counter,
    /// Connections completed.
    pub completed: Counter,
    /// Connections that failed.
    pub failed: Counter,
    /// Connections that are open.
    pub active: Counter,
    /// Answers of a server.
    pub answered: Counter,
}

/// How far a run is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// It sends and receives.
    Sending,
    /// It receives what is late.
    Draining,
    /// It is over.
    Stopped,
}

/// Why sending ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum EndedBy {
    /// The time was over.
    Duration,
    /// All packets or connections were made.
    Packets,
    /// Ctrl-C or SIGTERM.
    Signal,
}

/// The phase of a run, which only goes forward.
#[derive(Debug)]
pub struct Control {
    phase: AtomicU8,
    ended_by: AtomicU8,
}

impl Default for Control {
    fn default() -> Self {
        Self { phase: AtomicU8::new(0), ended_by: AtomicU8::new(0) }
    }
}

impl Control {
    /// How far it is.
    #[inline]
    #[must_use]
    pub fn phase(&self) -> Phase {
        match self.phase.load(Ordering::Acquire) {
            0 => Phase::Sending,
            1 => Phase::Draining,
            _ => Phase::Stopped,
        }
    }

    /// Ends sending, unless it has ended.
    pub fn drain(&self, reason: EndedBy) {
        let code = match reason {
            EndedBy::Duration => 0,
            EndedBy::Packets => 1,
            EndedBy::Signal => 2,
        };
        if self.phase() == Phase::Sending {
            self.ended_by.store(code, Ordering::Relaxed);
            self.phase.fetch_max(1, Ordering::AcqRel);
        }
    }

    /// Ends the run.
    pub fn stop(&self) {
        self.phase.store(2, Ordering::Release);
    }

    /// Why sending ended.
    #[must_use]
    pub fn ended_by(&self) -> EndedBy {
        match self.ended_by.load(Ordering::Relaxed) {
            0 => EndedBy::Duration,
            1 => EndedBy::Packets,
            _ => EndedBy::Signal,
        }
    }
}

/// Sums over all loops, and what a line of them says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// See [`Live`].
    pub sent: u64,
    /// See [`Live`].
    pub received: u64,
    /// See [`Live`].
    pub opened: u64,
    /// See [`Live`].
    pub completed: u64,
    /// See [`Live`].
    pub failed: u64,
    /// See [`Live`].
    pub active: u64,
    /// See [`Live`].
    pub answered: u64,
}

impl Totals {
    /// The sums of now.
    pub fn of<'l>(all: impl Iterator<Item = &'l Live>) -> Self {
        all.fold(Self::default(), |sum, live| Self {
            sent: sum.sent + live.sent.get(),
            received: sum.received + live.received.get(),
            opened: sum.opened + live.opened.get(),
            completed: sum.completed + live.completed.get(),
            failed: sum.failed + live.failed.get(),
            active: sum.active + live.active.get(),
            answered: sum.answered + live.answered.get(),
        })
    }

    /// One line about the time since `before`, which was `seconds` ago.
    #[must_use]
    pub fn line(&self, before: &Self, seconds: f64) -> String {
        let rate = |now: u64, before: u64| per_second((now.saturating_sub(before)) as f64 / seconds.max(1e-9));
        let mut parts = Vec::new();
        if self.sent > 0 || self.received > 0 {
            parts.push(format!("sent {} pps", rate(self.sent, before.sent)));
            parts.push(format!("received {} pps", rate(self.received, before.received)));
        }
        if self.opened > 0 {
            parts.push(format!("opened {} cps", rate(self.opened, before.opened)));
            parts.push(format!("completed {} cps", rate(self.completed, before.completed)));
            parts.push(format!("{} open, {} failed", self.active, self.failed));
        }
        if self.answered > 0 {
            parts.push(format!("answered {} pps", rate(self.answered, before.answered)));
        }
        if parts.is_empty() { "nothing yet".to_owned() } else { parts.join(", ") }
    }
}

/// A rate for people: `950`, `1.500k`, `14.881M`.
#[must_use]
pub fn per_second(rate: f64) -> String {
    match rate {
        _ if rate >= 1e9 => format!("{:.3}G", rate / 1e9),
        _ if rate >= 1e6 => format!("{:.3}M", rate / 1e6),
        _ if rate >= 1e3 => format!("{:.3}k", rate / 1e3),
        _ => format!("{rate:.0}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_only_goes_forward_and_the_first_reason_stands() {
        let control = Control::default();
        assert_eq!(control.phase(), Phase::Sending);
        control.drain(EndedBy::Packets);
        control.drain(EndedBy::Signal);
        assert_eq!((control.phase(), control.ended_by()), (Phase::Draining, EndedBy::Packets));
        control.stop();
        control.drain(EndedBy::Duration);
        assert_eq!((control.phase(), control.ended_by()), (Phase::Stopped, EndedBy::Packets));
    }

    #[test]
    fn lines_say_what_there_is() {
        let before = Totals { sent: 100, received: 50, ..Totals::default() };
        let now = Totals { sent: 3_000_100, received: 1_550, ..before };
        assert_eq!(now.line(&before, 2.0), "sent 1.500M pps, received 750 pps");
        assert_eq!(Totals::default().line(&before, 1.0), "nothing yet");
        let connections = Totals { opened: 30, completed: 20, active: 7, failed: 3, ..Totals::default() };
        assert_eq!(connections.line(&Totals::default(), 1.0), "opened 30 cps, completed 20 cps, 7 open, 3 failed");
    }
}
