//! The services' tables of consistent hashing: taken over where nothing has changed, and built on all CPUs where many have.

use std::collections::HashMap;
use std::net::IpAddr;
use std::num::NonZero;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use super::{BackendSpec, BuildError, Service, ServiceSpec};
use crate::lb::hash::HashKey;
use crate::lb::maglev::{self, Maglev, MaglevError};

/// A service's table, and all that it depends on besides the key.
#[derive(Clone, Debug)]
pub(super) struct LookupTable {
    pub table: Arc<Maglev>,
    size: u32,
    input: Vec<(Vec<u8>, u32)>,
}

/// Threads are worth their start from so many tables on, 2 milliseconds each.
const TABLES_A_THREAD: usize = 8;
const THREADS_MAX: usize = 16;

/// The tables of all services, in their order; `old` are the services so far, if the key is the same.
pub(super) fn tables(
    services: &[ServiceSpec],
    key: HashKey,
    old: &HashMap<&str, &Service>,
) -> Result<Vec<LookupTable>, BuildError> {
    let plans: Vec<Plan> = services.iter().map(|service| Plan::of(service, old)).collect();
    let missing: Vec<&Plan> = plans.iter().filter(|plan| plan.built.get().is_none()).collect();
    let threads = std::thread::available_parallelism().map_or(1, NonZero::get);
    let threads = threads.min(THREADS_MAX).min(missing.len() / TABLES_A_THREAD);
    let next = AtomicUsize::new(0);
    let work = || {
        while let Some(plan) = missing.get(next.fetch_add(1, Ordering::Relaxed)) {
            _ = plan.built.set(plan.build(key));
        }
    };
    std::thread::scope(|scope| {
        // Where no thread can be had, this one does it all.
        let build = || std::thread::Builder::new().name("tables".into()).spawn_scoped(scope, work);
        let _others: Vec<_> = (1..threads).map_while(|_| build().ok()).collect();
        work();
    });
    services.iter().zip(plans).map(|(service, plan)| plan.finish(service, key)).collect()
}

struct Plan {
    input: Vec<(Vec<u8>, u32)>,
    size: u32,
    built: OnceLock<Result<Arc<Maglev>, MaglevError>>,
}

impl Plan {
    fn of(service: &ServiceSpec, old: &HashMap<&str, &Service>) -> Self {
        let weight = |b: &BackendSpec| if b.admits { b.weight } else { 0 };
        let input: Vec<_> = service.backends.iter().map(|b| (identity(b), weight(b))).collect();
        let size = service.maglev_size;
        let known = old.get(&*service.name).map(|s| &s.lookup).filter(|t| t.size == size && t.input == input);
        let built = known.map_or_else(OnceLock::new, |known| OnceLock::from(Ok(known.table.clone())));
        Self { input, size, built }
    }

    fn build(&self, key: HashKey) -> Result<Arc<Maglev>, MaglevError> {
        let entries: Vec<_> =
            self.input.iter().map(|(identity, weight)| maglev::Entry { identity, weight: *weight }).collect();
        Maglev::build(key, &entries, self.size).map(Arc::new)
    }

    fn finish(self, service: &ServiceSpec, key: HashKey) -> Result<LookupTable, BuildError> {
        let built = self.built.get().cloned().unwrap_or_else(|| self.build(key));
        let table = built.map_err(|source| BuildError::Maglev { service: service.name.clone(), source })?;
        Ok(LookupTable { table, size: self.size, input: self.input })
    }
}

/// What a backend is to the consistent hash: where it is, not what it is called.
fn identity(backend: &BackendSpec) -> Vec<u8> {
    let mut bytes = match backend.address {
        IpAddr::V4(a) => a.octets().to_vec(),
        IpAddr::V6(a) => a.octets().to_vec(),
    };
    bytes.extend(backend.port.unwrap_or(0).to_be_bytes());
    bytes
}
