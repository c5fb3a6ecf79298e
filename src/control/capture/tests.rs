//! Filters as tcpdump understands them, their faults, and captures from begin to end.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;

use super::course::Stream;
use super::*;
use crate::control::fixture;
use crate::lb::capture::Eye;
use crate::lb::capture::filter::Filter;
use crate::lb::clock::Now;
use crate::lb::handle::{Request, WorkerHandle};
use crate::lb::ids::{PortId, WorkerId};
use crate::lb::packet::HeapPacket;
use crate::lb::snapshot::Snapshot;
use crate::lb::testing::{Frame, all_modes};
use crate::lb::verdict::{DropReason, Verdict};
use crate::wire::pcap;

const TX: Verdict = Verdict::Tx(PortId(0));
const DROP: Verdict = Verdict::Drop(DropReason::NoBackend);

fn filter(text: &str) -> Filter {
    Filter::new(&parse(text).unwrap_or_else(|error| panic!("{error}"))).unwrap()
}

/// Filters that tcpdump reads as well.
const FILTERS: &[&str] = &[
    "",
    "ip",
    "ip6",
    "arp",
    "tcp",
    "udp",
    "icmp",
    "icmp6",
    "not tcp",
    "host 192.0.2.10",
    "src host 198.51.100.7",
    "dst 192.0.2.10",
    "src or dst host 192.0.2.10",
    "src and dst host 192.0.2.10",
    "src net 198.51.100.0/24",
    "net 192.0.2.0 mask 255.255.255.0",
    "net 10",
    "dst net 192.0",
    "host 2001:db8::10",
    "net 2001:db8::/32",
    "net 2001:db8:1::/80",
    "ip host 10.0.0.1",
    "arp host 10.0.0.1",
    "port 80",
    "src port 80",
    "dst port 80 or 53",
    "tcp port 80",
    "udp dst port 53",
    "tcp dst portrange 80-443",
    "portrange 1000-50000",
    "port 80 and not host 198.51.100.7",
    "not (tcp port 80 or udp port 53) and ip",
    "! tcp && ! udp || icmp",
    "tcp or udp and host 192.0.2.10",
    "host 192.0.2.10 or 192.0.2.20 or 192.0.2.30",
    "ip proto 47",
    "ip6 proto 58",
    "ip proto \\tcp",
    "less 64",
    "greater 100",
    "greater 60 and less 200",
    "ip and tcp[tcpflags] & tcp-syn != 0",
    "ip and tcp[tcpflags] & (tcp-syn|tcp-ack) == tcp-syn",
    "ip and tcp[13] = 0x10",
    "ether host 02:00:00:00:00:01",
    "ether src 02:00:00:00:00:01 and port 80",
    "not port 80",
    "not host 192.0.2.10",
];

/// Frames of all golden captures, but those that we look deeper into than tcpdump does: behind VLAN tags and IPv6
/// extension headers. Where the two differ on damaged frames is a matter of nobody's.
fn golden_frames() -> Vec<Vec<u8>> {
    let mut frames = Vec::new();
    for case in std::fs::read_dir("tests/golden").unwrap().flatten() {
        for file in std::fs::read_dir(case.path()).into_iter().flatten().flatten() {
            if file.path().extension().is_some_and(|extension| extension == "pcap") {
                read_pcap(&std::fs::read(file.path()).unwrap(), &mut |frame| frames.push(frame.to_vec()));
            }
        }
    }
    frames.sort();
    frames.dedup();
    frames.retain(|frame| {
        let tagged =
            frame.get(12..14).is_some_and(|kind| [[0x81, 0], [0x88, 0xA8], [0x91, 0]].iter().any(|tag| kind == tag));
        let deep = frame.get(12..14) == Some(&[0x86, 0xDD]) && matches!(frame.get(20), Some(0 | 43 | 44 | 60));
        let header = match frame.get(12..15) {
            Some([8, 0, first]) => 14 + usize::from(first & 15).max(5) * 4 + 14,
            Some([8, 6, _]) => 42,
            Some([0x86, 0xDD, _]) => 74,
            _ => 15,
        };
        let whole = frame.len() >= header && (frame[12..14] != [8, 0] || frame[14] & 15 >= 5);
        !tagged && !deep && whole
    });
    frames
}

fn read_pcap(mut file: &[u8], each: &mut impl FnMut(&[u8])) {
    let mut reader = pcap::Reader::new(&mut file).unwrap();
    while let Some(record) = reader.next_record().unwrap() {
        each(record.data);
    }
}

