//! The checksum against a plain one, and incremental against full, over every value.

use std::net::{Ipv4Addr, Ipv6Addr};

use proptest::prelude::*;

use super::frames::reference_checksum;
use crate::wire::checksum::{self, Delta, checksum, combine, combine_at, finish, pseudo_v4, pseudo_v6, sum, update};

#[test]
fn the_example_of_rfc_1071_section_3() {
    let data = [0x00, 0x01, 0xF2, 0x03, 0xF4, 0xF5, 0xF6, 0xF7];
    assert_eq!(sum(&data), 0xDDF2);
    assert_eq!(checksum(&data), !0xDDF2);
}

#[test]
fn the_example_of_rfc_1624_section_4() {
    // Equation 2 of RFC 1141 gives 0xFFFF here, which is wrong.
    assert_eq!(update(0xDD2F, 0x5555, 0x3285), 0x0000);
}

#[test]
fn a_known_ipv4_header() {
    let header = [0x45, 0, 0, 0x73, 0, 0, 0x40, 0, 0x40, 0x11, 0xB8, 0x61, 0xC0, 0xA8, 0, 1, 0xC0, 0xA8, 0, 0xC7];
    assert!(checksum::is_valid(sum(&header)));
    let mut zeroed = header;
    zeroed[10..12].fill(0);
    assert_eq!(checksum(&zeroed), 0xB861);
}

#[test]
fn every_old_and_new_value_matches_recomputation() {
    // The other words bring the sum of the rest to its corners, zero and all ones among them.
    let rests: [[u16; 3]; 7] = [
        [0, 0, 1],
        [0xFFFF, 0, 0],
        [0xFFFF, 0xFFFF, 0xFFFF],
        [0x8000, 0x7FFF, 0],
        [0x1234, 0x5678, 0x9ABC],
        [0xFFFE, 1, 0],
        [0, 0xFFFE, 0],
    ];
    let olds = [0, 1, 0x00FF, 0x5555, 0x7FFF, 0x8000, 0xFFFE, 0xFFFF];
    for rest in rests {
        for old in olds {
            for new in 0..=u16::MAX {
                let expected = recompute(rest, new);
                assert_eq!(update(recompute(rest, old), old, new), expected, "{rest:04x?} {old:04x} -> {new:04x}");
                assert_eq!(update(expected, new, old), recompute(rest, old), "{rest:04x?} {new:04x} -> {old:04x}");
            }
        }
    }
}

fn recompute(rest: [u16; 3], field: u16) -> u16 {
    let bytes: Vec<u8> = rest.iter().chain([&field]).flat_map(|word| word.to_be_bytes()).collect();
    reference_checksum(&bytes)
}

#[test]
fn udp_keeps_no_checksum_and_never_sends_zero() {
    for new in 0..=u16::MAX {
        let delta = Delta::default().replace_u16(0x1234, new);
        assert_eq!(delta.apply_udp(0), 0);
        for check in [1, 0x1234, 0x8000, 0xFFFE, 0xFFFF] {
            let expected = if delta.apply(check) == 0 { 0xFFFF } else { delta.apply(check) };
            assert_eq!(delta.apply_udp(check), expected);
            assert_ne!(delta.apply_udp(check), 0);
        }
    }
    // 0x1235 is what makes this checksum come out as zero.
    assert_eq!(Delta::default().replace_u16(0x1234, 0x1235).apply_udp(1), 0xFFFF);
    assert_eq!(checksum::finish_udp(0xFFFF), 0xFFFF);
    assert_eq!(checksum::finish_udp(0x1234), !0x1234);
}

#[test]
fn a_wrong_checksum_stays_wrong_by_as_much() {
    let (old, new) = ([0x1234, 0x5678, 0x9ABC], [0x0001, 0x5678, 0x9ABC]);
    let delta = Delta::default().replace_u16(old[0], new[0]);
    let (right_before, right_after) = (recompute(old, 7), recompute(new, 7));
    for error in 1..0xFFFFu16 {
        let wrong = delta.apply(right_before.wrapping_add(error));
        assert_ne!(wrong, right_after, "off by {error}");
    }
}

