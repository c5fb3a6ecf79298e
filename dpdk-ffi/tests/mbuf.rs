//! Frames change their length within their buffers only, and always go back to their pool.

use dpdk_ffi::{Checksum, DATA_ROOM_DEFAULT, HEADROOM, Mbuf, MbufBurst, Mempool, MempoolError};

mod common;
use common::{POOL_LEN, eal, number_of, numbered, numbered_burst, numbers, pool};

#[test]
fn a_new_mbuf_is_one_empty_segment() {
    let pool = pool("new");
    let mbuf = pool.alloc().unwrap();
    assert_eq!((mbuf.frame_len(), mbuf.segment_count(), mbuf.data().len()), (0, 1, 0));
    assert_eq!((mbuf.headroom(), mbuf.tailroom()), (usize::from(HEADROOM), 2048));
    assert_eq!((mbuf.port(), mbuf.ol_flags(), mbuf.rss_hash()), (u16::MAX, 0, None));
    assert_eq!((mbuf.ip_checksum(), mbuf.l4_checksum()), (Checksum::Unknown, Checksum::Unknown));
    assert_eq!(pool.in_use(), 1);
    drop(mbuf);
    assert_eq!(pool.in_use(), 0);
}

#[test]
fn the_front_grows_into_the_headroom_and_shrinks_within_the_segment() {
    let pool = pool("front");
    let mut mbuf = numbered(&pool, 7);
    assert!(mbuf.prepend(128));
    assert_eq!((mbuf.headroom(), mbuf.frame_len(), mbuf.data().len()), (0, 188, 188));
    assert_eq!(mbuf.data()[128..132], 7_u32.to_be_bytes());
    for too_much in [1, 65536, 65536 + 128, usize::MAX] {
        assert!(!mbuf.prepend(too_much));
    }
    mbuf.data_mut()[..128].fill(1);
    assert!(mbuf.adj(128));
    assert_eq!(number_of(&mbuf), 7);
    for too_much in [61, 65536, 65536 + 60, usize::MAX] {
        assert!(!mbuf.adj(too_much));
    }
    assert_eq!((mbuf.headroom(), mbuf.frame_len()), (128, 60));
    assert!(mbuf.adj(60));
    assert_eq!((mbuf.headroom(), mbuf.frame_len()), (188, 0));
    assert!(mbuf.prepend(0) && mbuf.adj(0));
}

#[test]
fn the_middle_is_kept_behind_a_new_front() {
    let pool = pool("keep");
    let mut mbuf = numbered(&pool, 7);
    let frame = mbuf.data().to_vec();
    // Longer, as long, shorter than what is cut; behind it all of the rest, less and nothing.
    for (cut, len, add) in [(14, 46, 38), (38, 46, 38), (38, 40, 14), (14, 40, 142), (142, 3, 0), (0, 0, 100)] {
        let kept = mbuf.data()[cut..cut + len].to_vec();
        let front = mbuf.headroom() + cut - add;
        let found = mbuf.keep(cut, len, add).unwrap();
        assert_eq!(found.len(), add + len);
        assert_eq!(found[add..], kept);
        found[..add].fill(0xee);
        assert_eq!((mbuf.headroom(), mbuf.frame_len(), mbuf.segment_count()), (front, add + len, 1));
    }
    let mut mbuf = numbered(&pool, 7);
    for huge in [usize::MAX, usize::MAX - 60, 1 << 32, 1 << 16] {
        for (cut, len, add) in [(huge, 1, 1), (1, huge, 1), (1, 1, huge), (huge, huge, huge), (14, huge, huge)] {
            assert!(mbuf.keep(cut, len, add).is_none(), "{cut} {len} {add}");
        }
    }
    for (cut, len, add) in [(61, 0, 0), (60, 1, 0), (0, 61, 0), (0, 1, 129), (14, 46, 143)] {
        assert!(mbuf.keep(cut, len, add).is_none(), "{cut} {len} {add}");
    }
    assert_eq!((mbuf.headroom(), mbuf.data()), (128, &frame[..]), "a refusal changes nothing");
}

/// `frame` as a chain of segments of these lengths, and a last one with the rest; the first one has `headroom`.
fn chained(pool: &Mempool, frame: &[u8], lengths: &[usize], headroom: usize) -> Mbuf {
    let mut rest = frame;
    let mut pieces: Vec<&[u8]> = Vec::new();
    for len in lengths {
        let (piece, tail) = rest.split_at((*len).min(rest.len()));
        pieces.push(piece);
        rest = tail;
    }
    pieces.push(rest);
    let Some(mut head) = pool.alloc() else { unreachable!("the pool is empty") };
    let default = usize::from(HEADROOM);
    if headroom < default {
        assert!(head.prepend(default - headroom));
        head.truncate(0);
    } else {
        assert!(head.append(headroom - default).is_some() && head.adj(headroom - default));
    }
    assert!(head.extend_from_slice(pieces.remove(0)));
    for piece in pieces {
        let Some(mut mbuf) = pool.alloc() else { unreachable!("the pool is empty") };
        assert!(mbuf.extend_from_slice(piece));
        assert!(head.chain(mbuf).is_ok());
    }
    head
}

