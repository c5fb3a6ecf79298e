//! One metric: what it is, and where its values come from.

use std::fmt::Write;

use super::basis::{BackendRow, Basis, ServiceRow};
use crate::control::status::PortStatus;
use crate::lb::handle::WorkerHandle;

/// How a metric's values move.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Only up, until the process starts anew.
    Counter,
    /// Up and down.
    Gauge,
    /// Counts by size.
    Histogram,
}

impl Kind {
    /// The word of the format.
    pub fn word(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        }
    }
}

/// See the module.
pub struct Family {
    /// `tidegate_...`, with the unit last, and `_total` behind it for counters.
    pub name: &'static str,
    /// What its values are told apart by.
    pub labels: &'static [&'static str],
    /// One sentence without its full stop.
    pub help: &'static str,
    pub(super) source: Source,
}

/// Where values come from.
#[derive(Clone, Copy)]
pub(super) enum Source {
    /// All series at once: there are few.
    Few(fn(&Basis, &mut Samples<'_>)),
    /// The same, as counts by size.
    Histogram(fn(&Basis, &mut Samples<'_>)),
    Worker(fn(&Basis, &WorkerHandle) -> Option<Value>),
    Port(fn(&PortStatus) -> Option<Value>),
    Service(fn(&ServiceRow) -> Option<Value>),
    Backend(fn(&Basis, &BackendRow) -> Option<Value>),
}

impl Family {
    /// Its type, which the name tells as well.
    pub fn kind(&self) -> Kind {
        match self.source {
            Source::Histogram(_) => Kind::Histogram,
            _ if self.name.ends_with("_total") => Kind::Counter,
            _ => Kind::Gauge,
        }
    }

    pub(super) fn head(&self, out: &mut String) {
        let Self { name, help, .. } = self;
        // Writing to a string cannot fail, here and below.
        _ = write!(out, "# HELP {name} {help}.\n# TYPE {name} {}\n", self.kind().word());
    }
}

/// A number as it is written.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Value {
    Whole(u64),
    Real(f64),
}

impl From<u64> for Value {
    fn from(value: u64) -> Self {
        Self::Whole(value)
    }
}

impl From<f64> for Value {
    fn from(value: f64) -> Self {
        Self::Real(value)
    }
}

impl From<bool> for Value {
    fn from(value: bool) -> Self {
        Self::Whole(value.into())
    }
}

/// Writes the series of one metric.
pub(super) struct Samples<'o> {
    pub(super) out: &'o mut String,
    pub(super) name: &'static str,
}

impl Samples<'_> {
    pub(super) fn put(&mut self, labels: &[(&str, &str)], value: impl Into<Value>) {
        self.put_part("", labels, value);
    }

    /// `suffix` stands behind the name, as those of a histogram's parts do.
    pub(super) fn put_part(&mut self, suffix: &str, labels: &[(&str, &str)], value: impl Into<Value>) {
        self.out.push_str(self.name);
        self.out.push_str(suffix);
        for (index, (label, text)) in labels.iter().enumerate() {
            self.out.push(if index == 0 { '{' } else { ',' });
            self.out.push_str(label);
            self.out.push_str("=\"");
            escaped(self.out, text);
            self.out.push('"');
        }
        if !labels.is_empty() {
            self.out.push('}');
        }
        _ = match value.into() {
            Value::Whole(value) => writeln!(self.out, " {value}"),
            Value::Real(value) => writeln!(self.out, " {value}"),
        };
    }
}

fn escaped(out: &mut String, text: &str) {
    if !text.contains(['\\', '"', '\n']) {
        return out.push_str(text);
    }
    for c in text.chars() {
        match c {
            '\\' => out.push_str("\\\\"),
            '"' => out.push_str("\\\""),
            '\n' => out.push_str("\\n"),
            c => out.push(c),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_quoted_and_numbers_are_plain() {
        let mut out = String::new();
        let mut samples = Samples { out: &mut out, name: "x" };
        samples.put(&[], 5_u64);
        samples.put_part("_sum", &[("a", "b"), ("c", "d\"e\\f\ng")], 0.25);
        samples.put(&[("a", "b")], true);
        samples.put(&[], u64::MAX);
        assert_eq!(out, "x 5\nx_sum{a=\"b\",c=\"d\\\"e\\\\f\\ng\"} 0.25\nx{a=\"b\"} 1\nx 18446744073709551615\n");
    }
}
