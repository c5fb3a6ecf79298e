//! Gives every backend a number that stays the same while it stays in the configuration.

use std::collections::{HashMap, HashSet, VecDeque};
use std::net::IpAddr;

use super::config::{ClientAddress, Mode, Protocol};
use crate::lb::ids::BackendId;

/// What makes a backend the same one over configuration changes: its service, what that serves and how, and where the
/// backend is.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct BackendKey {
    /// The service's name.
    pub service: String,
    /// What clients connect to; a port of `None` is every port.
    pub vip: (IpAddr, Protocol, Option<u16>),
    /// How packets reach the backend.
    pub mode: Mode,
    /// How it learns the client's address.
    pub client_address: ClientAddress,
    /// The real server's address.
    pub address: IpAddr,
    /// Its port as configured.
    pub port: Option<u16>,
}

/// See the module.
#[derive(Clone, Debug, Default)]
pub struct Registry {
    ids: HashMap<BackendKey, BackendId>,
    /// Slots that were given back, the longest ago first, with the generation that comes next.
    free: VecDeque<(usize, u32)>,
    slots: usize,
}

/// More backends than the workers' counters have room for.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("more than {0} backends")]
pub struct RegistryFull(pub usize);

impl Registry {
    /// Numbers for `keys`, in their order; numbers of backends that are not among them are given back.
    ///
    /// # Errors
    /// [`RegistryFull`] if `slots_max` do not suffice.
    pub fn assign(&mut self, keys: &[BackendKey], slots_max: usize) -> Result<Vec<BackendId>, RegistryFull> {
        let wanted: HashSet<&BackendKey> = keys.iter().collect();
        let mut gone: Vec<BackendId> = Vec::new();
        self.ids.retain(|key, id| {
            let stays = wanted.contains(key);
            if !stays {
                gone.push(*id);
            }
            stays
        });
        // In a fixed order, so that the same changes give the same numbers.
        gone.sort();
        self.free.extend(gone.into_iter().map(|id| (id.slot(), id.generation().wrapping_add(1))));
        keys.iter().map(|key| self.id_of(key, slots_max)).collect()
    }

    /// The number of a backend that has one.
    pub fn id(&self, key: &BackendKey) -> Option<BackendId> {
        self.ids.get(key).copied()
    }

    fn id_of(&mut self, key: &BackendKey, slots_max: usize) -> Result<BackendId, RegistryFull> {
        if let Some(&id) = self.ids.get(key) {
            return Ok(id);
        }
        let id = match self.free.pop_front() {
            Some((slot, generation)) => BackendId::new(slot, generation),
            None if self.slots < slots_max => {
                self.slots += 1;
                BackendId::new(self.slots - 1, 0)
            }
            None => return Err(RegistryFull(slots_max)),
        };
        self.ids.insert(key.clone(), id);
        Ok(id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(service: &str, last: u8) -> BackendKey {
        BackendKey {
            service: service.into(),
            vip: (IpAddr::from([192, 0, 2, 1]), Protocol::Tcp, Some(80)),
            mode: Mode::Nat,
            client_address: ClientAddress::None,
            address: IpAddr::from([10, 0, 0, last]),
            port: None,
        }
    }

    #[test]
    fn who_stays_keeps_its_number_and_a_reused_slot_gets_another_generation() {
        let mut registry = Registry::default();
        let first = registry.assign(&[key("a", 1), key("a", 2), key("b", 1)], 10).unwrap();
        let second = registry.assign(&[key("b", 1), key("a", 2)], 10).unwrap();
        assert_eq!(second, [first[2], first[1]]);
        let third = registry.assign(&[key("b", 1), key("a", 2), key("c", 9)], 10).unwrap();
        assert_eq!(third[2].slot(), first[0].slot());
        assert_ne!(third[2], first[0]);
        let other_mode = BackendKey { mode: Mode::Gre, ..key("b", 1) };
        let fourth = registry.assign(&[other_mode], 10).unwrap();
        assert_ne!(fourth[0], third[0], "another mode is another backend: its connections cannot stay");
        let told = BackendKey { client_address: ClientAddress::ProxyV2, mode: Mode::Gre, ..key("b", 1) };
        let fifth = registry.assign(&[told], 10).unwrap();
        assert_ne!(fifth[0], fourth[0], "sequence numbers of its connections would not fit");
    }

    #[test]
    fn full_is_an_error() {
        let mut registry = Registry::default();
        assert_eq!(registry.assign(&[key("a", 1), key("a", 2)], 1), Err(RegistryFull(1)));
    }
}
