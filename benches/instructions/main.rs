//! Runs a number of bursts of one case through the packet path, for `benches/instructions.sh` to count instructions.
//!
//!     instructions --list          names the cases
//!     instructions CASE BURSTS     runs so many bursts of it
//!     instructions                 runs a few bursts of every case, to see that they work
#![allow(clippy::unwrap_used, clippy::panic, reason = "a bench that cannot go on has nothing better to do")]

#[path = "../support/mod.rs"]
mod support;

use support::{Case, Kind, Rig, cases};

/// Connections of a case.
const FLOWS: usize = 2048;

fn main() {
    let all: Vec<Case> = [Kind::Established, Kind::Reply, Kind::New].into_iter().flat_map(cases).collect();
    // Cargo adds options of its own when it runs all benches.
    let words: Vec<String> = std::env::args().skip(1).filter(|word| word != "--bench" && word != "--test").collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words[..] {
        ["--list"] => all.iter().for_each(|case| println!("{case}")),
        [name, bursts] => {
            let case = all.iter().find(|case| case.to_string() == name);
            let (Some(&case), Ok(bursts)) = (case, bursts.parse()) else {
                eprintln!("instructions: no case {name} or not a number: {bursts}; --list names the cases");
                std::process::exit(2);
            };
            run(case, bursts);
        }
        // Other words are filters for other benches.
        _ => {
            all.iter().for_each(|&case| run(case, 2));
            println!("{} cases work; benches/instructions.sh counts their instructions", all.len());
        }
    }
}

fn run(case: Case, bursts: usize) {
    let mut rig = Rig::new(case, FLOWS);
    for burst in 0..bursts {
        if case.kind == Kind::New && burst % rig.bursts() == 0 {
            rig.forget();
        }
        rig.load(burst);
        counted(&mut rig);
        rig.check();
    }
}

/// The only function whose instructions count.
#[inline(never)]
fn counted(rig: &mut Rig) {
    std::hint::black_box(rig.run());
}
