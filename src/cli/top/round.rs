//! One round of questions to the API.

use std::time::Instant;

use crate::cli::client::{Client, read};
use crate::cli::failure::Failure;
use crate::control::status::{BackendStatus, Drops, Latency, Services, Status, Workers};

/// What everything was like at one moment.
#[derive(Clone, Debug)]
pub struct Round {
    /// When it was asked for.
    pub at: Instant,
    /// The process.
    pub status: Status,
    /// Services with their backends.
    pub services: Services,
    /// Poll loops.
    pub workers: Workers,
    /// Drops by reason.
    pub drops: Drops,
    /// Time of packets in the balancer.
    pub latency: Latency,
}

impl Round {
    /// Asks for all of it.
    ///
    /// # Errors
    /// What was not answered.
    pub fn ask(client: &Client) -> Result<Self, Failure> {
        Ok(Self {
            at: Instant::now(),
            status: read(&client.get("/v1/status")?)?,
            services: read(&client.get("/v1/services")?)?,
            workers: read(&client.get("/v1/workers")?)?,
            drops: read(&client.get("/v1/drops")?)?,
            latency: read(&client.get("/v1/latency")?)?,
        })
    }

    /// All backends, in the order of the configuration.
    pub fn backends(&self) -> impl Iterator<Item = &BackendStatus> {
        self.services.services.iter().flat_map(|service| &service.backends)
    }
}
