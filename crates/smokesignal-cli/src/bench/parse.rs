//! The words of the command line: sizes, times, rates.

use std::time::Duration;

use smokesignal_load::LEAST_SIZE;

use crate::options::MAX_MESSAGE;

/// The longest time that one may ask for: a day.
const LONGEST: Duration = Duration::from_secs(24 * 3600);

/// `64`, `1KiB`, `16MiB`: the bytes of one message, or of one write.
pub(super) fn size(text: &str) -> Result<usize, String> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = match &text[digits.len()..] {
        "" | "B" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        _ => return Err("write bytes as 64, 1KiB or 16MiB".to_owned()),
    };
    let number: usize = digits.parse().map_err(|_| "write bytes as 64, 1KiB or 16MiB".to_owned())?;
    match number.checked_mul(unit) {
        Some(size) if (LEAST_SIZE..=MAX_MESSAGE).contains(&size) => Ok(size),
        _ => Err(format!(
            "take {LEAST_SIZE} bytes to 16MiB: each message holds its number and when it was due"
        )),
    }
}

/// Seconds as a number, or a time as `500ms`.
pub(super) fn time(text: &str) -> Result<Duration, String> {
    let cure = "write seconds as 5 or 0.5, or a time as 500ms or 2m; a day at most";
    let time = match text.parse() {
        Ok(seconds) => Duration::try_from_secs_f64(seconds).map_err(|_| cure.to_owned())?,
        Err(_) => humantime::parse_duration(text).map_err(|_| cure.to_owned())?,
    };
    if time <= LONGEST { Ok(time) } else { Err(cure.to_owned()) }
}

/// A time in which something is measured.
pub(super) fn some_time(text: &str) -> Result<Duration, String> {
    match time(text)? {
        time if time < Duration::from_millis(10) => {
            Err("nothing can be measured in less than 10ms".to_owned())
        }
        time => Ok(time),
    }
}

/// Messages a second.
pub(super) fn rate(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(rate) if (0.01..=1e9).contains(&rate) => Ok(rate),
        _ => Err("write messages a second, 0.01 to 1000000000".to_owned()),
    }
}

/// A number that is not 0.
pub(super) fn at_least_one(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(number) if number > 0 => Ok(number),
        _ => Err("write a number, 1 or more".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_binary_units() {
        for (text, bytes) in [("64", 64), ("64B", 64), ("1KiB", 1024), ("16MiB", MAX_MESSAGE)] {
            assert_eq!(size(text), Ok(bytes));
        }
        for text in
            ["", "KiB", "64k", "1.5KiB", "23", "17MiB", "99999999999999999999", "18014398509481984KiB"]
        {
            assert!(size(text).is_err(), "{text}");
        }
    }

    #[test]
    fn times_are_seconds_unless_they_say_otherwise() {
        for (text, millis) in [("5", 5_000), ("0.3", 300), ("500ms", 500), ("1m 10s", 70_000)] {
            assert_eq!(time(text), Ok(Duration::from_millis(millis)));
        }
        for text in ["soon", "-1", "inf", "nan", "2days"] {
            assert!(time(text).is_err(), "{text}");
        }
        assert!(some_time("0").is_err());
    }

    #[test]
    fn a_rate_is_a_positive_number() {
        assert_eq!(rate("2.5"), Ok(2.5));
        for text in ["0", "-3", "many", "nan"] {
            assert!(rate(text).is_err(), "{text}");
        }
    }
}
