//! Frames through virtual devices: each mbuf is back in its pool after every path, and what cannot be says why.
#![allow(clippy::unwrap_used, clippy::panic, reason = "functions of tests, which clippy knows by their attribute only")]

use dpdk_ffi::{Errno, MbufBurst, Mempool, Offloads, Port, PortConfig, PortError, PortId, StartedPort};

mod common;
use common::{eal, numbered, numbered_burst, numbers, pcap_file, pool, read_pcap, vdev};

fn start(devargs: &str, pool: &Mempool) -> StartedPort {
    Port::start(eal(), vdev(devargs), &PortConfig::default(), std::slice::from_ref(pool)).unwrap()
}

#[test]
fn the_null_device_gives_and_takes_mbufs() {
    let pool = pool("null");
    let StartedPort { port, mut rx_queues, mut tx_queues } = start("net_null_a,size=64", &pool);
    let mut burst = MbufBurst::<32>::new();
    assert_eq!(rx_queues[0].burst(&mut burst), 32);
    assert_eq!(rx_queues[0].burst(&mut burst), 0, "a full burst takes nothing");
    assert!(burst.as_slice().iter().all(|mbuf| mbuf.frame_len() == 64 && mbuf.port() == port.id().get()));
    assert_eq!(pool.in_use(), 32);
    burst.drain().take(10).for_each(drop);
    assert_eq!((burst.len(), pool.in_use()), (0, 0));
    rx_queues[0].burst(&mut burst);
    assert_eq!(tx_queues[0].burst(&mut burst), 32);
    assert!(burst.is_empty());
    assert_eq!(pool.in_use(), 0, "what was transmitted is the driver's to free, and it did");
    assert_eq!(tx_queues[0].burst(&mut burst), 0);
    let stats = port.stats().unwrap();
    assert_eq!((stats.rx_packets, stats.tx_packets), (64, 32));
    assert_eq!(port.info().driver, "net_null");
    assert_eq!((rx_queues[0].port(), rx_queues[0].queue(), tx_queues[0].queue()), (port.id(), 0, 0));
}

#[test]
fn receiving_without_free_mbufs_gives_nothing_and_recovers() {
    let pool = pool("starved");
    let mut started = start("net_null_b", &pool);
    let held: Vec<_> = std::iter::from_fn(|| pool.alloc()).collect();
    let mut burst = MbufBurst::<32>::new();
    assert_eq!(started.rx_queues[0].burst(&mut burst), 0);
    drop(held);
    assert_eq!(started.rx_queues[0].burst(&mut burst), 32);
    drop(burst);
    assert_eq!(pool.in_use(), 0);
}

#[test]
fn a_full_queue_leaves_the_rest_in_order() {
    let pool = Mempool::new(eal(), "loop", 2047, 32, dpdk_ffi::DATA_ROOM_DEFAULT, None).unwrap();
    let mut started = start("net_ring_a", &pool);
    let (rx, tx) = (&mut started.rx_queues[0], &mut started.tx_queues[0]);
    let mut sent = 0;
    let mut burst = loop {
        let mut burst = numbered_burst::<60>(&pool, sent);
        sent += tx.burst(&mut burst) as u32;
        if !burst.is_empty() {
            break burst;
        }
        assert!(sent < 2047 - 60, "the ring of the driver must fill before the pool is empty");
    };
    let unsent: Vec<u32> = (sent..).take(burst.len()).collect();
    assert_eq!(numbers(&burst), unsent, "sent from the front, the others kept in order");
    assert_eq!(tx.burst(&mut burst), 0);
    assert_eq!(numbers(&burst), unsent);
    assert_eq!(pool.in_use() as usize, sent as usize + burst.len());
    let mut received = Vec::new();
    let mut back = MbufBurst::<32>::new();
    while rx.burst(&mut back) > 0 {
        received.extend(numbers(&back));
        back.clear();
    }
    assert_eq!(received, (0..sent).collect::<Vec<_>>());
    assert_eq!(pool.in_use() as usize, burst.len());
    drop(burst);
    assert_eq!(pool.in_use(), 0);
}

