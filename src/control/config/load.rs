//! From a file to a checked [`Config`].

use std::fs::File;
use std::io::Read;
use std::path::Path;

use toml::Spanned;
use toml::de::DeTable;

use super::errors::Errors;
use super::model::Config;
use super::source::{Findings, Source, printable};
use super::{check_api, check_files, check_ports, check_services, draft};

/// Bytes of the largest file that is read: room for 100,000 backends.
pub const FILE_BYTES_MAX: usize = 16 << 20;

impl Config {
    /// Reads and checks the file at `path`.
    ///
    /// # Errors
    /// Everything that is wrong with it, or why it cannot be read.
    pub fn load(path: &Path) -> Result<Self, Errors> {
        Self::parse(&read_text(path)?, &path.to_string_lossy())
    }

    /// Checks `text`; messages name it `file_name`.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub fn parse(text: &str, file_name: &str) -> Result<Self, Errors> {
        let (source, root) = parse_table(text, file_name)?;
        let mut findings = Findings::default();
        let mut draft = draft::read(&root, &mut findings);
        check_ports::check(&draft, &mut findings);
        check_services::check(&draft, &mut findings);
        check_api::check(&mut draft, &mut findings);
        check_files::check(&mut draft, &mut findings);
        draft.config.warnings = source.judge(findings)?;
        Ok(draft.config)
    }
}

/// The text of the file at `path`.
///
/// # Errors
/// Why it cannot be read, or where it is not UTF-8.
pub fn read_text(path: &Path) -> Result<String, Errors> {
    let file_name = path.to_string_lossy();
    let of_file = |message: String| Errors::of_file(printable(&file_name), message);
    let bytes = read_bounded(path).map_err(|error| of_file(format!("cannot read the file: {error}")))?;
    if bytes.len() > FILE_BYTES_MAX {
        return Err(of_file(too_large()));
    }
    String::from_utf8(bytes).map_err(|error| {
        // The good part has the place; the bad byte itself cannot be shown.
        let at = error.utf8_error().valid_up_to();
        let good = error.as_bytes().get(..at).and_then(|good| std::str::from_utf8(good).ok()).unwrap_or("");
        let mut findings = Findings::default();
        findings.error(&(at..at), "the file is not UTF-8 from here on");
        let refused = Source::new(&file_name, good).judge(findings);
        refused.err().unwrap_or_else(|| of_file("the file is not UTF-8".into()))
    })
}

/// The root table of `text`, and the text with the places of its lines for what is found in it later.
///
/// # Errors
/// Every fault of syntax.
pub fn parse_table<'t>(text: &'t str, file_name: &str) -> Result<(Source<'t>, Spanned<DeTable<'t>>), Errors> {
    if text.len() > FILE_BYTES_MAX {
        return Err(Errors::of_file(printable(file_name), too_large()));
    }
    let source = Source::new(file_name, text);
    let mut findings = Findings::default();
    let (root, syntax_errors) = DeTable::parse_recoverable(text);
    for error in syntax_errors {
        findings.error(&error.span().unwrap_or(0..0), printable(error.message()));
    }
    // What the rest says after a syntax error is a guess, and faults in it are not the user's.
    source.judge(findings)?;
    Ok((source, root))
}

fn read_bounded(path: &Path) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(FILE_BYTES_MAX as u64 + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn too_large() -> String {
    format!("the file is too large: at most {FILE_BYTES_MAX} bytes are read")
}
