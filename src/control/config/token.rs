//! The secret that opens the API on TCP.

use std::fmt;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;

use subtle::ConstantTimeEq;

use super::small_file;

/// Characters of a token: fewer could be guessed, more are no better.
const CHARS_MIN: usize = 16;
const CHARS_MAX: usize = 512;
/// Bytes of the file, with room for ends of lines.
const FILE_BYTES_MAX: u64 = 1024;

/// 16 to 512 visible ASCII characters that nobody gets to see.
#[derive(Clone)]
pub struct Token(Arc<[u8]>);

impl Token {
    /// Reads the file at `path`, which holds nothing else.
    ///
    /// # Errors
    /// Why it is of no use, as the end of a sentence; never what is in it.
    pub fn read(path: &Path) -> Result<Self, String> {
        Self::of(&small_file::read(path, FILE_BYTES_MAX)?)
    }

    fn of(content: &[u8]) -> Result<Self, String> {
        let token = content.trim_ascii();
        let chars = token.len();
        if !token.iter().all(u8::is_ascii_graphic) {
            return Err("must hold one line of visible ASCII characters without blanks".to_owned());
        }
        if !(CHARS_MIN..=CHARS_MAX).contains(&chars) {
            return Err(format!(
                "must hold a token of {CHARS_MIN} to {CHARS_MAX} characters, not of {chars}; `openssl rand -hex 32` \
                 makes one"
            ));
        }
        Ok(Self(token.into()))
    }

    /// Whether `given` is the token, in a time that does not tell how much of it is right.
    pub fn is(&self, given: &[u8]) -> bool {
        self.0.ct_eq(given).into()
    }
}

/// Whether others than the owner and the group can read the file.
pub fn is_open_to_all(path: &Path) -> bool {
    std::fs::metadata(path).is_ok_and(|metadata| metadata.permissions().mode() & 0o004 != 0)
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(hidden)")
    }
}

impl PartialEq for Token {
    fn eq(&self, other: &Self) -> bool {
        self.is(&other.0)
    }
}

impl Eq for Token {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_a_line_and_never_shown() {
        let token = Token::of(b"  0123456789abcdef\r\n").unwrap();
        assert!(token.is(b"0123456789abcdef"));
        for wrong in ["", "0123456789abcdee", "0123456789abcdef ", "0123456789abcde", "0123456789abcdef0"] {
            assert!(!token.is(wrong.as_bytes()), "{wrong}");
        }
        assert_eq!(format!("{token:?}"), "Token(hidden)");
    }

    #[test]
    fn what_is_no_token_is_refused_without_showing_it() {
        for (content, said) in [
            ("", "not of 0"),
            ("secretsecret", "not of 12"),
            (&"secret".repeat(100), "not of 600"),
            ("secretsecret secretsecret", "one line of visible"),
            ("secretsecretsecret\nsecretsecretsecret", "one line of visible"),
            ("s\u{e9}cretsecretsecret", "one line of visible"),
        ] {
            let error = Token::of(content.as_bytes()).unwrap_err();
            assert!(error.contains(said) && !error.contains("secret"), "{content}: {error}");
        }
    }
}
