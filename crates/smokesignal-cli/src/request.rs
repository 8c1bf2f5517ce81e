//! The label that a program may give a command of `run --json`, by which it finds the answer.
//!
//! It is kept as the text that was read and is printed again byte for byte, so that a number larger
//! than a processor's or a string with escapes comes back as it was.

use std::sync::Arc;

use serde::{Serialize, Serializer};
use serde_json::value::RawValue;

/// The longest label, in bytes: of a number as it is written, of a string without its quotation
/// marks and escapes. A guess: four hashes in hex.
pub(crate) const LONGEST: usize = 256;

/// A number or a string. Clones share the text.
#[derive(Debug, Clone)]
pub(crate) struct Request(Arc<RawValue>);

impl Request {
    /// Checks a value. The error says what is allowed, but does not quote the value.
    pub(crate) fn new(value: Box<RawValue>) -> Result<Self, String> {
        let text = value.get();
        let length = match text.as_bytes() {
            [b'"', ..] => serde_json::from_str::<String>(text)
                .map_err(|error| format!("\"request\" is not a valid string: {error}"))?
                .len(),
            [b'-' | b'0'..=b'9', ..] => text.len(),
            _ => return Err("\"request\" must be a number or a string".to_owned()),
        };
        if length > LONGEST {
            return Err(format!("\"request\" has {length} bytes, of {LONGEST} at most"));
        }
        Ok(Self(value.into()))
    }
}

impl PartialEq for Request {
    fn eq(&self, other: &Self) -> bool {
        self.0.get() == other.0.get()
    }
}

impl Eq for Request {}

impl Serialize for Request {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(text: &str) -> Result<String, String> {
        let value = RawValue::from_string(text.to_owned()).unwrap();
        Request::new(value).map(|request| serde_json::to_string(&request).unwrap())
    }

    #[test]
    fn a_number_or_a_string_comes_back_as_it_was_written() {
        let longest = format!("\"{}\"", "ä".repeat(LONGEST / 2));
        for text in ["7", "-0.50", "1e999", "123456789012345678901234567890", r#""\u0061/\/""#, &longest] {
            assert_eq!(request(text), Ok(text.to_owned()));
        }
    }

    #[test]
    fn everything_else_is_refused() {
        let (digits, text) = ("1".repeat(LONGEST + 1), format!("\"{}\"", "a".repeat(LONGEST + 1)));
        for (wrong, why) in [
            ("{}", "a number or a string"),
            ("[1]", "a number or a string"),
            ("true", "a number or a string"),
            (digits.as_str(), "257 bytes, of 256 at most"),
            (text.as_str(), "257 bytes, of 256 at most"),
            (r#""\ud800""#, "not a valid string"),
        ] {
            let error = request(wrong).unwrap_err();
            assert!(error.contains(why), "{wrong}: {error}");
        }
    }
}
