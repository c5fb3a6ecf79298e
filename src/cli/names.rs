//! Services and backends as users name them.

use std::net::{IpAddr, SocketAddr};

use super::failure::Failure;
use crate::control::config::suggest::nearest;
use crate::control::status::BackendStatus;

/// How a word that was given names backends.
enum Wanted<'w> {
    /// By a name of theirs.
    Name(&'w str),
    /// By their address and, if it says one, port.
    Place(IpAddr, Option<u16>),
}

impl<'w> Wanted<'w> {
    fn read(word: &'w str) -> Self {
        let with_port = word.parse::<SocketAddr>().map(|at| Self::Place(at.ip(), Some(at.port())));
        with_port.or_else(|_| word.parse().map(|address| Self::Place(address, None))).unwrap_or(Self::Name(word))
    }

    fn is(&self, service: &str, name: &str, place: Option<(IpAddr, Option<u16>)>) -> bool {
        match *self {
            Self::Name(word) => match word.split_once('/') {
                Some((of, backend)) => of == service && backend == name,
                None => word == service || word == name,
            },
            Self::Place(address, port) => {
                place.is_some_and(|(at, its)| at == address && (port.is_none() || port == its))
            }
        }
    }
}

/// `SERVICE/BACKEND`.
pub fn full(backend: &BackendStatus) -> String {
    format!("{}/{}", backend.service, backend.name)
}

fn place(backend: &BackendStatus) -> Option<(IpAddr, Option<u16>)> {
    Some((backend.address.parse().ok()?, backend.port))
}

/// What a view is limited to: services, backends, addresses; everything if there are none.
#[derive(Debug)]
pub struct Filter<'w>(&'w [String]);

impl<'w> Filter<'w> {
    /// Of the words that were given.
    pub fn new(words: &'w [String]) -> Self {
        Self(words)
    }

    /// Whether everything is shown.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether a backend is shown.
    pub fn takes(&self, backend: &BackendStatus) -> bool {
        self.is_empty()
            || self.0.iter().any(|word| Wanted::read(word).is(&backend.service, &backend.name, place(backend)))
    }

    /// Whether a connection is shown whose backend has these names and this `ADDRESS:PORT`.
    pub fn takes_named(&self, service: Option<&str>, backend: Option<&str>, at: Option<&str>) -> bool {
        let place = at.and_then(|at| at.parse::<SocketAddr>().ok()).map(|at| (at.ip(), Some(at.port())));
        let (service, backend) = (service.unwrap_or_default(), backend.unwrap_or_default());
        self.is_empty() || self.0.iter().any(|word| Wanted::read(word).is(service, backend, place))
    }

    /// Each word must name something.
    ///
    /// # Errors
    /// Which one does not, and what was probably meant.
    pub fn check<'b>(&self, backends: impl Iterator<Item = &'b BackendStatus> + Clone) -> Result<(), Failure> {
        let nothing = |word: &&String| !backends.clone().any(|b| Wanted::read(word).is(&b.service, &b.name, place(b)));
        match self.0.iter().find(nothing) {
            None => Ok(()),
            Some(word) => {
                let hint = guess(word, backends).map_or_else(String::new, |near| format!(", did you mean {near}?"));
                Err(Failure::usage(format!(
                    "error: no service or backend {}{hint}; see `tidegate show services`",
                    printable(word)
                )))
            }
        }
    }
}

/// The backends that each of `words` means: by `SERVICE/BACKEND`, or by address and port if no other has them. All are
/// found before anything is done to one.
///
/// # Errors
/// Which ones mean none, or more than one.
pub fn find<'b>(words: &[String], backends: &'b [BackendStatus]) -> Result<Vec<&'b BackendStatus>, Failure> {
    let mut found = Vec::new();
    let mut faults = Vec::new();
    for word in words {
        match one(word, backends) {
            Ok(backend) => found.push(backend),
            Err(fault) => faults.push(fault),
        }
    }
    if faults.is_empty() { Ok(found) } else { Err(Failure::usage(faults.join("\n"))) }
}

fn one<'b>(word: &str, backends: &'b [BackendStatus]) -> Result<&'b BackendStatus, String> {
    let means = |b: &&BackendStatus| match Wanted::read(word) {
        Wanted::Name(name) => name == full(b),
        // Without a port: one that has every port.
        Wanted::Place(address, port) => place(b) == Some((address, port)),
    };
    let found: Vec<_> = backends.iter().filter(means).collect();
    match found.as_slice() {
        [one] => Ok(one),
        [] => {
            let hint = guess_backend(word, backends.iter());
            let hint = hint.map_or_else(String::new, |near| format!(", did you mean {near}?"));
            Err(format!("error: no backend {}{hint}; see `tidegate show backends`", printable(word)))
        }
        several => {
            let all = several.iter().map(|backend| full(backend)).collect::<Vec<_>>().join(", ");
            Err(format!("error: {word} is the address of several backends, {all}: name one of them"))
        }
    }
}

