//! One check of one backend, whatever its type.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use super::{http, tcp};
use crate::control::config::HealthCheck;
use crate::control::text;

/// How a check ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The backend is well; how that showed.
    Good(String),
    /// The backend failed; how.
    Failed(String),
    /// This host could not even ask, so nothing is known; why.
    NotRun(String),
}

/// Runs one check; it ends after `timeout` at the latest.
pub async fn run(check: &HealthCheck, address: SocketAddr, timeout: Duration) -> Outcome {
    let ended = tokio::time::timeout(timeout, async {
        match check {
            HealthCheck::Tcp => tcp::check(address).await,
            HealthCheck::Http { path, host, status } => http::check(address, path, host.as_deref(), status).await,
        }
    });
    match ended.await {
        Ok(Ok(how)) => Outcome::Good(how),
        Ok(Err(fault)) => fault.into(),
        Err(_) => Outcome::Failed(format!("no answer in {}", seconds(timeout))),
    }
}

/// Why a check is not good.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    /// On the way to the backend, or in this host.
    #[error("{}", describe(.0))]
    Io(#[from] io::Error),
    /// The backend answered, and not as it should.
    #[error("{0}")]
    Answer(String),
}

impl From<Fault> for Outcome {
    fn from(fault: Fault) -> Self {
        match &fault {
            // Taking every backend down because this process has no socket left would be the worst answer.
            Fault::Io(error) if is_local(error) => Self::NotRun(fault.to_string()),
            _ => Self::Failed(fault.to_string()),
        }
    }
}

/// EMFILE, ENFILE, ENOBUFS, ENOMEM, EADDRNOTAVAIL: the host ran out of something.
fn is_local(error: &io::Error) -> bool {
    const EMFILE: i32 = 24;
    const ENFILE: i32 = 23;
    const ENOBUFS: i32 = 105;
    const ENOMEM: i32 = 12;
    const EADDRNOTAVAIL: i32 = 99;
    error.raw_os_error().is_some_and(|code| [EMFILE, ENFILE, ENOBUFS, ENOMEM, EADDRNOTAVAIL].contains(&code))
}

/// As an operator says it, without the number of the error.
fn describe(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => "connection refused".to_owned(),
        io::ErrorKind::ConnectionReset => "connection reset".to_owned(),
        io::ErrorKind::HostUnreachable => "no route to host".to_owned(),
        io::ErrorKind::NetworkUnreachable => "this host has no route to the backend's network".to_owned(),
        _ => {
            let text = error.to_string();
            text.split(" (os error").next().unwrap_or(&text).to_lowercase()
        }
    }
}

fn seconds(timeout: Duration) -> String {
    if timeout.subsec_millis() == 0 { text::duration(timeout) } else { format!("{} ms", timeout.as_millis()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_hosts_own_shortage_is_no_verdict() {
        let outcome = |code| Outcome::from(Fault::Io(io::Error::from_raw_os_error(code)));
        assert_eq!(outcome(111), Outcome::Failed("connection refused".into()));
        assert_eq!(outcome(113), Outcome::Failed("no route to host".into()));
        assert_eq!(outcome(24), Outcome::NotRun("too many open files".into()));
        assert!(matches!(outcome(99), Outcome::NotRun(_)));
    }

    #[test]
    fn timeouts_read_well() {
        assert_eq!(seconds(Duration::from_millis(1500)), "1500 ms");
        assert_eq!(seconds(Duration::from_secs(2)), "2 s");
    }
}
