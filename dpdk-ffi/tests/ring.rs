//! What a ring does not take stays with the caller, and what is in it when it goes is freed.

use dpdk_ffi::{MbufBurst, mpsc, spsc};

mod common;
use common::{eal, number_of, numbered_burst, numbers, pool};

#[test]
fn a_full_ring_leaves_the_rest_in_order() {
    let pool = pool("full");
    let (mut producer, mut consumer) = spsc(eal(), "full_ring", 8, None).unwrap();
    assert_eq!((producer.capacity(), consumer.capacity()), (7, 7));
    let mut burst = numbered_burst::<5>(&pool, 0);
    assert_eq!(producer.enqueue_burst(&mut burst), 5);
    assert!(burst.is_empty());
    let mut burst = numbered_burst::<5>(&pool, 5);
    assert_eq!(producer.enqueue_burst(&mut burst), 2);
    assert_eq!(numbers(&burst), [7, 8, 9]);
    assert_eq!(producer.enqueue_burst(&mut burst), 0);
    assert_eq!((burst.len(), producer.len(), pool.in_use()), (3, 7, 10));
    let mut out = MbufBurst::<4>::new();
    assert_eq!(consumer.dequeue_burst(&mut out), 4);
    assert_eq!(consumer.dequeue_burst(&mut out), 0, "a full burst takes nothing");
    assert_eq!(numbers(&out), [0, 1, 2, 3]);
    out.drain().take(2).for_each(drop);
    assert_eq!(consumer.dequeue_burst(&mut out), 3);
    assert_eq!(numbers(&out), [4, 5, 6]);
    assert!(consumer.is_empty());
    drop((burst, out));
    assert_eq!(pool.in_use(), 0);
}

#[test]
fn a_ring_that_goes_frees_what_is_in_it() {
    let pool = pool("goes");
    let (mut producer, consumer) = mpsc(eal(), "going_ring", 256, None).unwrap();
    for first in 0..6 {
        producer.enqueue_burst(&mut numbered_burst::<32>(&pool, first));
    }
    assert_eq!((consumer.len(), pool.in_use()), (192, 192));
    drop(consumer);
    assert_eq!(pool.in_use(), 192, "the producer still has the ring");
    drop(producer);
    assert_eq!(pool.in_use(), 0);
}

#[test]
fn many_producers_lose_and_double_nothing() {
    const EACH: u32 = 20_000;
    let pool = pool("many");
    let (producer, mut consumer) = mpsc(eal(), "many_ring", 64, None).unwrap();
    let producers: Vec<_> = (0..3_u32)
        .map(|thread| {
            let (mut producer, pool) = (producer.clone(), pool.clone());
            std::thread::spawn(move || {
                for first in (0..EACH).step_by(8) {
                    let mut burst = numbered_burst::<8>(&pool, thread << 24 | first);
                    while !burst.is_empty() {
                        producer.enqueue_burst(&mut burst);
                        std::thread::yield_now();
                    }
                }
            })
        })
        .collect();
    let mut next = [0; 3];
    let mut burst = MbufBurst::<16>::new();
    while next != [EACH; 3] {
        if consumer.dequeue_burst(&mut burst) == 0 {
            std::thread::yield_now();
        }
        for mbuf in burst.drain() {
            let number = number_of(&mbuf);
            let expected = &mut next[(number >> 24) as usize];
            assert_eq!(number & 0xff_ffff, *expected, "each producer's order is kept");
            *expected += 1;
        }
    }
    producers.into_iter().for_each(|thread| thread.join().unwrap());
    assert_eq!((consumer.len(), pool.in_use()), (0, 0));
}

#[test]
fn a_ring_that_cannot_be_made_says_why() {
    let error = spsc(eal(), "odd_ring", 100, None).unwrap_err().to_string();
    assert_eq!(error, "ring odd_ring: cannot make one of size 100 (a power of two): Invalid argument (errno 22)");
    let _first = spsc(eal(), "same_ring", 8, None).unwrap();
    let error = mpsc(eal(), "same_ring", 8, None).unwrap_err().to_string();
    assert!(error.ends_with("File exists (errno 17)"), "{error}");
    assert!(spsc(eal(), "zero_ring", 0, None).is_err());
}
