//! Puts cases through the binary and compares what comes out with what their directories hold.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::capture;
use crate::case::{Case, Run};
use crate::explain;
use crate::oracle;
use crate::pieces;

/// Where a case lives.
pub fn directory(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name)
}

fn is_blessing() -> bool {
    std::env::var_os("BLESS").is_some_and(|value| value == "1")
}

/// `in.pcap`, or `in.PORT.pcap` where there are several ports.
fn capture_name(case: &Case, direction: &str, port: usize) -> String {
    match case.port_names() {
        [_] => format!("{direction}.pcap"),
        names => format!("{direction}.{}.pcap", names[port]),
    }
}

/// All files of a case that it begins with, by name.
fn sources(case: &Case) -> Vec<(String, Vec<u8>)> {
    let mut files = vec![("config.toml".to_owned(), case.config.clone().into_bytes())];
    for port in 0..case.capture_names().len() {
        let frames =
            case.inputs.iter().filter(|i| case.shares_device || i.port == port).map(|i| (i.at_us, i.frame.as_slice()));
        files.push((capture_name(case, "in", port), capture::bytes(frames)));
    }
    if !case.events.is_empty() {
        files.push(("events.jsonl".into(), (case.events.join("\n") + "\n").into_bytes()));
    }
    files.extend(case.files.iter().map(|(name, text)| ((*name).to_owned(), text.clone().into_bytes())));
    files
}

/// A copy of the case in `to`, its configurations made to point at the files there.
fn lay_out(case: &Case, to: &Path) {
    for (name, mut bytes) in sources(case) {
        if name.ends_with(".toml") {
            let mut text = String::from_utf8(bytes).unwrap();
            for (index, port) in case.port_names().iter().enumerate() {
                let path = |direction| to.join(capture_name(case, direction, index)).display().to_string();
                text = text.replace(&format!("@IN.{port}@"), &path("in"));
                text = text.replace(&format!("@OUT.{port}@"), &path("out"));
            }
            bytes = text.into_bytes();
        }
        fs::write(to.join(name), bytes).unwrap();
    }
}

/// Ends by itself, or is ended and fails the test.
fn output(command: &mut Command) -> Output {
    output_to(command, Stdio::piped())
}

/// For a command that says more than a pipe takes.
fn output_to(command: &mut Command, stdout: Stdio) -> Output {
    let mut child = command.stdin(Stdio::null()).stdout(stdout).stderr(Stdio::piped()).spawn().unwrap();
    let end = Instant::now() + Duration::from_secs(60);
    while child.try_wait().unwrap().is_none() {
        if Instant::now() > end {
            child.kill().unwrap();
            panic!("{command:?} did not end");
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    child.wait_with_output().unwrap()
}

fn succeed(command: &mut Command) {
    let done = output(command);
    let said = String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success(), "{command:?}: {}\n{said}", done.status);
    assert!(!said.contains("panicked at"), "{said}");
}

fn tidegate() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tidegate"));
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("TIDEGATE_")) {
        command.env_remove(name);
    }
    command
}

/// The figures that a case holds: those that depend on nothing but the packets.
fn figures(path: &Path) -> Value {
    let all: Value = serde_json::from_slice(&fs::read(path).unwrap()).unwrap();
    let c = &all["connections"];
    json!({
        "rx_packets": all["rx_packets"],
        "rx_bytes": all["rx_bytes"],
        "tx_packets": all["tx_packets"],
        "tx_bytes": all["tx_bytes"],
        "replies": all["replies"],
        "punts": all["punts"],
        "held": all["held"],
        "originated": all["originated"],
        "stateless": all["stateless"],
        "adopted": all["adopted"],
        "drops": all["drops"],
        "connections": {
            "active": c["active"], "created": c["created"], "expired": c["expired"], "evicted": c["evicted"],
        },
        "services": all["services"],
    })
}

/// What came out of one port.
type Frames = Vec<Vec<u8>>;

/// Output captures as bytes and as frames, by port, and the figures.
fn replay_once(case: &Case) -> (Vec<Vec<u8>>, Vec<Frames>, Value) {
    let temporary = tempfile::tempdir().unwrap();
    let at = temporary.path();
    lay_out(case, at);
    let mut command = tidegate();
    command.arg("replay").arg("--config").arg(at.join("config.toml")).arg("--stats").arg(at.join("stats.json"));
    let paths: Vec<PathBuf> =
        (0..case.capture_names().len()).map(|port| at.join(capture_name(case, "out", port))).collect();
    for (port, name) in case.capture_names().iter().enumerate() {
        let input = at.join(capture_name(case, "in", port));
        command.arg("--in").arg(format!("{name}={}", input.display()));
        command.arg("--out").arg(format!("{name}={}", paths[port].display()));
    }
    if !case.events.is_empty() {
        command.arg("--events").arg(at.join("events.jsonl"));
    }
    succeed(&mut command);
    let bytes = paths.iter().map(|path| fs::read(path).unwrap()).collect();
    let frames = case.by_port(paths.iter().map(|path| capture::frames(path)).collect());
    (bytes, frames, figures(&at.join("stats.json")))
}

