//! Random traffic through the packet path and through a small reference that was written apart from it: the same fate for
//! every packet, and the same bytes.
//!
//! `MODEL_SEQUENCES` is how many sequences are tried, `MODEL_SEED` the first one's seed. What differs is cut down to the
//! fewest steps that still differ and printed.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

mod chance;
mod crossing;
mod discovery;
mod fragments;
mod icmp;
mod local;
#[allow(dead_code, reason = "what the golden cases need besides")]
#[path = "../golden/packet.rs"]
mod packet;
mod product;
mod read;
mod reference;
mod rewrite;
mod tcp;
mod traffic;
mod tunnel;
mod world;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::LazyLock;

use tidegate::control::config::Config;

use packet::{ICMP, ICMP6, RST};
use product::Product;
use read::{Content, word};
use reference::{Choices, Fate, Reference, Tuple};
use rewrite::Socket;
use traffic::{Step, Traffic};
use tunnel::Entropy;
use world::{FULL_NAT, Mode, Service, VARIANTS, WORLDS, World, world};

/// Without a wish: about ten seconds on one slow core.
const SEQUENCES: u64 = 4000;

/// A world under each of its configurations.
static CONFIGS: LazyLock<Vec<(World, Config)>> = LazyLock::new(|| {
    let all = (0..WORLDS).flat_map(|number| (0..VARIANTS).map(move |variant| world(number, variant)));
    let config = |world: World| {
        let text = world.text();
        let config = Config::parse(&text, "model.toml").unwrap_or_else(|errors| panic!("{errors}\n{text}"));
        (world, config)
    };
    all.map(config).collect()
});

fn configured(number: usize, variant: usize) -> &'static (World, Config) {
    &CONFIGS[number * VARIANTS + variant]
}

/// How often each fate was met.
type Fates = BTreeMap<&'static str, u64>;

/// Both sides of one sequence.
struct Both {
    number: usize,
    reference: Reference,
    product: Product,
    traffic: Traffic,
    burst: Vec<(usize, Vec<u8>)>,
    fates: Fates,
}

impl Both {
    fn new(number: usize, seed: u64) -> Self {
        let (world, config) = configured(number, 0);
        let now_ns = 5_300_000_000;
        Self {
            number,
            reference: Reference::new(world.clone(), now_ns),
            product: Product::new(world, config, now_ns),
            traffic: Traffic::new(seed, world),
            burst: Vec::new(),
            fates: Fates::new(),
        }
    }

    fn step(&mut self, step: Step) -> Result<(), String> {
        match step {
            Step::Process => self.process(),
            Step::Wait(ms) => {
                self.process()?;
                self.reference.now_ns += ms * 1_000_000;
                self.product.now_ns = self.reference.now_ns;
                let (got, wanted) = (self.product.timed_out(), self.reference.timed_out());
                *self.fates.entry("fragment_timeout").or_default() += got as u64;
                let text = || format!("{got} fragments have waited in vain, and {wanted} in the model");
                if got == wanted { Ok(()) } else { Err(text()) }
            }
            Step::Reload(variant) => {
                self.process()?;
                let (world, config) = configured(self.number, variant);
                self.reference.reload(world.clone());
                self.product.reload(config);
                Ok(())
            }
            // What one worker hands to another is behind what it keeps, so order counts only for what comes alone.
            piece @ Step::Fragment { .. } => {
                self.process()?;
                self.burst.extend(self.traffic.frame(piece, &self.reference.world));
                self.process()
            }
            packet => {
                let frame = self.traffic.frame(packet, &self.reference.world);
                // In a burst, what follows a RST may be looked at before it, and it is not the next one then.
                let ends_burst = frame.as_ref().is_some_and(|(_, frame)| is_rst(frame));
                self.burst.extend(frame);
                if ends_burst || self.burst.len() == 32 { self.process() } else { Ok(()) }
            }
        }
    }

    /// Both take in the burst and say what becomes of each of its packets.
    fn process(&mut self) -> Result<(), String> {
        let burst = std::mem::take(&mut self.burst);
        let got = self.product.burst(&burst);
        self.compare(&burst, got)?;
        let (got, released) = (self.product.release(), self.reference.released());
        if got.len() != released.len() {
            return Err(format!("{} fragments are let go, and {} in the model", got.len(), released.len()));
        }
        self.compare(&released, got)
    }

