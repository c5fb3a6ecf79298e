//! A map from backends to something, asked by the two names without making a key of them. Copies share what is said of a
//! service until one of them changes it.

use std::collections::HashMap;
use std::sync::Arc;

use super::config::{Backend, Config};
use super::manager::Key;

/// See the module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ByBackend<T>(HashMap<String, Arc<HashMap<String, T>>>);

impl<T> Default for ByBackend<T> {
    fn default() -> Self {
        Self(HashMap::new())
    }
}

impl<T: Clone + PartialEq> ByBackend<T> {
    /// What a backend has.
    pub fn get(&self, service: &str, backend: &str) -> Option<&T> {
        self.0.get(service)?.get(backend)
    }

    /// Gives a backend another value, or none.
    pub fn set(&mut self, service: &str, backend: &str, value: Option<T>) {
        match value {
            Some(value) => {
                let of_service = self.0.entry(service.to_owned()).or_default();
                Arc::make_mut(of_service).insert(backend.to_owned(), value);
            }
            None => {
                if let Some(of_service) = self.0.get_mut(service) {
                    Arc::make_mut(of_service).remove(backend);
                }
            }
        }
    }

    /// Whether another one says the same of a service.
    pub fn is_same(&self, other: &Self, service: &str) -> bool {
        match (self.0.get(service), other.0.get(service)) {
            (Some(a), Some(b)) => Arc::ptr_eq(a, b) || a == b,
            (a, b) => a.or(b).is_none_or(|some| some.is_empty()),
        }
    }

    /// All of them, in no order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str, &T)> {
        self.0.iter().flat_map(|(service, of)| of.iter().map(move |(backend, value)| (&**service, &**backend, value)))
    }

    /// Forgets backends that are not in `config`.
    pub fn retain(&mut self, config: &Config) {
        let mut kept = HashMap::new();
        for service in &config.services {
            let Some(of_service) = self.0.remove(&service.name) else { continue };
            let known = |b: &Backend| Some((b.name.clone(), of_service.get(&b.name)?.clone()));
            kept.insert(service.name.clone(), Arc::new(service.backends.iter().filter_map(known).collect()));
        }
        self.0 = kept;
    }
}

impl<T: Clone + PartialEq> FromIterator<(Key, T)> for ByBackend<T> {
    fn from_iter<I: IntoIterator<Item = (Key, T)>>(values: I) -> Self {
        let mut all = Self::default();
        values.into_iter().for_each(|((service, backend), value)| all.set(&service, &backend, Some(value)));
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::fixture::CONFIG;

    #[test]
    fn who_is_not_in_the_configuration_is_forgotten() {
        let config = Config::parse(CONFIG, "test").unwrap();
        let mut all = ByBackend::default();
        for (service, backend) in [("web", "b1"), ("web", "gone"), ("gone", "b1"), ("dns", "d1")] {
            all.set(service, backend, Some(backend.len()));
        }
        all.retain(&config);
        let mut left: Vec<_> = all.iter().map(|(service, backend, n)| (service, backend, *n)).collect();
        left.sort_unstable();
        assert_eq!(left, [("dns", "d1", 2), ("web", "b1", 2)]);
        all.set("web", "b1", None);
        assert_eq!((all.get("web", "b1"), all.get("dns", "d1"), all.get("x", "y")), (None, Some(&2), None));
    }

    #[test]
    fn a_copy_is_the_same_until_one_changes_and_nothing_is_as_good_as_empty() {
        let mut one = ByBackend::default();
        one.set("web", "b1", Some(1));
        let mut other = one.clone();
        assert!(one.is_same(&other, "web") && one.is_same(&other, "dns"));
        other.set("web", "b2", Some(2));
        assert!(!one.is_same(&other, "web") && one.get("web", "b2").is_none());
        other.set("web", "b2", None);
        assert!(one.is_same(&other, "web"));
        other.set("dns", "d1", Some(3));
        other.set("dns", "d1", None);
        assert!(one.is_same(&other, "dns") && other.is_same(&one, "dns"));
    }
}
