//! What health checks and commands say of backends, beside the file, and what follows from all of it.

use std::collections::{HashMap, HashSet};

use super::by_backend::ByBackend;
use super::commands::{Command, Commands};
use super::config::{Backend, Config, DrainAction, Role, Service, State};
use super::ghosts::Ghosts;
use super::manager::Key;

/// See the module.
#[derive(Clone, Debug, Default)]
pub struct Overrides {
    /// Backends that a reload has removed and that keep their connections.
    pub ghosts: Ghosts,
    commands: Commands,
    health: ByBackend<bool>,
    /// Percent of its weight that a backend has while it comes back.
    shares: ByBackend<u8>,
    /// Why a backend is held down, whatever its health checks say.
    held: ByBackend<String>,
    /// Backends that have drained for so long that their last connections are closed.
    drained: ByBackend<()>,
    /// Services that serve all of their primary backends, since too few are healthy.
    panics: HashSet<String>,
    /// Services whose new connections go to backends of another role than the primary ones.
    stand_ins: HashMap<String, Role>,
}

impl Overrides {
    /// With what commands said of the backends of `config` before.
    pub fn of(commands: Commands, config: &Config) -> Self {
        let mut overrides = Self { commands, ..Self::default() };
        overrides.judge(config);
        overrides
    }

    /// What commands say.
    pub fn commands(&self) -> &Commands {
        &self.commands
    }

    /// Notes what the health checks say of a backend; `None` if it is not checked.
    pub fn set_health(&mut self, service: &str, backend: &str, healthy: Option<bool>) {
        self.health.set(service, backend, healthy);
    }

    /// Notes what commands say of a backend.
    pub fn set_command(&mut self, service: &str, backend: &str, command: Command) {
        self.commands.set((service.to_owned(), backend.to_owned()), command);
    }

    /// Takes over what commands said of backends by `before` and say no more.
    pub fn restore_commands(&mut self, before: &Self) {
        for (key, command) in before.commands.iter() {
            let now = self.command(&key.0, &key.1);
            let (state, weight) = (now.state.or(command.state), now.weight.or(command.weight));
            self.commands.set(key.clone(), Command { state, weight });
        }
    }

    /// Notes which state is wanted of a backend by command.
    pub fn set_state(&mut self, service: &str, backend: &str, state: State) {
        let command = Command { state: Some(state), ..self.command(service, backend) };
        self.set_command(service, backend, command);
    }

    /// Notes which part of its weight a backend has, in percent; `None` for all of it.
    pub fn set_share(&mut self, service: &str, backend: &str, percent: Option<u8>) {
        self.shares.set(service, backend, percent);
    }

