//! `tidegate man`: the manual pages, from the same text as the help.

use std::io;
use std::path::Path;

use clap::Command;
use clap_mangen::Man;
use clap_mangen::roff::{Roff, bold, roman};

use super::failure::Failure;
use super::{help, output};

const EXIT_STATUS: &[(&str, &str)] = &[
    ("0", "Done."),
    ("1", "It failed while running."),
    ("2", "Wrong usage; from plan, which has printed what it is then, there is something to do."),
    ("78", "The configuration is bad."),
    ("141", "Whoever read the output has gone."),
];
const FILES: &[(&str, &str)] = &[
    (
        "/run/tidegate/tidegate.sock",
        "Where run listens, and where the other commands ask, unless the configuration or --socket says otherwise.",
    ),
    ("$XDG_RUNTIME_DIR/tidegate.sock, else /tmp/tidegate-UID.sock", "The same for users who may not write there."),
];
const ENVIRONMENT: &[(&str, &str)] = &[
    ("NO_COLOR", "Set and not empty: no colours."),
    ("CLICOLOR_FORCE", "Set and not 0: colours where there is no terminal, too."),
    ("TERM", "With dumb there are no colours."),
    ("TIDEGATE_...", "Each option can be set by the variable that is named beside it; the command line wins."),
];

/// Prints the page of the whole, or writes a page for each command into `directory`.
///
/// # Errors
/// It cannot be written.
pub fn man(directory: Option<&Path>) -> Result<(), Failure> {
    let pages = pages().map_err(|error| Failure::running(format!("error: {error}")))?;
    let Some(directory) = directory else {
        return output::print_raw(pages.first().map_or("", |(_, page)| page));
    };
    if !directory.is_dir() {
        let place = directory.display();
        return Err(Failure::usage(format!("error: {place} is no directory; make it with `mkdir -p {place}`")));
    }
    for (name, page) in &pages {
        let path = directory.join(format!("{name}.1"));
        std::fs::write(&path, page).map_err(|error| Failure::running(format!("error: {}: {error}", path.display())))?;
    }
    output::print(&format!("{}: {} pages\n", directory.display(), pages.len()))
}

/// Name and text of each page, that of the whole first.
fn pages() -> io::Result<Vec<(String, String)>> {
    let mut command = super::command().disable_help_subcommand(true);
    command.build();
    let mut pages = Vec::new();
    collect(&command, "", &mut pages)?;
    Ok(pages)
}

fn collect(command: &Command, path: &str, pages: &mut Vec<(String, String)>) -> io::Result<()> {
    let name = command.get_display_name().unwrap_or("tidegate").to_owned();
    pages.push((name, page(command, path)?));
    for below in command.get_subcommands().filter(|below| !below.is_hide_set()) {
        collect(below, format!("{path} {}", below.get_name()).trim_start(), pages)?;
    }
    Ok(())
}

fn page(command: &Command, path: &str) -> io::Result<String> {
    let man = Man::new(command.clone());
    let name = command.get_display_name().unwrap_or("tidegate").to_uppercase();
    let version = env!("TIDEGATE_VERSION");
    // By hand: a page without a date keeps its place for one.
    let mut text = format!(".TH \"{name}\" \"1\" \"\" \"tidegate {version}\" \"tidegate\"\n").into_bytes();
    man.render_name_section(&mut text)?;
    synopsis(command).to_writer(&mut text)?;
    man.render_description_section(&mut text)?;
    man.render_options_section(&mut text)?;
    if command.get_subcommands().any(|below| !below.is_hide_set()) {
        man.render_subcommands_section(&mut text)?;
    }
    let mut roff = Roff::default();
    for (heading, rows) in [("EXIT STATUS", EXIT_STATUS), ("FILES", FILES), ("ENVIRONMENT", ENVIRONMENT)] {
        roff.control("SH", [heading]);
        for (word, meaning) in rows {
            roff.control("TP", []).text([bold(*word)]).text([roman(*meaning)]);
        }
    }
    examples(command, path, &mut roff);
    see_also(path, &mut roff);
    roff.to_writer(&mut text)?;
    String::from_utf8(text).map_err(io::Error::other)
}

fn synopsis(command: &Command) -> Roff {
    let usage = command.clone().render_usage().to_string();
    let mut roff = Roff::default();
    roff.control("SH", ["SYNOPSIS"]).text([roman(usage.trim_start_matches("Usage:").trim())]);
    roff
}

fn examples(command: &Command, path: &str, roff: &mut Roff) {
    let known = help::examples(path);
    roff.control("SH", ["EXAMPLES"]);
    for (call, what) in known {
        roff.control("TP", []).text([bold(*call)]).text([roman(*what)]);
    }
    if known.is_empty() {
        let below = command.get_after_help().map(ToString::to_string).unwrap_or_default();
        let lines =
            below.lines().skip_while(|line| !line.starts_with("Example")).skip(1).filter(|line| !line.is_empty());
        roff.control("nf", []);
        lines.for_each(|line| _ = roff.text([roman(line)]));
        roff.control("fi", []);
    }
}

fn see_also(path: &str, roff: &mut Roff) {
    if path.is_empty() {
        return;
    }
    let above = path.rsplit_once(' ').map_or(String::new(), |(above, _)| format!("-{}", above.replace(' ', "-")));
    roff.control("SH", ["SEE ALSO"]).text([bold(format!("tidegate{above}")), roman("(1)")]);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_command_has_a_page_with_all_sections() {
        let pages = pages().unwrap();
        let names: Vec<&str> = pages.iter().map(|(name, _)| name.as_str()).collect();
        assert!(names.starts_with(&["tidegate"]) && names.contains(&"tidegate-show-services"), "{names:?}");
        for (name, page) in &pages {
            for heading in
                ["NAME", "SYNOPSIS", "DESCRIPTION", "OPTIONS", "EXIT STATUS", "FILES", "ENVIRONMENT", "EXAMPLES"]
            {
                let heading =
                    if heading.contains(' ') { format!("\n.SH \"{heading}\"\n") } else { format!("\n.SH {heading}\n") };
                assert_eq!(page.matches(&heading).count(), 1, "{name}: {heading}\n{page}");
            }
            let (_, examples) = page.split_once(".SH EXAMPLES\n").unwrap();
            assert!(examples.contains("tidegate"), "{name} has no example:\n{examples}");
        }
    }
}
