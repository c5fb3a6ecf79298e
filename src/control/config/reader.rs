//! Typed reading of one TOML table, with every fault noted at its place.

use std::fmt::Display;
use std::net::IpAddr;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::keys::{KeyDoc, Kind, TABLES, TEXT_BYTES_MAX, TableDoc};
use super::source::{Findings, Span, printable};
use super::suggest::nearest;
use super::values::{duration_ms, integer, is_name, is_prime, unusable};
use super::words::Word;

/// One value of the file.
pub type Value<'t, 'i> = &'t Spanned<DeValue<'i>>;

/// One table of the file. A method named after a type reads one key: `None` if the key is left out or bad, and what is
/// bad is noted.
pub struct Reader<'t, 'i, 'f> {
    table: &'t DeTable<'i>,
    doc: &'static TableDoc,
    header: Span,
    /// Where faults go.
    pub findings: &'f mut Findings,
}

impl<'t, 'i, 'f> Reader<'t, 'i, 'f> {
    /// Notes each key that `doc` does not know.
    pub fn new(table: &'t DeTable<'i>, header: Span, doc: &'static TableDoc, findings: &'f mut Findings) -> Self {
        for (key, _) in table.iter().filter(|(key, _)| doc.key(key.get_ref()).is_none()) {
            findings.error(&key.span(), unknown_key(key.get_ref(), doc));
        }
        Self { table, doc, header, findings }
    }

    /// Where the table begins.
    pub fn header(&self) -> Span {
        self.header.clone()
    }

    /// Whether the key is there, good or bad.
    pub fn has(&self, name: &str) -> bool {
        self.table.contains_key(name)
    }

    /// Where the key is.
    pub fn key_span(&self, name: &str) -> Option<Span> {
        self.table.get_key_value(name).map(|(key, _)| key.span())
    }

    /// Notes that a key without a default is left out.
    pub fn require(&mut self, name: &str) {
        if !self.has(name) {
            let expected = self.doc.key(name).map_or(String::new(), |key| key.kind.expected());
            self.findings.error(&self.header, format!("{} needs `{name}`: {expected}", self.doc.place()));
        }
    }

    /// The value as it is, with its row of the key table.
    pub fn value(&mut self, name: &str) -> Option<(Value<'t, 'i>, &'static KeyDoc)> {
        let key = self.doc.key(name);
        debug_assert!(key.is_some(), "the key table of {} lacks {name}", self.doc.place());
        Some((self.table.get(name)?, key?))
    }

    /// A value that `read` understands, within what the key table allows.
    pub fn read<T>(&mut self, name: &str, read: impl FnOnce(&DeValue<'i>, Kind) -> Option<T>) -> Option<Spanned<T>> {
        let (value, key) = self.value(name)?;
        let good = read(value.get_ref(), key.kind);
        if good.is_none() {
            self.refuse(name, value, &key.kind);
        }
        good.map(|good| Spanned::new(value.span(), good))
    }

    /// An integer in the range of the key table.
    pub fn int<T: TryFrom<i128>>(&mut self, name: &str) -> Option<Spanned<T>> {
        self.read(name, |value, kind| {
            let n = integer(value)?;
            let good = match kind {
                Kind::Int { min, max } => (i128::from(min)..=i128::from(max)).contains(&n),
                Kind::Prime { min, max } => {
                    (i128::from(min)..=i128::from(max)).contains(&n) && u32::try_from(n).is_ok_and(is_prime)
                }
                _ => false,
            };
            good.then(|| T::try_from(n).ok()).flatten()
        })
    }

    /// A duration in the range of the key table, in milliseconds.
    pub fn duration_ms(&mut self, name: &str) -> Option<Spanned<u64>> {
        self.read(name, |value, kind| {
            let Kind::Duration { min_ms, max_ms, step_ms } = kind else { return None };
            duration_ms(value).filter(|ms| (min_ms..=max_ms).contains(ms) && ms.is_multiple_of(step_ms))
        })
    }

    /// True or false.
    pub fn flag(&mut self, name: &str) -> Option<Spanned<bool>> {
        self.read(name, |value, _| match value {
            DeValue::Boolean(flag) => Some(*flag),
            _ => None,
        })
    }

    /// A name for commands and labels.
    pub fn name(&mut self, name: &str) -> Option<Spanned<String>> {
        self.read(name, |value, _| value.as_str().filter(|text| is_name(text)).map(str::to_owned))
    }

    /// Text of bounded length without control characters.
    pub fn text(&mut self, name: &str) -> Option<Spanned<String>> {
        self.read(name, |value, kind| {
            let Kind::Text(bytes_max) = kind else { return None };
            value.as_str().filter(|text| is_text(text, bytes_max)).map(str::to_owned)
        })
    }

    /// Anything that `parse` makes of a string.
    pub fn parsed<T>(&mut self, name: &str, parse: impl FnOnce(&str) -> Option<T>) -> Option<Spanned<T>> {
        self.read(name, |value, _| parse(value.as_str()?))
    }

    /// An address that a host can have.
    pub fn address<A: std::str::FromStr + Copy + Into<IpAddr>>(&mut self, name: &str) -> Option<Spanned<A>> {
        let address = self.parsed(name, |text| text.parse::<A>().ok())?;
        is_usable(self.findings, name, (*address.get_ref()).into(), &address.span()).then_some(address)
    }

    /// One of a list of words that this version supports; a known word of a later version is noted, and read.
    pub fn word<W: Word + Display>(&mut self, name: &str) -> Option<Spanned<W>> {
        let (value, key) = self.value(name)?;
        let Some(text) = value.get_ref().as_str() else {
            self.refuse(name, value, &key.kind);
            return None;
        };
        let known = || W::WORDS.iter().map(|(word, _)| *word);
        let Some((_, word)) = W::WORDS.iter().find(|(word, _)| *word == text) else {
            let hint = nearest(text, known()).map_or(String::new(), |word| format!(", did you mean `{word}`?"));
            let expected = key.kind.expected();
            let message = format!("`{name}` must be {expected}, not {}{hint}", shown(value.get_ref()));
            self.findings.error(&value.span(), message);
            return None;
        };
        if !W::SUPPORTED.contains(word) {
            let supported: Vec<&str> = W::SUPPORTED.iter().map(|word| word.word()).collect();
            let message = format!("{name} `{word}` is not supported yet (supported: {})", supported.join(", "));
            self.findings.error(&value.span(), message);
        }
        Some(Spanned::new(value.span(), *word))
    }

    /// The items of a list of at most `items_max`; empty if it is left out or bad.
    pub fn items(&mut self, name: &str, items_max: usize) -> &'t [Spanned<DeValue<'i>>] {
        let Some((value, key)) = self.value(name) else { return &[] };
        match value.get_ref().as_array() {
            Some(items) if items.len() <= items_max => items,
            Some(items) => {
                let at = self.key_span(name).unwrap_or_else(|| self.header());
                let message = format!("`{name}` has {} entries; at most {items_max} are possible", items.len());
                self.findings.error(&at, message);
                &[]
            }
            None => {
                self.refuse(name, value, &key.kind);
                &[]
            }
        }
    }