fn whole(mbuf: &Mbuf) -> Vec<u8> {
    mbuf.segments().flatten().copied().collect()
}

#[test]
fn the_front_of_a_chain_is_gathered_wherever_it_is_split() {
    let pool = pool("pull");
    let frame: Vec<u8> = (0..300_u32).map(|n| (n * 7) as u8).collect();
    let splits: [&[usize]; 9] = [&[], &[0], &[1], &[13, 1], &[0, 0, 14, 0, 20], &[299], &[300], &[300, 0, 0], &[1; 40]];
    for lengths in splits {
        for n in [0, 1, 14, 34, 54, 299, 300, 301, 5000] {
            let mut mbuf = chained(&pool, &frame, lengths, 128);
            let first = mbuf.data().len();
            let segments = mbuf.segment_count();
            assert!(mbuf.pull(n));
            assert_eq!((mbuf.frame_len(), mbuf.headroom()), (300, 128));
            assert_eq!((mbuf.data().len(), whole(&mbuf)), (first.max(n.min(300)), frame.clone()), "{lengths:?} {n}");
            assert_eq!(mbuf.segments().count(), mbuf.segment_count());
            assert_eq!(pool.in_use() as usize, mbuf.segment_count(), "what is empty is given back");
            if n.min(300) <= first {
                assert_eq!(mbuf.segment_count(), segments, "nothing to do");
            }
            // The chain is whole: it can be cut, grown at both ends and kept.
            assert!(mbuf.prepend(10) && mbuf.extend_from_slice(b"end"));
            mbuf.truncate(310);
            assert!(mbuf.pull(60) && mbuf.keep(30, 250, 40).is_some());
            assert_eq!(mbuf.frame_len(), 290);
            assert_eq!(whole(&mbuf)[40..], frame[20..270]);
            drop(mbuf);
            assert_eq!(pool.in_use(), 0);
        }
    }
}

#[test]
fn a_pull_uses_the_headroom_where_there_is_no_tailroom() {
    let pool = pool("room");
    let frame: Vec<u8> = (0..4000_u32).map(|n| (n / 16) as u8 ^ n as u8).collect();
    let buffer = usize::from(DATA_ROOM_DEFAULT);
    // The first segment ends at the end of its buffer, or little before.
    for (first, headroom) in [(2048, 128), (2040, 128), (10, buffer - 10), (0, buffer), (100, buffer - 110)] {
        for n in [2048, 2100, buffer - 1, buffer] {
            let mut mbuf = chained(&pool, &frame, &[first, 7, 0, 1900, 1000], headroom);
            assert_eq!(mbuf.headroom(), headroom);
            assert!(mbuf.pull(n), "{first} {headroom} {n}");
            assert_eq!((mbuf.data(), whole(&mbuf)), (&frame[..n.max(first)], frame.clone()));
            assert_eq!(mbuf.headroom(), headroom.min(buffer - n.max(first)), "as much as is left");
        }
        let mut mbuf = chained(&pool, &frame, &[first, 7, 0, 1900, 1000], headroom);
        let segments = mbuf.segment_count();
        for n in [buffer + 1, 3999, 4000, usize::MAX] {
            assert!(!mbuf.pull(n));
        }
        assert_eq!((mbuf.segment_count(), mbuf.headroom(), mbuf.data().len()), (segments, headroom, first));
        assert_eq!(whole(&mbuf), frame, "a refusal changes nothing");
    }
    assert_eq!(pool.in_use(), 0);
}

#[test]
fn the_back_grows_into_the_tailroom_and_is_cut() {
    let pool = pool("back");
    let mut mbuf = numbered(&pool, 9);
    assert_eq!(mbuf.append(1988).unwrap().len(), 1988);
    assert_eq!((mbuf.frame_len(), mbuf.tailroom()), (2048, 0));
    for too_much in [1, 65536, usize::MAX] {
        assert!(mbuf.append(too_much).is_none());
    }
    assert!(!mbuf.extend_from_slice(b"x"));
    mbuf.truncate(4000);
    assert_eq!(mbuf.frame_len(), 2048, "a shorter frame stays");
    mbuf.truncate(5);
    assert_eq!(mbuf.data(), [0, 0, 0, 9, 0xa5]);
    assert!(mbuf.extend_from_slice(b"tail"));
    assert_eq!(&mbuf.data()[5..], b"tail");
    mbuf.truncate(0);
    assert_eq!((mbuf.frame_len(), mbuf.segment_count()), (0, 1));
}

