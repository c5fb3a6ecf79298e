//! The parser against good files, bad files, hostile files, and its own documentation.

mod api;
mod bad;
mod documentation;
mod good;
mod health;
mod hostile;
mod local;
mod print;
mod states;

use super::{Config, Errors};

/// One port that reaches everything by its gateways.
const PORT: &str = r#"
[[port]]
name = "wan"
device = "net_null0"
addresses = ["10.0.0.2/24", "fd00::2/64"]
gateway = "10.0.0.1"
gateway6 = "fd00::1"
"#;

fn parse(text: &str) -> Result<Config, Errors> {
    Config::parse(text, "t.toml")
}

fn good(text: &str) -> Config {
    parse(text).unwrap_or_else(|errors| panic!("{errors}\nin\n{text}"))
}

/// The messages without their places.
fn errors(text: &str) -> Vec<String> {
    let errors = parse(text).expect_err(text);
    errors.iter().map(|error| error.message.clone()).collect()
}

fn warnings(text: &str) -> Vec<String> {
    good(text).warnings.iter().map(|warning| warning.message.clone()).collect()
}

/// A service `web` of tcp 192.0.2.10:80 in `mode` with more of its keys, and one backend b1.
fn service(mode: &str, keys: &str, backend: &str) -> String {
    let head = "[[service]]\nname = 'web'\nvip = '192.0.2.10'\nport = 80";
    format!("{PORT}{head}\nmode = '{mode}'\n{keys}\n[[service.backend]]\nname = 'b1'\n{backend}\n")
}
