//! How values look in the cells of a table.

use std::net::IpAddr;
use std::time::Duration;

use crate::cli::table::Cell;
use crate::cli::{color, units};
use crate::control::text;

/// See the module.
#[derive(Clone, Copy, Debug, Default)]
pub struct Look {
    /// Numbers whole.
    pub exact: bool,
}

impl Look {
    /// A number of things.
    pub fn count(self, number: u64) -> Cell {
        let text = if self.exact { number.to_string() } else { units::count(number) };
        Cell::number(number as f64, text)
    }

    /// A number of things a second; `None` where it is not known yet.
    pub fn rate(self, number: Option<f64>) -> Cell {
        let Some(number) = number else { return dash() };
        let text = if self.exact { format!("{number:.1}") } else { units::rate(number) };
        Cell::number(number, text)
    }
}

/// Nothing there.
pub fn dash() -> Cell {
    "-".to_owned().into()
}

/// A number that is always shown as it is.
pub fn plain(number: impl Into<f64> + ToString) -> Cell {
    let text = number.to_string();
    Cell::number(number.into(), text)
}

/// A value that may not be there, and how it is shown.
pub fn or_dash<T: Copy + Into<f64>>(value: Option<T>, show: impl Fn(T) -> String) -> Cell {
    value.map_or_else(dash, |value| Cell::number(value.into(), show(value)))
}

/// A share of 1.
pub fn percent(share: Option<f64>) -> Cell {
    or_dash(share, |share| format!("{:.1}%", share * 100.0))
}

/// A time that has passed, sorted by how long it is.
pub fn since(seconds: f64) -> Cell {
    Cell::number(seconds, self::seconds(seconds))
}

/// A time that has passed, as text.
pub fn seconds(seconds: f64) -> String {
    text::duration(Duration::try_from_secs_f64(seconds).unwrap_or_default())
}

/// A backend's state, in its colour.
pub fn state(word: &str) -> Cell {
    Cell::from(word.to_owned()).styled(color::of_state(word))
}

/// `10.0.0.1:80`, `[2001:db8::1]:80`; `*` for every port.
pub fn socket(address: &str, port: Option<u16>) -> String {
    let port = port.map_or_else(|| "*".to_owned(), |port| port.to_string());
    match address.parse::<IpAddr>() {
        Ok(IpAddr::V6(address)) => format!("[{address}]:{port}"),
        _ => format!("{address}:{port}"),
    }
}
