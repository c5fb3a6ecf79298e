//! Completion in shells, and manual pages.

use std::path::Path;
use std::process::{Command, Output, Stdio};

use crate::{Running, run, start};

/// A program that may not be there; says so then, since what it would show is not shown.
fn program(name: &str, args: &[&str]) -> Option<Output> {
    match Command::new(name).args(args).stdin(Stdio::null()).output() {
        Ok(output) => Some(output),
        Err(error) => {
            eprintln!("################ SKIPPED: {name}: {error}");
            None
        }
    }
}

/// What bash offers for the last word of a line.
fn offered(socket: &str, line: &str) -> Vec<String> {
    let script = format!(
        "source <({binary} completions bash)\n\
         COMP_WORDS=({line}); [ -n \"{last}\" ] || COMP_WORDS+=('')\n\
         COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1))\n\
         _clap_complete_tidegate tidegate \"${{COMP_WORDS[COMP_CWORD]}}\" x\n\
         printf '%s\\n' \"${{COMPREPLY[@]}}\"",
        binary = env!("CARGO_BIN_EXE_tidegate"),
        last = line.rsplit(' ').next().unwrap(),
    );
    let output = Command::new("bash").args(["-c", &script]).env("TIDEGATE_SOCKET", socket).output().unwrap();
    assert!(output.stderr.is_empty(), "{line}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().split_whitespace().map(str::to_owned).collect()
}

#[test]
fn bash_completes_commands_options_and_names_of_what_runs() {
    let Running { socket, dir, .. } = start();
    assert_eq!(offered(&socket, "tidegate pl"), ["plan"]);
    assert_eq!(offered(&socket, "tidegate show serv"), ["services"]);
    assert_eq!(offered(&socket, "tidegate show backends --ex"), ["--exact"]);
    assert_eq!(offered(&socket, "tidegate --color al"), ["always"]);
    assert_eq!(offered(&socket, "tidegate backend drain web/"), ["web/b1", "web/b2"]);
    assert_eq!(offered(&socket, "tidegate backend weight web/b1 web6"), ["web6/b1"]);
    assert_eq!(offered(&socket, "tidegate back dr web6"), ["web6/b1"], "after abbreviations");
    let names = offered(&socket, "tidegate show services ");
    assert!(["web", "web6", "web/b1"].iter().all(|name| names.contains(&(*name).to_owned())), "{names:?}");
    // The line's own socket is asked, and nobody there is no fault.
    let nowhere = dir.path().join("nowhere").display().to_string();
    assert_eq!(offered(&nowhere, &format!("tidegate --socket {socket} backend up web6")), ["web6/b1"]);
    assert_eq!(offered(&nowhere, "tidegate backend up web6"), Vec::<String>::new());
}

#[test]
fn zsh_and_fish_take_their_scripts_and_fish_completes() {
    let dir = tempfile::tempdir().unwrap();
    for shell in ["bash", "zsh", "fish"] {
        let (status, script, error) = run(&["completions", shell]);
        assert_eq!((status, error.as_str()), (0, ""), "{shell}");
        assert!(script.contains("TIDEGATE_COMPLETE"), "{script}");
        let path = dir.path().join(shell);
        std::fs::write(&path, &script).unwrap();
        let Some(output) = program(shell, &["-n", path.to_str().unwrap()]) else { continue };
        assert!(output.status.success(), "{shell}: {}", String::from_utf8_lossy(&output.stderr));
    }
    assert_eq!(run(&["completions", "tcsh"]).0, 2);
    let Running { socket, dir: _socket_dir, .. } = start();
    let line = "complete -C 'tidegate sh backends web/'";
    let fish = format!("source {}/fish; set -x TIDEGATE_SOCKET {socket}; {line}", dir.path().display());
    if let Some(output) = program("fish", &["--no-config", "-c", &fish]) {
        assert_eq!(String::from_utf8_lossy(&output.stdout), "web/b1\tup\nweb/b2\tdrain\n");
    }
}

#[test]
fn manual_pages_are_sound() {
    let dir = tempfile::tempdir().unwrap();
    let place = dir.path().to_str().unwrap();
    let (status, out, error) = run(&["man", place]);
    assert_eq!((status, error.as_str()), (0, ""));
    let pages: Vec<_> = std::fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert_eq!(out, format!("{place}: {} pages\n", pages.len()));
    let (_, whole, _) = run(&["man"]);
    assert_eq!(whole, std::fs::read_to_string(dir.path().join("tidegate.1")).unwrap());
    assert!(pages.contains(&dir.path().join("tidegate-backend-drain.1")), "{pages:?}");
    let paths: Vec<&str> = pages.iter().map(|path| path.to_str().unwrap()).collect();
    if let Some(output) = program("groff", &[&["-man", "-Tutf8", "-ww", "-z"], paths.as_slice()].concat()) {
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() && said.is_empty(), "{said}");
    }
    let missing = Path::new(place).join("missing").display().to_string();
    let (status, _, error) = run(&["man", &missing]);
    assert!(status == 2 && error.contains(&format!("`mkdir -p {missing}`")), "{error}");
}
