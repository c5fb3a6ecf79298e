//! The packet path, frame by frame: what comes out, and which counters moved.

mod connections;
mod drops;
mod errors;
mod fuzz;
mod icmp;
mod nat;
mod neighbor;
mod steering;
mod tunnel;
