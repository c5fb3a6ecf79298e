//! One capture from its first packet to its last: workers get eyes, what they see is written, and all is put back.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use hyper::body::Bytes;
use tokio::sync::mpsc::Sender;
use tokio::sync::{Notify, mpsc};
use tokio::time::Instant;
use tracing::info;

use super::eyes;
use super::output::Output;
use super::request::{CaptureError, CaptureStatus, Settings};
use super::slot::{Captures, Claim};
use crate::lb::capture::{Shot, Tap};
use crate::lb::handle::WorkerHandle;
use crate::lb::publish::Published;

/// How often what the workers saw is written.
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// Pieces of output that may wait for the client.
const CHUNKS_MAX: usize = 4;
/// Bytes of a piece before the next one is begun.
const CHUNK_BYTES: usize = 128 << 10;
/// A client that takes nothing for so long is given up, so that another one can have a capture.
const STALLED_MAX: Duration = Duration::from_secs(60);

/// The output, piece by piece, as it comes.
pub type Stream = mpsc::Receiver<Bytes>;

/// Begins a capture; it ends when the stream is dropped, if not before. Blocks until all workers look.
///
/// # Errors
/// Why there is none.
pub fn start(
    captures: &Arc<Captures>,
    settings: Settings,
    workers: Vec<WorkerHandle>,
    published: Arc<Published>,
    runtime: &tokio::runtime::Handle,
) -> Result<Stream, CaptureError> {
    let claim = captures.claim(&settings.text).map_err(CaptureError::Busy)?;
    let tap = Arc::new(Tap::new(settings.filter.clone(), settings.port, settings.slots, settings.frame_bytes));
    let snapshot = published.current();
    tap.adopt(&snapshot);
    let clock = eyes::open(&workers, &tap)?;
    let start_ns = unix_ns(SystemTime::now());
    let output = Output::new(&settings, &snapshot, clock, start_ns);
    let (sink, stream) = mpsc::channel(CHUNKS_MAX);
    let generation = snapshot.generation;
    let course = Course { settings, tap, workers, published, generation, output, claim, sink, written: 0, bytes: 0 };
    runtime.spawn(course.run());
    Ok(stream)
}

/// Nanoseconds since 1970.
pub(super) fn unix_ns(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos() as u64)
}

struct Course {
    settings: Settings,
    tap: Arc<Tap>,
    workers: Vec<WorkerHandle>,
    published: Arc<Published>,
    /// Of the snapshot that the tap knows.
    generation: u64,
    output: Output,
    // Before the sink, so that another capture is possible when the client sees the end of this one.
    claim: Claim,
    sink: Sender<Bytes>,
    /// Packets.
    written: u64,
    /// Of the output.
    bytes: u64,
}

/// Why a capture has come to its end.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum End {
    Count,
    Seconds,
    Size,
    Asked,
    ClientGone,
    ClientStalled,
}

impl End {
    fn label(self) -> &'static str {
        match self {
            Self::Count => "count",
            Self::Seconds => "seconds",
            Self::Size => "size",
            Self::Asked => "asked",
            Self::ClientGone => "client gone",
            Self::ClientStalled => "client stalled",
        }
    }
}

impl Course {
    async fn run(mut self) {
        info!("capture begins, filter: {}", self.claim.filter());
        let until = Instant::now() + Duration::from_secs(self.settings.seconds.into());
        let asked = self.claim.asked();
        let mut end = self.flush(until, &asked).await.err();
        let mut looked = Instant::now();
        while end.is_none() {
            let passed = looked.elapsed();
            looked = Instant::now();
            self.allow(passed);
            self.adopt();
            end = self.round(until, &asked).await.err();
            self.claim.update(self.status(None));
            if end.is_some() {
                break;
            }
            end = tokio::select! {
                () = tokio::time::sleep(LOOK_EVERY) => None,
                () = self.sink.closed() => Some(End::ClientGone),
                () = asked.notified() => Some(End::Asked),
                () = tokio::time::sleep_until(until) => Some(End::Seconds),
            };
        }
        self.finish(end.unwrap_or(End::Asked)).await;
    }

    /// What the rate makes of the time that has passed, and as much at once as a tenth of a second has.
    fn allow(&self, passed: Duration) {
        let count = (self.settings.rate as f64 * passed.as_secs_f64()).ceil() as u64;
        self.tap.allow(count, (self.settings.rate / 10).max(1));
    }

