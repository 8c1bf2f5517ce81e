//! Formats numbers for people.

use crate::stats::Spread;

/// Formats a number with three significant digits, such as `6.60 M`, `36.7 k` or `0.214`.
pub(crate) fn short(value: f64) -> String {
    match value.abs() {
        size if size >= 999_500.0 => digits(value / 1e6) + " M",
        size if size >= 9_995.0 => digits(value / 1e3) + " k",
        _ => digits(value),
    }
}

fn digits(value: f64) -> String {
    match value.abs() {
        size if size >= 99.95 => format!("{value:.0}"),
        size if size >= 9.995 => format!("{value:.1}"),
        size if size >= 0.9995 => format!("{value:.2}"),
        _ => format!("{value:.3}"),
    }
}

/// Formats the median and the range, such as `6.60 M (6.12 M–7.20 M)`, or a dash if there is no
/// value.
pub(crate) fn spread(spread: Option<Spread>) -> String {
    match spread {
        None => "–".to_owned(),
        Some(Spread { median, least, most }) if least == most => short(median),
        Some(Spread { median, least, most }) => {
            format!("{} ({}–{})", short(median), short(least), short(most))
        }
    }
}

/// Formats the median alone, or a dash if there is no value.
pub(crate) fn median(spread: Option<Spread>) -> String {
    spread.map_or_else(|| "–".to_owned(), |spread| short(spread.median))
}

/// Formats a size in the largest unit without a fraction, such as `64 B` or `16 KiB`.
pub(crate) fn bytes(size: usize) -> String {
    match size {
        size if size > 0 && size.is_multiple_of(1 << 20) => format!("{} MiB", size >> 20),
        size if size > 0 && size.is_multiple_of(1 << 10) => format!("{} KiB", size >> 10),
        size => format!("{size} B"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_three_significant_digits() {
        for (value, text) in [
            (6_600_000.0, "6.60 M"),
            (36_701.0, "36.7 k"),
            (9_000.0, "9000"),
            (0.2139, "0.214"),
            (999_999.0, "1.00 M"),
        ] {
            assert_eq!(short(value), text);
        }
        assert_eq!(spread(Spread::of(vec![1.0, 2.0, 4.0])), "2.00 (1.00–4.00)");
        assert_eq!(spread(None), "–");
        assert_eq!((bytes(64), bytes(16 << 10)), ("64 B".to_owned(), "16 KiB".to_owned()));
    }
}
