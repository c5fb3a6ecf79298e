//! Changes inside a TCP header that keep its checksum as right or as wrong as it was.

use super::{HEADER_LEN, NO_OPERATION, SACK, TcpOption, TcpOptions, TcpPacket};
use crate::wire::bytes::{put, u8_at, u32_at};
use crate::wire::checksum::Delta;

/// The most bytes of options in a header.
pub const OPTIONS_MAX: usize = 40;

impl<T: AsRef<[u8]> + AsMut<[u8]>> TcpPacket<T> {
    /// Replaces the sequence number, checksum included.
    pub fn replace_seq(&mut self, seq: u32) {
        let delta = Delta::default().replace_u32(self.seq(), seq);
        self.set_seq(seq);
        self.update_checksum(delta);
    }

    /// Replaces the acknowledgment number, checksum included.
    pub fn replace_ack(&mut self, ack: u32) {
        let delta = Delta::default().replace_u32(self.ack(), ack);
        self.set_ack(ack);
        self.update_checksum(delta);
    }

    /// Puts each edge of selective acknowledgments, those of RFC 2883 among them, through `map`, checksum included. Blocks
    /// that are empty then are taken out, because receivers read an empty one as a segment that arrived twice.
    pub fn map_sack(&mut self, map: impl Fn(u32) -> u32) {
        let mut from = 0;
        while let Some((at, len)) = self.find_option(from, |option| matches!(option, TcpOption::Sack(_))) {
            let mut new = [NO_OPERATION; OPTIONS_MAX];
            let mut end = 2;
            for block in (at + 2..at + len).step_by(8) {
                let (left, right) = (map(u32_at(self.bytes(), block)), map(u32_at(self.bytes(), block + 4)));
                if left != right {
                    put(&mut new, end, left.to_be_bytes());
                    put(&mut new, end + 4, right.to_be_bytes());
                    end += 8;
                }
            }
            if end > 2 {
                put(&mut new, 0, [SACK, end as u8]);
            }
            self.replace_bytes(at, new.get(..len).unwrap_or_default());
            from = at + len - HEADER_LEN;
        }
    }

