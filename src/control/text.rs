//! Values as people read them, in log lines and tables.

use std::time::Duration;

/// The two largest units that matter: `3 h 12 min`, `45 s`; `0 s` below a second.
pub fn duration(duration: Duration) -> String {
    let seconds = duration.as_secs();
    let units = [(86_400, "d"), (3_600, "h"), (60, "min"), (1, "s")];
    let Some(first) = units.iter().position(|(size, _)| seconds >= *size) else { return "0 s".to_owned() };
    let mut left = seconds;
    let mut parts = Vec::new();
    for (size, unit) in units.iter().skip(first).take(2) {
        if left >= *size {
            parts.push(format!("{} {unit}", left / size));
        }
        left %= size;
    }
    parts.join(" ")
}

/// `1 connection`, `2 connections`.
pub fn counted(count: u64, noun: &str) -> String {
    format!("{count} {noun}{}", if count == 1 { "" } else { "s" })
}

/// In the unit that leaves it two digits at least before the point: `9500 ns`, `12.3 us`, `40.1 ms`.
pub fn nanoseconds(ns: u64) -> String {
    match ns {
        0..10_000 => format!("{ns} ns"),
        10_000..10_000_000 => format!("{:.1} us", ns as f64 / 1e3),
        _ => format!("{:.1} ms", ns as f64 / 1e6),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nanoseconds_keep_their_digits() {
        let cases =
            [(0, "0 ns"), (9_999, "9999 ns"), (12_345, "12.3 us"), (9_999_900, "9999.9 us"), (10_000_000, "10.0 ms")];
        for (ns, text) in cases {
            assert_eq!(nanoseconds(ns), text);
        }
    }

    #[test]
    fn durations_show_two_units() {
        let cases = [
            (0, "0 s"),
            (59, "59 s"),
            (60, "1 min"),
            (61, "1 min 1 s"),
            (3_600, "1 h"),
            (3_659, "1 h"),
            (11_520, "3 h 12 min"),
            (86_400 * 20 + 3_600 * 5 + 59, "20 d 5 h"),
        ];
        for (seconds, text) in cases {
            assert_eq!(duration(Duration::from_secs(seconds)), text);
        }
    }
}
