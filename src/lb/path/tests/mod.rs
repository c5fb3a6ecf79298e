//! The packet path, frame by frame: what comes out, and which counters moved.

mod connections;
mod crossed;
mod crossing;
mod crossing_errors;
mod crossing_random;
pub(crate) mod drops;
mod errors;
mod full_nat;
mod fuzz;
mod glance;
mod icmp;
mod nat;
mod neighbor;
mod partial;
mod pieces;
mod pressure;
mod reset;
mod rules;
mod short_way;
mod steering;
mod tell;
mod told;
mod tunnel;
