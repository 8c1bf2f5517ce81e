//! What chats say to each other: `{"name":"ann","text":"hello"}` to everyone or to one neighbour. Without `text`,
//! said to a new neighbour, it only tells the name. Anything else (from `pipe`, for example) is shown as it is.
//!
//! All text comes from strangers: what could steer a terminal never leaves this file.

use serde::{Deserialize, Serialize};

/// Characters of a name and of a text that are shown; more is cut off. Guesses.
pub(super) const NAME_LENGTH: usize = 32;
const TEXT_LENGTH: usize = 4096;

/// A line of chat as it travels.
#[derive(Debug, Serialize, Deserialize)]
struct Wire {
    name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    text: Option<String>,
}

/// A line of chat as it arrived, fit for a terminal.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Heard {
    /// `None` if it has none, or only characters that cannot be shown.
    pub(super) name: Option<String>,
    pub(super) text: Option<String>,
}

/// The bytes that say `text`, or only the name.
pub(super) fn encode(name: &str, text: Option<&str>) -> Result<Vec<u8>, serde_json::Error> {
    serde_json::to_vec(&Wire { name: name.to_owned(), text: text.map(str::to_owned) })
}

/// Never fails: what is not of our form is a text without a name.
pub(super) fn decode(bytes: &[u8]) -> Heard {
    match serde_json::from_slice(bytes) {
        Ok(Wire { name, text }) => Heard { name: clean_name(&name), text: text.as_deref().map(clean_text) },
        Err(_) => {
            // A character has at most four bytes.
            let start = &bytes[..bytes.len().min(4 * (TEXT_LENGTH + 1))];
            let text = String::from_utf8_lossy(start);
            let text = text.strip_suffix('\n').unwrap_or(&text);
            Heard { name: None, text: Some(clean_text(text)) }
        }
    }
}

/// A name without anything that hides or imitates: no spaces, no control characters, of bounded length.
pub(super) fn clean_name(name: &str) -> Option<String> {
    let shown = |c: &char| !c.is_whitespace() && !is_dangerous(*c);
    let name: String = name.chars().filter(shown).take(NAME_LENGTH).collect();
    (!name.is_empty()).then_some(name)
}

/// One line of visible text of bounded length.
pub(super) fn clean_text(text: &str) -> String {
    let mut characters = text.chars().map(|c| match c {
        '\n' | '\r' | '\t' => ' ',
        c if is_dangerous(c) => char::REPLACEMENT_CHARACTER,
        c => c,
    });
    let mut clean: String = characters.by_ref().take(TEXT_LENGTH).collect();
    if characters.next().is_some() {
        clean.push_str(" … (cut off)");
    }
    clean
}

/// Control characters (escape sequences begin with one), and those that turn the direction of text or are invisible.
fn is_dangerous(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn heard(name: Option<&str>, text: Option<&str>) -> Heard {
        Heard { name: name.map(str::to_owned), text: text.map(str::to_owned) }
    }

    #[test]
    fn a_line_survives_the_wire() {
        let bytes = encode("ann", Some("hello \"world\"")).unwrap();
        assert_eq!(decode(&bytes), heard(Some("ann"), Some("hello \"world\"")));
        assert_eq!(encode("ann", None).unwrap(), br#"{"name":"ann"}"#);
        assert_eq!(decode(br#"{"name":"ann"}"#), heard(Some("ann"), None));
    }

    #[test]
    fn what_is_not_of_our_form_is_shown_as_it_is() {
        assert_eq!(decode(b"from a pipe\n"), heard(None, Some("from a pipe")));
        assert_eq!(decode(br#"{"text":1}"#), heard(None, Some(r#"{"text":1}"#)));
        assert_eq!(decode(&[0xff, b'a']), heard(None, Some("\u{fffd}a")));
    }

    #[test]
    fn nothing_that_steers_a_terminal_gets_through() {
        let attack = "\x1b]0;title\x07\x1b[2J\u{9b}31m\r\n<root> hi\u{202e}\u{0}\u{7f}";
        for bytes in [attack.as_bytes().to_vec(), encode(attack, Some(attack)).unwrap()] {
            let Heard { name, text } = decode(&bytes);
            for shown in [name, text].into_iter().flatten() {
                assert!(!shown.chars().any(|c| is_dangerous(c) || c.is_control()), "{shown:?}");
            }
        }
    }

    #[test]
    fn names_and_texts_are_bounded() {
        let long = "ä".repeat(100_000);
        let Heard { name, text } = decode(&encode(&long, Some(&long)).unwrap());
        assert_eq!(name.unwrap().chars().count(), NAME_LENGTH);
        assert!(text.unwrap().chars().count() < TEXT_LENGTH + 20);
        assert!(decode(long.as_bytes()).text.unwrap().chars().count() < TEXT_LENGTH + 20);
    }
}
