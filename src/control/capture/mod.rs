//! Packets of the running balancer for whoever looks on: as they came, as they left, and what was decided.

mod course;
mod eyes;
mod lexer;
mod line;
mod output;
pub mod parser;
mod primitives;
mod request;
mod slot;
#[cfg(test)]
mod tests;
mod words;

pub use course::{Stream, start};
pub use parser::{FilterError, parse};
pub use request::{CaptureError, CaptureRequest, CaptureStatus, Format, Settings};
pub use slot::Captures;
