//! What is said of a packet's fate.

use crate::lb::ids::PortId;
use crate::lb::verdict::Verdict;

/// The verdict in a few words; a drop with its meaning.
pub(super) fn of_verdict(verdict: Verdict, name: impl Fn(PortId) -> String) -> String {
    match verdict {
        Verdict::Tx(port) => format!("forwarded by {}", name(port)),
        Verdict::Fragment(port) => format!("forwarded by {} in pieces", name(port)),
        Verdict::Reply(port) => format!("reply by {}", name(port)),
        Verdict::Hold(_) => "held: the next hop is being asked for".to_owned(),
        Verdict::Await(_) => "held: the first fragment of the datagram has not come yet".to_owned(),
        Verdict::Handoff(worker) => format!("handed over to worker {}", worker.0),
        Verdict::Punt(port, class) => {
            format!("punt: for the host, by its device of {} ({})", name(port), class.label())
        }
        Verdict::Drop(reason) => format!("drop {}: {}", reason.label(), reason.meaning()),
    }
}