#[test]
fn mbufs_in_a_driver_come_back_when_its_port_goes() {
    let pool = pool("flight");
    let mut started = start("net_ring_c", &pool);
    let mut burst = numbered_burst::<40>(&pool, 0);
    assert_eq!(started.tx_queues[0].burst(&mut burst), 40);
    assert_eq!(pool.in_use(), 40);
    drop(started);
    assert_eq!(pool.in_use(), 0);
}

#[test]
fn changed_frames_leave_as_they_were_made() {
    let pool = pool("pcap");
    let frames: Vec<Vec<u8>> = (0..40_u8).map(|number| vec![number; 60 + usize::from(number)]).collect();
    let input = pcap_file("changed-in", &frames);
    let output = input.with_extension("out.pcap");
    let devargs = format!("net_pcap_a,rx_pcap={},tx_pcap={}", input.display(), output.display());
    let mut started = start(&devargs, &pool);
    let mut burst = MbufBurst::<16>::new();
    let mut total = 0;
    while started.rx_queues[0].burst(&mut burst) > 0 {
        total += burst.len();
        for mbuf in burst.as_mut_slice() {
            assert!(mbuf.prepend(4) && mbuf.extend_from_slice(b"end"));
            mbuf.data_mut()[..4].copy_from_slice(b"head");
            if mbuf.data()[4].is_multiple_of(2) {
                mbuf.truncate(20);
            }
        }
        started.tx_queues[0].burst(&mut burst);
        assert!(burst.is_empty());
    }
    assert_eq!(total, 40);
    let stats = started.port.stats().unwrap();
    assert_eq!((stats.rx_packets, stats.tx_packets), (40, 40));
    drop(started);
    assert_eq!(pool.in_use(), 0);
    for (number, (frame, written)) in frames.iter().zip(read_pcap(&output)).enumerate() {
        let mut expected = [b"head", frame.as_slice(), b"end"].concat();
        if number % 2 == 0 {
            expected.truncate(20);
        }
        assert_eq!(written, expected);
    }
    assert_eq!(read_pcap(&output).len(), 40);
}

#[test]
fn frames_of_several_segments_are_cut_read_and_freed_whole() {
    let pool = pool("chains");
    let frame: Vec<u8> = (0..5000_u32).map(|i| (i * 7 % 251) as u8).collect();
    let cuts = [5000, 4999, 4225, 4224, 4223, 2049, 2048, 2047, 1, 0];
    let input = pcap_file("chains", &vec![frame.clone(); cuts.len()]);
    let mut started = start(&format!("net_pcap_b,rx_pcap={}", input.display()), &pool);
    let mut burst = MbufBurst::<16>::new();
    while started.rx_queues[0].burst(&mut burst) > 0 {}
    assert_eq!((burst.len(), pool.in_use()), (cuts.len(), 3 * cuts.len() as u32));
    for (mbuf, cut) in burst.as_mut_slice().iter_mut().zip(cuts) {
        assert_eq!((mbuf.frame_len(), mbuf.segment_count(), mbuf.data().len()), (5000, 3, 2048));
        let in_use = pool.in_use();
        mbuf.truncate(cut);
        // The driver leaves no headroom in the second segment, so that one holds 2176 bytes.
        let segments = 1 + usize::from(cut > 2048) + usize::from(cut > 2048 + 2176);
        assert_eq!((mbuf.frame_len(), mbuf.segment_count()), (cut, segments));
        assert_eq!(in_use - pool.in_use(), 3 - segments as u32, "segments behind the cut are free");
        assert_eq!(mbuf.segments().flatten().copied().collect::<Vec<u8>>(), frame[..cut]);
        let mut window = [0; 3000];
        let copied = mbuf.copy_out(1500, &mut window);
        assert_eq!(window[..copied], frame[1500.min(cut)..cut.clamp(1500.min(cut), 4500)]);
        if mbuf.tailroom() >= 3 {
            assert!(mbuf.extend_from_slice(b"end"));
            assert_eq!(mbuf.segments().flatten().copied().collect::<Vec<u8>>(), [&frame[..cut], b"end"].concat());
        }
        assert_eq!(mbuf.linearize(), mbuf.frame_len() <= 2048 || mbuf.segment_count() == 1);
    }
    drop(burst);
    assert_eq!(pool.in_use(), 0);
}