#[test]
fn the_same_frames_match_as_in_tcpdump() {
    if Command::new("tcpdump").arg("--version").output().is_err() {
        println!("SKIPPED: tcpdump is not installed");
        return;
    }
    let frames = golden_frames();
    assert!(frames.len() > 500, "{} frames", frames.len());
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("all.pcap");
    let mut writer = pcap::Writer::new(Vec::new(), pcap::Resolution::Nanos).unwrap();
    // The time of a frame is its number, so that what comes back can be told apart.
    (0..).zip(&frames).for_each(|(number, frame)| writer.write(number, frame).unwrap());
    std::fs::write(&path, writer.finish().unwrap()).unwrap();
    let mut used = 0;
    for text in FILTERS {
        let expected = by_tcpdump(&path, text);
        let filter = filter(text);
        let matching = |frame: &Vec<u8>| filter.matches(frame, frame.len(), TX);
        let ours: BTreeSet<u64> =
            (0..).zip(&frames).filter(|(_, frame)| matching(frame)).map(|(number, _)| number).collect();
        let differing = ours.symmetric_difference(&expected).next();
        assert_eq!(differing, None, "{text}: {:02x?}", differing.map(|&n| &frames[n as usize]));
        used += usize::from(!ours.is_empty() && ours.len() < frames.len());
        for frame in &frames {
            assert!(!matching(frame) || filter.may_match(frame, frame.len()), "{text}: {frame:02x?}");
        }
    }
    assert!(used >= 40, "only {used} filters tell the frames apart");
}

fn by_tcpdump(path: &Path, text: &str) -> BTreeSet<u64> {
    let mut command = Command::new("tcpdump");
    command.args(["--nano", "-nr"]).arg(path).args(["-w", "-", text]).stderr(Stdio::piped());
    let output = command.output().unwrap();
    assert!(output.status.success(), "{text}: {}", String::from_utf8_lossy(&output.stderr));
    let mut file = &output.stdout[..];
    let mut reader = pcap::Reader::new(&mut file).unwrap();
    let mut numbers = BTreeSet::new();
    while let Some(record) = reader.next_record().unwrap() {
        numbers.insert(record.timestamp_ns);
    }
    numbers
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    /// The look at first sight never hides what matches, whatever the frame.
    #[test]
    fn first_sight_hides_nothing(
        number in 0..FILTERS.len(),
        kind in prop::sample::select(vec![[8u8, 0, 0x45], [8, 0, 0x46], [0x86, 0xDD, 0x60], [0x81, 0, 0], [8, 6, 0]]),
        protocol in prop::sample::select(vec![6u8, 17, 1, 58, 47]),
        source in prop::sample::select(vec![[192u8, 0, 2, 10], [198, 51, 100, 7], [0, 0, 0, 0], [255; 4]]),
        port in prop::sample::select(vec![[0u8, 80], [0, 53], [255, 255], [0, 0]]),
        tagged: bool,
        noise in prop::collection::vec(any::<u8>(), 0..120),
    ) {
        let mut frame = noise.clone();
        frame.resize(120, 0);
        let l3 = if tagged { 18 } else { 14 };
        frame[l3 - 2..l3 + 1].copy_from_slice(&kind);
        if tagged {
            frame[12..14].copy_from_slice(&[0x81, 0]);
        }
        (frame[l3 + 6], frame[l3 + 7]) = if kind[0] == 8 { (0, 0) } else { (protocol, 64) };
        if kind[0] == 8 {
            frame[l3 + 9] = protocol;
        }
        frame[l3 + 12..l3 + 16].copy_from_slice(&source);
        let l4 = l3 + if kind[0] == 8 { 20 } else { 40 };
        frame[l4..l4 + 2].copy_from_slice(&port);
        frame.truncate(14 + noise.len());
        let filter = filter(FILTERS[number]);
        prop_assert!(!filter.matches(&frame, frame.len(), TX) || filter.may_match(&frame, frame.len()));
    }

    /// Whatever is typed gets an answer.
    #[test]
    fn any_text_is_read_or_refused(words in prop::collection::vec(
        prop::sample::select(vec!["tcp", "host", "(", ")", "not", "and", "or", "10.0.0.1", "port", "80", "drop", "verdict", "[", "&",
            "src", "dst", "net", "/", "10.0.0.0/8", "tcpflags", "!=", "vlan", "ü", "less", "mask", "proto", "1-0"]), 0..20))
    {
        if let Err(error) = parse(&words.join(" ")) {
            prop_assert!(error.to_string().contains('^'));
        }
    }
}

