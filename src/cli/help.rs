//! Examples of each command, for its help and its manual page.

use clap::Command;

/// A command by its words, and calls with what they do.
const EXAMPLES: &[(&str, &[(&str, &str)])] = &[
    (
        "run",
        &[
            ("tidegate run --config /etc/tidegate.toml", "until SIGTERM or Ctrl-C"),
            ("tidegate run --config lab.toml --for 10 --stats figures.json", "ten seconds, then the figures as JSON"),
            ("tidegate run --config lab.toml -- --no-huge -m 512", "with arguments for DPDK"),
        ],
    ),
    ("check", &[("tidegate check /etc/tidegate.toml", "status 78 and the place of each fault if it is bad")]),
    (
        "replay",
        &[
            ("tidegate replay --config lab.toml --in in.pcap --out out.pcap", "one port"),
            ("tidegate replay --config lab.toml --in wan=a.pcap --in lan=b.pcap --stats figures.json", "several ports"),
        ],
    ),
    (
        "doctor",
        &[
            ("tidegate doctor", "what is wrong with the running tidegate"),
            ("tidegate doctor --config /etc/tidegate.toml", "what keeps the file from running on this machine"),
        ],
    ),
    (
        "explain",
        &[
            (
                "tidegate explain --packet 'tcp 198.51.100.7:40000 > 192.0.2.10:80'",
                "in the running tidegate, as it is now",
            ),
            ("tidegate explain --config lab.toml --packet 'udp 198.51.100.7:1 > 192.0.2.10:53 ttl 1'", "by a file"),
            (
                "tidegate explain --config lab.toml --pcap in.pcap --frame 3",
                "the third frame, behind the two before it",
            ),
        ],
    ),
    (
        "show",
        &[
            ("tidegate show services", "VIPs with their backends"),
            ("tidegate show backends web --rate --watch 2", "what the backends of web get per second, again and again"),
            ("tidegate show backends --sort connections --exact", "most connections first, numbers whole"),
            ("tidegate show drops --json", "for programs; the fields are stable"),
        ],
    ),
    (
        "show services",
        &[
            ("tidegate show services web dns", "only these two"),
            ("tidegate show services --rate 5", "per second, measured for five seconds"),
        ],
    ),
    (
        "show backends",
        &[
            ("tidegate show backends web/b1", "one"),
            ("tidegate show backends 10.1.0.11", "all that have the address"),
            ("tidegate show backends --sort state", "by state"),
        ],
    ),
    (
        "show connections",
        &[
            ("tidegate show connections --limit 20", "any twenty"),
            ("tidegate show connections web/b1", "those of one backend"),
        ],
    ),
    ("show ports", &[("tidegate show ports --rate --watch", "packets and bytes per second, again and again")]),
    ("show workers", &[("tidegate show workers --watch 1", "how busy each poll loop is, every second")]),
    ("show drops", &[("tidegate show drops --rate --sort packets/s", "what is dropped now, most first")]),
    ("show latency", &[("tidegate show latency", "quantiles since the start, by what happened to the packets")]),
    ("show neighbors", &[("tidegate show neighbors --sort state", "next hops by state")]),
    ("show status", &[("tidegate show status", "version, uptime, configuration")]),
    ("show config", &[("tidegate show config > running.toml", "a file that `tidegate run` loads again")]),
    ("top", &[("tidegate top", "1 to 5 switch views, ? explains the keys, q ends")]),
    (
        "backend",
        &[
            ("tidegate backend drain web/b1 web/b2", "no new connections for two backends"),
            ("tidegate backend weight web/b1 50", "another share"),
            ("tidegate backend up 10.1.0.11:8080", "by address"),
        ],
    ),
    ("backend drain", &[("tidegate backend drain web/b1", "its connections go on until they end")]),
    ("backend up", &[("tidegate backend up web/b1 web/b2", "after a drain or down")]),
    ("backend down", &[("tidegate backend down web/b1", "its connections are cut off")]),
    ("backend weight", &[("tidegate backend weight web/b1 web/b2 50", "half of those with 100")]),
    ("backend reset", &[("tidegate backend reset web/b1", "as the file says")]),
    (
        "plan",
        &[
            ("tidegate plan new.toml", "against what runs"),
            ("tidegate plan new.toml --from old.toml", "against another file, without a running tidegate"),
        ],
    ),
    (
        "reload",
        &[
            ("tidegate reload", "the file given at start"),
            ("tidegate reload new.toml --confirm 60", "goes back after a minute without `tidegate confirm`"),
        ],
    ),
    ("confirm", &[("tidegate reload new.toml --confirm 60 && check-it && tidegate confirm", "keep it if it is good")]),
    ("rollback", &[("tidegate rollback", "at once, not at the end of the time")]),
    (
        "capture",
        &[
            ("tidegate capture host 192.0.2.10 and tcp port 80", "a line a packet, with what was decided"),
            ("tidegate capture drop", "what is dropped, and why"),
            ("tidegate capture -w web.pcapng -c 1000 port 80", "a file of 1000 packets, before and after"),
            ("tidegate capture -w - | tshark -r -", "into another program"),
        ],
    ),
    (
        "completions",
        &[
            ("source <(tidegate completions bash)", "in ~/.bashrc; zsh: in ~/.zshrc, with zsh"),
            ("tidegate completions fish > ~/.config/fish/completions/tidegate.fish", "for fish"),
        ],
    ),
    (
        "man",
        &[
            ("tidegate man | man -l -", "read the page of the whole"),
            ("tidegate man /usr/local/share/man/man1", "install a page for each command"),
        ],
    ),
];

