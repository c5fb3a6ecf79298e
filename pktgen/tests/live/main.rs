//! `pktgen run` and `pktgen rfc2544` on DPDK's virtual devices, against testpmd and against tidegate, without root.
#![allow(clippy::unwrap_used, clippy::panic, reason = "functions of tests, which clippy knows by their attribute only")]

mod loopback;
mod misuse;
mod process;
mod testpmd;
mod tidegate;
