//! Times the parts of the packet path one by one, and counts its instructions; `docs/performance.md` has the figures.
//!
//!     cargo bench --no-default-features                     all, in a few minutes
//!     cargo bench --no-default-features -- table::hit       those with this in their name
//!     cargo bench --no-default-features -- --test           each once, small, without figures
//!     benches/instructions.sh                               instructions a packet, case by case
//!
//! Names stay the same, so that figures can be compared over time.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a bench that cannot go on has nothing better to do")]

mod count;
mod hash;
mod maglev;
mod parse;
mod path;
mod support;
mod table;

fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match &words[..] {
        ["count", words @ ..] => count::main(words),
        _ => divan::main(),
    }
}

/// Whether everything is only to be tried once.
fn is_test() -> bool {
    std::env::args().any(|word| word == "--test")
}
