//! Documents that are made from the code are what the code says.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod json;
mod pages;

use std::fmt::Write;
use std::path::Path;

use tidegate::lb::verdict::DropReason;

/// Compares `file` with `text`, or writes it when `BLESS=1` is set.
pub(crate) fn holds(file: &str, text: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(file);
    if std::env::var_os("BLESS").is_some() {
        std::fs::write(&path, text).unwrap();
    }
    let found = std::fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(found, text, "{file} is not what the code says; `BLESS=1 cargo test --test docs` writes it anew");
}

#[test]
fn every_drop_reason_has_its_line() {
    let mut text = "# Why packets are dropped\n\n\
         Every packet that is not sent on or answered is counted under one of these reasons, in `tidegate show drops`, in\n\
         `drops` of `--stats`, and by name everywhere else. Many reasons are harmless: they say what was dropped on purpose. Look at\n\
         those that grow while somebody complains.\n\n| reason | meaning | usual cause | what to do |\n|---|---|---|---|\n"
        .to_owned();
    for reason in DropReason::ALL {
        writeln!(text, "| `{}` | {} | {} | {} |", reason.label(), reason.meaning(), reason.cause(), reason.cure())
            .unwrap();
    }
    holds("docs/drops.md", &text);
}

#[test]
fn every_metric_has_its_line() {
    let mut text = "# Metrics\n\n\
         `/metrics` has these, as text for Prometheus; [api.md](api.md) says where. All of them are since the start of the\n\
         process; a counter's name ends with `_total`. Times are seconds, sizes are bytes. A metric without a value is left out.\n\n\
         | metric | type | labels | meaning |\n|---|---|---|---|\n"
        .to_owned();
    for family in tidegate::control::metrics::families() {
        let labels = family.labels.iter().map(|label| format!("`{label}`")).collect::<Vec<_>>().join(" ");
        writeln!(text, "| `{}` | {} | {labels} | {} |", family.name, family.kind().word(), family.help).unwrap();
    }
    holds("docs/metrics.md", &text);
}
