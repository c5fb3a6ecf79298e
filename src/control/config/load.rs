//! From a file to a checked [`Config`].

use std::fs::File;
use std::io::Read;
use std::path::Path;

use toml::de::DeTable;

use super::errors::Errors;
use super::model::Config;
use super::source::{Findings, Source, printable};
use super::{check_ports, check_services, draft};

/// Bytes of the largest file that is read: room for 100,000 backends.
pub const FILE_BYTES_MAX: usize = 16 << 20;

impl Config {
    /// Reads and checks the file at `path`.
    ///
    /// # Errors
    /// Everything that is wrong with it, or why it cannot be read.
    pub fn load(path: &Path) -> Result<Self, Errors> {
        let file_name = path.to_string_lossy();
        let of_file = |message: String| Errors::of_file(printable(&file_name), message);
        let bytes = read_bounded(path).map_err(|error| of_file(format!("cannot read the file: {error}")))?;
        match std::str::from_utf8(&bytes) {
            Ok(text) => Self::parse(text, &file_name),
            Err(_) if bytes.len() > FILE_BYTES_MAX => Err(of_file(too_large())),
            Err(error) => {
                // The good part has the place; the bad byte itself cannot be shown.
                let good = bytes.get(..error.valid_up_to()).and_then(|good| std::str::from_utf8(good).ok());
                let mut findings = Findings::default();
                let at = error.valid_up_to();
                findings.error(&(at..at), "the file is not UTF-8 from here on");
                Source::new(&file_name, good.unwrap_or("")).judge(findings)?;
                Err(of_file("the file is not UTF-8".into()))
            }
        }
    }

    /// Checks `text`; messages name it `file_name`.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub fn parse(text: &str, file_name: &str) -> Result<Self, Errors> {
        if text.len() > FILE_BYTES_MAX {
            return Err(Errors::of_file(printable(file_name), too_large()));
        }
        let source = Source::new(file_name, text);
        let mut findings = Findings::default();
        let (root, syntax_errors) = DeTable::parse_recoverable(text);
        for error in syntax_errors {
            findings.error(&error.span().unwrap_or(0..0), printable(error.message()));
        }
        if !findings.is_good() {
            // What the rest says after a syntax error is a guess, and faults in it are not the user's.
            source.judge(findings)?;
        }
        let mut findings = Findings::default();
        let mut draft = draft::read(&root, &mut findings);
        check_ports::check(&draft, &mut findings);
        check_services::check(&draft, &mut findings);
        draft.config.warnings = source.judge(findings)?;
        Ok(draft.config)
    }
}

fn read_bounded(path: &Path) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(FILE_BYTES_MAX as u64 + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn too_large() -> String {
    format!("the file is too large: at most {FILE_BYTES_MAX} bytes are read")
}
