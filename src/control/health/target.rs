//! What is checked, and how.

use std::net::IpAddr;

use super::way::Way;
use crate::control::config::{Backend, Health, Protocol, Service};

/// One backend with its check; two that are equal are checked just so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// The backend's.
    pub address: IpAddr,
    /// Where checks go; `None` for checks that need none.
    pub port: Option<u16>,
    /// Whether its clients speak TCP.
    pub over_tcp: bool,
    /// As configured.
    pub health: Health,
    /// How checks get there.
    pub way: Way,
}

impl Target {
    /// Of a backend; `None` if its service has no checks.
    pub fn of(service: &Service, backend: &Backend, way: Way) -> Option<Self> {
        let health = service.health.clone()?;
        let port = health.port.or_else(|| service.backend_port(backend));
        Some(Self { address: backend.address, port, over_tcp: service.protocol == Protocol::Tcp, health, way })
    }
}