    /// Turns every option that `is` says into padding, checksum included.
    pub fn blank_options(&mut self, is: impl Fn(&TcpOption<'_>) -> bool) {
        let mut from = 0;
        while let Some((at, len)) = self.find_option(from, &is) {
            self.replace_bytes(at, [NO_OPERATION; OPTIONS_MAX].get(..len).unwrap_or_default());
            from = at + len - HEADER_LEN;
        }
    }

    /// Where in the header the first option from offset `from` of the options on is that `is` says, and its length, both in bytes.
    fn find_option(&self, from: usize, is: impl Fn(&TcpOption<'_>) -> bool) -> Option<(usize, usize)> {
        let options = self.bytes().get(HEADER_LEN..self.header_len()).unwrap_or_default();
        let mut options = TcpOptions { options, at: from };
        while let Some(option) = options.next() {
            if is(&option) {
                // Padding may stand before an option, so its place is counted back from its end.
                let len = 2 + option.data_len();
                return Some((HEADER_LEN + options.at - len, len));
            }
        }
        None
    }

    fn replace_bytes(&mut self, at: usize, new: &[u8]) {
        let mut delta = Delta::default();
        for (offset, &new) in (at..).zip(new) {
            let old = u8_at(self.bytes(), offset);
            // Options have no alignment: a byte is either half of the word that the checksum sees.
            let word = |byte| u16::from(byte) << if offset.is_multiple_of(2) { 8 } else { 0 };
            delta = delta.replace_u16(word(old), word(new));
            put(self.data.as_mut(), offset, [new]);
        }
        self.update_checksum(delta);
    }
}

impl TcpOption<'_> {
    /// Bytes behind kind and length.
    fn data_len(&self) -> usize {
        match self {
            Self::Mss(_) => 2,
            Self::WindowScale(_) => 1,
            Self::SackPermitted => 0,
            Self::Timestamps { .. } => 8,
            Self::Sack(data) | Self::Unknown { data, .. } => data.len(),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::wire::checksum::{combine, finish, sum};

    /// A header with these options, padded, and a payload; its checksum is off by `off` over a pseudo-header of sum 0.
    fn packet(options: &[u8], payload: &[u8], off: u16) -> Vec<u8> {
        let words = options.len().div_ceil(4);
        let mut bytes = vec![0x11; HEADER_LEN];
        bytes[12] = ((5 + words) as u8) << 4;
        bytes.extend(options);
        bytes.resize(HEADER_LEN + words * 4, 0);
        bytes.extend(payload);
        let mut tcp = TcpPacket::new_checked(&mut bytes[..]).unwrap();
        tcp.fill_checksum(0);
        let check = tcp.checksum();
        tcp.set_checksum(check ^ off);
        bytes
    }

    /// By how much a checksum is wrong: 0 if it is right.
    fn fault(bytes: &[u8]) -> u16 {
        finish(combine(0, sum(bytes)))
    }

    fn sack(blocks: &[(u32, u32)]) -> Vec<u8> {
        let mut option = vec![SACK, 2 + 8 * blocks.len() as u8];
        for (left, right) in blocks {
            option.extend(left.to_be_bytes());
            option.extend(right.to_be_bytes());
        }
        option
    }

    #[test]
    fn blocks_are_moved_and_empty_ones_taken_out() {
        let map = |edge: u32| edge.wrapping_sub(100).max(1000);
        let edited = |blocks: &[(u32, u32)]| {
            let mut bytes = packet(&[&[1, 1][..], &sack(blocks), &[3, 3, 7]].concat(), b"odd", 0);
            TcpPacket::new_checked(&mut bytes[..]).unwrap().map_sack(map);
            assert_eq!(fault(&bytes), 0);
            let tcp = TcpPacket::new_checked(&bytes[..]).unwrap();
            tcp.options().map(|option| format!("{option:?}")).collect::<Vec<_>>()
        };
        let shown = |blocks: &[(u32, u32)]| format!("{:?}", TcpOption::Sack(&sack(blocks)[2..]));
        let scale = format!("{:?}", TcpOption::WindowScale(7));
        assert_eq!(edited(&[(1100, 1200), (1300, 1400)]), [shown(&[(1000, 1100), (1200, 1300)]), scale.clone()]);
        assert_eq!(edited(&[(1000, 1100), (1300, 1400)]), [shown(&[(1200, 1300)]), scale.clone()]);
        assert_eq!(edited(&[(1000, 1150)]), [shown(&[(1000, 1050)]), scale.clone()]);
        assert_eq!(edited(&[(1000, 1100)]), [scale]);
    }

    #[test]
    fn named_options_become_padding() {
        let mut bytes = packet(&[2, 4, 5, 0xb4, 34, 4, 1, 2, 1, 30, 4, 3, 4, 34, 2], b"", 0);
        let mut tcp = TcpPacket::new_checked(&mut bytes[..]).unwrap();
        tcp.blank_options(|option| matches!(option, TcpOption::Unknown { kind: 30 | 34, .. }));
        assert_eq!(fault(&bytes), 0);
        assert_eq!(bytes[20..], [2, 4, 5, 0xb4, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 0]);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]

        #[test]
        fn checksums_stay_as_right_or_wrong_as_they_are(
            options in proptest::collection::vec(prop_oneof![Just(1u8), Just(5), Just(10), Just(18), any::<u8>()], 0..40),
            blocks in proptest::collection::vec(any::<(u32, u32)>(), 1..4),
            lead in 0usize..4,
            payload in proptest::collection::vec(any::<u8>(), 0..9),
            off in prop_oneof![Just(0u16), any::<u16>()],
            by in any::<u32>(),
        ) {
            // Anything at all, and a real option at each alignment.
            let real = [&vec![1; lead][..], &sack(&blocks)].concat();
            for options in [&options[..], &real] {
                let mut bytes = packet(options, &payload, off);
                let before = fault(&bytes);
                let mut tcp = TcpPacket::new_checked(&mut bytes[..]).unwrap();
                let (seq, ack) = (tcp.seq(), tcp.ack());
                tcp.map_sack(|edge| edge.wrapping_sub(by));
                tcp.blank_options(|option| matches!(option, TcpOption::Unknown { .. }));
                tcp.replace_seq(seq.wrapping_add(by));
                tcp.replace_ack(ack.wrapping_sub(by));
                prop_assert_eq!(fault(&bytes), before);
                prop_assert_eq!(&bytes[bytes.len() - payload.len()..], &payload[..]);
            }
        }
    }
}
