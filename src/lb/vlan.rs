//! Which of the logical ports that share a device a frame belongs to.

use super::ids::PortId;
use crate::wire::ethernet::EtherType;

/// See the module. The ports differ by their VLAN; at most one is for untagged frames.
#[derive(Clone, Debug)]
pub struct Vlans {
    /// VLAN identifier, 0 for untagged frames, and port.
    ports: Box<[(u16, PortId)]>,
    other: PortId,
}

/// Most tags that are looked behind for one that names a VLAN.
const TAGS_MAX: usize = 4;
/// Bytes from the start of a frame that say which VLAN it is of.
pub const VLAN_BYTES: usize = 12 + 4 * TAGS_MAX;

impl Vlans {
    /// Of ports with their VLANs, in the order of the configuration; `None` if they are fewer than two.
    pub fn new(ports: impl IntoIterator<Item = (Option<u16>, PortId)>) -> Option<Self> {
        let ports: Box<[_]> = ports.into_iter().map(|(vlan, port)| (vlan.unwrap_or(0), port)).collect();
        let other = ports.first()?.1;
        (ports.len() > 1).then_some(Self { ports, other })
    }

    /// The port of a frame, of which the first [`VLAN_BYTES`] are in one piece or it is shorter. One of a VLAN that no
    /// port has is given to the first port, which drops it for its tag.
    #[inline]
    pub fn port_of(&self, frame: &[u8]) -> PortId {
        let vlan = vlan_of(frame);
        self.ports.iter().find(|(id, _)| *id == vlan).map_or(self.other, |&(_, port)| port)
    }
}

/// The first VLAN identifier that is not 0, as a tag with 0 only carries a priority (IEEE 802.1Q); 0 without one.
#[inline]
fn vlan_of(frame: &[u8]) -> u16 {
    let tags = frame.get(12..).unwrap_or_default().as_chunks::<4>().0;
    let is_tag = |tag: &&[u8; 4]| EtherType(u16::from_be_bytes([tag[0], tag[1]])).is_tag();
    let tags = tags.iter().take(TAGS_MAX).take_while(is_tag);
    tags.map(|tag| u16::from_be_bytes([tag[2], tag[3]]) & 0x0fff).find(|&id| id != 0).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::parse::parse;

    const VIDS: [u16; 5] = [0, 1, 100, 4094, 4095];

    /// An Ethernet header with these tags, and an ARP message's bytes behind it.
    fn frame(tags: &[(u16, u16)]) -> Vec<u8> {
        let mut frame = vec![2; 12];
        for (kind, tag) in tags {
            frame.extend(kind.to_be_bytes());
            frame.extend(tag.to_be_bytes());
        }
        frame.extend([8, 6]);
        frame.extend([0; 28]);
        frame
    }

    #[test]
    fn a_frame_is_of_the_vlan_that_parsing_finds() {
        for kinds in [[0x8100, 0x8100], [0x88a8, 0x8100], [0x8100, 0x0800], [0x0806, 0x8100], [0x9100, 0x8100]] {
            for (a, b) in VIDS.iter().flat_map(|&a| VIDS.map(|b| (a, b))) {
                let frame = frame(&[(kinds[0], a | 0xe000), (kinds[1], b)]);
                if let Ok(parsed) = parse(&frame, frame.len()) {
                    assert_eq!(vlan_of(&frame), parsed.vlan, "{frame:02x?}");
                }
            }
        }
        for count in 0..=4 {
            let frame = frame(&[&[(0x8100, 0xe000)].repeat(count)[..], &[(0x0800, 7)]].concat());
            assert_eq!(vlan_of(&frame), 0);
            for len in 0..frame.len() {
                assert_eq!(vlan_of(&frame[..len]), 0, "cut at {len}");
            }
        }
        let deep = frame(&[(0x8100, 0), (0x8100, 0), (0x88a8, 0), (0x8100, 9)]);
        assert_eq!((vlan_of(&deep), parse(&deep, deep.len()).unwrap().vlan), (9, 9));
    }

    #[test]
    fn each_vlan_has_its_port_and_unknown_ones_the_first() {
        let ports = [(Some(100), PortId(4)), (None, PortId(2)), (Some(7), PortId(3))];
        let vlans = Vlans::new(ports).unwrap();
        let of = |vid| vlans.port_of(&frame(&[(0x8100, vid)]));
        assert_eq!([of(100), of(0xe000 | 7), of(0), of(8)], [4, 3, 2, 4].map(PortId));
        assert_eq!(vlans.port_of(&frame(&[])), PortId(2));
        assert_eq!(vlans.port_of(&[]), PortId(2));
        assert!(Vlans::new([(None, PortId(0))]).is_none());
        assert!(Vlans::new([]).is_none());
    }
}
