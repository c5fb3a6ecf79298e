//! Runs a number of bursts of one case through the packet path, for `benches/instructions.sh` to count instructions.
//!
//! It is a part of the other benches because linking a second program takes longer than all of the counting.

use crate::support::{Case, Kind, Rig, cases};

/// Connections of a case.
const FLOWS: usize = 2048;

/// `count` names the cases, `count CASE BURSTS` runs so many bursts of one. Exit status 2 for wrong usage.
pub fn main(words: &[&str]) {
    let all: Vec<Case> = [Kind::Established, Kind::Reply, Kind::New].into_iter().flat_map(cases).collect();
    match words {
        [] => all.iter().for_each(|case| println!("{case}")),
        [name, bursts] => {
            let case = all.iter().find(|case| case.to_string() == *name);
            let (Some(&case), Ok(bursts)) = (case, bursts.parse()) else {
                eprintln!("count {name} {bursts}: no such case, or not a number; count alone names the cases");
                std::process::exit(2);
            };
            run(case, bursts);
        }
        _ => {
            eprintln!("count takes a case and a number of bursts");
            std::process::exit(2);
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