    /// Lets the workers know whether they have to look twice at all packets of a new snapshot.
    fn adopt(&mut self) {
        if let Some(snapshot) = self.published.newer_than(self.generation) {
            self.generation = snapshot.generation;
            self.tap.adopt(&snapshot);
        }
    }

    /// Writes what the workers have seen since the last round.
    async fn round(&mut self, until: Instant, asked: &Notify) -> Result<(), End> {
        let mut shots = self.shots();
        let mut result = Ok(());
        while let Some(shot) = shots.pop() {
            if result.is_ok() {
                result = self.write(&shot, until, asked).await;
            }
            self.tap.give_back(shot);
        }
        result?;
        self.flush(until, asked).await
    }

    /// Those there are, the oldest last: workers do not wait for each other.
    #[expect(clippy::vec_box, reason = "slots are passed on and given back, not copied")]
    fn shots(&self) -> Vec<Box<Shot>> {
        let mut shots: Vec<Box<Shot>> = Vec::new();
        while let Some(shot) = self.tap.next_shot().filter(|_| shots.len() < self.settings.slots) {
            shots.push(shot);
        }
        shots.reverse();
        shots.sort_by_key(|shot| std::cmp::Reverse(shot.at));
        shots
    }

    async fn write(&mut self, shot: &Shot, until: Instant, asked: &Notify) -> Result<(), End> {
        if self.written == self.settings.count {
            return Err(End::Count);
        }
        let before = self.output.len();
        self.output.packet(shot);
        if self.bytes + self.output.len() as u64 > self.settings.bytes_max {
            self.output.cut(before);
            return Err(End::Size);
        }
        self.written += 1;
        if self.output.len() >= CHUNK_BYTES {
            self.flush(until, asked).await?;
        }
        if self.written == self.settings.count { Err(End::Count) } else { Ok(()) }
    }

    /// Gives the client what is written; waits until it has taken what came before.
    async fn flush(&mut self, until: Instant, asked: &Notify) -> Result<(), End> {
        let Some(chunk) = self.output.take() else { return Ok(()) };
        self.bytes += chunk.len() as u64;
        let mut waited = Duration::ZERO;
        let permit = loop {
            tokio::select! {
                biased;
                permit = self.sink.reserve() => break permit.map_err(|_| End::ClientGone)?,
                () = asked.notified() => return Err(End::Asked),
                () = tokio::time::sleep_until(until) => return Err(End::Seconds),
                () = tokio::time::sleep(LOOK_EVERY) => {}
            }
            // What is lost meanwhile is lost because nobody reads, not by the rate.
            self.allow(LOOK_EVERY);
            waited += LOOK_EVERY;
            if waited >= STALLED_MAX {
                return Err(End::ClientStalled);
            }
        };
        permit.send(chunk);
        Ok(())
    }

    fn status(&self, end: Option<End>) -> CaptureStatus {
        CaptureStatus {
            running: end.is_none(),
            filter: self.claim.filter().to_owned(),
            packets: self.written,
            lost: self.tap.lost(),
            limited: self.tap.limited(),
            ended: end.map(|end| end.label().to_owned()),
        }
    }

    async fn finish(mut self, end: End) {
        let (tap, workers) = (self.tap.clone(), self.workers.clone());
        // What matches while the workers are told is after the end.
        let status = self.status(Some(end));
        _ = tokio::task::spawn_blocking(move || eyes::close(&workers, &tap)).await;
        let status = self.last_words(status, end);
        if let (Some(chunk), true) = (self.output.take(), end != End::ClientGone) {
            _ = tokio::time::timeout(STALLED_MAX / 60, self.sink.send(chunk)).await;
        }
        info!(
            "capture ends ({}): {} packets written, {} lost, {} beyond the rate",
            end.label(),
            status.packets,
            status.lost,
            status.limited
        );
        self.claim.update(status);
    }

    /// Packets that were seen in time and not written yet, and the figures.
    fn last_words(&mut self, mut status: CaptureStatus, end: End) -> CaptureStatus {
        if !matches!(end, End::Count | End::Size) {
            let mut shots = self.shots();
            while let Some(shot) = shots.pop().filter(|_| self.written < self.settings.count) {
                self.output.packet(&shot);
                self.written += 1;
            }
        }
        status.packets = self.written;
        self.output.statistics(status.lost + status.limited, unix_ns(SystemTime::now()));
        status
    }
}
