//! Five-tuples to numbers: where a connection lives in the table, and which backend a new one gets.

use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use divan::Bencher;
use divan::counter::ItemsCount;
use tidegate::lb::hash::{HashKey, tuple4, tuple6};
use tidegate::lb::table::{Address, Probe, TableHasher};
use tidegate::wire::parse::FiveTuple;

use crate::support::frames::{Family, VIP_PORT, client, vip};

const KEY: HashKey = HashKey::from_bytes([9; 16]);
const BURST: usize = 32;

/// An address of a family, out of one that is known to be.
pub trait Known: Address {
    const FAMILY: Family;
    fn known(address: IpAddr) -> Self;
}

impl Known for Ipv4Addr {
    const FAMILY: Family = Family::V4;
    fn known(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(address) => address,
            IpAddr::V6(_) => panic!("{address} is not ipv4"),
        }
    }
}

impl Known for Ipv6Addr {
    const FAMILY: Family = Family::V6;
    fn known(address: IpAddr) -> Self {
        match address {
            IpAddr::V6(address) => address,
            IpAddr::V4(_) => panic!("{address} is not ipv6"),
        }
    }
}

/// The five-tuple of flow `n`.
pub fn tuple<A: Known>(n: usize) -> FiveTuple<A> {
    let (src, sport) = client(A::FAMILY, n);
    FiveTuple { src: A::known(src), dst: A::known(vip(A::FAMILY)), sport, dport: VIP_PORT, protocol: 6 }
}

fn of_table<A: Known>(bencher: Bencher<'_, '_>, hasher: &TableHasher) {
    let mut probes = [Probe::default(); BURST];
    for (n, probe) in probes.iter_mut().enumerate() {
        probe.of(&tuple::<A>(n));
    }
    bencher.counter(ItemsCount::new(BURST)).bench_local(|| {
        hasher.hash_all::<A>(black_box(&mut probes).iter_mut());
    });
}

/// 32 tuples, by AES where the processor has it.
#[divan::bench(types = [Ipv4Addr, Ipv6Addr])]
fn table_fastest<A: Known>(bencher: Bencher<'_, '_>) {
    of_table::<A>(bencher, &TableHasher::new(KEY));
}

/// 32 tuples, as on a processor without AES.
#[divan::bench(types = [Ipv4Addr, Ipv6Addr])]
fn table_portable<A: Known>(bencher: Bencher<'_, '_>) {
    of_table::<A>(bencher, &TableHasher::Portable(KEY));
}

/// The flow hash (SipHash-1-3) of 32 IPv4 tuples.
#[divan::bench]
fn flow_v4(bencher: Bencher<'_, '_>) {
    let tuples: Vec<_> = (0..BURST).map(tuple::<Ipv4Addr>).collect();
    bencher.counter(ItemsCount::new(BURST)).bench_local(|| {
        for t in black_box(&tuples) {
            black_box(tuple4(KEY, t.src.to_bits(), t.dst.to_bits(), t.sport, t.dport, t.protocol));
        }
    });
}

/// The same of IPv6 tuples.
#[divan::bench]
fn flow_v6(bencher: Bencher<'_, '_>) {
    let tuples: Vec<_> = (0..BURST).map(tuple::<Ipv6Addr>).collect();
    bencher.counter(ItemsCount::new(BURST)).bench_local(|| {
        for t in black_box(&tuples) {
            black_box(tuple6(KEY, t.src.to_bits(), t.dst.to_bits(), t.sport, t.dport, t.protocol));
        }
    });
}
