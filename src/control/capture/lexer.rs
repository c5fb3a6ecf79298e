//! A filter's text as words and signs, each with its place.

use super::parser::FilterError;

/// A word or a sign.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Token {
    /// `&&` is `and`, `||` is `or`, `!` is `not`, `==` is `=`; words are as they were written.
    pub text: String,
    /// Bytes from the beginning.
    pub at: usize,
    /// Bytes in the text.
    pub len: usize,
}

const SIGNS: [(&str, &str); 13] = [
    ("&&", "and"),
    ("||", "or"),
    ("==", "="),
    ("!=", "!="),
    ("!", "not"),
    ("=", "="),
    ("&", "&"),
    ("|", "|"),
    ("(", "("),
    (")", ")"),
    ("[", "["),
    ("]", "]"),
    ("\\", ""),
];

/// Takes the text apart.
pub(super) fn tokens(text: &str) -> Result<Vec<Token>, FilterError> {
    let mut tokens = Vec::new();
    let mut at = 0;
    while let Some(rest) = text.get(at..).filter(|rest| !rest.is_empty()) {
        let first = rest.chars().next().unwrap_or_default();
        if first.is_whitespace() {
            at += first.len_utf8();
        } else if let Some((sign, meaning)) = SIGNS.iter().find(|(sign, _)| rest.starts_with(sign)) {
            // tcpdump's escapes of its own words mean nothing here.
            if !meaning.is_empty() {
                tokens.push(Token { text: (*meaning).to_owned(), at, len: sign.len() });
            }
            at += sign.len();
        } else {
            let len = rest.find(|c: char| !is_of_word(c)).unwrap_or(rest.len());
            if len == 0 {
                let said = format!("`{first}` means nothing here");
                return Err(FilterError::new(text, at, first.len_utf8(), said, None));
            }
            let word = rest.get(..len).unwrap_or_default();
            tokens.push(Token { text: word.to_owned(), at, len });
            at += len;
        }
    }
    Ok(tokens)
}

fn is_of_word(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '.' | ':' | '/' | '-' | '_')
}
