//! Where the packet path would look for a packet: the question for an [`Excerpt`](crate::lb::excerpt::Excerpt).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::family::Family;
use super::{echo_nat, icmp, nat, untunnel};
use crate::lb::excerpt::Question;
use crate::lb::fragments::Upper;
use crate::lb::ids::PortId;
use crate::lb::packet::{HeapPacket, Packet};
use crate::lb::snapshot::{Mode, Snapshot};
use crate::wire::parse::{FiveTuple, Fragment, Kind, Parsed, parse};

/// Backends of a service whose connections may be in the way of a new one: more are not asked for.
const BACKENDS_MAX: usize = 4096;

/// What bears on a frame that comes by a port. `upper` is what is known of the datagram whose fragment it is.
pub fn question(snapshot: &Snapshot, port: PortId, frame: &[u8], upper: Option<Upper>) -> Question {
    let mut packet = HeapPacket::new(frame);
    let Ok(mut parsed) = parse(packet.bytes(), packet.frame_len()) else { return Question::default() };
    if let Some(own) = snapshot.port(port).filter(|own| !own.outer_tier.is_empty())
        && let Some(Ok(())) = untunnel::take_off(snapshot, own, &mut packet, &parsed)
    {
        let Ok(inner) = parse(packet.bytes(), packet.frame_len()) else { return Question::default() };
        parsed = inner;
    }
    let frame = packet.bytes();
    match parsed.kind {
        Kind::V4 => of::<Ipv4Addr>(snapshot, &parsed, frame, upper, |question| &mut question.v4),
        Kind::V6 => of::<Ipv6Addr>(snapshot, &parsed, frame, upper, |question| &mut question.v6),
        Kind::Arp => Question::default(),
    }
}

fn of<A: Family>(
    snapshot: &Snapshot,
    parsed: &Parsed,
    frame: &[u8],
    upper: Option<Upper>,
    list: fn(&mut Question) -> &mut Vec<FiveTuple<A>>,
) -> Question {
    let mut question = Question::default();
    let mut key = A::key(parsed, frame);
    if parsed.fragment != Fragment::None {
        question.datagram = Some((key.src.into(), key.dst.into(), parsed.fragment_id, parsed.protocol));
    }
    if let Some(Upper { sport, dport, protocol, .. }) = upper {
        key = FiveTuple { sport, dport, protocol, ..key };
    }
    let mut tuples = vec![key];
    tuples.extend(echo_nat::tuple::<A>(parsed, frame));
    tuples.extend(icmp::quoted_reversed(parsed, frame).and_then(|(src, dst, sport, dport, protocol)| {
        Some(FiveTuple { src: A::of(src)?, dst: A::of(dst)?, sport, dport, protocol })
    }));
    let mut mapped: Vec<_> = tuples.iter().filter_map(A::mapped).collect();
    for tuple in tuples.clone() {
        let service = snapshot.find_service(tuple.dst.into(), tuple.protocol, tuple.dport);
        let Some(service) = service.and_then(|id| snapshot.service(id)) else { continue };
        question.client = question.client.or(Some((service.number, tuple.src.into())));
        for backend in service.backends.iter().take(BACKENDS_MAX).filter_map(|&id| snapshot.backend(id)) {
            question.backends.push(backend.id);
            question.pools.extend(&*backend.local_pools);
            if backend.mode == Mode::Nat {
                tuples.extend(nat::inside(backend, &tuple).map(FiveTuple::reversed));
            }
        }
    }
    list(&mut question).append(&mut tuples);
    question.v6.append(&mut mapped);
    question
}

/// The worker that a NIC would bring a frame to that comes by a port, if that port says how it spreads frames.
pub fn arrival(snapshot: &Snapshot, port: PortId, frame: &[u8]) -> Option<usize> {
    let rss = snapshot.port(port)?.rss.as_deref()?;
    let parsed = parse(frame, frame.len()).ok()?;
    let (src, dst): (IpAddr, IpAddr) = match parsed.kind {
        Kind::V4 => super::addresses::<Ipv4Addr>(&parsed, frame),
        Kind::V6 => super::addresses::<Ipv6Addr>(&parsed, frame),
        Kind::Arp => return None,
    };
    rss.worker(src, dst, parsed.sport, parsed.dport).map(|worker| worker.index())
}
