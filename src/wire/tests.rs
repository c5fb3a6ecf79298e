//! Tests of the layer as a whole, and the frames that they share.

mod checksum;
pub(super) mod frames;
mod headers;
mod icmp;
mod neighbor;
mod oracle;
mod pcap;

/// The bytes that pairs of hexadecimal digits stand for.
fn hex(digits: &str) -> Vec<u8> {
    let digits = digits.as_bytes().chunks(2);
    digits.map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap()).collect()
}
