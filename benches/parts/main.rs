//! Times the parts of the packet path one by one, see `docs/performance.md` for what each bench is.
//!
//!     cargo bench --no-default-features --bench parts                    all, in a few minutes
//!     cargo bench --no-default-features --bench parts -- table::hit      those with this in their name
//!     cargo bench --no-default-features --bench parts -- --test          each once, small, without figures
#![allow(clippy::unwrap_used, clippy::panic, reason = "a bench that cannot go on has nothing better to do")]

mod hash;
mod maglev;
mod parse;
mod path;
#[path = "../support/mod.rs"]
mod support;
mod table;

fn main() {
    divan::main();
}

/// Whether everything is only to be tried once.
fn is_test() -> bool {
    std::env::args().any(|word| word == "--test")
}
