//! The arguments of `tidegate show`.

use std::time::Duration;

use clap::builder::FalseyValueParser;
use clap::{ArgAction, Subcommand};
use clap_complete::engine::ArgValueCandidates;

use crate::cli::completion;

/// The API gives no more at once.
const CONNECTIONS_MAX: usize = 1_000_000;

/// `tidegate show`.
#[derive(Debug, clap::Args)]
#[command(arg_required_else_help = true)]
pub struct Show {
    /// Print JSON as the API gives it
    #[arg(long, global = true, env = "TIDEGATE_JSON", action = ArgAction::SetTrue, value_parser = FalseyValueParser::new())]
    pub json: bool,
    /// Numbers whole, not as 1.23M
    #[arg(long, global = true, env = "TIDEGATE_EXACT", action = ArgAction::SetTrue, value_parser = FalseyValueParser::new())]
    pub exact: bool,
    /// Figures per second, over so many seconds, in the place of those since the start
    #[arg(long, global = true, env = "TIDEGATE_RATE", value_name = "SECONDS", value_parser = period,
        num_args = 0..=1, require_equals = true, default_missing_value = "1")]
    pub rate: Option<Duration>,
    /// Largest numbers first, or words in their order
    #[arg(long, global = true, env = "TIDEGATE_SORT", value_name = "COLUMN")]
    pub sort: Option<String>,
    /// Again and again, every so many seconds, until Ctrl-C
    #[arg(long, global = true, env = "TIDEGATE_WATCH", value_name = "SECONDS", value_parser = period,
        num_args = 0..=1, require_equals = true, default_missing_value = "2")]
    pub watch: Option<Duration>,
    /// What to show.
    #[command(subcommand)]
    pub what: What,
}

/// What to show.
#[derive(Clone, Debug, PartialEq, Eq, Subcommand)]
pub enum What {
    /// Services with their backends
    Services(Names),
    /// Backends of all services
    Backends(Names),
    /// Tracked connections
    Connections {
        /// Show so many at most
        #[arg(long, env = "TIDEGATE_LIMIT", value_name = "N", default_value_t = 1000, value_parser = limit)]
        limit: usize,
        /// Which ones.
        #[command(flatten)]
        names: Names,
    },
    /// Ports and their counters
    Ports,
    /// Poll loops; rates are over the last second
    Workers,
    /// Dropped packets by reason
    Drops {
        /// Also the reasons that never occurred
        #[arg(long, env = "TIDEGATE_ALL", action = ArgAction::SetTrue, value_parser = FalseyValueParser::new())]
        all: bool,
    },
    /// Time that packets spend in the balancer
    Latency,
    /// Next hops and their MAC addresses
    Neighbors,
    /// The process: version, configuration, time since start
    Status,
    /// The configuration in use, as a file that loads
    Config {
        /// Also the keys that are nobody else's business
        #[arg(long, env = "TIDEGATE_SECRETS", action = ArgAction::SetTrue, value_parser = FalseyValueParser::new())]
        secrets: bool,
    },
}

/// What a view is limited to.
#[derive(Clone, Debug, Default, PartialEq, Eq, clap::Args)]
pub struct Names {
    /// Only these: SERVICE, SERVICE/BACKEND, BACKEND, ADDRESS or ADDRESS:PORT
    #[arg(value_name = "NAME", add = ArgValueCandidates::new(completion::services_and_backends))]
    pub names: Vec<String>,
}

impl What {
    /// As in the command.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Services(_) => "services",
            Self::Backends(_) => "backends",
            Self::Connections { .. } => "connections",
            Self::Ports => "ports",
            Self::Workers => "workers",
            Self::Drops { .. } => "drops",
            Self::Latency => "latency",
            Self::Neighbors => "neighbors",
            Self::Status => "status",
            Self::Config { .. } => "config",
        }
    }

    /// What the API is asked for.
    pub fn path(&self) -> String {
        match self {
            // Which ones they are is found out here, so all are needed.
            Self::Connections { limit, names } if names.names.is_empty() => format!("/v1/connections?limit={limit}"),
            Self::Connections { .. } => format!("/v1/connections?limit={CONNECTIONS_MAX}"),
            Self::Drops { all: true } => "/v1/drops?all".to_owned(),
            Self::Config { secrets: true } => "/v1/config?secrets".to_owned(),
            what => format!("/v1/{}", what.word()),
        }
    }
}

fn limit(text: &str) -> Result<usize, String> {
    let good = text.parse().ok().filter(|limit| (1..=CONNECTIONS_MAX).contains(limit));
    good.ok_or_else(|| format!("not a whole number from 1 to {CONNECTIONS_MAX}"))
}

/// Between two looks; the words are those of `--watch` and `--rate`.
fn period(text: &str) -> Result<Duration, String> {
    let seconds = text.strip_suffix('s').unwrap_or(text).parse::<f64>().ok();
    let good = seconds.filter(|seconds| (0.1..=3600.0).contains(seconds));
    good.map(Duration::from_secs_f64).ok_or_else(|| "not a number of seconds from 0.1 to 3600".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_period_is_a_tenth_of_a_second_to_an_hour() {
        assert_eq!((period("2"), period("0.5s")), (Ok(Duration::from_secs(2)), Ok(Duration::from_millis(500))));
        for bad in ["0", "-1", "0.01", "3601", "inf", "nan", "1m", ""] {
            assert!(period(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_limit_is_one_that_the_api_takes() {
        assert_eq!((limit("1"), limit("1000000")), (Ok(1), Ok(1_000_000)));
        for bad in ["0", "1000001", "-1", "many", ""] {
            assert!(limit(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn filtered_connections_are_looked_for_among_all() {
        let of = |names: &[&str]| Names { names: names.iter().map(|name| (*name).to_owned()).collect() };
        assert_eq!(What::Connections { limit: 5, names: of(&[]) }.path(), "/v1/connections?limit=5");
        assert_eq!(What::Connections { limit: 5, names: of(&["web"]) }.path(), "/v1/connections?limit=1000000");
        assert_eq!(What::Services(of(&["web"])).path(), "/v1/services");
    }
}