/// The calls of a command and what they do, if there are any here.
pub fn examples(words: &str) -> &'static [(&'static str, &'static str)] {
    EXAMPLES.iter().find(|(command, _)| *command == words).map_or(&[], |(_, examples)| examples)
}

/// With the examples below the help of each command.
pub fn with_examples(command: Command) -> Command {
    with_examples_below(command, "")
}

fn with_examples_below(command: Command, path: &str) -> Command {
    command.mut_subcommands(|command| {
        let path = format!("{path} {}", command.get_name()).trim_start().to_owned();
        let examples = examples(&path);
        let command = with_examples_below(command, &path);
        if examples.is_empty() { command } else { command.after_help(text(examples)) }
    })
}

fn text(examples: &[(&str, &str)]) -> String {
    let lines = examples.iter().map(|(call, what)| format!("\n  {call}\n      {what}"));
    lines.fold("Examples:".to_owned(), |text, line| text + &line)
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;
    use crate::cli::args::Args;

    fn walk(command: &Command, path: &str, seen: &mut Vec<String>) {
        for command in command.get_subcommands().filter(|c| !c.is_hide_set() && c.get_name() != "help") {
            let path = format!("{path} {}", command.get_name()).trim_start().to_owned();
            let help = command.clone().render_help().to_string();
            assert!(help.contains("Example"), "`tidegate {path} --help` has no example");
            walk(command, &path, seen);
            seen.push(path);
        }
    }

    #[test]
    fn each_command_has_examples_and_each_example_its_command() {
        let mut seen = Vec::new();
        walk(&with_examples(Args::command()), "", &mut seen);
        let strange: Vec<_> = EXAMPLES.iter().filter(|(words, _)| !seen.contains(&(*words).to_owned())).collect();
        assert!(strange.is_empty(), "{strange:?}");
    }

    /// As a shell splits them, up to where the call ends.
    fn words(call: &str) -> Vec<String> {
        let (mut words, mut is_quoted) = (vec![String::new()], false);
        for c in call.chars() {
            match c {
                '\'' => is_quoted = !is_quoted,
                '|' | '>' | ')' | '&' if !is_quoted => break,
                ' ' if !is_quoted => words.push(String::new()),
                c => words.last_mut().unwrap().push(c),
            }
        }
        words.retain(|word| !word.is_empty());
        words
    }

    #[test]
    fn examples_are_calls_that_are_understood() {
        for (call, _) in EXAMPLES.iter().flat_map(|(_, examples)| *examples) {
            let call = call.split_once("tidegate ").map_or("", |(_, call)| call);
            let words = ["tidegate".to_owned()].into_iter().chain(words(call)).map(Into::into);
            let parsed = crate::cli::command().try_get_matches_from(crate::cli::words::joined(words));
            assert!(parsed.is_ok(), "{call}: {}", parsed.unwrap_err());
        }
    }
}
