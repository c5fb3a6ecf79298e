//! `pktgen rfc2544`: the highest rate without loss, by packet size (RFC 2544 section 26.1).

use std::path::PathBuf;
use std::time::{Duration, Instant};

use dpdk_ffi::clock;
use serde::Serialize;

use crate::device::Devices;
use crate::engine::{self, Watcher};
use crate::frame::FCS_LEN;
use crate::live::per_second;
use crate::profile::{Profile, Rate, TrafficKind};
use crate::report::{Quantiles, Report};
use crate::run_command::{OutputArgs, RunError, Teller};
use crate::search::{Search, Trial};
use crate::stop::Stop;

/// Arguments of `pktgen rfc2544`.
#[derive(Debug, Clone, clap::Args)]
pub struct Rfc2544Args {
    /// Profile, see docs/pktgen.md; its traffic is of kind packets
    pub profile: PathBuf,
    #[command(flatten)]
    /// Where the report goes
    pub output: OutputArgs,
    /// Arguments for DPDK's EAL, after those of the profile
    #[arg(last = true, value_name = "EAL ARGS")]
    pub eal: Vec<String>,
}

/// The whole report; docs/pktgen.md has the meaning of each field.
#[derive(Clone, Debug, Serialize)]
pub struct Rfc2544Report {
    /// File that the profile was read from.
    pub profile: String,
    /// Whether a signal ended it before all sizes were tried.
    pub interrupted: bool,
    /// Seconds that each trial sent.
    pub trial_seconds: f64,
    /// Share of packets that a good trial may lose.
    pub loss_tolerance: f64,
    /// Resolution as a share of the highest rate.
    pub resolution: f64,
    /// Each size.
    pub sizes: Vec<SizeReport>,
}

/// What was found for one size.
#[derive(Clone, Debug, Serialize)]
pub struct SizeReport {
    /// Bytes of a packet, frame check sequence included.
    pub packet_size: u16,
    /// The highest rate without too much loss, in packets a second; nothing if there was none.
    pub throughput_pps: Option<f64>,
    /// The same in bits a second on a wire, preamble and gap between frames included.
    pub throughput_bps: Option<f64>,
    /// Whether the generator or the highest rate set the limit, and not the device.
    pub limited_by_generator: bool,
    /// Latency at that rate.
    pub latency_ns: Option<Quantiles>,
    /// Each trial, in order.
    pub trials: Vec<TrialReport>,
}

/// One trial.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct TrialReport {
    /// Packets a second that were wanted.
    pub target_pps: f64,
    /// Packets a second that were sent.
    pub offered_pps: f64,
    /// Packets sent.
    pub sent: u64,
    /// Packets received, each once.
    pub received: u64,
    /// Packets lost.
    pub lost: u64,
    /// Whether not too many were.
    pub good: bool,
}

/// Bytes that a frame takes on a wire beside itself: preamble, start of frame, and the gap (IEEE 802.3).
const WIRE_OVERHEAD: f64 = 20.0;
/// How long the generator is tried out for where the profile names no highest rate.
const PROBE: Duration = Duration::from_millis(500);
/// Between two looks whether the pause is over.
const LOOK: Duration = Duration::from_millis(20);

/// Tries all sizes, and prints what was found.
///
/// # Errors
/// See [`RunError`].
pub fn run(arguments: &Rfc2544Args) -> Result<(), RunError> {
    let profile = Profile::load(&arguments.profile)?;
    let file = arguments.profile.to_string_lossy().into_owned();
    if !profile.traffic.as_ref().is_some_and(|traffic| traffic.kind == TrafficKind::Packets) {
        let message = "rfc2544 needs a client port with [traffic] of kind packets";
        return Err(RunError::Unfit { file, message });
    }
    arguments.output.check()?;
    let stop = Stop::on_signals().map_err(RunError::Signals)?;
    let watcher = Teller { stop, quiet: arguments.output.quiet };
    let mut devices = Devices::start(&profile, &arguments.eal, &mut |line| watcher.say(&line))?;
    devices.wait_for_links(profile.link_timeout, &|| watcher.is_over())?;
    let mut sizes = Vec::new();
    let mut trials =
        Trials { file: &file, profile: &profile, devices: &mut devices, watcher, run: clock::tsc() as u16 };
    for &packet_size in &profile.rfc2544.packet_sizes {
        if !trials.watcher.is_over() {
            sizes.push(trials.size(packet_size)?);
        }
    }
    let report = Rfc2544Report {
        profile: file.clone(),
        interrupted: trials.watcher.is_over(),
        trial_seconds: profile.rfc2544.trial.as_secs_f64(),
        loss_tolerance: profile.rfc2544.loss_tolerance,
        resolution: profile.rfc2544.resolution,
        sizes,
    };
    let table = table(&report.sizes);
    if arguments.output.json.is_none() {
        trials.watcher.say(table.trim_end());
    }
    arguments.output.write(&report, &table)
}

/// What trials need.
struct Trials<'t> {
    file: &'t str,
    profile: &'t Profile,
    devices: &'t mut Devices,
    watcher: Teller,
    /// Mark of the stamps, another one in each trial, so that what is late does not count for the next.
    run: u16,
}

