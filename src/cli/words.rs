//! The words of the command line around what the parser of arguments does: abbreviations, and optional values.

use std::ffi::{OsStr, OsString};

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Command, Error};

use crate::control::config::suggest::nearest;

/// Options that take a number of seconds or none.
const OPTIONAL: [&str; 2] = ["--watch", "--rate"];

/// `--watch 2` as `--watch=2`: what is not a number behind such an option is the name of a backend.
pub fn joined(args: impl IntoIterator<Item = OsString>) -> Vec<OsString> {
    let mut out: Vec<OsString> = Vec::new();
    let mut args = args.into_iter();
    for arg in args.by_ref() {
        let is_end = arg == "--";
        let is_seconds =
            |arg: &OsStr| arg.to_str().is_some_and(|a| a.strip_suffix('s').unwrap_or(a).parse::<f64>().is_ok());
        match out.last_mut().filter(|last| OPTIONAL.iter().any(|option| **last == *option)) {
            Some(last) if is_seconds(&arg) => {
                last.push("=");
                last.push(arg);
            }
            _ => out.push(arg),
        }
        if is_end {
            break;
        }
    }
    out.extend(args);
    out
}

/// The value of `--color` before anything is parsed, for the parser's own messages: the last one on the command line, else
/// the environment's.
pub fn color(args: &[OsString], environment: Option<OsString>) -> Option<String> {
    let args: Vec<&str> = args.iter().map_while(|arg| arg.to_str()).take_while(|arg| *arg != "--").collect();
    let apart = args.windows(2).filter_map(|pair| match pair {
        ["--color", value] => Some(*value),
        _ => None,
    });
    let joined = args.iter().filter_map(|arg| arg.strip_prefix("--color="));
    apart.chain(joined).last().map(str::to_owned).or_else(|| environment?.into_string().ok())
}

/// For a word that is no command: which ones it may be short for, or which ones there are. `None` if the error is another
/// one, or says by itself what was probably meant.
pub fn unknown_command(error: &Error, command: &Command, args: &[OsString]) -> Option<String> {
    if error.kind() != ErrorKind::InvalidSubcommand {
        return None;
    }
    let Some(ContextValue::String(word)) = error.get(ContextKind::InvalidSubcommand) else { return None };
    let mut level = command;
    let mut path = vec![command.get_name()];
    for arg in args.iter().skip(1).filter_map(|arg| arg.to_str()).take_while(|arg| arg != word) {
        // `help` is about the other words.
        if let [one] = candidates(level, arg).as_slice()
            && one.get_name() != "help"
        {
            level = one;
            path.push(one.get_name());
        }
    }
    let may_be: Vec<&str> = candidates(level, word).iter().map(|command| command.get_name()).collect();
    if let [others @ .., last] = may_be.as_slice()
        && !others.is_empty()
    {
        return Some(format!("error: `{word}` may be {} or {last}", others.join(", ")));
    }
    if error.get(ContextKind::SuggestedSubcommand).is_some() {
        return None;
    }
    let all: Vec<&str> = level.get_subcommands().filter(|c| !c.is_hide_set()).map(|c| c.get_name()).collect();
    let hint = nearest(word, all.iter().copied()).map_or_else(String::new, |near| format!(", did you mean {near}?"));
    Some(format!("error: `{}` has no `{word}`{hint}; there are {}", path.join(" "), all.join(", ")))
}

/// The words of a line that is being completed, with abbreviated commands written out; what stands last is still being typed.
pub fn expanded(words: Vec<OsString>, command: &Command) -> Vec<OsString> {
    let mut level = command;
    let mut is_value = false;
    let last = words.len().saturating_sub(1);
    let mut expand = |(n, word): (usize, OsString)| {
        let text = word.to_str().unwrap_or_default();
        if n == 0 || n == last || std::mem::take(&mut is_value) {
            return word;
        }
        if let Some(option) = text.strip_prefix("--") {
            let known = level.get_arguments().chain(command.get_arguments()).find(|arg| arg.get_long() == Some(option));
            is_value = known.is_some_and(|arg| arg.get_action().takes_values() && !arg.is_require_equals_set());
        } else if let [one] = candidates(level, text).as_slice() {
            level = one;
            return one.get_name().into();
        }
        word
    };
    words.into_iter().enumerate().map(&mut expand).collect()
}

fn candidates<'c>(command: &'c Command, word: &str) -> Vec<&'c Command> {
    if let Some(exact) = command.find_subcommand(word) {
        return vec![exact];
    }
    command.get_subcommands().filter(|c| !word.is_empty() && c.get_name().starts_with(word)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn os(words: &str) -> Vec<OsString> {
        words.split(' ').map(OsString::from).collect()
    }

    #[test]
    fn a_number_behind_an_option_is_its_value_and_a_word_is_not() {
        assert_eq!(joined(os("t show backends --watch 2 web")), os("t show backends --watch=2 web"));
        assert_eq!(joined(os("t show backends --rate web --watch")), os("t show backends --rate web --watch"));
        assert_eq!(joined(os("t --rate 0.5s")), os("t --rate=0.5s"));
        assert_eq!(joined(os("t run -- --rate 2")), os("t run -- --rate 2"));
    }

    #[test]
    fn abbreviations_are_written_out_for_completion() {
        let command = crate::cli::command();
        let expanded = |line: &str| expanded(os(line), &command);
        assert_eq!(expanded("t sh b we"), os("t show backends we"));
        assert_eq!(expanded("t --socket sh back dr web/"), os("t --socket sh backend drain web/"));
        assert_eq!(expanded("t --socket=x sh --rate s"), os("t --socket=x show --rate s"));
        assert_eq!(expanded("t s"), os("t s"));
        assert_eq!(expanded("t re x"), os("t re x"));
    }

    #[test]
    fn the_wish_for_colours_is_known_before_the_rest() {
        assert_eq!(color(&os("t show --color never --color=always x"), None).as_deref(), Some("always"));
        assert_eq!(color(&os("t show"), Some("never".into())).as_deref(), Some("never"));
        assert_eq!(color(&os("t run -- --color always"), None), None);
    }
}