proptest! {
    #[test]
    fn sums_match_the_reference(data in prop::collection::vec(any::<u8>(), 0..300)) {
        prop_assert_eq!(checksum(&data), reference_checksum(&data));
    }

    #[test]
    fn pieces_add_up_wherever_the_cuts_are(
        data in prop::collection::vec(any::<u8>(), 0..200),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..5),
    ) {
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(data.len() + 1)).collect();
        cuts.push(data.len());
        cuts.sort_unstable();
        let (mut total, mut at) = (0, 0);
        for cut in cuts {
            total = combine_at(total, at, sum(&data[at..cut]));
            at = cut;
        }
        prop_assert_eq!(finish(total), reference_checksum(&data));
    }

    #[test]
    fn pseudo_headers_sum_as_their_bytes_do(
        v4 in any::<([u8; 4], [u8; 4])>(), v6 in any::<([u8; 16], [u8; 16])>(), protocol in any::<u8>(), len in any::<u16>(),
    ) {
        let len_bytes = len.to_be_bytes();
        let bytes = [&v4.0[..], &v4.1, &[0, protocol], &len_bytes].concat();
        prop_assert_eq!(finish(pseudo_v4(v4.0.into(), v4.1.into(), protocol, len)), reference_checksum(&bytes));
        let len = u32::from(len) * 17;
        let bytes = [&v6.0[..], &v6.1, &len.to_be_bytes(), &[0, 0, 0, protocol]].concat();
        prop_assert_eq!(finish(pseudo_v6(v6.0.into(), v6.1.into(), protocol, len)), reference_checksum(&bytes));
    }

    #[test]
    fn deltas_of_all_widths_match_recomputation(
        mut data in prop::collection::vec(any::<u8>(), 60..61),
        new in any::<([u8; 2], [u8; 4], [u8; 4], [u8; 16], [u8; 2])>(),
    ) {
        data[59] |= 1;
        let before = checksum(&data);
        let old16 = |data: &[u8], at: usize| u16::from_be_bytes([data[at], data[at + 1]]);
        let old_v4 = Ipv4Addr::from(*data[8..].first_chunk::<4>().unwrap());
        let old_v6 = Ipv6Addr::from(*data[12..].first_chunk::<16>().unwrap());
        let old32 = u32::from_be_bytes(*data[4..].first_chunk::<4>().unwrap());
        let first = Delta::default()
            .replace_u16(old16(&data, 2), u16::from_be_bytes(new.0))
            .replace_u32(old32, u32::from_be_bytes(new.1))
            .replace_v4(old_v4, new.2.into());
        let second = Delta::default()
            .replace_v6(old_v6, new.3.into())
            .replace_u16_at(33, old16(&data, 33), u16::from_be_bytes(new.4));
        data[2..4].copy_from_slice(&new.0);
        data[4..8].copy_from_slice(&new.1);
        data[8..12].copy_from_slice(&new.2);
        data[12..28].copy_from_slice(&new.3);
        data[33..35].copy_from_slice(&new.4);
        prop_assert_eq!(first.and(second).apply(before), reference_checksum(&data));
        prop_assert_eq!(second.apply(first.apply(before)), reference_checksum(&data));
    }

    #[test]
    fn combining_is_adding(a in any::<[u8; 8]>(), b in any::<[u8; 6]>()) {
        prop_assert_eq!(finish(combine(sum(&a), sum(&b))), reference_checksum(&[&a[..], &b].concat()));
    }
}

/// A header's sum in wider words, as the packet path adds them: two whole words and a half, or five halves.
fn wide_sums(header: &[u8; 20]) -> [u64; 3] {
    let halves = header.as_chunks::<4>().0;
    let little = halves.iter().map(|w| u64::from(u32::from_le_bytes(*w))).sum();
    let big = halves.iter().map(|w| u64::from(u32::from_be_bytes(*w))).sum();
    let words = header.as_chunks::<2>().0.iter().map(|w| u64::from(u16::from_le_bytes(*w))).sum();
    [little, big, words]
}

#[track_caller]
fn header_is_judged_rightly(header: &[u8; 20]) -> bool {
    let is_right = reference_checksum(header) == 0;
    assert_eq!(wide_sums(header).map(checksum::is_header_sum), [is_right; 3], "{header:02x?}");
    assert_eq!(checksum::is_header_valid(header), is_right, "{header:02x?}");
    is_right
}

#[test]
fn header_sums_are_judged_as_folding_them_would_for_every_value_of_a_field() {
    let known = [0x45, 0, 0, 0x73, 0, 0, 0x40, 0, 0x40, 0x11, 0xB8, 0x61, 0xC0, 0xA8, 0, 1, 0xC0, 0xA8, 0, 0xC7];
    let mut full = [0xff; 20];
    full[0] = 0x45;
    let mut bare = [0; 20];
    bare[0] = 0x45;
    for header in [known, full, bare] {
        for at in (0..20).step_by(2) {
            let mut right = 0;
            for value in 0..=u16::MAX {
                // There is a version in every header, see `is_header_sum`.
                let value = if at == 0 { value & 0xff | 0x4500 } else { value };
                let mut header = header;
                header[at..at + 2].copy_from_slice(&value.to_be_bytes());
                right += u32::from(header_is_judged_rightly(&header));
            }
            // Both zeros are right where one of them is.
            assert!(at == 0 || right == 1 || right == 2, "{right} values at {at}");
        }
    }
}

proptest! {
    #[test]
    fn any_wide_sum_is_judged_as_folding_it_would(sum in 1u64.., quotient in 1u64..=u64::MAX / 0xFFFF) {
        let folds_to_ones = |n: u64| n.is_multiple_of(0xFFFF);
        prop_assert_eq!(checksum::is_header_sum(sum), folds_to_ones(sum));
        let multiple = quotient * 0xFFFF;
        prop_assert!(checksum::is_header_sum(multiple));
        prop_assert!(!checksum::is_header_sum(multiple - 1));
        prop_assert_eq!(checksum::is_header_sum(multiple.saturating_add(1)), multiple == u64::MAX);
    }

    #[test]
    fn header_sums_of_any_header_are_judged_rightly(mut header: [u8; 20], mend: bool) {
        header[0] = 0x45;
        if mend {
            header[10..12].fill(0);
            let check = reference_checksum(&header);
            header[10..12].copy_from_slice(&check.to_be_bytes());
        }
        let is_right = header_is_judged_rightly(&header);
        prop_assert!(is_right || !mend);
    }
}

#[test]
fn short_sums_finish_as_any_others() {
    let edges = (0..=14u32).flat_map(|high| [0, 1, 2, 0x7FFF, 0xFFFE, 0xFFFF].map(|low| high << 16 | low));
    let ends = [0xFFFF_0000, 0xFFFE_FFFF, 0xFFFE_0001, 65_536 * 0xFFFF];
    for sum in edges.chain(ends).chain((0..1 << 20).step_by(7)) {
        assert_eq!(checksum::finish_short(sum), finish(sum), "{sum:#x}");
    }
}
