//! The text of a configuration file, and what is found in it at which place.

use std::ops::Range;

use super::errors::{Diagnostic, Errors, Place};

/// Bytes of the text.
pub type Span = Range<usize>;

/// Errors and warnings shown of one file; more than this help nobody.
const SHOWN_MAX: usize = 200;
/// Characters of a line that are shown around the caret.
const LINE_WIDTH_MAX: usize = 120;

/// A file's text with the places of its lines.
pub struct Source<'a> {
    file: String,
    text: &'a str,
    line_starts: Vec<usize>,
}

/// What is wrong, and what is odd, in the order in which it was found.
#[derive(Default)]
pub struct Findings {
    errors: Vec<(Option<Span>, String)>,
    warnings: Vec<(Option<Span>, String)>,
}

impl Findings {
    /// Refuses the file because of what is at `span`.
    pub fn error(&mut self, span: &Span, message: impl Into<String>) {
        self.errors.push((Some(span.clone()), message.into()));
    }

    /// Refuses the file for something that is at no place, such as a missing table.
    pub fn error_of_file(&mut self, message: impl Into<String>) {
        self.errors.push((None, message.into()));
    }

    /// Allows what is at `span`, but says so.
    pub fn warning(&mut self, span: &Span, message: impl Into<String>) {
        self.warnings.push((Some(span.clone()), message.into()));
    }

    /// As [`Self::warning`], at no place.
    pub fn warning_of_file(&mut self, message: impl Into<String>) {
        self.warnings.push((None, message.into()));
    }

    /// Whether the file is still good.
    pub fn is_good(&self) -> bool {
        self.errors.is_empty()
    }

    /// How much is wrong so far.
    pub fn error_count(&self) -> usize {
        self.errors.len()
    }
}

impl<'a> Source<'a> {
    /// `file` is how messages name it.
    pub fn new(file: &str, text: &'a str) -> Self {
        let line_starts = std::iter::once(0).chain(text.match_indices('\n').map(|(at, _)| at + 1)).collect();
        Self { file: printable(file), text, line_starts }
    }

    /// The warnings, or all errors; `Err` only if there is an error.
    pub fn judge(&self, findings: Findings) -> Result<Vec<Diagnostic>, Errors> {
        let Findings { errors, warnings } = findings;
        if errors.is_empty() { Ok(self.diagnostics(warnings)) } else { Err(self.refuse(errors)) }
    }

    fn refuse(&self, mut errors: Vec<(Option<Span>, String)>) -> Errors {
        errors.sort_by_key(|(span, _)| span.as_ref().map(|span| span.start));
        errors.dedup();
        let left_out = errors.len().saturating_sub(SHOWN_MAX);
        Errors::new(self.diagnostics(errors), left_out)
    }

    fn diagnostics(&self, mut found: Vec<(Option<Span>, String)>) -> Vec<Diagnostic> {
        found.sort_by_key(|(span, _)| span.as_ref().map(|span| span.start));
        let place = |span: Option<Span>| span.map(|span| self.place(span));
        found
            .into_iter()
            .take(SHOWN_MAX)
            .map(|(span, message)| Diagnostic { file: self.file.clone(), place: place(span), message })
            .collect()
    }

    fn place(&self, span: Span) -> Place {
        let start = self.char_boundary(span.start);
        let line_index = self.line_starts.partition_point(|line_start| *line_start <= start).saturating_sub(1);
        let line_start = self.line_starts.get(line_index).copied().unwrap_or(0);
        let rest = self.text.get(line_start..).unwrap_or("");
        let line = rest.split('\n').next().unwrap_or("").trim_end_matches('\r');
        let before = self.text.get(line_start..start).map_or(0, |before| before.chars().count());
        let line_chars = line.chars().count();
        let marked = self.text.get(start..self.char_boundary(span.end)).map_or(0, |marked| marked.chars().count());
        let width = marked.min(line_chars.saturating_sub(before)).max(1);

        // A long line is shown from a little before the caret on.
        let skip = if line_chars <= LINE_WIDTH_MAX { 0 } else { before.saturating_sub(LINE_WIDTH_MAX / 2) };
        let shown: String = line.chars().skip(skip).take(LINE_WIDTH_MAX).map(one_column).collect();
        let caret = before - skip;
        let width = width.min(LINE_WIDTH_MAX.saturating_sub(caret)).max(1);
        Place::new(line_index + 1, before + 1, shown, caret..caret + width)
    }

    /// The nearest place at or before `at` that does not split a character.
    fn char_boundary(&self, at: usize) -> usize {
        let at = at.min(self.text.len());
        (0..=at).rev().find(|at| self.text.is_char_boundary(*at)).unwrap_or(0)
    }
}

/// Text from the file for use in a message: no control characters, not too long.
pub fn printable(text: &str) -> String {
    const CHARS_MAX: usize = 80;
    let mut shown: String = text.chars().take(CHARS_MAX).map(one_column).collect();
    if text.chars().nth(CHARS_MAX).is_some() {
        shown.push_str("...");
    }
    shown
}

/// Characters that could move the cursor or reverse the line become one that cannot.
fn one_column(c: char) -> char {
    let invisible =
        matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}');
    match c {
        '\t' => ' ',
        _ if c.is_control() || invisible => '\u{fffd}',
        _ => c,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rendered(text: &str, span: Span) -> String {
        let mut findings = Findings::default();
        findings.error(&span, "bad");
        Source::new("f", text).judge(findings).unwrap_err().to_string()
    }

    #[test]
    fn carets_stand_under_the_span() {
        assert_eq!(rendered("a = 1\n\tb = ä2\r\n", 11..14), "f:2:6: bad\n  2 |  b = ä2\n    |      ^^");
        assert_eq!(rendered("", 0..0), "f:1:1: bad\n  1 | \n    | ^");
        assert_eq!(rendered("abc\n", 4..9), "f:2:1: bad\n  2 | \n    | ^");
        assert_eq!(rendered("[a\nb]", 0..5), "f:1:1: bad\n  1 | [a\n    | ^^");
    }

    #[test]
    fn long_and_hostile_lines_stay_one_short_line() {
        let text = format!("{}\u{1b}[2J\u{202e}x", "a".repeat(1000));
        let shown = rendered(&text, 1000..1001);
        assert_eq!(shown.lines().count(), 3);
        assert!(shown.starts_with("f:1:1001: bad\n"), "{shown}");
        assert!(!shown.contains(['\u{1b}', '\u{202e}']));
        assert!(shown.lines().all(|line| line.chars().count() < 130));
    }

    #[test]
    fn errors_are_in_the_order_of_their_places_and_bounded() {
        let mut findings = Findings::default();
        let text = "x\n".repeat(500);
        for at in (0..500).rev() {
            findings.error(&(2 * at..2 * at + 1), "bad");
        }
        let errors = Source::new("f", &text).judge(findings).unwrap_err();
        let lines: Vec<usize> = errors.iter().map(|error| error.place.as_ref().unwrap().line).collect();
        assert_eq!(lines, (1..=200).collect::<Vec<_>>());
        assert!(errors.to_string().ends_with("\nand 300 more"));
    }
}
