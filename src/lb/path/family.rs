//! What differs between IPv4 and IPv6 on the packet path.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::Work;
use crate::lb::counters::Counters;
use crate::lb::hash::{self, HashKey};
use crate::lb::lane::Lane;
use crate::lb::neighbor::Neighbors;
use crate::lb::shard::Shard;
use crate::lb::snapshot::{Hop, Routes};
use crate::lb::table::{Address, Table};
use crate::wire::checksum::Delta;
use crate::wire::parse::{FiveTuple, Parsed};

/// An address family: its table, its hash and where its fields lie.
pub(super) trait Family: Address + Into<IpAddr> {
    /// What the first stage says of its plain packets.
    const PLAIN: Work;
    /// What it says of its others.
    const FLOW: Work;
    /// What is said of them once their lane is known.
    const SEND: Work;
    /// Length of an address in bytes.
    const LEN: usize;
    /// Offset of the source address in the IP header; the destination follows it.
    const SRC: usize;
    /// Offset of TTL or hop limit in the IP header.
    const TTL: usize;

    /// The five-tuple of a parsed frame.
    fn key(parsed: &Parsed, frame: &[u8]) -> FiveTuple<Self>;
    /// The keyed hash of a five-tuple.
    fn tuple_hash(key: HashKey, tuple: &FiveTuple<Self>) -> u64;
    /// The worker's connections of this family.
    fn table(shard: &Shard) -> &Table<Self>;
    /// That of the two tables.
    fn table_of<'a>(v4: &'a Table<Ipv4Addr>, v6: &'a Table<Ipv6Addr>) -> &'a Table<Self>;
    /// The same, to change.
    fn table_mut(shard: &mut Shard) -> &mut Table<Self>;
    /// The same and what else the short way needs.
    fn parts(shard: &mut Shard) -> (&mut Table<Self>, &mut [Lane], &mut Neighbors, &Counters);
    /// The address, if it is of this family.
    fn of(addr: IpAddr) -> Option<Self>;
    /// The address as the table of this family keeps it: IPv4 addresses mapped among IPv6 ones, see
    /// [`crossed`](super::crossed).
    fn of_either(addr: IpAddr) -> Option<Self>;
    /// Whether this is an IPv4 address in IPv6 form.
    fn is_mapped(self) -> bool;
    /// An IPv4 five-tuple in IPv6 form; `None` for one that is IPv6.
    fn mapped(tuple: &FiveTuple<Self>) -> Option<FiveTuple<Ipv6Addr>>;
    /// The next hop for a destination.
    fn route(routes: &Routes, to: Self) -> Option<Hop>;
    /// What replacing `old` by `new` does to a checksum.
    fn replace(delta: Delta, old: Self, new: Self) -> Delta;
    /// Writes the address into `at`, which has [`Self::LEN`] bytes.
    fn put(self, at: &mut [u8]);
    /// Reads an address that [`Self::put`] wrote to the front of `from`.
    fn take(from: &[u8; 16]) -> Self;
    /// Corrects the IP header's checksum, if the family has one.
    fn fix_header(ip: &mut [u8], delta: Delta);
    /// Length of the IP header without options or extension headers.
    const HEADER_LEN: usize;

    /// True for an address that no host sends from (RFC 1812 5.3.7, RFC 4291 2.5.2, 2.5.3 and 2.7).
    fn is_martian(self) -> bool;
}

impl Family for Ipv4Addr {
    const PLAIN: Work = Work::Plain4;
    const FLOW: Work = Work::Flow4;
    const SEND: Work = Work::Send4;
    const LEN: usize = 4;
    const SRC: usize = 12;
    const TTL: usize = 8;
    const HEADER_LEN: usize = 20;

    #[inline]
    fn key(parsed: &Parsed, frame: &[u8]) -> FiveTuple<Self> {
        parsed.five_tuple_v4(frame)
    }

    #[inline]
    fn tuple_hash(key: HashKey, t: &FiveTuple<Self>) -> u64 {
        hash::tuple4(key, t.src.into(), t.dst.into(), t.sport, t.dport, t.protocol)
    }

    #[inline]
    fn table(shard: &Shard) -> &Table<Self> {
        &shard.v4
    }

    fn table_of<'a>(v4: &'a Table<Ipv4Addr>, _: &'a Table<Ipv6Addr>) -> &'a Table<Self> {
        v4
    }

    #[inline]
    fn table_mut(shard: &mut Shard) -> &mut Table<Self> {
        &mut shard.v4
    }

    #[inline]
    fn parts(shard: &mut Shard) -> (&mut Table<Self>, &mut [Lane], &mut Neighbors, &Counters) {
        (&mut shard.v4, &mut shard.lanes, &mut shard.neighbors, &shard.counters)
    }

