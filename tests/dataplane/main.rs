//! The real command on DPDK's virtual devices, without hugepages or root: every packet is accounted for, whatever comes
//! between.
#![cfg(feature = "dpdk")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "functions of tests, which clippy knows by their attribute only")]

#[path = "../../fuzz/src/frames.rs"]
#[allow(dead_code, reason = "the fuzz targets use the rest of it")]
mod frames;
mod process;
mod traffic;

mod doctor;
mod endings;
mod forwarding;
mod idle;
mod latency;
mod top;
