//! Explanations by copies of what workers know, held to what then happens to the same packets.

use std::cell::RefCell;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;

use super::super::live::Copy;
use super::super::record::{Explained, Record};
use super::super::{Inputs, Outputs, Stage, mac_of};
use crate::control::config::Config;
use crate::control::replay::{Engine, KEY};
use crate::lb::ids::PortId;
use crate::lb::path;
use crate::lb::trace::Step;
use crate::lb::verdict::Verdict;

/// What is compared: the first verdict that is not a hand-over, and what left at once.
fn outcome(record: &Record) -> (Option<Verdict>, Vec<(PortId, Vec<u8>)>) {
    let first = record.steps.iter().find_map(|step| match step {
        Step::Verdict(Verdict::Handoff(_)) => None,
        Step::Verdict(verdict) => Some(*verdict),
        _ => None,
    });
    // The slot where a packet waits, and how its datagram is tagged there, differ from shard to shard.
    let verdict = first.filter(|verdict| !matches!(verdict, Verdict::Hold(_)));
    // A local port and the identification of a packet that may go in pieces are drawn.
    let is_drawn = |step: &Step| matches!(step, Step::LocalEnd(_) | Step::Pieces | Step::Crosses);
    let drawn = record.steps.iter().any(is_drawn);
    let left = if drawn { Vec::new() } else { record.left.clone() };
    (verdict, left)
}

/// Whether each frame of a case, explained by a copy just before it comes, has the fate that was told. The number of frames.
fn foretold(directory: &Path) -> usize {
    let name = directory.file_name().unwrap().to_str().unwrap().to_owned();
    let file = directory.join("config.toml");
    let config = Config::load(&file).unwrap_or_else(|error| panic!("{name}: {error}"));
    let captures = config.ports.iter().filter_map(|port| {
        let single = directory.join("in.pcap");
        let own = directory.join(format!("in.{}.pcap", port.name));
        let path = if own.exists() { own } else { single };
        (path.exists() && (config.ports.len() == 1 || path.file_name() != Some("in.pcap".as_ref())))
            .then(|| (Some(port.name.clone()), path))
    });
    let captures: Vec<(Option<String>, PathBuf)> = captures.collect();
    let inputs = Inputs::load(&config, &captures).unwrap_or_else(|error| panic!("{name}: {error}"));
    let macs = (0..config.ports.len() as u8).map(|id| mac_of(&config, PortId(id), None)).collect();
    let events = Some(directory.join("events.jsonl")).filter(|path| path.exists());
    let stage = Stage::new(&file, config, macs, events.as_deref()).unwrap();
    let mut told: Vec<(Record, Rc<RefCell<Record>>)> = Vec::new();
    let mut last = None;
    let make = |config: &Config, engine: &Engine<Explained>, came: super::super::Came| {
        let (port, frame, snapshot) = (came.port, came.frame, came.snapshot);
        let mut question = path::question(snapshot, port, frame, None);
        let (mut excerpts, team) = engine.excerpts(&question);
        // Of what comes at once, only the first finds everything as it was copied.
        let now = excerpts.first().map(|excerpt| excerpt.now);
        if std::mem::replace(&mut last, now) == now {
            return Explained::new(port, frame, None);
        }
        if let Some(upper) = excerpts.iter().find_map(|excerpt| excerpt.upper) {
            question = path::question(snapshot, port, frame, Some(upper));
            excerpts = engine.excerpts(&question).0;
        }
        let copy = Copy { config, snapshot, boot_key: KEY, question: &question, excerpts: &excerpts };
        let foretold = copy.put_through(came.index + 1, port, frame, &team).unwrap();
        let record = Rc::new(RefCell::new(Record::new(came.index + 1, port, frame, &Arc::clone(snapshot))));
        told.push((foretold, record.clone()));
        Explained::new(port, frame, Some(record))
    };
    stage.play_with(&inputs, &mut Outputs::none(), make).unwrap();
    for (foretold, came) in &told {
        let came = came.borrow();
        let (told, is) = (outcome(foretold), outcome(&came));
        assert_eq!(told.0, is.0, "{name}: frame {}\n{:#?}\n{:#?}", came.number, foretold.steps, came.steps);
        let waited = came.steps.iter().filter(|step| matches!(step, Step::Verdict(_))).count() > 1;
        if !waited {
            assert_eq!(told.1, is.1, "{name}: frame {}\n{:#?}\n{:#?}", came.number, foretold.steps, came.steps);
        }
    }
    told.len()
}

/// One of `parts` shares of the cases, so that the shares run side by side.
fn share(part: usize, parts: usize) {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let mut cases: Vec<PathBuf> = std::fs::read_dir(golden).unwrap().map(|entry| entry.unwrap().path()).collect();
    cases.retain(|path| path.join("config.toml").exists());
    cases.sort();
    let count = cases.len();
    let own: Vec<_> = cases.into_iter().skip(part).step_by(parts).collect();
    let frames: usize = own.iter().map(|case| foretold(case)).sum();
    assert!(count > 80 && own.len() >= count / parts && frames > 100, "{count} cases, {frames} frames");
}

macro_rules! shares {
    ($($name:ident $part:literal)*) => {
        $(#[test]
        fn $name() {
            share($part, 4);
        })*
    };
}

shares! {
    what_a_copy_foretells_is_what_happens_in_the_first_quarter 0
    what_a_copy_foretells_is_what_happens_in_the_second_quarter 1
    what_a_copy_foretells_is_what_happens_in_the_third_quarter 2
    what_a_copy_foretells_is_what_happens_in_the_fourth_quarter 3
}
