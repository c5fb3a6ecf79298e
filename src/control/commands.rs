//! What the administrator has said of backends by command, as far as it differs from the file.

use std::collections::{BTreeMap, HashSet};
use std::net::{IpAddr, SocketAddr};

use super::config::suggest::nearest;
use super::config::{Backend, Config, Service, State};
use super::manager::Key;

/// What commands say of one backend; `None` leaves it to the file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Command {
    /// In place of the file's `state`.
    pub state: Option<State>,
    /// In place of the file's `weight`.
    pub weight: Option<u16>,
}

impl Command {
    /// Without what the file says anyway.
    pub fn beside(self, backend: &Backend) -> Self {
        Self {
            state: self.state.filter(|state| *state != backend.state),
            weight: self.weight.filter(|weight| *weight != backend.weight),
        }
    }

    /// Whether it says nothing.
    pub fn is_empty(self) -> bool {
        self == Self::default()
    }

    /// Such as `drain, the file says up; weight 5, the file says 100`.
    pub fn against(self, backend: &Backend) -> String {
        let state = self.state.map(|state| format!("{state}, the file says {}", backend.state));
        let weight = self.weight.map(|weight| format!("weight {weight}, the file says {}", backend.weight));
        state.into_iter().chain(weight).collect::<Vec<_>>().join("; ")
    }
}

/// See the module. Backends that no command is about are not in it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Commands(BTreeMap<Key, Command>);

impl Commands {
    /// What commands say of a backend.
    pub fn get(&self, service: &str, backend: &str) -> Command {
        // Most have none, and a key costs copies.
        if self.0.is_empty() {
            return Command::default();
        }
        self.0.get(&(service.to_owned(), backend.to_owned())).copied().unwrap_or_default()
    }

    /// Replaces what commands say of a backend.
    pub fn set(&mut self, key: Key, command: Command) {
        if command.is_empty() {
            self.0.remove(&key);
        } else {
            self.0.insert(key, command);
        }
    }

    /// The services of whose backends another one says something else.
    pub fn differing<'c>(&'c self, other: &'c Self) -> HashSet<&'c str> {
        let missing = |of: &'c Self, from: &'c Self| {
            of.0.iter()
                .filter(|(key, command)| from.0.get(*key) != Some(*command))
                .map(|((service, _), _)| service.as_str())
        };
        missing(self, other).chain(missing(other, self)).collect()
    }

    /// All of them, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&Key, Command)> {
        self.0.iter().map(|(key, command)| (key, *command))
    }

    /// Keeps what differs from `config`: a command ends when the file says the same, or has no such backend.
    pub fn settle(&mut self, config: &Config) {
        let mut kept = BTreeMap::new();
        for (service, backend) in backends(config) {
            let command = self.get(&service.name, &backend.name).beside(backend);
            if !command.is_empty() {
                kept.insert((service.name.clone(), backend.name.clone()), command);
            }
        }
        self.0 = kept;
    }

    /// How backends differ from the file, such as `web/b1 drain, the file says up`.
    pub fn differences(&self, config: &Config) -> Vec<String> {
        let differs = |(service, backend): (&Service, &Backend)| {
            let command = self.get(&service.name, &backend.name);
            let against = || format!("{}/{} {}", service.name, backend.name, command.against(backend));
            (!command.is_empty()).then(against)
        };
        backends(config).filter_map(differs).collect()
    }
}

/// One line for some of `differences`: nobody reads a line of ten thousand names.
pub fn summary(differences: &[String]) -> String {
    const NAMED_MAX: usize = 10;
    let verb = if differences.len() == 1 { "backend differs" } else { "backends differ" };
    let named: Vec<&str> = differences.iter().take(NAMED_MAX).map(String::as_str).collect();
    let more = match differences.len().saturating_sub(NAMED_MAX) {
        0 => String::new(),
        more => format!("; and {more} more"),
    };
    format!("{} {verb} from the file by command: {}{more}", differences.len(), named.join("; "))
}

fn backends(config: &Config) -> impl Iterator<Item = (&Service, &Backend)> {
    config.services.iter().flat_map(|service| service.backends.iter().map(move |backend| (service, backend)))
}

/// Why a name is nobody's.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unknown {
    /// There is no such backend.
    #[error("no backend {name}{hint}; see `tidegate show backends`")]
    Name {
        /// As it was given.
        name: String,
        /// What was probably meant.
        hint: String,
    },
    /// Several backends have the address.
    #[error("{name} is the address of several backends, {all}: name one of them")]
    Several {
        /// As it was given.
        name: String,
        /// Their names.
        all: String,
    },
}

/// The backend that `name` means: `SERVICE/BACKEND`, or its address and port if no other has them.
///
/// # Errors
/// Why it means none.
pub fn find<'c>(config: &'c Config, name: &str) -> Result<(&'c Service, &'c Backend), Unknown> {
    let by_name = name
        .split_once('/')
        .and_then(|(service, backend)| backends(config).find(|(s, b)| s.name == service && b.name == backend));
    if let Some(found) = by_name {
        return Ok(found);
    }
    let at = address(name);
    let here = |(service, backend): &(&Service, &Backend)| {
        at.is_some_and(|(address, port)| address == backend.address && port == service.backend_port(backend))
    };
    let found: Vec<_> = backends(config).filter(here).collect();
    match found.as_slice() {
        [one] => Ok(*one),
        [] => Err(Unknown::Name { name: shown(name), hint: hint(config, name) }),
        _ => {
            let all: Vec<String> = found.iter().map(|(s, b)| format!("{}/{}", s.name, b.name)).collect();
            Err(Unknown::Several { name: shown(name), all: all.join(", ") })
        }
    }
}