/// Twice through `tidegate replay`: by the rules, and as the case's directory has it.
pub fn replay(case: &Case) {
    let directory = directory(case.name);
    let (bytes, frames, stats) = replay_once(case);
    let (again, _, stats_again) = replay_once(case);
    assert!(bytes == again && stats == stats_again, "{}: the second replay differs from the first", case.name);
    if let Err(broken) = oracle::judge(case, &frames, &stats) {
        panic!("{}: {broken}\n{stats:#}", case.name);
    }
    let mut files = sources(case);
    files.extend(bytes.into_iter().enumerate().map(|(port, bytes)| (capture_name(case, "out", port), bytes)));
    files.push(("stats.json".into(), format!("{stats:#}\n").into_bytes()));
    if is_blessing() {
        if directory.exists() {
            fs::remove_dir_all(&directory).unwrap();
        }
        fs::create_dir_all(&directory).unwrap();
    }
    for (name, bytes) in files {
        let path = directory.join(&name);
        if is_blessing() {
            fs::write(&path, &bytes).unwrap();
        }
        let kept = fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}; BLESS=1 makes it", path.display()));
        assert!(kept == bytes, "{} is not what comes out now; BLESS=1 takes it over", path.display());
    }
}

/// Through `tidegate explain`: each frame by itself as the case's directory has them all together.
pub fn explain(case: &Case) {
    if is_blessing() {
        return;
    }
    let (temporary, directory) = (tempfile::tempdir().unwrap(), directory(case.name));
    let at = temporary.path();
    lay_out(case, at);
    let mut command = tidegate();
    command.arg("explain").arg("--json").arg("--config").arg(at.join("config.toml"));
    for (port, name) in case.capture_names().iter().enumerate() {
        command.arg("--pcap").arg(format!("{name}={}", at.join(capture_name(case, "in", port)).display()));
    }
    if !case.events.is_empty() {
        command.arg("--events").arg(at.join("events.jsonl"));
    }
    let said = at.join("explained.json");
    let done = output_to(&mut command, fs::File::create(&said).unwrap().into());
    assert!(done.status.success(), "{}: {}", case.name, String::from_utf8_lossy(&done.stderr));
    let kept = 0..case.capture_names().len();
    let kept = kept.map(|port| capture::frames(&directory.join(capture_name(case, "out", port)))).collect();
    let names = case.port_names().iter().map(|name| name.to_string());
    let out: Vec<_> = names.zip(case.by_port(kept)).collect();
    let explained = serde_json::from_slice(&fs::read(said).unwrap()).unwrap();
    explain::agrees(case.name, &explained, &figures(&directory.join("stats.json")), &out);
}

/// Through `tidegate run` on capture devices: the frames and figures that the case's directory has.
pub fn run(case: &Case) {
    if let Run::Skip(why) = case.run {
        return println!("#### NOT THROUGH `tidegate run`: {}: {why}", case.name);
    }
    if !cfg!(feature = "dpdk") || is_blessing() {
        return println!("#### NOT THROUGH `tidegate run`: {}: built without dpdk, or blessing", case.name);
    }
    // On a busy machine the packets may take longer than usual.
    for seconds in ["0.3", "3", "15"] {
        let (frames, stats) = run_once(case, seconds);
        if stats["rx_packets"] == case.inputs.len() {
            return compare(case, &frames, &stats);
        }
    }
    panic!("{}: not all packets were received", case.name);
}

fn run_once(case: &Case, seconds: &str) -> (Vec<Frames>, Value) {
    let temporary = tempfile::tempdir().unwrap();
    let at = temporary.path();
    lay_out(case, at);
    let mut command = tidegate();
    command.arg("--socket").arg(at.join("socket")).arg("run").arg("--config").arg(at.join("config.toml"));
    command.arg("--stats").arg(at.join("stats.json")).args(["--for", seconds, "--", "--no-huge"]);
    succeed(&mut command);
    let all: Value = serde_json::from_slice(&fs::read(at.join("stats.json")).unwrap()).unwrap();
    assert_eq!(all["mbufs_in_use"], 0, "{}: packet buffers are lost", case.name);
    let ports = 0..case.capture_names().len();
    let frames = ports.map(|port| capture::frames(&at.join(capture_name(case, "out", port)))).collect();
    (case.by_port(frames), figures(&at.join("stats.json")))
}

