//! Gives every worker an eye, and takes them back.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use crossbeam::channel::{Receiver, Sender, TryRecvError, bounded};

use super::course::unix_ns;
use super::request::CaptureError;
use crate::lb::capture::{Eye, Tap};
use crate::lb::clock::Now;
use crate::lb::handle::{Request, WorkerHandle};

/// How long a worker may take to answer; it does between two bursts.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(1);
/// Between two looks for the answer.
const LOOK_EVERY: Duration = Duration::from_micros(50);

/// What a worker's time is in the world's.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct WallClock {
    /// Nanoseconds since 1970 when the workers' clock was at zero.
    zero_ns: u64,
}

impl WallClock {
    /// Nanoseconds since 1970.
    pub(super) fn unix_ns(self, now: Now) -> u64 {
        self.zero_ns.wrapping_add(now.ns())
    }
}

/// Gives each worker an eye.
///
/// # Errors
/// Who does not answer; then none has one.
pub(super) fn open(workers: &[WorkerHandle], tap: &Arc<Tap>) -> Result<WallClock, CaptureError> {
    let mut clock = WallClock::default();
    for worker in workers {
        let eye = Box::new(Eye::new(tap.clone(), worker.id));
        match exchange(worker, Some(eye)) {
            // All have the same clock; the shortest way of the answer tells its zero best.
            Some((old, now)) => {
                if let Some(old) = old {
                    old.close();
                }
                let zero_ns = unix_ns(SystemTime::now()).wrapping_sub(now.ns());
                clock.zero_ns = if clock.zero_ns == 0 { zero_ns } else { clock.zero_ns.min(zero_ns) };
            }
            None => {
                close(workers, tap);
                return Err(CaptureError::NoAnswer(worker.id.0));
            }
        }
    }
    Ok(clock)
}

/// Takes the eyes back; one that does not come looks into a tap that nobody listens to.
pub(super) fn close(workers: &[WorkerHandle], tap: &Arc<Tap>) {
    for worker in workers {
        if let Some((Some(eye), _)) = exchange(worker, None) {
            eye.close();
        }
    }
    tap.allow(0, 0);
}

type Answer = (Option<Box<Eye>>, Now);

fn exchange(worker: &WorkerHandle, eye: Option<Box<Eye>>) -> Option<Answer> {
    let (reply, answer): (Sender<Answer>, Receiver<Answer>) = bounded(1);
    worker.requests.push(Request::Capture { eye, reply }).ok()?;
    let end = Instant::now() + ANSWER_TIME_MAX;
    loop {
        match answer.try_recv() {
            Ok(answer) => return Some(answer),
            Err(TryRecvError::Empty) if Instant::now() < end => std::thread::sleep(LOOK_EVERY),
            Err(_) => return None,
        }
    }
}
