//! Log lines of the management side, on standard error.

use std::io::IsTerminal;

use tracing::level_filters::LevelFilter;

use super::args::Level;

/// Starts logging what is at least as grave as `level`; in colour on a terminal, unless `NO_COLOR` is set.
pub fn start(level: Level) {
    let level = match level {
        Level::Error => LevelFilter::ERROR,
        Level::Warn => LevelFilter::WARN,
        Level::Info => LevelFilter::INFO,
        Level::Debug => LevelFilter::DEBUG,
        Level::Trace => LevelFilter::TRACE,
    };
    let no_color = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(level)
        .with_target(false)
        .with_ansi(std::io::stderr().is_terminal() && !no_color)
        .with_writer(std::io::stderr);
    // Fails only if logging has been started before.
    _ = subscriber.try_init();
}
