//! Which datagrams give way to which, and when they are forgotten.

use std::net::{Ipv4Addr, Ipv6Addr};

use super::*;
use crate::wire::protocol::UDP;

const KEY: HashKey = HashKey::from_bytes([3; 16]);

fn at_ms(ms: u64) -> Now {
    Now::from_ns(ms * 1_000_000)
}

fn upper(sport: u16) -> Upper {
    Upper { sport, dport: 53, protocol: UDP, owner: None }
}

fn piece(start: u16, is_last: bool) -> Piece {
    Piece::new(start, 80, is_last).unwrap()
}

/// As many datagrams as `n` that share one bucket.
fn rivals(map: &Fragments, n: usize) -> Vec<Datagram> {
    let of = |id| map.datagram(Ipv4Addr::new(198, 51, 100, 7), Ipv4Addr::new(192, 0, 2, 10), id, UDP);
    (0..).map(of).filter(|datagram| map.bucket_of(datagram) == 0).take(n).collect()
}

#[test]
fn a_bucket_head_is_a_cache_line() {
    assert_eq!((size_of::<Bucket>(), align_of::<Bucket>()), (64, 64));
    assert!((size_of::<Body>() + size_of::<Head>()) * DATAGRAMS_MAX as usize <= 20 << 20, "{}", size_of::<Body>());
}

#[test]
fn orphans_push_out_orphans_and_never_what_has_begun() {
    let mut map = Fragments::new(64, KEY);
    let all = rivals(&map, 20);
    for (k, datagram) in all[..4].iter().enumerate() {
        map.first(datagram, piece(0, false), upper(k as u16), at_ms(100 * k as u64)).unwrap();
    }
    for (k, datagram) in all[4..16].iter().enumerate() {
        assert_eq!(map.later(datagram, piece(80, false), at_ms(100 * k as u64)), Ok(None));
    }
    // The last four orphans are left.
    for datagram in &all[4..12] {
        assert!(map.find(datagram, moment(at_ms(1100))).is_none());
    }
    for (k, datagram) in all[12..16].iter().enumerate() {
        map.first(datagram, piece(0, false), upper(100 + k as u16), at_ms(1100)).unwrap();
        assert_eq!(map.woken(), Some(datagram.tag()));
        map.is_awake();
    }
    assert_eq!(map.later(&all[16], piece(80, false), at_ms(1200)), Err(DropReason::FragmentTableFull));
    // Eight are on their way; the oldest of them gives way to one that begins.
    map.first(&all[17], piece(0, false), upper(7), at_ms(1300)).unwrap();
    assert_eq!(map.ports_of(&all[0], at_ms(1300)), None);
    for (k, datagram) in all[1..4].iter().enumerate() {
        assert_eq!(map.later(datagram, piece(80, false), at_ms(1300)), Ok(Some(upper(k as u16 + 1))));
    }
}

#[test]
fn complete_datagrams_give_way_before_others() {
    let mut map = Fragments::new(8, KEY);
    let all = rivals(&map, 10);
    for datagram in &all[..8] {
        map.first(datagram, piece(0, false), upper(1), at_ms(0)).unwrap();
    }
    assert_eq!(map.later(&all[5], piece(80, true), at_ms(10)), Ok(Some(upper(1))));
    assert_eq!(map.later(&all[8], piece(80, false), at_ms(20)), Ok(None));
    assert_eq!(map.ports_of(&all[5], at_ms(20)), None);
    assert_eq!(map.later(&all[9], piece(80, false), at_ms(20)), Ok(None), "in the other orphan's place");
    assert_eq!(map.later(&all[0], piece(80, false), at_ms(20)), Ok(Some(upper(1))));
}

#[test]
fn times_are_what_they_say() {
    let mut map = Fragments::new(8, KEY);
    let [datagram, complete, noted, ..] = rivals(&map, 4)[..] else { panic!("too few") };
    map.first(&datagram, piece(0, false), upper(1), at_ms(1_000)).unwrap();
    map.first(&complete, piece(0, true), upper(2), at_ms(1_000)).unwrap();
    map.note(&noted, upper(3), at_ms(1_000));
    for (of, lives_ms) in [(datagram, 15_000), (complete, 1_000), (noted, 15_000)] {
        assert!(map.ports_of(&of, at_ms(1_000 + lives_ms)).is_some());
        assert_eq!(map.ports_of(&of, at_ms(1_200 + lives_ms)), None);
    }
    // What nobody has looked at for years is not back.
    assert_eq!(map.ports_of(&datagram, at_ms(4 * 365 * 86_400_000)), None);
}

#[test]
fn families_protocols_and_identifications_are_apart() {
    let map = Fragments::new(64, KEY);
    let (a, b) = (Ipv4Addr::new(1, 2, 3, 4), Ipv4Addr::new(5, 6, 7, 8));
    let four = map.datagram(a, b, 5, 17);
    for other in [map.datagram(a, b, 6, 17), map.datagram(a, b, 5, 6), map.datagram(b, a, 5, 17)] {
        assert!(!four.is(&other) && four.hash != other.hash);
    }
    let (a, b) = (Ipv6Addr::LOCALHOST, Ipv6Addr::UNSPECIFIED);
    let six = map.datagram(a, b, 5, 17);
    assert!(six.is(&map.datagram(a, b, 5, 60)), "the later fragments name another header");
    assert!(!six.is(&map.datagram(a, b, 0x1_0005, 17)));
}

#[test]
fn homes_are_spread_evenly_and_equal_everywhere() {
    let (one, other) = (Fragments::new(64, KEY), Fragments::new(4096, KEY));
    let mut counts = [0; 5];
    for id in 0..5_000 {
        let of = |map: &Fragments| map.datagram(Ipv4Addr::new(1, 2, 3, 4), Ipv4Addr::new(5, 6, 7, 8), id, 17).home(5);
        assert_eq!(of(&one), of(&other));
        counts[of(&one).index()] += 1;
    }
    assert!(counts.iter().all(|n| (850..1_150).contains(n)), "{counts:?}");
}

#[test]
fn an_identification_that_comes_again_in_ipv6_is_an_overlap() {
    let mut map = Fragments::new(8, KEY);
    let datagram = map.datagram(Ipv6Addr::LOCALHOST, Ipv6Addr::UNSPECIFIED, 5, 17);
    map.first(&datagram, piece(0, false), upper(1), at_ms(0)).unwrap();
    map.first(&datagram, piece(0, false), upper(1), at_ms(0)).unwrap();
    assert_eq!(map.first(&datagram, piece(0, false), upper(2), at_ms(0)), Err(DropReason::FragmentOverlap));
    assert_eq!(map.later(&datagram, piece(80, true), at_ms(59_000)), Err(DropReason::FragmentOverlap));
    assert_eq!(map.later(&datagram, piece(80, true), at_ms(61_000)), Ok(None));
}
