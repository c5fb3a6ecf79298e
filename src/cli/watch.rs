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
    let mut shown = Ok(text()?);
    let mut screen = None;
    let mut is_first = true;
    loop {
        match (terminal::size(), &shown) {
            (Some(size), _) => {
                let text = shown.unwrap_or_else(|failure: Failure| format!("{}\nTrying again.\n", failure.message()));
                let text = if color::on_stdout() { text } else { strip_str(&text).to_string() };
                // After a change of its size, nothing on it is where it was.
                let clear = if screen == Some(size) { "" } else { CLEAR };
                screen = Some(size);
                output::print_raw(&format!("{clear}{HOME}{}", frame(&text, size)))?;
            }
            (None, Ok(text)) => {
                let between = if is_first { "" } else { "\n" };
                output::print(&format!("{between}{text}"))?;
            }
            // What is written stays what a program can read.
            (None, Err(failure)) => output::error_line(failure.message()),
        }
        is_first = false;
        std::thread::sleep(every);
        shown = text();
    }
}

/// What fits on a screen of so many columns and lines, each line cleared behind its end; the cursor comes to stand below.
fn frame(text: &str, (columns, lines): (usize, usize)) -> String {
    let room = lines.saturating_sub(1);
    // Long lines go on in the next one.
    let height = |line: &str| strip_str(line).to_string().chars().count().div_ceil(columns.max(1)).max(1);
    let all = text.lines().count();
    let fits = text.lines().map(height).sum::<usize>() <= room;
    let mut left = if fits { room } else { room.saturating_sub(1) };
    let shown = text.lines().take_while(|line| {
        let height = height(line);
        let is_shown = height <= left;
        left = left.saturating_sub(height);
        is_shown
    });
    let shown: Vec<&str> = shown.collect();
    let mut frame: String = shown.iter().map(|line| format!("{line}{CLEAR_TO_LINE_END}\n")).collect();
    if shown.len() < all {
        frame.push_str(&format!("and {} more lines{CLEAR_TO_LINE_END}\n", all - shown.len()));
    }
    frame + CLEAR_BELOW
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_fits_the_screen() {
        assert_eq!(frame("a\nb\n", (80, 3)), "a\u{1b}[K\nb\u{1b}[K\n\u{1b}[J");
        assert_eq!(frame("a\nb\nc\n", (80, 3)), "a\u{1b}[K\nand 2 more lines\u{1b}[K\n\u{1b}[J");
        assert_eq!(frame("a\nb\n", (80, 1)), "and 2 more lines\u{1b}[K\n\u{1b}[J");
        let long = format!("\u{1b}[1m{}\u{1b}[0m", "x".repeat(10));
        let line = format!("{long}\u{1b}[K\n");
        assert_eq!(frame(&long, (10, 2)), format!("{line}\u{1b}[J"), "colours take no room");
        assert_eq!(frame(&format!("{long}\nb\nc\n"), (9, 4)), line + "and 2 more lines\u{1b}[K\n\u{1b}[J");
    }

    #[test]
    fn a_failure_at_first_is_the_end() {
        let failed = watch(Duration::ZERO, || Err(Failure::running("error: nobody there")));
        assert_eq!(failed, Err(Failure::running("error: nobody there")));
    }
}