#[test]
fn words_of_our_own() {
    let frame = Frame::syn("198.51.100.7:40000", "192.0.2.10:80").build();
    let is = |text: &str, verdict| filter(text).matches(&frame, frame.len(), verdict);
    assert!(is("drop", DROP) && !is("drop", TX) && is("drop no_backend", DROP) && !is("drop runt", DROP));
    assert!(is("drop and host 192.0.2.10", DROP) && !is("drop and host 192.0.2.11", DROP));
    assert!(is("verdict forward", TX) && is("verdict drop", DROP) && !is("verdict reply", TX));
    assert!(is("tcp and (verdict forward or drop runt)", TX) && !is("tcp and (verdict forward or drop runt)", DROP));
    let tagged = Frame::syn("198.51.100.7:40000", "192.0.2.10:80").with(|f| f.vlan = vec![100]).build();
    let is = |text: &str| filter(text).matches(&tagged, tagged.len(), TX);
    assert!(is("vlan") && is("vlan 100 and port 80") && is("host 192.0.2.10") && !is("vlan 101"));
}

#[test]
fn faults_name_the_place_and_what_was_meant() {
    for (text, place, said) in [
        ("hots 10.0.0.1", "^^^^", "did you mean `host`?"),
        ("tcp prot 80", "    ^^^^", "did you mean `port`?"),
        ("tcp and", "       ^", "the filter ends where"),
        ("(tcp", "    ^", "`)` is missing here"),
        ("tcp)", "   ^", "no `(` for this `)`"),
        ("tcp udp", "    ^^^", "put `and` or `or` between them"),
        ("host 10.0.0.0/8", "     ^^^^^^^^^^", "write `net 10.0.0.0/8`"),
        ("host 300.0.0.1", "     ^^^^^^^^^", "no IP address"),
        ("host www.example.org", "     ^^^^^^^^^^^^^^^", "names are not looked up"),
        ("port http", "     ^^^^", "names are not looked up"),
        ("port 70000", "     ^^^^^", "0 to 65535"),
        ("portrange 443-80", "          ^^^^^^", "did you mean 80-443?"),
        ("net 10.0.0.0/33", "    ^^^^^^^^^^^", "prefix is too long"),
        ("drop no_backends", "     ^^^^^^^^^^^", "did you mean `no_backend`?"),
        ("verdict forwards", "        ^^^^^^^^", "did you mean `forward`?"),
        ("vlan 4096", "     ^^^^", "0 to 4095"),
        ("tcp[tcpflags] & tcp-sync != 0", "                ^^^^^^^^", "did you mean `tcp-syn`?"),
        ("tcp[20] = 1", "    ^^", "only tcp[tcpflags]"),
        ("10.0.0.1 ü", "         ^", "means nothing here"),
        ("80", "^^", "write `port 80`"),
    ] {
        let error = parse(text).expect_err(text).to_string();
        let lines: Vec<&str> = error.lines().collect();
        assert!(lines[0].contains(said), "{text}: {error}");
        assert_eq!((lines[1], lines[2]), (&*format!("    {text}"), &*format!("    {place}")), "{error}");
    }
    assert!(parse(&"(".repeat(100)).unwrap_err().to_string().contains("more than 32"));
    assert!(parse(&"a".repeat(5000)).unwrap_err().to_string().contains("at most 4096"));
    let long = parse(&vec!["port 1"; 101].join(" or ")).unwrap();
    assert!(Filter::new(&long).unwrap_err().to_string().contains("101 tests: at most 100"));
}

/// A worker that puts the same packet before its eye all the time.
fn looking(worker: &WorkerHandle, verdict: Verdict) {
    let requests = worker.requests.clone();
    std::thread::spawn(move || {
        let frame = HeapPacket::new(&Frame::syn("198.51.100.7:40000", "192.0.2.10:80").build());
        let snapshot = Snapshot::build(all_modes(), None).unwrap();
        let mut eye: Option<Box<Eye>> = None;
        for turn in 0u64.. {
            if let Some(Request::Capture { eye: next, reply }) = requests.pop() {
                let before = std::mem::replace(&mut eye, next);
                let over = eye.is_none();
                reply.try_send((before, Now::from_ns(turn))).unwrap();
                if over {
                    return;
                }
            }
            if let Some(eye) = &mut eye {
                eye.before(&snapshot, std::slice::from_ref(&frame), 1);
                eye.after(Now::from_ns(turn), std::slice::from_ref(&frame), &[verdict], false, |_| PortId(0));
            }
            std::thread::sleep(Duration::from_micros(100));
        }
    });
}

struct Running {
    runtime: tokio::runtime::Runtime,
    captures: Arc<Captures>,
    workers: Vec<WorkerHandle>,
    manager: crate::control::manager::Manager,
}

