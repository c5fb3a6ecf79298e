//! The `pktgen` command.

fn main() {}