#[test]
fn an_endless_source_holds_mbufs_until_its_port_goes() {
    let pool = pool("endless");
    let frames: Vec<Vec<u8>> = (0..5_u8).map(|number| vec![number; 60]).collect();
    let input = pcap_file("endless", &frames);
    let mut started = start(&format!("net_pcap_h,rx_pcap={},infinite_rx=1", input.display()), &pool);
    let idle = pool.in_use();
    let mut burst = MbufBurst::<32>::new();
    for turn in 0..50 {
        assert_eq!(started.rx_queues[0].burst(&mut burst), 32);
        let firsts: Vec<u8> = burst.as_slice().iter().map(|mbuf| mbuf.data()[0]).collect();
        assert_eq!(firsts, (turn * 32..).map(|number: u32| (number % 5) as u8).take(32).collect::<Vec<_>>());
        assert_eq!(started.tx_queues[0].burst(&mut burst), 32, "without tx_pcap the driver drops what it is given");
        assert_eq!(pool.in_use(), idle);
    }
    drop(started);
    assert_eq!(pool.in_use(), 0);
}

#[test]
fn the_middle_of_a_chain_is_kept_behind_a_new_front() {
    let pool = pool("keep_chain");
    let frame: Vec<u8> = (0..5000_u32).map(|i| (i % 253) as u8).collect();
    let input = pcap_file("keep_chain", std::slice::from_ref(&frame));
    for (cut, len, add, segments) in [
        (14, 4986, 38, 3),
        (38, 4200, 14, 3),
        (14, 2035, 38, 2),
        (14, 2034, 38, 1),
        (14, 40, 142, 1),
        (0, 5000, 128, 3),
    ] {
        let mut started = start(&format!("net_pcap_k{cut}_{len},rx_pcap={}", input.display()), &pool);
        let mut burst = MbufBurst::<4>::new();
        assert_eq!(started.rx_queues[0].burst(&mut burst), 1);
        let mut mbuf = burst.pop().unwrap();
        let (first, headroom) = (mbuf.data().len(), mbuf.headroom());
        assert!(mbuf.keep(first + 1, 0, 0).is_none(), "the first segment is shorter");
        assert!(mbuf.keep(0, 5001, 0).is_none() && mbuf.keep(14, usize::MAX, 0).is_none());
        assert!(mbuf.keep(14, 10, headroom + 15).is_none());
        assert_eq!((mbuf.frame_len(), mbuf.segment_count()), (5000, 3), "a refusal changes nothing");
        mbuf.keep(cut, len, add).unwrap()[..add].fill(0xee);
        assert_eq!(
            (mbuf.frame_len(), mbuf.segment_count(), mbuf.headroom()),
            (add + len, segments, headroom + cut - add)
        );
        let mut found = vec![0; add + len];
        assert_eq!(mbuf.copy_out(0, &mut found), add + len);
        assert!(found[..add].iter().all(|&byte| byte == 0xee));
        assert_eq!(found[add..], frame[cut..cut + len]);
        drop(mbuf);
    }
    assert_eq!(pool.in_use(), 0);
}

#[test]
fn a_chain_is_gathered_where_the_first_segment_has_room() {
    let pool = pool("gather");
    let frame: Vec<u8> = (0..2200_u32).map(|i| (i % 253) as u8).collect();
    let input = pcap_file("gather", std::slice::from_ref(&frame));
    let mut started = start(&format!("net_pcap_g,rx_pcap={}", input.display()), &pool);
    let mut burst = MbufBurst::<4>::new();
    assert_eq!(started.rx_queues[0].burst(&mut burst), 1);
    let mut mbuf = burst.pop().unwrap();
    assert!(!mbuf.linearize(), "the first segment is full");
    assert_eq!((mbuf.segment_count(), mbuf.frame_len()), (2, 2200));
    assert!(mbuf.adj(500));
    assert!(!mbuf.linearize(), "room in front does not count");
    mbuf.truncate(2048 - 500 + 1);
    assert_eq!(mbuf.segment_count(), 2);
    mbuf.truncate(2048 - 500);
    assert_eq!(mbuf.segment_count(), 1);
    assert!(mbuf.linearize());
    assert_eq!(mbuf.data(), &frame[500..2048]);
    drop(mbuf);
    assert_eq!(pool.in_use(), 0);
}

