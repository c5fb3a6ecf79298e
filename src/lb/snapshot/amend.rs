//! A snapshot that differs from another in what some backends do: all else is taken over, so that a change of one backend
//! among 100,000 takes a moment.

use std::collections::HashMap;

use super::build::build_service;
use super::tables::tables;
use super::{BuildError, Service, ServiceSpec, Snapshot};
use crate::lb::hash::HashKey;
use crate::lb::ids::ServiceId;

impl Snapshot {
    /// What [`Snapshot::build`] would make of the same services with `changed` in the place of theirs. In these nothing may
    /// differ but weights, limits, and whether backends serve and admit. `hash_key` is that of all snapshots.
    ///
    /// # Errors
    /// See [`BuildError`].
    pub fn amended(
        &self,
        generation: u64,
        hash_key: HashKey,
        changed: Vec<(ServiceId, ServiceSpec)>,
    ) -> Result<Snapshot, BuildError> {
        let mut next = Snapshot { generation, ..self.clone() };
        let key = hash_key.derive(b"maglev");
        let (ids, specs): (Vec<ServiceId>, Vec<ServiceSpec>) = changed.into_iter().unzip();
        let old: HashMap<&str, &Service> =
            ids.iter().filter_map(|&id| self.service(id)).map(|service| (&*service.name, service)).collect();
        let tables = tables(&specs, key, &old)?;
        for ((id, spec), lookup) in ids.into_iter().zip(specs).zip(tables) {
            for backend in &spec.backends {
                let mut built = self.build_backend(id, &spec, backend)?;
                if let Some(Some(place)) = next.backends.get_mut(backend.id.slot()) {
                    built.local_pools = std::mem::take(&mut place.local_pools);
                    *place = built;
                }
            }
            if let Some(place) = next.services.get_mut(id.index()) {
                *place = build_service(spec, lookup, key, self.workers, &old);
            }
        }
        Ok(next)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lb::testing::all_modes;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn an_amended_snapshot_is_the_one_that_would_be_built(
            changes in prop::collection::vec((0usize..21, 0usize..2, any::<bool>(), any::<bool>(), 0u32..4), 0..12),
        ) {
            let mut spec = all_modes();
            let first = Snapshot::build(spec.clone(), None).unwrap();
            let mut changed = Vec::new();
            for (service, backend, serves, admits, weight) in changes {
                let number = service % spec.services.len();
                let backends = &mut spec.services[number].backends;
                let at = backend % backends.len();
                (backends[at].serves, backends[at].admits, backends[at].weight) = (serves, admits && serves, weight);
                changed.retain(|&other| other != number);
                changed.push(number);
            }
            spec.generation = 2;
            let changed = changed.into_iter().map(|n| (ServiceId(n as u32), spec.services[n].clone())).collect();
            let amended = first.amended(2, spec.hash_key, changed).unwrap();
            let built = Snapshot::build(spec, Some(&first)).unwrap();
            let all = |snapshot: &Snapshot| {
                let Snapshot { generation, services, backends, local_pools, tunnel_ends, .. } = snapshot;
                format!("{generation} {services:?} {backends:?} {local_pools:?} {tunnel_ends:?}")
            };
            prop_assert_eq!(all(&amended), all(&built));
            prop_assert_eq!(amended.new_backends(Some(&first)).count(), 0);
        }
    }
}