    /// The strings of a list, each as `parse` reads it.
    pub fn parsed_items<T>(
        &mut self,
        name: &str,
        items_max: usize,
        parse: impl Fn(&str) -> Option<T>,
    ) -> Vec<Spanned<T>> {
        let mut good = Vec::new();
        for item in self.items(name, items_max) {
            match item.get_ref().as_str().and_then(&parse) {
                Some(value) => good.push(Spanned::new(item.span(), value)),
                None => {
                    let expected = self.doc.key(name).map_or(String::new(), |key| key.kind.expected());
                    let message = format!("`{name}` must be {expected}, not with {}", shown(item.get_ref()));
                    self.findings.error(&item.span(), message);
                }
            }
        }
        good
    }

    /// A table below this one, if it is there.
    pub fn table<'r>(&'r mut self, name: &str, doc: &'static TableDoc) -> Option<Reader<'t, 'i, 'r>> {
        let (value, key) = self.value(name)?;
        let Some(table) = value.get_ref().as_table() else {
            self.refuse(name, value, &key.kind);
            return None;
        };
        Some(Reader::new(table, value.span(), doc, self.findings))
    }

    /// The tables of a list below this one, each with its place.
    pub fn tables(&mut self, name: &str, tables_max: usize) -> Vec<(&'t DeTable<'i>, Span)> {
        let Some((value, key)) = self.value(name) else { return Vec::new() };
        if value.get_ref().is_table() {
            self.refuse(name, value, &key.kind);
            return Vec::new();
        }
        let mut tables = Vec::new();
        for item in self.items(name, tables_max) {
            match item.get_ref().as_table() {
                Some(table) => tables.push((table, item.span())),
                None => self.refuse(name, item, &key.kind),
            }
        }
        tables
    }

    /// Notes that a value is not what the key table asks for.
    pub fn refuse(&mut self, name: &str, value: Value<'t, 'i>, kind: &Kind) {
        let message = format!("`{name}` must be {}, not {}", kind.expected(), shown(value.get_ref()));
        self.findings.error(&value.span(), message);
    }
}

/// Notes an address that no host can have; whether it is one that a host can have.
pub fn is_usable(findings: &mut Findings, what: &str, address: IpAddr, span: &Span) -> bool {
    let fault = unusable(address);
    if let Some(fault) = fault {
        findings.error(span, format!("`{what}` cannot be {address}: that is {fault}"));
    }
    fault.is_none()
}

/// Whether EAL and a terminal can take the text.
pub fn is_text(text: &str, bytes_max: usize) -> bool {
    (1..=bytes_max.min(TEXT_BYTES_MAX)).contains(&text.len()) && !text.chars().any(char::is_control)
}

/// The value for a message: the number or text itself, else its type.
pub fn shown(value: &DeValue<'_>) -> String {
    match value {
        DeValue::String(text) => format!("\"{}\"", printable(text)),
        DeValue::Integer(_) | DeValue::Float(_) => match (integer(value), value) {
            (Some(n), _) => n.to_string(),
            (None, DeValue::Float(float)) => printable(float.as_str()),
            _ => "a number of more than 128 bits".into(),
        },
        DeValue::Boolean(value) => value.to_string(),
        DeValue::Datetime(_) => "a date".into(),
        DeValue::Array(_) => "a list".into(),
        DeValue::Table(_) => "a table".into(),
    }
}

fn unknown_key(key: &str, doc: &TableDoc) -> String {
    let known = || doc.keys.iter().map(|key| key.name);
    let message = format!("unknown key `{}` in {}", printable(key), doc.place());
    if let Some(word) = nearest(key, known()) {
        return format!("{message}, did you mean `{word}`?");
    }
    // A key of another kind of file has no home in this one.
    let is_ours = TABLES.iter().any(|table| std::ptr::eq(*table, doc));
    let homes: Vec<&str> =
        TABLES.iter().filter(|_| is_ours).filter(|table| table.key(key).is_some()).map(|table| table.place()).collect();
    if homes.is_empty() {
        format!("{message}; it knows {}", known().collect::<Vec<_>>().join(", "))
    } else {
        format!("{message}; it belongs in {}", homes.join(" or "))
    }
}