fn guess<'b>(word: &str, backends: impl Iterator<Item = &'b BackendStatus> + Clone) -> Option<String> {
    if word.contains('/') {
        return guess_backend(word, backends);
    }
    let services = backends.clone().map(|b| b.service.as_str());
    nearest(word, services.chain(backends.map(|b| b.name.as_str()))).map(str::to_owned)
}

fn guess_backend<'b>(word: &str, backends: impl Iterator<Item = &'b BackendStatus> + Clone) -> Option<String> {
    // The name of a service, or an address without its port.
    let address: Option<IpAddr> = word.parse().ok();
    let is_near = |b: &&BackendStatus| b.service == word || (address.is_some() && b.address.parse().ok() == address);
    if let Some(first) = backends.clone().find(is_near) {
        return Some(full(first));
    }
    let (service, name) = word.split_once('/').unwrap_or(("", word));
    let named_so = || backends.clone().find(|b| b.name == name).map(full);
    let in_service = backends.clone().filter(|b| b.service == service);
    let near_name = || nearest(name, in_service.map(|b| b.name.as_str())).map(|near| format!("{service}/{near}"));
    let all: Vec<String> = backends.clone().map(full).collect();
    near_name().or_else(|| nearest(word, all.iter().map(String::as_str)).map(str::to_owned)).or_else(named_so)
}

/// Words come from anywhere.
fn printable(word: &str) -> String {
    word.chars().filter(|c| !c.is_control()).take(130).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn backends() -> Vec<BackendStatus> {
        let rows = [
            ("web", "b1", "10.1.0.11", Some(8080)),
            ("web", "b2", "10.1.0.12", Some(80)),
            ("web2", "c1", "10.1.0.12", Some(80)),
            ("dns", "d1", "2001:db8:1::1", None),
        ];
        let row = |(service, name, address, port): (&str, &str, &str, Option<u16>)| BackendStatus {
            service: service.into(),
            name: name.into(),
            address: address.into(),
            port,
            ..Default::default()
        };
        rows.map(row).into()
    }

    fn words(words: &[&str]) -> Vec<String> {
        words.iter().map(|word| (*word).to_owned()).collect()
    }

    #[test]
    fn views_are_limited_by_any_name() {
        let all = backends();
        let taken = |given: &[&str]| {
            let given = words(given);
            let filter = Filter::new(&given);
            filter
                .check(all.iter())
                .map(|()| all.iter().filter(|b| filter.takes(b)).map(full).collect::<Vec<_>>().join(" "))
        };
        assert_eq!(taken(&[]).unwrap(), "web/b1 web/b2 web2/c1 dns/d1");
        assert_eq!(taken(&["web"]).unwrap(), "web/b1 web/b2");
        assert_eq!(taken(&["web/b1", "d1"]).unwrap(), "web/b1 dns/d1");
        assert_eq!(taken(&["10.1.0.12"]).unwrap(), "web/b2 web2/c1");
        assert_eq!(taken(&["10.1.0.11:8080"]).unwrap(), "web/b1");
        let unknown = |word: &str| taken(&[word]).unwrap_err();
        let said =
            |what: &str| Failure::usage(format!("error: no service or backend {what}; see `tidegate show services`"));
        assert_eq!(unknown("wbe"), said("wbe, did you mean web?"));
        assert_eq!(unknown("wbe/b1"), said("wbe/b1, did you mean web/b1?"));
        assert_eq!(unknown("10.1.0.11:80"), said("10.1.0.11:80"));
    }

    #[test]
    fn connections_are_taken_by_the_names_of_their_backend() {
        let given = words(&["web", "10.9.0.1:80"]);
        let filter = Filter::new(&given);
        assert!(filter.takes_named(Some("web"), Some("b1"), None));
        assert!(filter.takes_named(None, None, Some("10.9.0.1:80")) && !filter.takes_named(None, None, None));
        assert!(Filter::new(&[]).takes_named(None, None, None));
    }

    #[test]
    fn backends_are_found_all_or_none() {
        let all = backends();
        let found =
            |given: &[&str]| find(&words(given), &all).map(|f| f.into_iter().map(full).collect::<Vec<_>>().join(" "));
        assert_eq!(found(&["web/b1", "2001:db8:1::1"]).unwrap(), "web/b1 dns/d1");
        let text = "error: no backend wbe/b1, did you mean web/b1?; see `tidegate show backends`\n\
                    error: 10.1.0.12:80 is the address of several backends, web/b2, web2/c1: name one of them";
        assert_eq!(found(&["wbe/b1", "web/b2", "10.1.0.12:80"]).unwrap_err(), Failure::usage(text));
        let no_backend = "error: no backend b2, did you mean web/b2?; see `tidegate show backends`";
        assert_eq!(found(&["b2"]).unwrap_err(), Failure::usage(no_backend));
        let no_backend = "error: no backend web, did you mean web/b1?; see `tidegate show backends`";
        assert_eq!(found(&["web"]).unwrap_err(), Failure::usage(no_backend), "the first one of the service");
        let no_backend = "error: no backend 10.1.0.11, did you mean web/b1?; see `tidegate show backends`";
        assert_eq!(found(&["10.1.0.11"]).unwrap_err(), Failure::usage(no_backend), "without its port");
    }
}