    fn of(addr: IpAddr) -> Option<Self> {
        match addr {
            IpAddr::V4(a) => Some(a),
            IpAddr::V6(_) => None,
        }
    }

    fn of_either(addr: IpAddr) -> Option<Self> {
        Self::of(addr)
    }

    #[inline]
    fn is_mapped(self) -> bool {
        false
    }

    fn mapped(tuple: &FiveTuple<Self>) -> Option<FiveTuple<Ipv6Addr>> {
        let FiveTuple { src, dst, sport, dport, protocol } = *tuple;
        Some(FiveTuple { src: src.to_ipv6_mapped(), dst: dst.to_ipv6_mapped(), sport, dport, protocol })
    }

    #[inline]
    fn route(routes: &Routes, to: Self) -> Option<Hop> {
        routes.v4(to)
    }

    #[inline]
    fn replace(delta: Delta, old: Self, new: Self) -> Delta {
        delta.replace_v4(old, new)
    }

    #[inline]
    fn put(self, at: &mut [u8]) {
        if let Some(at) = at.first_chunk_mut() {
            *at = self.octets();
        }
    }

    #[inline(always)]
    fn take(&[a, b, c, d, ..]: &[u8; 16]) -> Self {
        Ipv4Addr::new(a, b, c, d)
    }

    #[inline]
    fn fix_header(ip: &mut [u8], delta: Delta) {
        if let Some(at) = ip.get_mut(10..12).and_then(|c| c.first_chunk_mut()) {
            *at = delta.apply(u16::from_be_bytes(*at)).to_be_bytes();
        }
    }

    fn is_martian(self) -> bool {
        self.is_multicast() || self.is_loopback() || self.is_broadcast() || self.octets()[0] == 0
    }
}

impl Family for Ipv6Addr {
    const PLAIN: Work = Work::Plain6;
    const FLOW: Work = Work::Flow6;
    const SEND: Work = Work::Send6;
    const LEN: usize = 16;
    const SRC: usize = 8;
    const TTL: usize = 7;
    const HEADER_LEN: usize = 40;

    #[inline]
    fn key(parsed: &Parsed, frame: &[u8]) -> FiveTuple<Self> {
        parsed.five_tuple_v6(frame)
    }

    #[inline]
    fn tuple_hash(key: HashKey, t: &FiveTuple<Self>) -> u64 {
        hash::tuple6(key, t.src.into(), t.dst.into(), t.sport, t.dport, t.protocol)
    }

    #[inline]
    fn table(shard: &Shard) -> &Table<Self> {
        &shard.v6
    }

    fn table_of<'a>(_: &'a Table<Ipv4Addr>, v6: &'a Table<Ipv6Addr>) -> &'a Table<Self> {
        v6
    }

    #[inline]
    fn table_mut(shard: &mut Shard) -> &mut Table<Self> {
        &mut shard.v6
    }

    #[inline]
    fn parts(shard: &mut Shard) -> (&mut Table<Self>, &mut [Lane], &mut Neighbors, &Counters) {
        (&mut shard.v6, &mut shard.lanes, &mut shard.neighbors, &shard.counters)
    }

    fn of(addr: IpAddr) -> Option<Self> {
        match addr {
            IpAddr::V4(_) => None,
            IpAddr::V6(a) => Some(a),
        }
    }

    fn of_either(addr: IpAddr) -> Option<Self> {
        Some(match addr {
            IpAddr::V4(addr) => addr.to_ipv6_mapped(),
            IpAddr::V6(addr) => addr,
        })
    }

    #[inline]
    fn is_mapped(self) -> bool {
        self.to_ipv4_mapped().is_some()
    }

    fn mapped(_: &FiveTuple<Self>) -> Option<FiveTuple<Ipv6Addr>> {
        None
    }

    #[inline]
    fn route(routes: &Routes, to: Self) -> Option<Hop> {
        routes.v6(to)
    }

    #[inline]
    fn replace(delta: Delta, old: Self, new: Self) -> Delta {
        delta.replace_v6(old, new)
    }

    #[inline]
    fn put(self, at: &mut [u8]) {
        if let Some(at) = at.first_chunk_mut() {
            *at = self.octets();
        }
    }

    #[inline(always)]
    fn take(from: &[u8; 16]) -> Self {
        Ipv6Addr::from(*from)
    }

    #[inline]
    fn fix_header(_ip: &mut [u8], _delta: Delta) {}

    fn is_martian(self) -> bool {
        self.is_multicast() || self.is_loopback() || self.is_unspecified()
    }
}
