//! Numbers with units, as users write and read them.

use std::time::Duration;

/// Seconds with a fraction, as `-i 0.2`.
///
/// # Errors
/// What is not a number of seconds from 0 to a year.
pub fn parse_seconds(text: &str) -> Result<Duration, String> {
    let wrong = || format!("`{text}` is not a number of seconds: write one as in 0.5 or 10");
    let seconds: f64 = text.parse().map_err(|_| wrong())?;
    if !(0.0..=31_536_000.0).contains(&seconds) {
        return Err(wrong());
    }
    Ok(Duration::from_secs_f64(seconds))
}

/// Bytes with an optional suffix of 1,024s: `64K`, `256M`, `1G`.
///
/// # Errors
/// What is not such a number, or past 64 bits.
pub fn parse_bytes(text: &str) -> Result<u64, String> {
    parse_scaled(text, 1024)
        .ok_or_else(|| format!("`{text}` is not a size: write bytes as in 1500, 64K, 256M or 1G"))
}

/// Bits per second with an optional suffix of 1,000s: `500K`, `10M`, `1G`; 0: no limit.
///
/// # Errors
/// What is not such a number, or past 64 bits.
pub fn parse_bit_rate(text: &str) -> Result<u64, String> {
    parse_scaled(text, 1000).ok_or_else(|| {
        format!("`{text}` is not a rate: write bits per second as in 500K, 10M or 1G")
    })
}

fn parse_scaled(text: &str, thousand: u64) -> Option<u64> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let power = match &text[digits.len()..].to_ascii_lowercase()[..] {
        "" | "b" => 0,
        "k" | "kb" | "kib" => 1,
        "m" | "mb" | "mib" => 2,
        "g" | "gb" | "gib" => 3,
        "t" | "tb" | "tib" => 4,
        _ => return None,
    };
    let factor = thousand.pow(power);
    match digits.parse::<u64>() {
        Ok(number) => number.checked_mul(factor),
        Err(_) => {
            let number: f64 = digits.parse().ok().filter(|n: &f64| *n >= 0.0)?;
            let scaled = number * factor as f64;
            (scaled < u64::MAX as f64).then_some(scaled as u64)
        }
    }
}

/// Bytes as `1.00 GiB`, as `256 KBytes` in a well-known tool, with three figures.
pub fn bytes(n: u64) -> String {
    scaled(n as f64, 1024.0, &["B", "KiB", "MiB", "GiB", "TiB"])
}

/// Bits per second as `9.41 Gbit/s`.
pub fn bit_rate(bits_per_second: f64) -> String {
    scaled(bits_per_second, 1000.0, &["bit/s", "kbit/s", "Mbit/s", "Gbit/s", "Tbit/s"])
}

/// A duration as `12.3 µs`, `4.56 ms` or `7.89 s`.
pub fn duration(value: Duration) -> String {
    scaled(value.as_nanos() as f64, 1000.0, &["ns", "µs", "ms", "s"])
}

/// Three figures, and the unit that they suit.
fn scaled(mut value: f64, thousand: f64, units: &[&str]) -> String {
    let mut unit = 0;
    while value >= thousand && unit + 1 < units.len() {
        value /= thousand;
        unit += 1;
    }
    let digits = match value {
        _ if unit == 0 => 0,
        v if v >= 100.0 => 0,
        v if v >= 10.0 => 1,
        _ => 2,
    };
    format!("{value:.digits$} {}", units[unit])
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn sizes_and_rates_have_suffixes() {
        assert_eq!(parse_bytes("1500"), Ok(1500));
        assert_eq!(parse_bytes("64K"), Ok(65_536));
        assert_eq!(parse_bytes("1.5M"), Ok(1_572_864));
        assert_eq!(parse_bit_rate("10M"), Ok(10_000_000));
        for bad in ["", "K", "-1", "1X", "99999999999T", "nan", "inf"] {
            assert!(parse_bytes(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn seconds_are_positive_and_finite() {
        assert_eq!(parse_seconds("0.2"), Ok(Duration::from_millis(200)));
        for bad in ["-1", "nan", "inf", "1e40", "soon", ""] {
            assert!(parse_seconds(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn values_are_printed_with_three_figures() {
        assert_eq!(bytes(999), "999 B");
        assert_eq!(bytes(268_435_456), "256 MiB");
        assert_eq!(bit_rate(9.414e9), "9.41 Gbit/s");
        assert_eq!(duration(Duration::from_micros(45)), "45.0 µs");
    }

    proptest! {
        #[test]
        fn any_text_is_parsed_or_refused(text in ".{0,12}") {
            let _ = (parse_bytes(&text), parse_bit_rate(&text), parse_seconds(&text));
        }
    }
}
