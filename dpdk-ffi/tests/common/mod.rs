//! EAL for tests, started once in a process: without hugepages, devices or root.
#![allow(clippy::unwrap_used, reason = "functions of tests, which clippy knows by their attribute only")]
#![allow(dead_code, reason = "each test binary uses a part of it")]

use std::fs;
use std::path::PathBuf;
use std::sync::OnceLock;

use dpdk_ffi::{DATA_ROOM_DEFAULT, Eal, Mbuf, MbufBurst, Mempool, PortId};

pub const POOL_LEN: u32 = 1023;

/// Main lcore 0 and worker lcore 1, both on the first CPU that there is.
pub fn eal_args() -> Vec<String> {
    let args = ["--no-huge", "-m", "96", "--no-pci", "--no-shconf", "--no-telemetry", "--lcores=0@0,1@0"];
    args.map(String::from).to_vec()
}

pub fn eal() -> &'static Eal {
    static EAL: OnceLock<Eal> = OnceLock::new();
    EAL.get_or_init(|| Eal::init(&eal_args()).unwrap())
}

pub fn pool(name: &str) -> Mempool {
    Mempool::new(eal(), name, POOL_LEN, 32, DATA_ROOM_DEFAULT, None).unwrap()
}

/// The port of a virtual device that is attached for this test.
pub fn vdev(devargs: &str) -> PortId {
    let ports = PortId::probe(eal(), devargs).unwrap();
    assert_eq!(ports.len(), 1);
    ports[0]
}

/// An mbuf of 60 bytes that starts with a number.
pub fn numbered(pool: &Mempool, number: u32) -> Mbuf {
    let mut mbuf = pool.alloc().unwrap();
    assert!(mbuf.extend_from_slice(&number.to_be_bytes()));
    mbuf.append(56).unwrap().fill(0xa5);
    mbuf
}

pub fn number_of(mbuf: &Mbuf) -> u32 {
    u32::from_be_bytes(mbuf.data()[..4].try_into().unwrap())
}

/// A full burst of mbufs that are numbered from `first` on.
pub fn numbered_burst<const N: usize>(pool: &Mempool, first: u32) -> MbufBurst<N> {
    let mut burst = MbufBurst::new();
    for number in (first..).take(N) {
        burst.push(numbered(pool, number)).unwrap();
    }
    burst
}

pub fn numbers<const N: usize>(burst: &MbufBurst<N>) -> Vec<u32> {
    burst.as_slice().iter().map(number_of).collect()
}

/// Writes a classic pcap file of those frames for this test.
pub fn pcap_file(name: &str, frames: &[Vec<u8>]) -> PathBuf {
    let mut bytes = Vec::new();
    for word in [0xa1b2_c3d4_u32, 0x0004_0002, 0, 0, 65535, 1] {
        bytes.extend(word.to_le_bytes());
    }
    for frame in frames {
        let len = u32::try_from(frame.len()).unwrap();
        for word in [1, 0, len, len] {
            bytes.extend(word.to_le_bytes());
        }
        bytes.extend(frame);
    }
    let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}-{}.pcap", std::process::id()));
    fs::write(&path, bytes).unwrap();
    path
}

/// The frames of a classic pcap file in this machine's byte order.
pub fn read_pcap(path: &std::path::Path) -> Vec<Vec<u8>> {
    let bytes = fs::read(path).unwrap();
    let mut rest = &bytes[24..];
    let mut frames = Vec::new();
    while let Some((header, tail)) = rest.split_at_checked(16) {
        let len = u32::from_le_bytes(header[8..12].try_into().unwrap()) as usize;
        frames.push(tail[..len].to_vec());
        rest = &tail[len..];
    }
    frames
}
