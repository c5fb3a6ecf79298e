//! `tidegate completions`, and what a shell is offered for a word that is being typed.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::ValueEnum;
use clap_complete::engine::CompletionCandidate;
use clap_complete::env::{CompleteEnv, EnvCompleter, Shells};

use super::client::{Client, read};
use super::failure::Failure;
use super::{names, output, words};
use crate::control::status::Backends;

/// The scripts set it to the name of their shell when they ask for what could stand at a place.
const VARIABLE: &str = "TIDEGATE_COMPLETE";
/// Nobody waits longer for a word to be completed.
const PATIENCE: Duration = Duration::from_millis(500);
/// More are no help to anybody.
const OFFERED_MAX: usize = 2_000;

/// A shell that can ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Shell {
    /// source <(tidegate completions bash)
    Bash,
    /// source <(tidegate completions zsh)
    Zsh,
    /// tidegate completions fish | source
    Fish,
}

/// Prints the script for a shell.
///
/// # Errors
/// Nobody reads it.
pub fn completions(shell: Shell) -> Result<(), Failure> {
    let failed = |error: std::io::Error| Failure::running(format!("error: {error}"));
    let name = match shell {
        Shell::Bash => "bash",
        Shell::Zsh => "zsh",
        Shell::Fish => "fish",
    };
    let shells = Shells::builtins();
    let completer: &dyn EnvCompleter =
        shells.completer(name).ok_or_else(|| Failure::usage(format!("error: no script for {name}")))?;
    let mut script = Vec::new();
    // The program by the way it was called, so that the script works before it is installed, too.
    let called = std::env::args().next().unwrap_or_else(|| "tidegate".to_owned());
    let called =
        if called.contains('/') { output::absolute(&PathBuf::from(&called))?.display().to_string() } else { called };
    completer.write_registration(VARIABLE, "tidegate", "tidegate", &called, &mut script).map_err(failed)?;
    output::print_raw(&String::from_utf8_lossy(&script))
}

/// Answers a shell, if it is one that asks; says whether it was.
///
/// # Errors
/// There is no such shell.
pub fn answer(command: fn() -> clap::Command) -> Result<bool, Failure> {
    if std::env::var_os(VARIABLE).is_none() {
        return Ok(false);
    }
    let mut args: Vec<OsString> = std::env::args_os().collect();
    // The line stands behind the first `--`.
    if let Some(end) = args.iter().position(|arg| arg == "--") {
        let line = args.split_off(end + 1);
        args.extend(words::expanded(line, &command()));
    }
    let directory = std::env::current_dir().ok();
    let asked = CompleteEnv::with_factory(command).var(VARIABLE).try_complete(args, directory.as_deref());
    asked.map_err(|error| Failure::usage(error.to_string().trim_end().to_owned()))
}

/// The names that `backend` commands take.
pub fn backends() -> Vec<CompletionCandidate> {
    let backends = running().backends;
    backends
        .iter()
        .take(OFFERED_MAX)
        .map(|b| CompletionCandidate::new(names::full(b)).help(Some(b.state.clone().into())))
        .collect()
}

/// The names that views are limited to.
pub fn services_and_backends() -> Vec<CompletionCandidate> {
    let mut services: Vec<String> = running().backends.into_iter().map(|backend| backend.service).collect();
    services.dedup();
    let services =
        services.into_iter().take(OFFERED_MAX).map(|s| CompletionCandidate::new(s).help(Some("service".into())));
    services.chain(backends()).collect()
}

/// What a running tidegate says, at the socket that the line names; nothing if there is none.
fn running() -> Backends {
    let socket = socket_of(std::env::args().skip_while(|arg| arg != "--").skip(1));
    let socket = socket.or_else(|| std::env::var_os("TIDEGATE_SOCKET").map(PathBuf::from));
    let answer = Client::new(socket).with_patience(PATIENCE).get("/v1/backends");
    answer.and_then(|body| read(&body)).unwrap_or_default()
}

/// What stands behind `--socket` on the line that is being completed.
fn socket_of(words: impl Iterator<Item = String>) -> Option<PathBuf> {
    let words: Vec<String> = words.collect();
    let apart = words.windows(2).find(|pair| pair.first().is_some_and(|word| word == "--socket"));
    let joined = || words.iter().find_map(|word| word.strip_prefix("--socket="));
    apart.and_then(|pair| pair.last()).map(String::as_str).or_else(joined).map(PathBuf::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_says_whom_to_ask() {
        let socket = |line: &str| socket_of(line.split(' ').map(str::to_owned));
        assert_eq!(socket("tidegate --socket /a/b backend drain"), Some("/a/b".into()));
        assert_eq!(socket("tidegate backend --socket=/a/b drain"), Some("/a/b".into()));
        assert_eq!(socket("tidegate backend drain"), None);
    }
}