fn compare(case: &Case, frames: &[Frames], stats: &Value) {
    let directory = directory(case.name);
    let mut stats = stats.clone();
    let mut wanted = figures(&directory.join("stats.json"));
    if case.run == Run::AsksVary {
        stats["originated"] = Value::Null;
        wanted["originated"] = Value::Null;
    }
    assert_eq!(stats, wanted, "{}: figures", case.name);
    let kept = 0..case.capture_names().len();
    let kept = kept.map(|port| capture::frames(&directory.join(capture_name(case, "out", port)))).collect();
    for (port, (got, wanted)) in frames.iter().zip(case.by_port(kept)).enumerate() {
        let name = format!("{}, port {port}", case.name);
        let drawn = case.name.starts_with("full-nat");
        let split = |frames: &[Vec<u8>]| -> (Frames, Frames) {
            let frames = frames.iter().map(|frame| pieces::without_identification(frame, drawn));
            frames.partition(|frame| oracle::is_own(frame))
        };
        let ((own, got), (own_wanted, wanted)) = (split(got), split(&wanted));
        assert!(own == own_wanted || case.run == Run::AsksVary, "{name}: questions to neighbours differ");
        match case.run {
            // What waited for a first fragment leaves some turns after it, beside what came later.
            Run::Flows if case.name.starts_with("fragments") => assert_eq!(sorted(got), sorted(wanted), "{name}"),
            Run::Flows => assert_eq!(by_flow(&got), by_flow(&wanted), "{name}"),
            _ => merges(&name, &got, &wanted, &oracle::answers(case, port)),
        }
    }
}

/// The frames of each flow in order, flows sorted.
fn sorted(mut frames: Vec<Vec<u8>>) -> Vec<Vec<u8>> {
    frames.sort();
    frames
}

fn by_flow(frames: &[Vec<u8>]) -> Vec<(String, Vec<u8>)> {
    let mut flows: Vec<_> = frames.iter().map(|frame| (oracle::flow_of(frame), frame.clone())).collect();
    flows.sort_by(|a, b| a.0.cmp(&b.0));
    flows
}

/// Forwarded frames in the same order and answers in the same order: answers may leave before packets that are forwarded
/// together with others. `answers` says which of `wanted` are answers.
fn merges(name: &str, got: &[Vec<u8>], wanted: &[Vec<u8>], answers: &[bool]) {
    assert_eq!((got.len(), answers.len()), (wanted.len(), wanted.len()), "{name}: number of frames");
    let of = |class: bool| wanted.iter().zip(answers).filter(move |(_, is)| **is == class).map(|(frame, _)| frame);
    let (mut forwarded, mut answered) = (of(false).peekable(), of(true).peekable());
    for (number, frame) in got.iter().enumerate() {
        let known = forwarded.next_if_eq(&frame).or_else(|| answered.next_if_eq(&frame));
        assert!(known.is_some(), "{name}: frame {} is not the next one: {frame:02x?}", number + 1);
    }
}

/// Spoils what the case's directory holds in every way it can, and expects each to be noticed.
pub fn spoil(case: &Case) {
    let directory = directory(case.name);
    let stats = figures(&directory.join("stats.json"));
    let load = |port| capture::frames(&directory.join(capture_name(case, "out", port)));
    let good: Vec<Frames> = (0..case.port_names().len()).map(load).collect();
    assert_eq!(oracle::judge(case, &good, &stats), Ok(()));
    let noticed = |what: String, bad: &[Frames]| {
        assert!(oracle::judge(case, bad, &stats).is_err(), "{}: {what} goes unnoticed", case.name);
    };
    for (port, number) in good.iter().enumerate().flat_map(|(port, frames)| (0..frames.len()).map(move |n| (port, n))) {
        let with = |change: &dyn Fn(&mut Frames)| {
            let mut bad = good.clone();
            change(&mut bad[port]);
            bad
        };
        let frame = &good[port][number];
        for at in 0..frame.len().min(130) {
            // The flow label of a header of our own may be anything.
            if frame[12..14] == [0x86, 0xdd] && (15..18).contains(&at) {
                continue;
            }
            noticed(format!("byte {at} of frame {number}"), &with(&|frames| frames[number][at] ^= 0x10));
        }
        noticed(format!("frame {number} missing"), &with(&|frames| _ = frames.remove(number)));
        noticed(format!("frame {number} twice"), &with(&|frames| frames.insert(number, frames[number].clone())));
        noticed(format!("frame {number} cut"), &with(&|frames| _ = frames[number].pop()));
    }
}
