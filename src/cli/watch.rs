//! The same text again and again: in its place on a terminal, else one block after the other.

use std::time::Duration;

use anstream::adapter::strip_str;

use super::failure::Failure;
use super::{color, output, terminal};

/// Clears the screen and what has scrolled off it not.
const CLEAR: &str = "\u{1b}[2J";
const HOME: &str = "\u{1b}[H";
const CLEAR_TO_LINE_END: &str = "\u{1b}[K";
const CLEAR_BELOW: &str = "\u{1b}[J";

/// Prints what `text` gives, with pauses, until the reader has gone or a signal ends the process: no mode of the terminal is
/// changed, so there is nothing to restore. Once it has worked, a failure is shown and tried again.
///
/// # Errors
/// Of the first time, or that the reader has gone.
pub fn watch(every: Duration, mut text: impl FnMut() -> Result<String, Failure>) -> Result<(), Failure> {
    let mut shown = text()?;
    let mut is_first = true;
    loop {
        match terminal::size() {
            Some((_, lines)) => {
                let clear = if is_first { CLEAR } else { "" };
                let text = if color::on_stdout() { shown } else { strip_str(&shown).to_string() };
                output::print_raw(&format!("{clear}{HOME}{}", frame(&text, lines)))?;
            }
            None => {
                let between = if is_first { "" } else { "\n" };
                output::print(&format!("{between}{shown}"))?;
            }
        }
        is_first = false;
        std::thread::sleep(every);
        shown = text().unwrap_or_else(|failure| format!("{}\nTrying again.\n", failure.message()));
    }
}

/// What fits on a screen of so many lines, each line cleared behind its end; the cursor comes to stand below.
fn frame(text: &str, lines: usize) -> String {
    let room = lines.saturating_sub(1);
    let all = text.lines().count();
    let shown = if all > room { room.saturating_sub(1) } else { all };
    let mut frame: String = text.lines().take(shown).map(|line| format!("{line}{CLEAR_TO_LINE_END}\n")).collect();
    if all > shown {
        frame.push_str(&format!("and {} more lines{CLEAR_TO_LINE_END}\n", all - shown));
    }
    frame + CLEAR_BELOW
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_fits_the_screen() {
        assert_eq!(frame("a\nb\n", 3), "a\u{1b}[K\nb\u{1b}[K\n\u{1b}[J");
        assert_eq!(frame("a\nb\nc\n", 3), "a\u{1b}[K\nand 2 more lines\u{1b}[K\n\u{1b}[J");
        assert_eq!(frame("a\nb\n", 1), "and 2 more lines\u{1b}[K\n\u{1b}[J");
    }

    #[test]
    fn a_failure_at_first_is_the_end() {
        let failed = watch(Duration::ZERO, || Err(Failure::running("error: nobody there")));
        assert_eq!(failed, Err(Failure::running("error: nobody there")));
    }
}
