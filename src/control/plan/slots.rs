//! How much of a service's lookup table leads to another server, before and after.

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::control::config::Config;
use crate::lb::snapshot::{Service, Snapshot};

/// One service's table.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct MovedSlots {
    /// The service's name.
    pub service: String,
    /// Slots of the table afterwards.
    pub slots: u32,
    /// How many of them lead to another server than before, or to one at all, or to none any more; rounded where the
    /// size of the table differs.
    pub moved: u32,
    /// The same as a part of the whole, 0 to 1: the share of new clients that meet another server.
    pub share: f64,
}

/// Services in both snapshots whose tables differ, in the order of the second one; `configs` are what they are of.
pub fn moved(before: &Snapshot, after: &Snapshot, configs: [&Config; 2]) -> Vec<MovedSlots> {
    let [old_config, config] = configs;
    let by_hash = |config: &'_ Config| -> HashSet<String> {
        let services = config.services.iter().filter(|service| service.scheduler.is_by_hash());
        services.map(|service| service.name.clone()).collect()
    };
    // Where the scheduler goes by something else, the table decides about strays alone.
    let (by_hash_before, by_hash_after) = (by_hash(old_config), by_hash(config));
    let is_by_hash = |name: &str| by_hash_before.contains(name) && by_hash_after.contains(name);
    let old: HashMap<&str, &Service> = present(before).map(|service| (&*service.name, service)).collect();
    let sizes: HashMap<&str, u32> =
        config.services.iter().map(|service| (service.name.as_str(), service.maglev_size)).collect();
    let of = |service: &Service| {
        let old = old.get(&*service.name)?;
        if old.has_table_of(service) || !is_by_hash(&service.name) {
            return None;
        }
        let share = moved_share(&places(before, old), &places(after, service));
        let slots = sizes.get(&*service.name).copied().unwrap_or(0);
        let moved = (share * f64::from(slots)).round() as u32;
        (share > 0.0).then(|| MovedSlots { service: service.name.to_string(), slots, moved, share })
    };
    present(after).filter_map(of).collect()
}

/// Those of the configuration, without what is left of removed ones.
fn present(snapshot: &Snapshot) -> impl Iterator<Item = &Service> {
    snapshot.services().iter().filter(|service| !service.is_retired)
}

/// A server as clients see it, whatever its name.
type Place = Option<(IpAddr, u16)>;

fn places(snapshot: &Snapshot, service: &Service) -> Vec<Place> {
    let place = |id| snapshot.backend(id).map(|backend| (backend.address, backend.port));
    let mut places: Vec<Place> = service.slots().map(|id| id.and_then(place)).collect();
    if places.is_empty() {
        // All of the hashes lead nowhere.
        places.push(None);
    }
    places
}

/// The part of all hashes that two tables give to different places. A slot is a part of the hashes as wide as all are, so
/// tables of two sizes are laid over each other.
fn moved_share(old: &[Place], new: &[Place]) -> f64 {
    // Both tables in units of which each slot has a whole number; sizes are below 2^23, so 64 bits are enough.
    let (old_width, new_width) = (new.len() as u64, old.len() as u64);
    let (mut at, mut moved) = (0, 0);
    let (mut old_end, mut new_end) = (old_width, new_width);
    let (mut old, mut new_slots) = (old.iter().peekable(), new.iter().peekable());
    while let (Some(before), Some(after)) = (old.peek(), new_slots.peek()) {
        let end = old_end.min(new_end);
        if before != after {
            moved += end - at;
        }
        at = end;
        if old_end == end {
            old.next();
            old_end += old_width;
        }
        if new_end == end {
            new_slots.next();
            new_end += new_width;
        }
    }
    moved as f64 / (old_width * new_width) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(places: &str) -> Vec<Place> {
        places.bytes().map(|b| (b != b'-').then(|| ([10, 0, 0, b].into(), 80))).collect()
    }

    #[test]
    fn tables_are_laid_over_each_other() {
        let share = |old, new| moved_share(&table(old), &table(new));
        assert_eq!((share("ab", "ab"), share("ab", "aa"), share("ab", "ba")), (0.0, 0.5, 1.0));
        assert_eq!((share("ab", "aabb"), share("ab", "abbb"), share("a", "aaaaa")), (0.0, 0.25, 0.0));
        assert!((share("ab", "aab") - 1.0 / 6.0).abs() < 1e-12);
        assert_eq!((share("-", "abc"), share("abc", "-"), share("-", "-")), (1.0, 1.0, 0.0));
    }
}
