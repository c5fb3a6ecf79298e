//! How a check ended, in the words of an operator.

use std::io;
use std::time::Duration;

use tokio::time::Instant;

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

/// Why a check is not good.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// The backend, or the way to it.
    #[error("{0}")]
    Backend(String),
    /// This host.
    #[error("{0}")]
    Local(String),
}

/// Until when a check may take.
#[derive(Clone, Copy, Debug)]
pub struct Deadline {
    at: Instant,
    timeout: Duration,
}

impl Deadline {
    /// So much time from now on.
    pub fn after(timeout: Duration) -> Self {
        Self { at: Instant::now() + timeout, timeout }
    }

    /// The moment.
    pub fn at(&self) -> Instant {
        self.at
    }

    /// How long all of the check may take, as people say it.
    pub fn text(&self) -> String {
        let whole = self.timeout.subsec_millis() == 0;
        if whole { text::duration(self.timeout) } else { format!("{} ms", self.timeout.as_millis()) }
    }

    /// The result of `work` if it comes in time; `lacking` is what was waited for, such as `no answer`.
    ///
    /// # Errors
    /// Those of `work`, and that it took too long.
    pub async fn wait<T, E: Into<Fault>>(
        &self,
        lacking: &str,
        work: impl Future<Output = Result<T, E>>,
    ) -> Result<T, Fault> {
        match tokio::time::timeout_at(self.at, work).await {
            Ok(ended) => ended.map_err(Into::into),
            Err(_) => Err(self.passed(lacking)),
        }
    }

    /// The fault of a check that took too long.
    pub fn passed(&self, lacking: &str) -> Fault {
        Fault::Backend(format!("timed out after {}: {lacking}", self.text()))
    }
}

impl From<io::Error> for Fault {
    fn from(error: io::Error) -> Self {
        // Taking every backend down because this process has no socket left would be the worst answer.
        if is_local(&error) { Self::Local(describe(&error)) } else { Self::Backend(describe(&error)) }
    }
}

impl From<Fault> for Outcome {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Backend(how) => Self::Failed(how),
            Fault::Local(why) => Self::NotRun(why),
        }
    }
}

/// EAGAIN of fork, ENOMEM, ENFILE, EMFILE, EADDRNOTAVAIL, ENOBUFS: the host ran out of something.
fn is_local(error: &io::Error) -> bool {
    const SHORTAGES: [i32; 6] = [11, 12, 23, 24, 99, 105];
    error.raw_os_error().is_some_and(|code| SHORTAGES.contains(&code))
}

/// As an operator says it, without the number of the error.
pub fn describe(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => "connection refused".to_owned(),
        io::ErrorKind::ConnectionReset => "connection reset".to_owned(),
        io::ErrorKind::HostUnreachable => "no route to host".to_owned(),
        io::ErrorKind::NetworkUnreachable => "this host has no route to the backend's network".to_owned(),
        io::ErrorKind::UnexpectedEof => "the connection was closed without an answer".to_owned(),
        _ => {
            let text = error.to_string();
            text.split(" (os error").next().unwrap_or(&text).to_lowercase()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_hosts_own_shortage_is_no_verdict() {
        let outcome = |code| Outcome::from(Fault::from(io::Error::from_raw_os_error(code)));
        assert_eq!(outcome(111), Outcome::Failed("connection refused".into()));
        assert_eq!(outcome(113), Outcome::Failed("no route to host".into()));
        assert_eq!(outcome(24), Outcome::NotRun("too many open files".into()));
        assert!(matches!(outcome(99), Outcome::NotRun(_)));
    }

    #[tokio::test]
    async fn timeouts_say_after_how_long_and_for_what() {
        let text = |timeout| Deadline::after(timeout).text();
        assert_eq!((text(Duration::from_millis(1500)), text(Duration::from_secs(2))), ("1500 ms".into(), "2 s".into()));
        let deadline = Deadline::after(Duration::from_millis(20));
        let never = std::future::pending::<Result<(), Fault>>();
        let fault = deadline.wait("no answer", never).await.unwrap_err();
        assert_eq!(fault, Fault::Backend("timed out after 20 ms: no answer".into()));
    }
}