#[test]
fn a_port_runs_until_its_last_queue_is_gone() {
    let pool = pool("last");
    let id = vdev("net_null_c");
    let started = Port::start(eal(), id, &PortConfig::default(), std::slice::from_ref(&pool)).unwrap();
    let again = Port::start(eal(), id, &PortConfig::default(), std::slice::from_ref(&pool));
    assert!(matches!(again, Err(PortError::InUse { name }) if name == "net_null_c"));
    let StartedPort { port, mut rx_queues, tx_queues } = started;
    drop((port, tx_queues));
    let mut burst = MbufBurst::<8>::new();
    assert_eq!(rx_queues[0].burst(&mut burst), 8, "the queue still works");
    assert!(PortId::all(eal()).contains(&id));
    drop(rx_queues);
    assert!(!PortId::all(eal()).contains(&id), "closed with its last queue");
    assert_eq!(pool.in_use(), 8, "mbufs outlive the port");
    drop(burst);
    assert_eq!(pool.in_use(), 0);
    assert!(matches!(id.info(eal()), Err(PortError::Call { errno: Errno::ENODEV, .. })));
}

#[test]
fn queues_work_on_other_threads() {
    let pool = pool("threads");
    let config = PortConfig { rx_queues: 2, tx_queues: 2, ..PortConfig::default() };
    let started = Port::start(eal(), vdev("net_null_d"), &config, std::slice::from_ref(&pool)).unwrap();
    let threads: Vec<_> = started
        .rx_queues
        .into_iter()
        .zip(started.tx_queues)
        .map(|(mut rx, mut tx)| {
            std::thread::spawn(move || {
                let mut burst = MbufBurst::<32>::new();
                (0..1000).for_each(|_| assert_eq!(rx.burst(&mut burst), tx.burst(&mut burst)));
            })
        })
        .collect();
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    let stats = started.port.stats().unwrap();
    assert_eq!((stats.rx_packets, stats.tx_packets), (64_000, 64_000));
    drop(started.port);
    assert_eq!(pool.in_use(), 0);
}

#[test]
fn what_a_device_cannot_do_is_refused_with_both_numbers() {
    let pool = pool("refused");
    let input = pcap_file("refused", &[vec![0; 60]]);
    let id = vdev(&format!("net_pcap_c,rx_pcap={}", input.display()));
    let refuse = |config: PortConfig, pools: &[Mempool]| match Port::start(eal(), id, &config, pools) {
        Ok(_) => panic!("{config:?} must be refused"),
        Err(error) => error.to_string(),
    };
    let pools = std::slice::from_ref(&pool);
    let config = PortConfig::default();
    assert_eq!(
        refuse(PortConfig { rx_queues: 4, ..config.clone() }, pools),
        "port net_pcap_c: 4 receive queues are wanted, net_pcap has 1 here"
    );
    assert_eq!(
        refuse(PortConfig { tx_queues: 2, ..config.clone() }, pools),
        "port net_pcap_c: 2 transmit queues are wanted, net_pcap has 1 here"
    );
    assert_eq!(
        refuse(PortConfig { rx_queues: 0, ..config.clone() }, pools),
        "port net_pcap_c: 0 receive and 1 transmit queues are wanted, at least 1 of each is needed"
    );
    assert!(
        refuse(PortConfig { mtu: Some(10), ..config.clone() }, pools)
            .starts_with("port net_pcap_c: MTU of 10 bytes is wanted, possible is 46 to "),
    );
    assert_eq!(refuse(config.clone(), &[]), "port net_pcap_c: a mempool to receive into is needed, none is given");
    assert!(Port::start(eal(), id, &config, pools).is_ok(), "a refusal leaves the port as it was");
}

