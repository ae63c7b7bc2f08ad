//! Numbers and times.

use std::time::Duration;

/// A count, grouped by thousands.
pub fn count(number: u64) -> String {
    decimal(&number.to_string())
}

/// Groups the whole part of a decimal number by thousands. What is no plain decimal number stays as it is.
pub fn decimal(text: &str) -> String {
    let (sign, digits) = text.strip_prefix('-').map_or(("", text), |rest| ("-", rest));
    let (whole, rest) = digits.split_at(digits.find('.').unwrap_or(digits.len()));
    if whole.is_empty() || !whole.bytes().all(|byte| byte.is_ascii_digit()) {
        return text.to_owned();
    }
    let mut grouped = String::with_capacity(text.len() + whole.len() / 3 + 1);
    grouped.push_str(sign);
    for (at, digit) in whole.chars().enumerate() {
        if at > 0 && (whole.len() - at) % 3 == 0 {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped.push_str(rest);
    grouped
}

/// So many per second.
pub fn rate(per_second: f64) -> String {
    if per_second >= 10.0 {
        // A rate fits: it is a count of this process over a time.
        format!("{}/s", decimal(&format!("{per_second:.0}")))
    } else {
        format!("{per_second:.1}/s")
    }
}

/// A time as people say it: `0.8s`, `42s`, `4m12s`, `3h05m`, `2d04h`.
pub fn clock(time: Duration) -> String {
    let seconds = time.as_secs();
    match seconds {
        0..10 => format!("{:.1}s", time.as_secs_f64()),
        10..60 => format!("{seconds}s"),
        60..3600 => format!("{}m{:02}s", seconds / 60, seconds % 60),
        3600..86_400 => format!("{}h{:02}m", seconds / 3600, seconds / 60 % 60),
        _ => format!("{}d{:02}h", seconds / 86_400, seconds / 3600 % 24),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thousands_are_grouped() {
        for (number, text) in [
            (0, "0"),
            (999, "999"),
            (1_000, "1,000"),
            (61_234, "61,234"),
            (1_234_567, "1,234,567"),
            (u64::MAX, "18,446,744,073,709,551,615"),
        ] {
            assert_eq!(text, count(number));
        }
        for (given, text) in [
            ("-1234.5678", "-1,234.5678"),
            ("1e21", "1e21"),
            ("-0.5", "-0.5"),
            ("", ""),
            ("-", "-"),
        ] {
            assert_eq!(text, decimal(given));
        }
    }

    #[test]
    fn times_are_short() {
        for (millis, text) in [
            (812, "0.8s"),
            (42_900, "42s"),
            (252_000, "4m12s"),
            (11_100_000, "3h05m"),
            (187_200_000, "2d04h"),
        ] {
            assert_eq!(text, clock(Duration::from_millis(millis)));
        }
        assert_eq!("2,031/s", rate(2031.4));
        assert_eq!("0.3/s", rate(0.31));
    }
}
