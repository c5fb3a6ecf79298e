//! Bytes to fields and back: zero-copy views of protocol headers, without state.
//!
//! Ports and lengths are in host order in every signature; addresses are the standard library's. Lengths are checked
//! once, where a view is made or a frame is parsed, so that accessors cannot fail. A function that writes returns how many bytes
//! it wrote, or `None` (with the buffer untouched) where they do not fit.

pub mod arp;
mod bytes;
pub mod checksum;
pub mod ethernet;
pub mod gre;
pub mod icmp;
pub mod icmpv6;
pub mod ipv4;
pub mod ipv6;
pub mod packet_sum;
pub mod parse;
pub mod pcap;
pub mod pcapng;
pub mod protocol;
pub mod proxy;
pub mod tcp;
pub mod toa;
pub mod udp;

#[cfg(test)]
mod tests;

pub use bytes::Truncated;