    fn compare(&mut self, burst: &[(usize, Vec<u8>)], got: Vec<Fate>) -> Result<(), String> {
        for ((port, frame), got) in burst.iter().zip(got) {
            let choices = Observed { product: &self.product, got: &got };
            let wanted = self.reference.step(*port, frame, &choices);
            if got != wanted {
                return Err(format!("by port {port} {}\n{}", hex(frame), difference(&got, &wanted)));
            }
            *self.fates.entry(word_for(frame, &got)).or_default() += 1;
            if let Fate::Sent(port, frame) = &got {
                self.traffic.note(*port, frame);
            }
        }
        Ok(())
    }

    fn finish(&mut self) -> Result<(), String> {
        self.process()?;
        let r = &self.reference;
        let wanted = [r.created, r.adopted, r.stateless, r.active() as u64];
        let got = self.product.figures();
        let text = || format!("created, adopted, stateless, active: the product counts {got:?}, the model {wanted:?}");
        if got == wanted { Ok(()) } else { Err(text()) }
    }
}

/// What the product has chosen for a packet.
struct Observed<'a> {
    product: &'a Product,
    got: &'a Fate,
}

impl Choices for Observed<'_> {
    fn backend(&self, service: &Service, tuple: Tuple) -> Option<IpAddr> {
        self.product.choose(service, tuple)
    }

    fn local_end(&self) -> Option<Socket> {
        let Fate::Sent(_, frame) = self.got else { return None };
        match read::frame(frame).ok()?.content {
            // Of an error about a packet to there.
            Content::Ip(ip) if matches!(ip.protocol, ICMP | ICMP6) => Some(read::quote(&ip.upper()[8..]).ok()?.ends?.1),
            // A later fragment does not say.
            Content::Ip(ip) => (ip.has_ports() && !ip.is_later()).then(|| ip.ends().0),
            Content::Arp(_) => None,
        }
    }

    fn identification(&self) -> u16 {
        let Fate::Sent(_, frame) = self.got else { return 0 };
        match read::frame(frame) {
            Ok(read::Frame { content: Content::Ip(ip), .. }) if ip.is_v4 => word(&ip.bytes, 4) as u16,
            _ => 0,
        }
    }

    fn entropy(&self, mode: Mode) -> (Entropy, u16) {
        let (Fate::Sent(_, frame) | Fate::InPieces(_, frame)) = self.got else { return Default::default() };
        let Ok(read::Frame { content: Content::Ip(ip), .. }) = read::frame(frame) else { return Default::default() };
        let label = if ip.is_v4 { 0 } else { (word(&ip.bytes, 0) as u32 & 15) << 16 | word(&ip.bytes, 2) as u32 };
        let (source_port, check) = match mode {
            Mode::Gue if ip.has_ports() && !ip.is_later() => (ip.ends().0.1, word(ip.upper(), 6) as u16),
            _ => (0, 0),
        };
        (Entropy { label, source_port }, check)
    }
}

fn word_for(frame: &[u8], fate: &Fate) -> &'static str {
    match fate {
        Fate::Sent(_, out) => way(frame, out),
        Fate::InPieces(..) => "in_pieces",
        Fate::Held => "held",
        Fate::Waits => "waits",
        Fate::Answered(_) => "answered",
        Fate::Dropped(reason) => reason,
    }
}

fn is_rst(frame: &[u8]) -> bool {
    let Ok(read::Frame { content: Content::Ip(ip), .. }) = read::frame(frame) else { return false };
    ip.tcp_flags() & RST != 0
}

/// How a frame is sent on.
fn way(came: &[u8], frame: &[u8]) -> &'static str {
    let is_v4 = |frame: &[u8]| match read::frame(frame) {
        Ok(read::Frame { content: Content::Ip(ip), .. }) => Some(ip.is_v4),
        _ => None,
    };
    match read::frame(frame) {
        Ok(read::Frame { content: Content::Ip(ip), .. }) => match ip.protocol {
            4 | 41 => "sent in ipip",
            47 => "sent in gre",
            17 if !ip.is_fragment && ip.ends().1.1 == tunnel::GUE_PORT => "sent in gue",
            _ if ip.is_fragment && is_v4(came) != Some(ip.is_v4) => "fragment sent across",
            _ if is_v4(came) != Some(ip.is_v4) => "sent across",
            _ if ip.is_fragment => "fragment sent",
            _ => "sent",
        },
        _ => "sent",
    }
}

/// The headers, and as much behind them as helps.
fn hex(bytes: &[u8]) -> String {
    let text: String = bytes.iter().take(160).map(|byte| format!("{byte:02x}")).collect();
    if bytes.len() > 160 { format!("{text}... {} bytes", bytes.len()) } else { text }
}

