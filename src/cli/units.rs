//! Numbers as people read them in a table.

/// Below this, numbers stand as they are.
const WHOLE_MAX: u64 = 100_000;
const UNITS: [(f64, &str); 5] = [(1e3, "K"), (1e6, "M"), (1e9, "G"), (1e12, "T"), (1e15, "P")];

/// Three digits and a unit: `99999`, `123K`, `1.23M`, `9.88G`.
pub fn count(number: u64) -> String {
    if number < WHOLE_MAX { number.to_string() } else { shortened(number as f64) }
}

/// One digit behind the point below 10, else as [`count`].
pub fn rate(number: f64) -> String {
    match number {
        number if number <= 0.0 => "0".to_owned(),
        number if number < 9.95 => format!("{number:.1}"),
        number => count(number.round() as u64),
    }
}

fn shortened(number: f64) -> String {
    for (size, unit) in UNITS {
        let scaled = number / size;
        // What would be rounded up to four digits is said in the next unit.
        let digits = match scaled {
            scaled if scaled < 9.995 => 2,
            scaled if scaled < 99.95 => 1,
            scaled if scaled < 999.5 => 0,
            _ => continue,
        };
        return format!("{scaled:.digits$}{unit}");
    }
    format!("{:.0}P", number / 1e15)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_three_digits_from_a_hundred_thousand_on() {
        let cases = [
            (0, "0"),
            (99_999, "99999"),
            (100_000, "100K"),
            (999_499, "999K"),
            (999_500, "1.00M"),
            (1_234_567, "1.23M"),
            (12_345_678, "12.3M"),
            (9_876_543_210, "9.88G"),
            (123_456_789_012_345, "123T"),
            (u64::MAX, "18447P"),
        ];
        for (number, text) in cases {
            assert_eq!(count(number), text);
        }
    }

    #[test]
    fn small_rates_keep_a_digit() {
        let cases =
            [(0.0, "0"), (-1.0, "0"), (0.04, "0.0"), (9.94, "9.9"), (9.96, "10"), (1_500.4, "1500"), (2.5e6, "2.50M")];
        for (number, text) in cases {
            assert_eq!(rate(number), text);
        }
    }
}
