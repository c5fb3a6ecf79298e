//! The thread between the workers and the kernel's devices: system calls are made here, and none on a worker.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::mailbox::{Receiver, Sender};
use super::tap::Tap;

/// The running thread; ends with this.
pub(in crate::dataplane) struct Ferry {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
    /// By port.
    pub traffic: Arc<[HostTraffic]>,
}

/// What went between a port's device and the workers.
#[derive(Debug, Default)]
pub struct HostTraffic {
    /// Packets that the kernel took.
    pub to_host: AtomicU64,
    /// Frames that the kernel sent.
    pub from_host: AtomicU64,
    /// Packets that the kernel did not take.
    pub errors: AtomicU64,
}

/// What the thread works with.
pub(super) struct Work {
    pub taps: Vec<Tap>,
    /// For each class in order of importance, the queues of all workers.
    pub punts: Vec<Vec<Receiver>>,
    /// To the worker that sends for the kernel.
    pub frames: Sender,
    /// By port.
    pub traffic: Arc<[HostTraffic]>,
}

/// Frames of one queue before the next one has its turn.
const AT_ONCE: usize = 32;
/// Between two looks at the queues: a sixteenth of the time since there was something, within these.
const PAUSE_MIN: Duration = Duration::from_micros(100);
const PAUSE_MAX: Duration = Duration::from_millis(5);

impl Ferry {
    pub(super) fn start(mut work: Work) -> std::io::Result<Self> {
        let (stop, traffic) = (Arc::new(AtomicBool::new(false)), work.traffic.clone());
        let told = stop.clone();
        let serve = move || {
            let mut last = Instant::now();
            while !told.load(Ordering::Acquire) {
                if work.serve_kernel() | work.ask_kernel() {
                    last = Instant::now();
                } else {
                    work.rest((last.elapsed() / 16).clamp(PAUSE_MIN, PAUSE_MAX));
                }
            }
            // The workers have ended, so this does.
            while work.serve_kernel() {}
        };
        let thread = std::thread::Builder::new().name("host".into()).spawn(serve)?;
        Ok(Self { stop, thread: Some(thread), traffic })
    }
}

impl Drop for Ferry {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            // It cannot panic but for a fault of its own, whose message is out already.
            let _ = thread.join();
        }
    }
}

impl Work {
    /// Passes on what the workers have put into their queues, as far as it is the turn of each; true if there was anything.
    fn serve_kernel(&mut self) -> bool {
        let Self { taps, punts, traffic, .. } = self;
        let mut any = false;
        for queue in punts.iter_mut().flatten() {
            for _ in 0..AT_ONCE {
                let taken = queue.take(|port, frame| {
                    let Some(traffic) = traffic.get(port.index()) else { return };
                    let took = taps.iter().find(|tap| tap.port == port).is_some_and(|tap| tap.write(frame));
                    if took { &traffic.to_host } else { &traffic.errors }.fetch_add(1, Ordering::Relaxed);
                });
                if !taken {
                    break;
                }
                any = true;
            }
        }
        any
    }

    /// Takes over what the kernel sends, as far as there is room: the rest waits in the kernel, which counts what it drops.
    fn ask_kernel(&mut self) -> bool {
        let Self { taps, frames, traffic, .. } = self;
        let mut any = false;
        for tap in taps {
            for _ in 0..AT_ONCE {
                if !frames.put(tap.port, |room| tap.read(room)) {
                    break;
                }
                any = true;
                if let Some(traffic) = traffic.get(tap.port.index()) {
                    traffic.from_host.fetch_add(1, Ordering::Relaxed);
                }
            }
        }
        any
    }

    /// Until the kernel sends something, or for so long.
    fn rest(&self, pause: Duration) {
        // What nobody has room for would end every pause at once.
        if self.frames.is_full() {
            return std::thread::sleep(PAUSE_MIN);
        }
        let mut devices: Vec<PollFd> =
            self.taps.iter().map(|tap| PollFd::from_borrowed_fd(tap.as_fd(), PollFlags::IN)).collect();
        let pause = Timespec { tv_sec: 0, tv_nsec: pause.subsec_nanos().into() };
        // A device that somebody has removed is ready for ever.
        let is_lost = |device: &PollFd| device.revents().contains(PollFlags::ERR);
        if poll(&mut devices, Some(&pause)).is_err() || devices.iter().any(is_lost) {
            std::thread::sleep(PAUSE_MAX);
        }
    }
}