#[test]
fn a_device_that_does_not_exist_is_an_error() {
    let error = PortId::by_name(eal(), "net_nothing").unwrap_err().to_string();
    assert!(error.starts_with("port net_nothing does not exist; there are ["), "{error}");
    for devargs in ["net_nothing", "0000:ff:1f.7", "net_pcap_z,rx_pcap=/nowhere/in.pcap", "", "a\0b"] {
        let error = PortId::probe(eal(), devargs).unwrap_err();
        assert!(error.to_string().starts_with(&format!("device {devargs:?} cannot be attached: ")), "{error}");
    }
    let id = vdev("net_null_e");
    assert_eq!(PortId::by_name(eal(), "net_null_e").unwrap(), id);
    let error = PortId::probe(eal(), "net_null_e").unwrap_err();
    assert!(matches!(error, PortError::Probe { errno: Errno::EEXIST, .. }), "{error}");
}

#[test]
fn a_port_tells_about_itself() {
    let pool = pool("tells");
    let wanted = Offloads { rx_checksum: true, scatter: true, multi_segment: true };
    let config = PortConfig { offloads: wanted, promiscuous: true, ..PortConfig::default() };
    let StartedPort { mut port, mut tx_queues, .. } =
        Port::start(eal(), vdev("net_ring_b"), &config, std::slice::from_ref(&pool)).unwrap();
    let info = port.info().clone();
    assert_eq!((info.name.as_str(), info.driver.as_str()), ("net_ring_b", "net_ring"));
    let (scatter, multi_segment) = (info.rx_offloads & (1 << 13) != 0, info.tx_offloads & (1 << 15) != 0);
    let off = Offloads { rx_checksum: false, scatter, multi_segment };
    assert_eq!(port.offloads(), off, "what the device lacks is off");
    assert_eq!(port.pools().len(), 1);
    assert!(port.link().unwrap().up);
    assert_eq!(port.mtu().unwrap(), 1500);
    let mac = [2, 0, 0, 0, 0, 9];
    match port.set_mac(mac) {
        Ok(()) => assert_eq!(port.mac().unwrap(), mac),
        Err(error) => assert_eq!(
            error.to_string(),
            "port net_ring_b: cannot set the MAC address: Operation not supported (errno 95)"
        ),
    }
    assert!(port.set_mac([1, 0, 0, 0, 0, 0]).is_err(), "a multicast address is not of one station");
    assert_eq!(port.rss().unwrap(), None);
    assert!(port.set_reta(&[0]).is_err());
    let mut burst = MbufBurst::<4>::new();
    burst.push(numbered(&pool, 1)).unwrap();
    tx_queues[0].burst(&mut burst);
    assert_eq!(port.stats().unwrap().tx_packets, 1);
    let xstats = port.xstats().unwrap();
    assert!(xstats.iter().any(|stat| stat.name == "tx_good_packets" && stat.value == 1), "{xstats:?}");
    port.reset_stats().unwrap();
    assert_eq!(port.stats().unwrap().tx_packets, 0);
}

#[test]
fn the_null_device_has_rss_to_read_and_set() {
    let pool = pool("rss");
    let fields = dpdk_ffi::RssFields::IPV4_TCP | dpdk_ffi::RssFields::IPV4_UDP;
    let config =
        PortConfig { rx_queues: 2, rss: Some(dpdk_ffi::RssConfig { fields, key: None }), ..PortConfig::default() };
    let mut started = Port::start(eal(), vdev("net_null_f"), &config, std::slice::from_ref(&pool)).unwrap();
    let port = &mut started.port;
    let state = port.rss().unwrap().unwrap();
    assert_eq!(state.reta.len(), usize::from(port.info().reta_len));
    assert_eq!(state.key.len(), usize::from(port.info().rss_key_len));
    let reta: Vec<u16> = (0..port.info().reta_len).map(|entry| entry / 3 % 2).collect();
    port.set_reta(&reta).unwrap();
    assert_eq!(port.rss().unwrap().unwrap().reta, reta);
    let error = port.set_reta(&vec![2; reta.len()]).unwrap_err().to_string();
    assert!(error.ends_with("with queues below 2"), "{error}");
    let key = Some(vec![1; 7]);
    let config = PortConfig { rss: Some(dpdk_ffi::RssConfig { fields, key }), ..config };
    let error = Port::start(eal(), vdev("net_null_g"), &config, std::slice::from_ref(&pool)).unwrap_err();
    assert_eq!(error.to_string(), "port net_null_g: RSS key of 7 bytes is wanted, the device's has 40");
}
