//! A read-only map for the packet path: few entries, looked up once or more for every new connection.
//!
//! Open addressing with at most a quarter of the places taken. Its keys come from the configuration and it never changes, so
//! nobody outside can make a lookup long; what is looked up may be anything.

use std::net::IpAddr;

/// An address with a protocol and a port, or with 0 for both.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Key {
    address: [u64; 2],
    /// Protocol and port, and whether the address is IPv6: an IPv4 address is not its IPv4-mapped one.
    rest: u64,
}

impl Key {
    #[inline]
    pub(super) fn new(address: IpAddr, protocol: u8, port: u16) -> Self {
        let rest = u64::from(protocol) << 16 | u64::from(port);
        match address {
            IpAddr::V4(a) => Self { address: [u64::from(a.to_bits()), 0], rest },
            IpAddr::V6(a) => Self { address: [(a.to_bits() >> 64) as u64, a.to_bits() as u64], rest: rest | 1 << 32 },
        }
    }

    #[inline]
    fn mix(&self) -> u64 {
        const ODD: u64 = 0x9e37_79b9_7f4a_7c15;
        let mixed = (self.address[0] ^ self.rest.rotate_left(40)).wrapping_mul(ODD) ^ self.address[1];
        let mixed = (mixed ^ mixed >> 29).wrapping_mul(ODD);
        mixed ^ mixed >> 32
    }
}

/// See the module.
#[derive(Clone, Debug)]
pub(super) struct Index<V> {
    places: Box<[Option<(Key, V)>]>,
}

impl<V: Copy> Index<V> {
    /// The last of entries with the same key counts.
    pub(super) fn new(entries: impl ExactSizeIterator<Item = (Key, V)>) -> Self {
        let mut places = vec![None; (entries.len() * 4).next_power_of_two()].into_boxed_slice();
        for (key, value) in entries {
            let mask = places.len() - 1;
            let mut at = key.mix() as usize & mask;
            while places.get(at).is_some_and(|place| matches!(place, Some((other, _)) if *other != key)) {
                at = (at + 1) & mask;
            }
            if let Some(place) = places.get_mut(at) {
                *place = Some((key, value));
            }
        }
        Self { places }
    }

    /// The value of `key`.
    #[inline]
    pub(super) fn get(&self, key: &Key) -> Option<V> {
        let mask = self.places.len().wrapping_sub(1);
        let mut at = key.mix() as usize & mask;
        // Three quarters are free, so this ends.
        while let Some(Some((other, value))) = self.places.get(at) {
            if other == key {
                return Some(*value);
            }
            at = (at + 1) & mask;
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::HashMap;

    fn key() -> impl Strategy<Value = (IpAddr, u8, u16)> {
        let near = prop_oneof![
            (0u32..40).prop_map(|n| IpAddr::from((0x0a00_0000 + n).to_be_bytes())),
            (0u128..40).prop_map(|n| IpAddr::from((0x2001_0db8 << 96 | n).to_be_bytes())),
            (0u128..40).prop_map(|n| IpAddr::from((0xffff_0a00_0000 | n).to_be_bytes())),
            any::<IpAddr>(),
        ];
        (near, prop_oneof![Just(0u8), Just(6), Just(17)], 0u16..4)
    }

    proptest! {
        #[test]
        fn is_a_map(entries in prop::collection::vec((key(), any::<u32>()), 0..200), asked in prop::collection::vec(key(), 50)) {
            let of = |&(address, protocol, port): &(IpAddr, u8, u16)| Key::new(address, protocol, port);
            let index = Index::new(entries.iter().map(|(k, v)| (of(k), *v)));
            let map: HashMap<_, _> = entries.iter().copied().collect();
            prop_assert_eq!(index.places.iter().flatten().count(), map.len());
            for key in map.keys().chain(&asked) {
                prop_assert_eq!(index.get(&of(key)), map.get(key).copied());
            }
        }
    }
}
