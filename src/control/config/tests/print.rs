//! What `show config` prints loads as what is running.

use std::path::{Path, PathBuf};

use proptest::prelude::*;

use super::super::keys::{self, Kind, TableDoc};
use super::super::written::{self, Row};
use super::super::{Config, print::Printing};
use super::good;
use crate::control::random::{self, Random};

fn printed(config: &Config, secrets: bool) -> String {
    config.print(&Printing { secrets, notes: &|_, _| Vec::new() })
}

fn assert_same(config: &Config) {
    let text = printed(config, true);
    let again = Config::parse(&text, "again.toml").unwrap_or_else(|errors| panic!("{errors}\nin\n{text}"));
    assert_eq!(again.dataplane, config.dataplane);
    assert_eq!(again.control, config.control);
    assert_eq!(again.host, config.host);
    assert_eq!(again.ports, config.ports);
    assert_eq!(again.services, config.services);
    assert_eq!(printed(&again, true), text);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn random_configurations_come_back(seed: u64) {
        assert_same(&good(&random::file(&mut Random(seed))));
    }
}

#[test]
fn samples_and_golden_cases_come_back() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let entries = |dir: PathBuf| std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    let files = entries(root.join("config"))
        .chain(entries(root.join("tests/golden")).filter(|path| path.is_dir()).flat_map(entries));
    let files: Vec<PathBuf> = files.filter(|path| path.extension().is_some_and(|end| end == "toml")).collect();
    assert!(files.len() > 50, "{files:?}");
    for file in files {
        assert_same(&Config::load(&file).unwrap_or_else(|errors| panic!("{errors}")));
    }
}

/// Every key of the tables of the documentation is written, in their order.
#[test]
fn no_key_is_forgotten() {
    let text = include_str!("../../../../config/reference.toml");
    let config = good(text);
    let holds = |doc: &TableDoc, rows: Vec<Row>| {
        let is_value = |key: &&keys::KeyDoc| !matches!(key.kind, Kind::Table(_) | Kind::Tables(_));
        let known: Vec<&str> = doc.keys.iter().filter(is_value).map(|key| key.name).collect();
        assert_eq!(rows.into_iter().map(|(name, _)| name).collect::<Vec<_>>(), known, "{}", doc.heading);
    };
    holds(&keys::DATAPLANE, written::dataplane(&config.dataplane));
    holds(&keys::CONTROL, written::control(&config.control));
    holds(&keys::API, written::api(&config.control.api));
    holds(&keys::HOST, written::host(&config.host));
    holds(&keys::PORT, written::port(&config.ports[0]));
    holds(&keys::SERVICE, written::service(&config.services[0]));
    holds(&keys::TIMEOUTS, written::timeouts(&config.services[0].timeouts));
    holds(&keys::BACKEND, written::backend(&config.services[0].backends[0]));
    let checks = ["http", "https", "udp", "dns\nquery = 'x'", "exec\ncommand = ['/bin/true']"];
    let mut written: Vec<&str> = Vec::new();
    for check in checks {
        let (kind, more) = check.split_once('\n').unwrap_or((check, ""));
        let service =
            super::service("nat", &format!("[service.health]\ntype = '{kind}'\n{more}"), "address = '10.1.0.1'");
        let config = good(&service);
        written.extend(written::health(config.services[0].health.as_ref().unwrap()).into_iter().map(|(name, _)| name));
    }
    for key in keys::HEALTH.keys {
        assert!(written.contains(&key.name), "{}", key.name);
    }
}

#[test]
fn secrets_and_what_is_left_out_are_comments() {
    let key = "00112233445566778899aabbccddeeff";
    let config = good(&format!("[dataplane]\nhash_key = '{key}'\n{}", super::PORT));
    let text = printed(&config, false);
    assert!(text.contains("# hash_key is set, and a secret: --secrets shows it\n") && !text.contains(key), "{text}");
    assert_eq!(good(&text).dataplane.hash_key, None);
    assert!(text.contains("\n# vlan is left out: untagged\n") && text.contains("\nmtu = 1500\n"), "{text}");
    assert!(printed(&config, true).contains(&format!("hash_key = \"{key}\"\n")));
}

#[test]
fn notes_stand_below_the_heading_of_their_backend() {
    let config = good(&super::service("nat", "", "address = '10.1.0.1'"));
    let notes = |_: &super::super::Service, b: &super::super::Backend| vec![format!("{} is down by command", b.name)];
    let text = config.print(&Printing { secrets: false, notes: &notes });
    assert!(text.contains("\n[[service.backend]]\n# b1 is down by command\nname = \"b1\"\n"), "{text}");
}
