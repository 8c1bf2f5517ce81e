//! The messages of chat: `{"name":"ann","text":"hello"}`, to everyone or to one node.
//!
//! A message without `text` only introduces its sender; it is sent to each new neighbour. Any other
//! message, for example one from `pipe`, is shown as text without a name.
//!
//! All messages come from strangers, so decoding removes every character that could control the
//! terminal or imitate other text, and cuts names and texts to a bounded length.

use serde::{Deserialize, Serialize};
use smokesignal::printable;

/// The longest name, in characters; the rest is cut off. A guess.
pub(super) const NAME_LENGTH: usize = 32;
/// The longest text, in characters; the rest is cut off. A guess.
const TEXT_LENGTH: usize = 4096;

/// A message as it travels.
#[derive(Debug, Serialize, Deserialize)]
struct Wire {
    name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    text: Option<String>,
}

/// A message that has arrived, safe to print on a terminal.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Received {
    /// The sender's name; `None` if there is none, or none of its characters can be shown.
    pub(super) name: Option<String>,
    /// The text; `None` if the message only introduces its sender.
    pub(super) text: Option<String>,
}

/// Encodes a text, or without a text only the name.
pub(super) fn encode(name: &str, text: Option<&str>) -> Result<Vec<u8>, serde_json::Error> {
    serde_json::to_vec(&Wire { name: name.to_owned(), text: text.map(str::to_owned) })
}

/// Decodes a message. Bytes of any other form are a text without a name.
pub(super) fn decode(bytes: &[u8]) -> Received {
    match serde_json::from_slice(bytes) {
        Ok(Wire { name, text }) => {
            Received { name: clean_name(&name), text: text.as_deref().map(clean_text) }
        }
        Err(_) => {
            // A character has at most four bytes.
            let start = &bytes[..bytes.len().min(4 * (TEXT_LENGTH + 1))];
            let text = String::from_utf8_lossy(start);
            let text = text.strip_suffix('\n').unwrap_or(&text);
            Received { name: None, text: Some(clean_text(text)) }
        }
    }
}

/// Returns the name without white space, control characters and invisible characters, cut to
/// [`NAME_LENGTH`]. Returns `None` if nothing is left.
pub(super) fn clean_name(name: &str) -> Option<String> {
    let shown = |c: &char| !c.is_whitespace() && *c != char::REPLACEMENT_CHARACTER;
    let name: String = printable(name).chars().filter(shown).take(NAME_LENGTH).collect();
    (!name.is_empty()).then_some(name)
}

/// Returns the text as a single line without dangerous characters, cut to [`TEXT_LENGTH`].
pub(super) fn clean_text(text: &str) -> String {
    let mut characters = text.chars();
    let clean: String = characters.by_ref().take(TEXT_LENGTH).collect();
    let mut clean = printable(&clean).into_owned();
    if characters.next().is_some() {
        clean.push_str(" … (cut off)");
    }
    clean
}

#[cfg(test)]
mod tests {
    use super::*;

    fn received(name: Option<&str>, text: Option<&str>) -> Received {
        Received { name: name.map(str::to_owned), text: text.map(str::to_owned) }
    }

    #[test]
    fn a_message_is_decoded_as_it_was_encoded() {
        let bytes = encode("ann", Some("hello \"world\"")).unwrap();
        assert_eq!(decode(&bytes), received(Some("ann"), Some("hello \"world\"")));
        assert_eq!(encode("ann", None).unwrap(), br#"{"name":"ann"}"#);
        assert_eq!(decode(br#"{"name":"ann"}"#), received(Some("ann"), None));
    }

    #[test]
    fn a_message_of_another_form_is_shown_as_text() {
        assert_eq!(decode(b"from a pipe\n"), received(None, Some("from a pipe")));
        assert_eq!(decode(br#"{"text":1}"#), received(None, Some(r#"{"text":1}"#)));
        assert_eq!(decode(&[0xff, b'a']), received(None, Some("\u{fffd}a")));
    }

    #[test]
    fn characters_that_control_a_terminal_are_removed() {
        let attack = "\x1b]0;title\x07\x1b[2J\u{9b}31m\r\n<root> hi\u{202e}\u{0}\u{7f}";
        for bytes in [attack.as_bytes().to_vec(), encode(attack, Some(attack)).unwrap()] {
            let Received { name, text } = decode(&bytes);
            for shown in [name, text].into_iter().flatten() {
                assert_eq!(shown, printable(&shown));
            }
        }
    }

    #[test]
    fn long_names_and_texts_are_cut() {
        let long = "ä".repeat(100_000);
        let Received { name, text } = decode(&encode(&long, Some(&long)).unwrap());
        assert_eq!(name.unwrap().chars().count(), NAME_LENGTH);
        assert!(text.unwrap().chars().count() < TEXT_LENGTH + 20);
        assert!(decode(long.as_bytes()).text.unwrap().chars().count() < TEXT_LENGTH + 20);
    }
}
