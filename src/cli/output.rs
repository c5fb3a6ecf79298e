//! The two ways out: standard output and standard error.

use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

use super::failure::Failure;

/// Writes `text` to standard output, with its colours or without. A reader that has gone ends the command, silently, as
/// SIGPIPE would.
///
/// # Errors
/// What the command then ends with.
pub fn print(text: &str) -> Result<(), Failure> {
    write(anstream::AutoStream::auto(std::io::stdout()).lock(), text)
}

/// Writes `text` as it is.
///
/// # Errors
/// As for [`print`].
pub fn print_raw(text: &str) -> Result<(), Failure> {
    write(std::io::stdout().lock(), text)
}

fn write(mut out: impl Write, text: &str) -> Result<(), Failure> {
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Err(Failure::broken_pipe()),
        Err(error) => Err(Failure::running(format!("error: cannot write to standard output: {error}"))),
    }
}

/// The path as another process finds it.
///
/// # Errors
/// The working directory is gone.
pub fn absolute(path: &Path) -> Result<PathBuf, Failure> {
    std::path::absolute(path).map_err(|error| Failure::running(format!("error: {}: {error}", path.display())))
}

/// Writes a line to standard error; if that fails there is nobody to tell.
pub fn error_line(line: &str) {
    _ = writeln!(std::io::stderr().lock(), "{line}");
}