fn difference(got: &Fate, wanted: &Fate) -> String {
    let text = |fate: &Fate| match fate {
        Fate::Sent(port, frame) => format!("sent by port {port} {}", hex(frame)),
        Fate::InPieces(port, frame) => format!("sent in pieces by port {port} {}", hex(frame)),
        Fate::Held => "held for its next hop".to_owned(),
        Fate::Waits => "waits for its first fragment".to_owned(),
        Fate::Answered(frame) => format!("answered {}", hex(frame)),
        Fate::Dropped(reason) => format!("dropped: {reason}"),
    };
    let place = match (got, wanted) {
        (Fate::Sent(_, a), Fate::Sent(_, b))
        | (Fate::InPieces(_, a), Fate::InPieces(_, b))
        | (Fate::Answered(a), Fate::Answered(b)) => {
            let at = a.iter().zip(b).position(|(a, b)| a != b);
            format!("\nthe first difference is at byte {}", at.unwrap_or(a.len().min(b.len())))
        }
        _ => String::new(),
    };
    format!("the product: {}\nthe model:   {}{place}", text(got), text(wanted))
}

fn world_of(seed: u64) -> usize {
    if seed.is_multiple_of(12) { FULL_NAT } else { (seed % FULL_NAT as u64) as usize }
}

/// Runs steps of a sequence; the fates met, or what differs.
fn run(seed: u64, steps: &[Step]) -> Result<Fates, String> {
    let all = || {
        let mut both = Both::new(world_of(seed), seed);
        steps.iter().try_for_each(|&step| both.step(step)).and_then(|()| both.finish()).map(|()| both.fates)
    };
    catch_unwind(AssertUnwindSafe(all)).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        Err(text.or_else(|| panic.downcast_ref::<&str>().map(|s| (*s).to_owned())).unwrap_or_default())
    })
}

/// Takes out steps, many at once and then one by one, as long as both sides still differ.
fn shrink(seed: u64, mut steps: Vec<Step>) -> Vec<Step> {
    let mut chunk = steps.len() / 2;
    while chunk > 0 {
        let mut at = 0;
        while at < steps.len() {
            let mut fewer = steps.clone();
            fewer.drain(at..(at + chunk).min(steps.len()));
            if run(seed, &fewer).is_err() {
                steps = fewer;
            } else {
                at += chunk;
            }
        }
        chunk /= 2;
    }
    steps
}

fn number(name: &str, otherwise: u64) -> u64 {
    std::env::var(name).map_or(otherwise, |text| text.parse().unwrap_or_else(|_| panic!("{name} is no number: {text}")))
}

#[test]
fn the_product_and_the_model_agree_on_every_packet() {
    let (first, count) = (number("MODEL_SEED", 1), number("MODEL_SEQUENCES", SEQUENCES));
    let mut fates = Fates::new();
    for seed in first..first + count {
        let steps = traffic::steps(seed, VARIANTS);
        match run(seed, &steps) {
            Ok(met) => met.into_iter().for_each(|(fate, n)| *fates.entry(fate).or_default() += n),
            Err(_) => {
                let fewest = shrink(seed, steps);
                let what = run(seed, &fewest).expect_err("it differed before");
                panic!("MODEL_SEED={seed} MODEL_SEQUENCES=1\n{fewest:#?}\n{what}");
            }
        }
    }
    let packets: u64 = fates.values().sum();
    println!("{count} sequences, {packets} packets: {fates:?}");
    // A test that meets nothing shows nothing.
    if count >= SEQUENCES {
        for fate in EVERY_FATE {
            assert!(fates.contains_key(fate), "no packet was met that is {fate}: {fates:?}");
        }
    }
}

/// What the traffic has to lead to.
const EVERY_FATE: &[&str] = &[
    "sent",
    "sent in gre",
    "sent in ipip",
    "sent in gue",
    "sent across",
    "fragment sent",
    "fragment sent across",
    "fragment_invalid",
    "waits",
    "fragment",
    "fragment_overlap",
    "fragment_timeout",
    "tiny_fragment",
    "answered",
    "runt",
    "unknown_ethertype",
    "vlan_mismatch",
    "foreign_mac",
    "ip_version",
    "ip_header_length",
    "ip_total_short",
    "ip_total_long",
    "ip_checksum",
    "ip6_extension",
    "l4_truncated",
    "tcp_offset",
    "udp_length",
    "udp6_no_checksum",
    "ttl_exceeded",
    "martian",
    "looped",
    "not_ours",
    "no_service",
    "no_connection",
    "no_backend",
    "tuple_conflict",
    "in_pieces",
    "icmp_mtu",
    "too_big",
    "neighbor_update",
    "neighbor_invalid",
    "untranslatable",
    "address_conflict",
    "icmp_checksum",
    "icmp_quote",
    "icmp_no_connection",
    "icmp_not_served",
];
