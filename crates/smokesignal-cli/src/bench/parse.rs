//! Parses values of the command line: sizes, times and rates. Each error states the allowed values.
//!
//! Wrong values are wrong usage (exit code 2) and are reported before anything runs. Bounds keep
//! out what cannot be measured, such as a message that is too short for the header of the workload.

use std::time::Duration;

use smokesignal_load::LEAST_SIZE;

use crate::options::{self, MAX_MESSAGE};

/// The longest time that an option accepts: a day.
const LONGEST: Duration = Duration::from_secs(24 * 3600);

/// Parses the bytes of a message or a write, such as `64`, `1KiB` or `16MiB`.
pub(super) fn size(text: &str) -> Result<usize, String> {
    match options::bytes(text) {
        None => Err("write bytes as 64, 1KiB or 16MiB".to_owned()),
        Some(size) if (LEAST_SIZE..=MAX_MESSAGE).contains(&size) => Ok(size),
        Some(_) => Err(format!(
            "write {LEAST_SIZE} to 16MiB; a message needs {LEAST_SIZE} bytes for its number and due time"
        )),
    }
}

/// Parses a number of seconds, or a time such as `500ms`.
pub(super) fn time(text: &str) -> Result<Duration, String> {
    let cure = "write seconds as 5 or 0.5, or a time as 500ms or 2m, up to a day";
    let time = match text.parse() {
        Ok(seconds) => Duration::try_from_secs_f64(seconds).map_err(|_| cure.to_owned())?,
        Err(_) => humantime::parse_duration(text).map_err(|_| cure.to_owned())?,
    };
    if time <= LONGEST { Ok(time) } else { Err(cure.to_owned()) }
}

/// Parses a time that is long enough to measure something.
pub(super) fn measured_time(text: &str) -> Result<Duration, String> {
    match time(text)? {
        time if time < Duration::from_millis(10) => {
            Err("too short to measure anything; write 10ms or more".to_owned())
        }
        time => Ok(time),
    }
}

/// Parses a number of messages per second.
pub(super) fn rate(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(rate) if (0.01..=1e9).contains(&rate) => Ok(rate),
        _ => Err("write messages per second, 0.01 to 1000000000".to_owned()),
    }
}

/// Parses a number above 0.
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
    fn times_without_a_unit_are_seconds() {
        for (text, millis) in [("5", 5_000), ("0.3", 300), ("500ms", 500), ("1m 10s", 70_000)] {
            assert_eq!(time(text), Ok(Duration::from_millis(millis)));
        }
        for text in ["soon", "-1", "inf", "nan", "2days"] {
            assert!(time(text).is_err(), "{text}");
        }
        assert!(measured_time("0").is_err());
    }

    #[test]
    fn a_rate_is_a_positive_number() {
        assert_eq!(rate("2.5"), Ok(2.5));
        for text in ["0", "-3", "many", "nan"] {
            assert!(rate(text).is_err(), "{text}");
        }
    }
}
