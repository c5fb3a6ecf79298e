//! The text of all metrics, a page at a time: whoever reads slowly, or never, costs no more than a page.

use super::basis::{BackendRow, Basis};
use super::families;
use super::family::{Family, Samples, Source};

/// Bytes after which a page ends.
const PAGE_BYTES: usize = 64 << 10;

/// Gives the pages in their order; empty ones never.
pub struct Pages {
    basis: Basis,
    families: Box<dyn Iterator<Item = &'static Family> + Send>,
    /// The metric of backends whose next row is this one.
    rest: Option<(&'static Family, usize)>,
}

impl Pages {
    /// Of all metrics.
    pub fn new(basis: Basis) -> Self {
        Self { basis, families: Box::new(families()), rest: None }
    }
}

impl Iterator for Pages {
    type Item = String;

    fn next(&mut self) -> Option<String> {
        let mut out = String::with_capacity(PAGE_BYTES + 1024);
        while out.len() < PAGE_BYTES {
            if let Some((family, row)) = self.rest {
                self.rest = backends(&self.basis, family, row, &mut out);
                continue;
            }
            let Some(family) = self.families.next() else { break };
            family.head(&mut out);
            match family.source {
                Source::Backend(_) => self.rest = Some((family, 0)),
                _ => few(&self.basis, family, &mut out),
            }
        }
        (!out.is_empty()).then_some(out)
    }
}

/// The series of a metric that has few.
fn few(basis: &Basis, family: &'static Family, out: &mut String) {
    let mut samples = Samples { out, name: family.name };
    match family.source {
        Source::Few(write) | Source::Histogram(write) => write(basis, &mut samples),
        Source::Worker(value) => {
            for worker in basis.workers() {
                let Some(value) = value(basis, worker) else { continue };
                samples.put(&[("worker", &worker.id.0.to_string())], value);
            }
        }
        Source::Port(value) => {
            for port in &basis.ports {
                let Some(value) = value(port) else { continue };
                samples.put(&[("port", &port.name)], value);
            }
        }
        Source::Service(value) => {
            for row in &basis.services {
                let (Some(value), Some(service)) = (value(row), basis.config.services.get(row.place)) else { continue };
                samples.put(&[("service", &service.name)], value);
            }
        }
        Source::Backend(_) => {}
    }
}

/// Rows of a metric of backends from `from` on, to the end of the page; where to go on.
fn backends(basis: &Basis, family: &'static Family, from: usize, out: &mut String) -> Option<(&'static Family, usize)> {
    let Source::Backend(value) = family.source else { return None };
    let mut samples = Samples { out, name: family.name };
    for (at, row) in basis.backends.iter().enumerate().skip(from) {
        if samples.out.len() >= PAGE_BYTES {
            return Some((family, at));
        }
        let &BackendRow { service, place, .. } = row;
        let Some(service) = basis.config.services.get(service) else { continue };
        let (Some(backend), Some(value)) = (service.backends.get(place), value(basis, row)) else { continue };
        samples.put(&[("service", &service.name), ("backend", &backend.name)], value);
    }
    None
}