#[test]
fn the_port_mark_stays_on_the_mbuf() {
    let pool = pool("mark");
    let mut mbuf = pool.alloc().unwrap();
    mbuf.set_port(513);
    mbuf.set_mark(0xdead_beef);
    assert_eq!(mbuf.mark(), 0xdead_beef);
    assert_eq!(mbuf.port(), 513);
    assert_eq!((mbuf.frame_len(), mbuf.segment_count()), (0, 1), "neighbouring fields are untouched");
}

#[test]
fn an_empty_pool_gives_none_and_recovers() {
    let pool = pool("empty");
    let all: Vec<Mbuf> = std::iter::from_fn(|| pool.alloc()).collect();
    assert_eq!(all.len(), POOL_LEN as usize);
    assert_eq!((pool.available(), pool.in_use()), (0, POOL_LEN));
    let mut burst = MbufBurst::<4>::new();
    assert!(!pool.alloc_burst(&mut burst));
    assert!(burst.is_empty(), "all or nothing");
    drop(all);
    assert!(pool.alloc_burst(&mut burst));
    assert_eq!((burst.len(), pool.in_use()), (4, 4));
    drop(burst);
    assert_eq!((pool.available(), pool.in_use()), (POOL_LEN, 0));
}

#[test]
fn a_burst_keeps_order_and_refuses_what_does_not_fit() {
    let pool = pool("order");
    let mut burst = numbered_burst::<4>(&pool, 10);
    assert!(burst.is_full() && burst.room() == 0);
    let refused = burst.push(numbered(&pool, 14)).unwrap_err();
    assert_eq!(number_of(&refused), 14);
    assert_eq!(pool.in_use(), 5);
    drop(refused);
    assert_eq!(number_of(&burst.pop().unwrap()), 13);
    assert_eq!((numbers(&burst), pool.in_use()), (vec![10, 11, 12], 3));
    burst.as_mut_slice().swap(0, 2);
    assert_eq!(burst.drain().map(|mbuf| number_of(&mbuf)).collect::<Vec<_>>(), [12, 11, 10]);
    assert!(burst.is_empty() && burst.pop().is_none());
    assert_eq!(pool.in_use(), 0);
}

#[test]
fn a_drain_that_is_dropped_early_frees_the_rest() {
    let pool = pool("drain");
    let mut burst = numbered_burst::<8>(&pool, 0);
    let mut drain = burst.drain();
    let kept = drain.nth(2).unwrap();
    assert_eq!(drain.len(), 5);
    drop(drain);
    assert_eq!((number_of(&kept), pool.in_use()), (2, 1));
    assert!(burst.is_empty());
    burst.push(kept).unwrap();
    burst.clear();
    assert_eq!(pool.in_use(), 0);
}

#[test]
fn a_drain_that_is_forgotten_leaks_but_never_frees_twice() {
    let pool = pool("forgotten");
    let mut burst = numbered_burst::<8>(&pool, 0);
    let mut drain = burst.drain();
    drop(drain.next());
    std::mem::forget(drain);
    drop(burst);
    assert_eq!(pool.in_use(), 7);
}

#[test]
fn a_burst_across_pools_gives_each_its_own() {
    let (left, right) = (pool("left"), pool("right"));
    let mut burst = MbufBurst::<64>::new();
    for number in 0..64 {
        burst.push(numbered(if number % 3 == 0 { &left } else { &right }, number)).unwrap();
    }
    assert_eq!((left.in_use(), right.in_use()), (22, 42));
    drop(burst);
    assert_eq!((left.available(), right.available()), (POOL_LEN, POOL_LEN));
}

#[test]
fn a_pool_that_cannot_be_made_says_why() {
    let new = |name: &str, count, cache, data_room| Mempool::new(eal(), name, count, cache, data_room, None);
    assert!(matches!(new("a\0b", 63, 0, DATA_ROOM_DEFAULT), Err(MempoolError::Name(_))));
    assert!(matches!(new("room", 63, 0, HEADROOM), Err(MempoolError::DataRoom { data_room: HEADROOM, .. })));
    let error = new("cache", 63, 64, DATA_ROOM_DEFAULT).unwrap_err().to_string();
    assert!(error.contains("Invalid argument (errno 22)"), "{error}");
    let first = new("twice", 63, 0, DATA_ROOM_DEFAULT).unwrap();
    let error = new("twice", 63, 0, DATA_ROOM_DEFAULT).unwrap_err().to_string();
    assert!(error.contains("File exists (errno 17)"), "{error}");
    assert_eq!((first.name(), first.data_room()), ("twice", DATA_ROOM_DEFAULT));
}
