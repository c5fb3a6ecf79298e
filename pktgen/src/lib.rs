//! Makes the traffic that tidegate is tested and measured with.

pub mod conversation;
pub mod flows;
pub mod frame;
pub mod pcap_command;
pub mod rng;
pub mod traffic;
