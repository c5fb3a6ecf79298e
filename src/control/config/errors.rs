//! Everything that is wrong in a configuration file, each with its place.

use std::fmt;
use std::ops::Range;

/// All errors of one file, in the order of their places; never empty.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct Errors {
    diagnostics: Vec<Diagnostic>,
    left_out: usize,
}

/// One error or warning.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostic {
    /// The file as it was named to us.
    pub file: String,
    /// Where in the file; `None` where the whole file is meant.
    pub place: Option<Place>,
    /// What is wrong, and what would be right: one line.
    pub message: String,
}

/// A place in a file, with its line for the caret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// Counted from 1.
    pub line: usize,
    /// In characters, counted from 1.
    pub column: usize,
    /// The line, made safe to print.
    text: String,
    /// Characters of `text` before the caret.
    caret: usize,
    /// Carets to draw: at least one.
    caret_width: usize,
}

impl Errors {
    pub(super) fn new(diagnostics: Vec<Diagnostic>, left_out: usize) -> Self {
        Self { diagnostics, left_out }
    }

    /// An error of the file as a whole.
    pub fn of_file(file: String, message: String) -> Self {
        Self::new(vec![Diagnostic { file, place: None, message }], 0)
    }

    /// Each error, in the order of their places.
    pub fn iter(&self) -> impl Iterator<Item = &Diagnostic> {
        self.diagnostics.iter()
    }
}

impl Place {
    pub(super) fn new(line: usize, column: usize, text: String, carets: Range<usize>) -> Self {
        Self { line, column, text, caret: carets.start, caret_width: carets.len() }
    }
}

impl fmt::Display for Errors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, diagnostic) in self.diagnostics.iter().enumerate() {
            let separator = if index == 0 { "" } else { "\n" };
            write!(f, "{separator}{diagnostic}")?;
        }
        if self.left_out > 0 {
            write!(f, "\nand {} more", self.left_out)?;
        }
        Ok(())
    }
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(place) = &self.place else { return write!(f, "{}: {}", self.file, self.message) };
        let Place { line, column, text, caret, caret_width } = place;
        let margin = line.to_string().len();
        writeln!(f, "{}:{line}:{column}: {}", self.file, self.message)?;
        writeln!(f, "  {line} | {text}")?;
        write!(f, "  {:margin$} | {:caret$}{}", "", "", "^".repeat(*caret_width))
    }
}