impl Trials<'_> {
    fn size(&mut self, packet_size: u16) -> Result<SizeReport, RunError> {
        let plan = &self.profile.rfc2544;
        let max_pps = match plan.rate_max {
            Rate::PerSecond(pps) => pps,
            Rate::Max => self.generator_pps(packet_size)?,
        };
        let mut search = Search::new(max_pps, plan.resolution, plan.loss_tolerance);
        let mut trials = Vec::new();
        let mut latency_ns = None;
        while let Some(target_pps) = search.next_pps().filter(|_| !self.watcher.is_over()) {
            let report = self.trial(packet_size, Rate::PerSecond(target_pps), plan.trial, plan.wait)?;
            if self.watcher.is_over() {
                // It was cut short, so it tells nothing.
                break;
            }
            let sent = report.sent.map_or(0, |sent| sent.packets);
            let offered_pps = report.sent.map_or(0.0, |sent| sent.pps);
            let trial = Trial { target_pps, offered_pps, sent, lost: report.lost };
            let best_before = search.good().map_or(0.0, |good| good.offered_pps);
            let good = search.take(trial);
            if good && offered_pps > best_before {
                latency_ns = report.latency_ns;
            }
            let outcome = if good { "good".to_owned() } else { format!("lost {}", report.lost) };
            self.watcher.say(&format!("{packet_size:5} bytes  {:>10} pps  {outcome}", per_second(offered_pps)));
            trials.push(TrialReport {
                target_pps,
                offered_pps,
                sent,
                received: sent - report.lost,
                lost: report.lost,
                good,
            });
            self.pause();
        }
        let throughput_pps = search.good().map(|good| good.offered_pps);
        Ok(SizeReport {
            packet_size,
            throughput_pps,
            throughput_bps: throughput_pps.map(|pps| pps * (f64::from(packet_size) + WIRE_OVERHEAD) * 8.0),
            limited_by_generator: search.is_limited_by_generator(),
            latency_ns,
            trials,
        })
    }

    /// How fast the generator is with packets of this size, whatever is lost.
    fn generator_pps(&mut self, packet_size: u16) -> Result<f64, RunError> {
        let report = self.trial(packet_size, Rate::Max, PROBE, self.profile.rfc2544.wait)?;
        self.pause();
        Ok(report.sent.map_or(0.0, |sent| sent.pps).max(1.0))
    }

    fn trial(&mut self, packet_size: u16, rate: Rate, duration: Duration, wait: Duration) -> Result<Report, RunError> {
        let mut profile = self.profile.clone();
        profile.duration = Some(duration);
        profile.wait = wait;
        if let Some(traffic) = &mut profile.traffic {
            traffic.rate = rate;
            traffic.packets_max = None;
            traffic.frame_lens = vec![traffic.header_len_max.max(packet_size - FCS_LEN)];
        }
        self.run = self.run.wrapping_add(1);
        let mut quiet = Quiet(&self.watcher);
        let outcome = engine::run(self.devices, &profile, self.run, &mut quiet)?;
        let report = Report::new(self.file, &profile, self.devices, &outcome);
        engine::give_back(self.devices, outcome.lanes);
        Ok(report)
    }

    /// Lets the device come to rest.
    fn pause(&self) {
        let end = Instant::now() + self.profile.rfc2544.pause;
        while Instant::now() < end && !self.watcher.is_over() {
            std::thread::sleep(LOOK.min(self.profile.rfc2544.pause));
        }
    }
}

/// Watches a trial without a word.
struct Quiet<'w>(&'w Teller);

impl Watcher for Quiet<'_> {
    fn is_over(&self) -> bool {
        self.0.is_over()
    }

    fn line(&mut self, _: u64, _: &str) {}
}

fn table(sizes: &[SizeReport]) -> String {
    let mut text =
        format!("{:>6}  {:>12}  {:>12}  {:>10}  {:>10}  note\n", "bytes", "pps", "bit/s", "p50 us", "p99 us");
    for size in sizes {
        let rate = |rate: Option<f64>| rate.map_or_else(|| "none".to_owned(), per_second);
        let us = |of: fn(&Quantiles) -> u64| {
            size.latency_ns.as_ref().map_or_else(|| "-".to_owned(), |q| format!("{:.1}", of(q) as f64 / 1000.0))
        };
        text += &format!(
            "{:>6}  {:>12}  {:>12}  {:>10}  {:>10}  {}\n",
            size.packet_size,
            rate(size.throughput_pps),
            rate(size.throughput_bps),
            us(|q| q.p50),
            us(|q| q.p99),
            if size.limited_by_generator { "as fast as the generator, or the highest rate" } else { "" }
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_has_a_line_for_each_size() {
        let size = |packet_size, pps| SizeReport {
            packet_size,
            throughput_pps: pps,
            throughput_bps: pps.map(|pps| pps * 672.0),
            limited_by_generator: packet_size == 64,
            latency_ns: None,
            trials: Vec::new(),
        };
        let text = table(&[size(64, Some(14_880_952.0)), size(128, None)]);
        let lines: Vec<Vec<&str>> = text.lines().map(|line| line.split_whitespace().collect()).collect();
        assert_eq!(lines[0][..3], ["bytes", "pps", "bit/s"]);
        assert_eq!(lines[1][..6], ["64", "14.881M", "10.000G", "-", "-", "as"]);
        assert_eq!(lines[2], ["128", "none", "none", "-", "-"]);
    }
}
