//! Any file as a configuration: refused with a message, or taken, but never a panic.

use tidegate::control::config::{Config, Mode, diff, same_family};

pub fn run(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    match Config::parse(text, "fuzz.toml") {
        Ok(config) => {
            // A reload of the same file changes nothing.
            assert!(config.needs_restart(&config).is_empty());
            assert!(diff(&config, &config).lines().is_empty());
            // What was accepted is within the limits that the packet path relies on.
            for service in &config.services {
                assert!(
                    service.backends.iter().all(|b| service.mode != Mode::Nat || same_family(b.address, service.vip))
                );
            }
        }
        Err(errors) => {
            let message = errors.to_string();
            assert!(!message.is_empty());
            // Whatever the file holds must not reach the operator's terminal as it is.
            assert!(!message.chars().any(|c| c.is_control() && c != '\n'), "{message:?}");
        }
    }
}