/// An address without a port is that of a backend that has every port.
fn address(name: &str) -> Option<(IpAddr, Option<u16>)> {
    let with_port = name.parse::<SocketAddr>().ok().map(|at| (at.ip(), Some(at.port())));
    with_port.or_else(|| Some((name.parse().ok()?, None)))
}

fn hint(config: &Config, name: &str) -> String {
    // The name of a service, or an address without its port: whom it may be about.
    let address = name.parse::<IpAddr>().ok();
    let is_near = |(s, b): &(&Service, &Backend)| s.name == name || address == Some(b.address);
    let near: Vec<String> =
        backends(config).filter(is_near).take(4).map(|(s, b)| format!("{}/{}", s.name, b.name)).collect();
    if let [others @ .., last] = near.as_slice() {
        let several = if others.is_empty() { String::new() } else { others.join(", ") + " or " };
        return format!(", did you mean {several}{last}?");
    }
    let (service, backend) = name.split_once('/').unwrap_or(("", name));
    let service_like = config.services.iter().find(|s| s.name == service).or_else(|| {
        let near = nearest(service, config.services.iter().map(|s| s.name.as_str()))?;
        config.services.iter().find(|s| s.name == near)
    });
    let near = service_like.and_then(|service| {
        let backends = service.backends.iter().map(|b| b.name.as_str());
        let same = service.backends.iter().any(|b| b.name == backend).then_some(backend);
        Some(format!("{}/{}", service.name, same.or_else(|| nearest(backend, backends))?))
    });
    let named_so = || backends(config).find(|(_, b)| b.name == backend).map(|(s, b)| format!("{}/{}", s.name, b.name));
    near.or_else(named_so).map_or_else(String::new, |near| format!(", did you mean {near}?"))
}

/// Names come from anywhere.
fn shown(name: &str) -> String {
    name.chars().filter(|c| !c.is_control()).take(130).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::fixture::edited;

    fn config() -> Config {
        let twice = "[[service]]\nname = \"web2\"\nvip = \"192.0.2.11\"\nport = 80\nmode = \"nat\"\n[[service.backend]]\n\
                     name = \"c1\"\naddress = \"10.1.0.12\"\n";
        Config::parse(&(edited(&[]) + twice), "test").unwrap()
    }

    fn found(name: &str) -> Result<String, String> {
        let config = config();
        find(&config, name).map(|(s, b)| format!("{}/{}", s.name, b.name)).map_err(|error| error.to_string())
    }

    #[test]
    fn backends_are_found_by_name_or_by_their_only_address() {
        assert_eq!(found("web/b1").as_deref(), Ok("web/b1"));
        assert_eq!(found("10.1.0.11:8080").as_deref(), Ok("web/b1"));
        assert_eq!(found("2001:db8:1::1").as_deref(), Ok("dns/d1"), "every port");
        let several = found("10.1.0.12:80").unwrap_err();
        assert_eq!(several, "10.1.0.12:80 is the address of several backends, web/b2, web2/c1: name one of them");
    }

    #[test]
    fn who_is_misspelt_is_guessed() {
        let unknown = |name: &str| found(name).unwrap_err();
        assert_eq!(unknown("web/b9"), "no backend web/b9, did you mean web/b1?; see `tidegate show backends`");
        assert_eq!(unknown("wep/b2"), "no backend wep/b2, did you mean web/b2?; see `tidegate show backends`");
        assert_eq!(unknown("d1"), "no backend d1, did you mean dns/d1?; see `tidegate show backends`");
        let several = "no backend 10.1.0.12, did you mean web/b2 or web2/c1?; see `tidegate show backends`";
        assert_eq!(unknown("10.1.0.12"), several);
        assert_eq!(unknown("web2"), "no backend web2, did you mean web2/c1?; see `tidegate show backends`");
        assert_eq!(unknown("10.1.0.99:80"), "no backend 10.1.0.99:80; see `tidegate show backends`");
        assert!(!unknown("a\u{1b}[31m/b").contains('\u{1b}'));
    }

    #[test]
    fn commands_end_when_the_file_says_the_same_or_forgets_the_backend() {
        let config = config();
        let mut commands = Commands::default();
        let command = |state, weight| Command { state, weight };
        let key = |backend: &str| ("web".to_owned(), backend.to_owned());
        commands.set(key("b1"), command(Some(State::Down), Some(7)));
        commands.set(key("b2"), command(None, Some(50)));
        commands.set(key("gone"), command(Some(State::Drain), None));
        commands.set(key("b3"), command(Some(State::Up), Some(100)));
        commands.settle(&config);
        let differences = commands.differences(&config);
        assert_eq!(
            differences,
            ["web/b1 down, the file says up; weight 7, the file says 100", "web/b3 up, the file says drain"]
        );
        assert!(summary(&differences).starts_with("2 backends differ from the file by command: web/b1 down"));
        let many: Vec<String> = (0..12).map(|n| n.to_string()).collect();
        assert!(summary(&many).ends_with("8; 9; and 2 more"), "{}", summary(&many));
        commands.set(key("b3"), Command::default());
        assert_eq!(commands.iter().count(), 1);
    }
}
