//! Captures, read and written without the product's own code.

use std::path::Path;

/// When captures begin: seconds since 1970.
const START_S: u64 = 1_700_000_000;

/// A capture of frames with their times in microseconds from the start.
pub fn bytes<'a>(frames: impl Iterator<Item = (u64, &'a [u8])>) -> Vec<u8> {
    let mut out = Vec::new();
    for word in [0xa1b2_c3d4u32, 0x0004_0002, 0, 0, 262_144, 1] {
        out.extend(word.to_le_bytes());
    }
    for (at_us, frame) in frames {
        let us = START_S * 1_000_000 + at_us;
        let len = frame.len() as u32;
        for word in [(us / 1_000_000) as u32, (us % 1_000_000) as u32, len, len] {
            out.extend(word.to_le_bytes());
        }
        out.extend(frame);
    }
    out
}

/// The frames of a capture in the byte order of this machine, whatever the unit of its times.
pub fn frames(path: &Path) -> Vec<Vec<u8>> {
    let bytes = std::fs::read(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let word = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap());
    assert!([0xa1b2_c3d4, 0xa1b2_3c4d].contains(&word(0)), "{} is no capture", path.display());
    let mut frames = Vec::new();
    let mut at = 24;
    while at < bytes.len() {
        let (kept, len) = (word(at + 8) as usize, word(at + 12) as usize);
        assert_eq!(kept, len, "{}: a frame is cut", path.display());
        frames.push(bytes[at + 16..at + 16 + len].to_vec());
        at += 16 + len;
    }
    frames
}
