//! Owning Rust wrappers over the part of DPDK that tidegate uses.
