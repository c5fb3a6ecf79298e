//! Runs a number of bursts of one case through the packet path, for `benches/instructions.sh` to count instructions.
//!
//! It is a part of the other benches because linking a second program takes longer than all of the counting.

use tidegate::control::capture::parse;
use tidegate::lb::capture::filter::Filter;

use crate::support::{Case, Kind, Rig, cases};

/// Connections of a case.
const FLOWS: usize = 2048;

/// `count` names the cases, `count CASE BURSTS` runs so many bursts of one, `count CASE BURSTS FILTER` while a capture looks on.
/// Exit status 2 for wrong usage.
pub fn main(words: &[&str]) {
    let all: Vec<Case> = [Kind::Established, Kind::Reply, Kind::New].into_iter().flat_map(cases).collect();
    match words {
        [] => all.iter().for_each(|case| println!("{case}")),
        [name, bursts, filter @ ..] if filter.len() < 2 => {
            let case = all.iter().find(|case| case.to_string() == *name);
            let (Some(&case), Ok(bursts)) = (case, bursts.parse()) else {
                eprintln!("count {name} {bursts}: no such case, or not a number; count alone names the cases");
                std::process::exit(2);
            };
            run(case, bursts, filter.first().map(|filter| parsed(filter)));
        }
        _ => {
            eprintln!("count takes a case, a number of bursts, and perhaps a filter");
            std::process::exit(2);
        }
    }
}

fn parsed(filter: &str) -> Filter {
    let expression = parse(filter).unwrap_or_else(|error| panic!("{filter}: {error}"));
    Filter::new(&expression).unwrap()
}

fn run(case: Case, bursts: usize, filter: Option<Filter>) {
    let mut rig = Rig::new(case, FLOWS);
    if let Some(filter) = filter {
        rig.watch(filter);
    }
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