    /// Notes which backends are held down, and why; the others are not.
    pub fn set_held<'h>(&mut self, held: impl Iterator<Item = (&'h str, &'h str, &'h str)>) {
        self.held = held.map(|(s, b, reason)| ((s.to_owned(), b.to_owned()), reason.to_owned())).collect();
    }

    /// Notes that these backends are not held down any more.
    pub fn set_free(&mut self, backends: &[Key]) {
        backends.iter().for_each(|(service, backend)| self.held.set(service, backend, None));
    }

    /// Notes which backends have drained for as long as their service gives them.
    pub fn set_drained<'d>(&mut self, over: impl Iterator<Item = (&'d str, &'d str)>, config: &Config) {
        let closes: HashSet<&str> = config
            .services
            .iter()
            .filter(|service| service.drain_action == DrainAction::Close)
            .map(|service| service.name.as_str())
            .collect();
        let over = over.filter(|(service, _)| closes.contains(service));
        self.drained = over.map(|(service, backend)| ((service.to_owned(), backend.to_owned()), ())).collect();
    }

    /// What the health checks say.
    pub fn health(&self, service: &str, backend: &str) -> Option<bool> {
        self.health.get(service, backend).copied()
    }

    /// What commands say of a backend.
    pub fn command(&self, service: &str, backend: &str) -> Command {
        self.commands.get(service, backend)
    }

    /// Which part of its weight a backend has, in percent; `None` for all of it.
    pub fn share(&self, service: &str, backend: &str) -> Option<u8> {
        self.shares.get(service, backend).copied()
    }

    /// Why a backend is held down; `None` if it is not.
    pub fn held(&self, service: &str, backend: &str) -> Option<&str> {
        self.held.get(service, backend).map(String::as_str)
    }

    /// All who are held down, and why.
    pub fn all_held(&self) -> impl Iterator<Item = (&str, &str, &str)> {
        self.held.iter().map(|(service, backend, reason)| (service, backend, reason.as_str()))
    }

    /// Finds out which services have so few healthy backends that all of them are to serve, and which have none but
    /// backups. To be called when anything here or the configuration has changed.
    pub fn judge(&mut self, config: &Config) {
        self.panics.clear();
        self.stand_ins.clear();
        self.judge_these(config.services.iter());
    }

    /// The same where only what is said of backends of these services has changed.
    pub fn judge_these<'c>(&mut self, services: impl Iterator<Item = &'c Service>) {
        for service in services {
            self.panics.remove(&service.name);
            self.stand_ins.remove(&service.name);
            let can = |role| service.backends.iter().any(|b| b.role == role && self.can(service, b));
            let stand_in = [Role::Backup, Role::LastResort].into_iter().find(|role| can(*role));
            let threshold = service.health.as_ref().map_or(0, |health| usize::from(health.panic_threshold_percent));
            let (healthy, wanted) = if threshold == 0 { (0, 0) } else { self.healthy(service) };
            // Where nothing is healthy, whoever stands in is better than all of them.
            let panics = healthy * 100 < threshold * wanted && (healthy > 0 || stand_in.is_none());
            let stand_in = stand_in.filter(|_| !panics && !can(Role::Primary));
            if panics {
                self.panics.insert(service.name.clone());
            }
            if let Some(role) = stand_in {
                self.stand_ins.insert(service.name.clone(), role);
            }
        }
    }

    /// Whether a backend can take connections by itself.
    fn can(&self, service: &Service, backend: &Backend) -> bool {
        let is_fit = backend.role == Role::LastResort || self.is_fit(service, backend);
        is_fit && self.wanted(service, backend) == State::Up && self.weight(service, backend) > 0
    }

    /// Whether checks have nothing against a backend.
    fn is_fit(&self, service: &Service, backend: &Backend) -> bool {
        let (service, backend) = (service.name.as_str(), backend.name.as_str());
        self.health(service, backend) != Some(false) && self.held(service, backend).is_none()
    }

    /// Whether a service serves all of its primary backends, since too few are healthy.
    pub fn panics(&self, service: &str) -> bool {
        self.panics.contains(service)
    }

    /// The role of the backends that get a service's new connections.
    pub fn role(&self, service: &str) -> Role {
        self.stand_ins.get(service).copied().unwrap_or(Role::Primary)
    }

    /// How many primary backends of a service are wanted up and healthy, and how many are wanted up.
    pub fn healthy(&self, service: &Service) -> (usize, usize) {
        let is_wanted = |b: &&Backend| b.role == Role::Primary && self.wanted(service, b) == State::Up;
        let wanted = service.backends.iter().filter(is_wanted);
        wanted.fold((0, 0), |(healthy, wanted), b| (healthy + usize::from(self.is_fit(service, b)), wanted + 1))
    }

    /// How many backends of any role are wanted up and healthy.
    pub fn fit(&self, service: &Service) -> usize {
        let is_fit = |b: &&Backend| self.wanted(service, b) == State::Up && self.is_fit(service, b);
        service.backends.iter().filter(is_fit).count()
    }

    /// What the administrator wants: by command, else by the file.
    pub fn wanted(&self, service: &Service, backend: &Backend) -> State {
        self.command(&service.name, &backend.name).state.unwrap_or(backend.state)
    }

    /// The weight that the administrator wants: by command, else by the file.
    pub fn weight(&self, service: &Service, backend: &Backend) -> u16 {
        self.command(&service.name, &backend.name).weight.unwrap_or(backend.weight)
    }

    /// Whether a backend has drained for so long that its last connections are closed.
    pub fn is_drained(&self, service: &Service, backend: &Backend) -> bool {
        let is_over = self.drained.get(&service.name, &backend.name).is_some();
        is_over && self.wanted(service, backend) == State::Drain
    }

    /// Forgets what is not in `config` any more, and commands that say what it says.
    pub fn retain(&mut self, config: &Config) {
        self.health.retain(config);
        self.shares.retain(config);
        self.held.retain(config);
        self.drained.retain(config);
        self.commands.settle(config);
    }

    /// What the packet path does with a backend, all taken together: the administrator's word, and down if the checks
    /// say so, unless too few backends would be left. A last resort is served whatever is said of it.
    pub fn effective(&self, service: &Service, backend: &Backend) -> State {
        let all_serve = match backend.role {
            Role::Primary => self.panics(&service.name),
            Role::Backup => false,
            Role::LastResort => true,
        };
        if (all_serve || self.is_fit(service, backend)) && !self.is_drained(service, backend) {
            self.wanted(service, backend)
        } else {
            State::Down
        }
    }

    /// Whether a backend gets new connections: it is up, and of the role whose turn it is.
    pub fn admits(&self, service: &Service, backend: &Backend) -> bool {
        backend.role == self.role(&service.name) && self.effective(service, backend) == State::Up
    }

    /// Percent of its weight that a backend gets; `None` for all of it. Where dead ones serve as well, who is back is
    /// better than they are from the start.
    pub fn share_served(&self, service: &Service, backend: &Backend) -> Option<u8> {
        self.share(&service.name, &backend.name).filter(|_| !self.panics(&service.name))
    }

    /// The services of which `other` says something else, by their places in `config`.
    pub fn touched(&self, other: &Self, config: &Config) -> Vec<usize> {
        let commanded = self.commands.differing(&other.commands);
        let is_same = |name: &str| {
            self.health.is_same(&other.health, name)
                && self.shares.is_same(&other.shares, name)
                && self.held.is_same(&other.held, name)
                && self.drained.is_same(&other.drained, name)
                && !commanded.contains(name)
        };
        let places = config.services.iter().enumerate();
        places.filter(|(_, service)| !is_same(&service.name)).map(|(place, _)| place).collect()
    }

    /// Whether the packet path would do anything else with a service by `other`.
    pub fn differs(&self, other: &Self, service: &Service) -> bool {
        let of = |overrides: &Self, s: &Service, b: &Backend| {
            let state = overrides.effective(s, b);
            (state, overrides.admits(s, b), overrides.weight(s, b), overrides.share_served(s, b))
        };
        service.backends.iter().any(|b| of(self, service, b) != of(other, service, b))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::fixture::edited;

    const ROLES: &[(&str, &str)] = &[
        ("weight = 50", "weight = 50\nrole = \"backup\""),
        ("state = \"drain\"", "role = \"last-resort\""),
        ("type = \"tcp\"", "type = \"tcp\"\npanic_threshold = 60"),
        ("name = \"b1\"", "name = \"b0\"\naddress = \"10.1.0.10\"\n[[service.backend]]\nname = \"b1\""),
    ];

    struct Bench {
        config: Config,
        overrides: Overrides,
    }

    impl Bench {
        fn of(edits: &[(&str, &str)]) -> Self {
            Self { config: Config::parse(&edited(edits), "test").unwrap(), overrides: Overrides::default() }
        }

        fn health(&mut self, health: [bool; 4]) -> String {
            for (name, healthy) in ["b0", "b1", "b2", "b3"].into_iter().zip(health) {
                self.overrides.set_health("web", name, Some(healthy));
            }
            self.admitted()
        }

        fn admitted(&mut self) -> String {
            self.overrides.judge(&self.config);
            let web = &self.config.services[0];
            let names = web.backends.iter().filter(|b| self.overrides.admits(web, b)).map(|b| b.name.as_str());
            names.collect::<Vec<_>>().join(" ")
        }
    }

    #[test]
    fn backups_take_over_when_no_primary_can_and_the_last_resort_after_them() {
        let mut bench = Bench::of(ROLES);
        let (yes, no) = (true, false);
        assert_eq!(bench.health([yes, yes, yes, yes]), "b0 b1");
        assert_eq!(
            bench.health([no, yes, yes, yes]),
            "b0 b1",
            "one of two is less than 60 %: the panic rule comes first"
        );
        assert_eq!(bench.health([no, no, yes, yes]), "b2", "with no healthy one it would help nobody");
        assert_eq!(bench.health([no, no, no, yes]), "b3");
        assert_eq!(bench.health([no, no, no, no]), "b3", "whatever its health says");
        let web = bench.config.services[0].clone();
        let state = |bench: &Bench, n: usize| bench.overrides.effective(&web, &web.backends[n]);
        assert_eq!([0, 2, 3].map(|n| state(&bench, n)), [State::Down, State::Down, State::Up]);
        bench.overrides.set_command("web", "b3", Command { state: Some(State::Drain), weight: None });
        assert_eq!(bench.admitted(), "b0 b1", "nobody else is there: all primaries serve");
        assert_eq!(bench.health([no, yes, yes, no]), "b0 b1");
        assert_eq!([2, 3].map(|n| state(&bench, n)), [State::Up, State::Drain], "connections on a backup stay");
    }

    #[test]
    fn primaries_that_can_take_nothing_leave_it_to_the_backups() {
        // Without a panic threshold, which would have all primaries serve.
        let roles = [ROLES[0], ROLES[1], ROLES[3]];
        let mut bench = Bench::of(&roles);
        for name in ["b0", "b1"] {
            bench.overrides.set_command("web", name, Command { state: None, weight: Some(0) });
        }
        assert_eq!(bench.admitted(), "b2");
        bench.overrides.set_command("web", "b1", Command::default());
        assert_eq!(bench.admitted(), "b0 b1");
        bench.overrides.set_held([("web", "b1", "why")].into_iter());
        assert_eq!(bench.admitted(), "b2", "held is as good as failed");
    }

    #[test]
    fn a_drained_backend_is_down_as_long_as_it_is_to_drain() {
        let mut bench = Bench::of(&[]);
        let web = bench.config.services[0].clone();
        let state = |bench: &Bench| bench.overrides.effective(&web, &web.backends[2]);
        assert_eq!(state(&bench), State::Drain);
        let before = bench.overrides.clone();
        bench.overrides.set_drained([("web", "b3")].into_iter(), &bench.config);
        assert_eq!((state(&bench), before.differs(&bench.overrides, &web)), (State::Down, true));
        bench.overrides.set_command("web", "b3", Command { state: Some(State::Up), weight: None });
        assert_eq!(state(&bench), State::Up);
        let leave = Bench::of(&[("mode = \"nat\"", "mode = \"nat\"\ndrain_action = \"leave\"")]);
        bench.overrides.set_command("web", "b3", Command::default());
        bench.overrides.set_drained([("web", "b3")].into_iter(), &leave.config);
        assert_eq!(state(&bench), State::Drain);
    }
}
