//! Filters in the words of tcpdump, and some of our own about verdicts.

use super::lexer::{Token, tokens};
use super::primitives::{self, Qualifiers};
use crate::control::config::suggest::nearest;
use crate::lb::capture::filter::{Expression, Test};

/// What is wrong with a filter, and where.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{said}{}\n    {text}\n    {}{}", advice(.meant), " ".repeat(*.at), "^".repeat((*.len).max(1)))]
pub struct FilterError {
    text: String,
    /// Characters before the place.
    at: usize,
    len: usize,
    said: String,
    meant: Option<String>,
}

fn advice(meant: &Option<String>) -> String {
    meant.as_ref().map(|meant| format!("; {meant}")).unwrap_or_default()
}

/// Bytes of the longest filter.
const TEXT_BYTES_MAX: usize = 4096;
/// How deep parentheses may stand in one another.
const DEPTH_MAX: usize = 32;

impl FilterError {
    /// `at` and `len` in bytes of `text`.
    pub(super) fn new(text: &str, at: usize, len: usize, said: String, meant: Option<String>) -> Self {
        let before = text.get(..at).map_or(at, |before| before.chars().count());
        let len = text.get(at..at + len).map_or(len, |place| place.chars().count());
        let text = text.replace(|c: char| c.is_control(), " ");
        Self { text, at: before, len, said, meant }
    }
}

/// Reads a filter; nothing lets every packet through.
///
/// # Errors
/// The first thing that is wrong with it.
pub fn parse(text: &str) -> Result<Expression, FilterError> {
    if text.len() > TEXT_BYTES_MAX {
        let said = format!("the filter has {} bytes, at most {TEXT_BYTES_MAX} are read", text.len());
        return Err(FilterError::new("", 0, 0, said, None));
    }
    let tokens = tokens(text)?;
    if tokens.is_empty() {
        return Ok(Expression::Test(Test::Any));
    }
    let mut parser = Parser { text, tokens, next: 0, depth: 0, last: None };
    let expression = parser.expression()?;
    if parser.peek().is_empty() {
        return Ok(expression);
    }
    Err(match parser.peek() {
        ")" => parser.wrong("there is no `(` for this `)`", None),
        word => {
            let said = format!("`{word}` follows something that is whole already");
            parser.wrong(&said, Some("put `and` or `or` between them".to_owned()))
        }
    })
}

pub(super) struct Parser<'a> {
    text: &'a str,
    tokens: Vec<Token>,
    next: usize,
    depth: usize,
    /// For an address or a port after `and` or `or` that has no qualifiers of its own.
    pub last: Option<Qualifiers>,
}

impl Parser<'_> {
    /// `and` and `or` bind alike, from left to right, as they do in tcpdump.
    fn expression(&mut self) -> Result<Expression, FilterError> {
        let mut left = self.term()?;
        loop {
            let join: fn(Box<Expression>, Box<Expression>) -> Expression = match self.peek() {
                "and" => Expression::And,
                "or" => Expression::Or,
                _ => return Ok(left),
            };
            self.next += 1;
            left = join(Box::new(left), Box::new(self.term()?));
        }
    }

    fn term(&mut self) -> Result<Expression, FilterError> {
        match self.peek() {
            "not" => {
                self.next += 1;
                self.deeper(|parser| Ok(Expression::Not(Box::new(parser.term()?))))
            }
            "(" => {
                self.next += 1;
                let inner = self.deeper(Self::expression)?;
                self.expect(")")?;
                Ok(inner)
            }
            _ => primitives::primitive(self),
        }
    }

    fn deeper<T>(&mut self, inner: impl FnOnce(&mut Self) -> Result<T, FilterError>) -> Result<T, FilterError> {
        if self.depth == DEPTH_MAX {
            return Err(self.wrong(&format!("more than {DEPTH_MAX} parentheses stand in one another"), None));
        }
        self.depth += 1;
        let result = inner(self);
        self.depth -= 1;
        result
    }

    /// The next token; empty at the end.
    pub fn peek(&self) -> &str {
        self.peek_at(0)
    }

    /// The one `ahead` behind it.
    pub fn peek_at(&self, ahead: usize) -> &str {
        self.tokens.get(self.next + ahead).map_or("", |token| &token.text)
    }

    /// Takes the next token.
    pub fn take(&mut self) -> String {
        let text = self.peek().to_owned();
        self.next += 1;
        text
    }

    /// Takes the next token if it is this one.
    pub fn takes(&mut self, text: &str) -> bool {
        let is = self.peek() == text;
        self.next += usize::from(is);
        is
    }

    /// Takes this token.
    pub fn expect(&mut self, text: &str) -> Result<(), FilterError> {
        if self.takes(text) { Ok(()) } else { Err(self.wrong(&format!("`{text}` is missing here"), None)) }
    }

    /// Something is wrong with the next token.
    pub fn wrong(&self, said: &str, meant: Option<String>) -> FilterError {
        let (at, len) = self.tokens.get(self.next).map_or((self.text.len(), 1), |token| (token.at, token.len));
        FilterError::new(self.text, at, len, said.to_owned(), meant)
    }

    /// The same, of the token before it.
    pub fn wrong_before(&mut self, said: &str, meant: Option<String>) -> FilterError {
        self.next = self.next.saturating_sub(1);
        self.wrong(said, meant)
    }

    /// The next token is none of these words.
    pub fn unknown<'k>(&self, what: &str, known: impl IntoIterator<Item = &'k str>) -> FilterError {
        if self.peek().is_empty() {
            return self.wrong(&format!("the filter ends where {what} should stand"), None);
        }
        let meant = nearest(self.peek(), known).map(|word| format!("did you mean `{word}`?"));
        self.wrong(&format!("`{}` is not {what}", self.peek()), meant)
    }
}