impl Running {
    fn new() -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let dir = tempfile::tempdir().unwrap();
        let manager = fixture::manager(&fixture::file(dir.path(), "tidegate.toml", &fixture::edited(&[])));
        let workers = manager.worker_handles();
        workers.iter().for_each(|worker| looking(worker, DROP));
        Self { runtime, captures: Arc::default(), workers, manager }
    }

    fn start(&self, request: &CaptureRequest) -> Result<Stream, CaptureError> {
        let published = self.manager.published();
        let settings = request.settings(&published.current())?;
        let _inside = self.runtime.enter();
        start(&self.captures, settings, self.workers.clone(), published, self.runtime.handle())
    }

    /// All that comes, and what is said of it.
    fn rest(&self, mut stream: Stream) -> (Vec<u8>, CaptureStatus) {
        let mut all = Vec::new();
        while let Some(chunk) = self.runtime.block_on(stream.recv()) {
            all.extend(chunk);
        }
        (all, self.captures.status())
    }
}

fn request(filter: &str) -> CaptureRequest {
    CaptureRequest { filter: filter.to_owned(), format: Format::Text, ..CaptureRequest::default() }
}

#[test]
fn captures_end_by_count_and_on_request_and_there_is_one_at_a_time() {
    let running = Running::new();
    let stream = running.start(&CaptureRequest { count: Some(5), ..request("drop") }).unwrap();
    let (text, status) = running.rest(stream);
    let text = String::from_utf8(text).unwrap();
    let expected = "IP 198.51.100.7.40000 > 192.0.2.10.80: Flags [S], length 0 -- drop no_backend: The service has no";
    assert_eq!(text.lines().filter(|line| line.contains(expected)).count(), 5, "{text}");
    assert_eq!((status.running, status.packets, status.ended.as_deref()), (false, 5, Some("count")));

    running.workers.iter().for_each(|worker| looking(worker, TX));
    let stream = running.start(&request("tcp")).unwrap();
    let busy = running.start(&request("udp")).unwrap_err().to_string();
    assert!(busy.contains("a capture runs already (filter: tcp)"), "{busy}");
    assert!(running.captures.stop());
    let (text, status) = running.rest(stream);
    assert_eq!(String::from_utf8(text).unwrap().lines().count() as u64, status.packets);
    assert_eq!(status.ended.as_deref(), Some("asked"));
    assert!(!running.captures.stop(), "none runs any more");
}

#[test]
fn captures_end_with_their_client_and_by_size() {
    let running = Running::new();
    drop(running.start(&request("")).unwrap());
    for _ in 0..300 {
        if !running.captures.status().running {
            break;
        }
        running.runtime.block_on(async { tokio::time::sleep(Duration::from_millis(10)).await });
    }
    assert_eq!(running.captures.status().ended.as_deref(), Some("client gone"));
    running.workers.iter().for_each(|worker| looking(worker, DROP));
    let all = CaptureRequest { bytes_max: Some(5000), ..CaptureRequest::default() };
    let (file, status) = running.rest(running.start(&all).unwrap());
    assert_eq!(status.ended.as_deref(), Some("size"));
    assert!(file.len() < 6000 && status.packets > 10, "{} bytes, {status:?}", file.len());
}

#[test]
fn requests_are_checked_before_anything_begins() {
    let snapshot = Running::new().manager.snapshot();
    let fault = |request: CaptureRequest| request.settings(&snapshot).unwrap_err().to_string();
    assert!(fault(request("prot 80")).contains("did you mean `port`?"));
    assert!(
        fault(CaptureRequest { port: Some("van".into()), ..request("") }).contains("no port is named van; there are: ")
    );
    assert_eq!(fault(CaptureRequest { snaplen: Some(10), ..request("") }), "snaplen = 10: 64 to 65535 are possible");
    assert_eq!(
        fault(CaptureRequest { count: Some(0), ..request("") }),
        format!("count = 0: 1 to {} are possible", u64::MAX)
    );
    assert!(fault(CaptureRequest { buffer: Some(u32::MAX), ..request("") }).starts_with("buffer = 4294967295: 1 to "));
}

#[test]
fn a_worker_that_does_not_answer_is_named_and_the_place_is_free_again() {
    let running = Running::new();
    let id = WorkerId(running.workers.len() as u16 - 1);
    let mut workers = running.workers.clone();
    let last = workers.last_mut().unwrap();
    last.requests = Arc::new(crossbeam::queue::ArrayQueue::new(1));
    let published = running.manager.published();
    let settings = request("").settings(&published.current()).unwrap();
    let error = start(&running.captures, settings, workers, published, running.runtime.handle()).unwrap_err();
    assert!(error.to_string().contains(&format!("worker {} does not answer", id.0)), "{error}");
    assert!(!running.captures.status().running && running.captures.claim("").is_ok());
}
