//! One check of one backend, whatever its type.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::sync::Semaphore;
use tokio::time::Instant;

use super::fault::{Deadline, Fault, Outcome};
use super::limits::Limits;
use super::target::Target;
use super::tls::Tls;
use super::way::{Door, Way};
use super::{dns, exec, http, ping, udp};
use crate::control::config::HealthCheck;
use crate::control::manager::Key;
use crate::lb::probe::ProbePorts;

/// A check that can be run again and again.
pub struct Check {
    target: Target,
    /// What the TLS of all its connections goes by; or why there can be none.
    tls: Option<Result<Tls, Fault>>,
    command: Option<exec::Command>,
    ports: Arc<ProbePorts>,
}

impl Check {
    /// Of the backend `key`; checks of VIPs are sent from numbers of `ports`.
    pub fn new(key: &Key, target: Target, ports: Arc<ProbePorts>) -> Self {
        let asked = if let Way::Vip(through) = &target.way { through.vip } else { target.address };
        let tls = match &target.health.check {
            HealthCheck::Http(http) => http.tls.as_ref().map(|tls| Tls::new(tls, http.host.as_deref(), asked)),
            _ => None,
        };
        let command = match &target.health.check {
            HealthCheck::Exec(words) => Some(exec::Command::new(words, key, &target)),
            _ => None,
        };
        Self { target, tls, command, ports }
    }

    /// What is checked.
    pub fn target(&self) -> &Target {
        &self.target
    }

    /// Where checks of this kind wait for their turn.
    pub fn permits<'l>(&self, limits: &'l Limits) -> &'l Arc<Semaphore> {
        if self.command.is_some() { &limits.programs } else { &limits.sockets }
    }

    /// Runs it once; it ends after its timeout at the latest.
    pub async fn run(&self) -> Outcome {
        let deadline = Deadline::after(self.target.health.timeout);
        let ended = match &self.command {
            // It has to clean up behind its timeout.
            Some(command) => command.run(&deadline).await,
            None => self.ask(&deadline).await,
        };
        let way = &self.target.way;
        match ended.map_or_else(Outcome::from, Outcome::Good) {
            Outcome::Good(how) => Outcome::Good(format!("{how}{way}")),
            Outcome::Failed(how) => Outcome::Failed(format!("{how}{way}")),
            Outcome::NotRun(why) => Outcome::NotRun(why),
        }
    }

    async fn ask(&self, deadline: &Deadline) -> Result<String, Fault> {
        let Target { address, port, over_tcp, health, way } = &self.target;
        let door = Door::open(way, &self.ports, SocketAddr::new(*address, port.unwrap_or(0)))?;
        let at = door.asked;
        match &health.check {
            HealthCheck::Tcp => {
                door.tcp(deadline).await?;
                Ok("accepts connections".to_owned())
            }
            HealthCheck::Http(http) => {
                let stream = door.tcp(deadline).await?;
                match &self.tls {
                    None => http::check(stream, at, http, deadline).await,
                    Some(Ok(tls)) => http::check(tls.connect(stream, deadline).await?, at, http, deadline).await,
                    Some(Err(fault)) => Err(fault.clone()),
                }
            }
            HealthCheck::Udp(udp) => udp::check(&door, udp, deadline).await,
            HealthCheck::Dns(dns) => dns::check(&door, dns, *over_tcp, deadline).await,
            HealthCheck::Ping => ping::check(*address, deadline).await,
            // Run by its command.
            HealthCheck::Exec(_) => Err(Fault::Local("this check has no command".to_owned())),
        }
    }

    /// When the next check begins after one that began at `started`: up to the jitter sooner than the interval, so that
    /// a dead backend is never found later than the interval promises. `share` is from 0 to 1.
    pub fn next_after(&self, started: Instant, share: f64) -> Instant {
        let health = &self.target.health;
        let jitter = health.interval * u32::from(health.jitter_percent) / 100;
        started + health.interval - jitter.mul_f64(share.clamp(0.0, 1.0))
    }
}
