//! Texts of others, made safe to show.
//!
//! A terminal obeys the characters that it is sent: they move the cursor, change what was printed
//! before, or set the title of the window. A text that came over the network is shown only as
//! [`printable`] returns it.

use std::borrow::Cow;

/// Returns the text as a single line that controls no terminal and imitates no other text: line
/// breaks and tabs become spaces, and `U+FFFD` stands for every other control character and for
/// characters that are invisible or change the direction of text.
///
/// The texts of this library's errors and events are made so already. Use it to show what others
/// have written, such as a message.
///
/// ```
/// use smokesignal::printable;
///
/// assert_eq!(printable("naïve 👍"), "naïve 👍");
/// assert_eq!(printable("\x1b[2Jgone\r\nsmokesignal: fine"), "\u{fffd}[2Jgone  smokesignal: fine");
/// ```
pub fn printable(text: &str) -> Cow<'_, str> {
    let shown = |c: char| match c {
        '\n' | '\r' | '\t' => ' ',
        c if is_dangerous(c) => char::REPLACEMENT_CHARACTER,
        c => c,
    };
    if text.chars().any(|c| shown(c) != c) { text.chars().map(shown).collect() } else { text.into() }
}

/// Returns whether this is a control character (every escape sequence begins with one), is
/// invisible, or changes the direction of text.
fn is_dangerous(c: char) -> bool {
    // In this order: soft hyphen, Arabic letter mark, Mongolian vowel separator, zero-width spaces
    // and direction marks, separators of lines and embedded directions, invisible operators and
    // isolated directions, byte order mark, interlinear annotations, tags.
    c.is_control()
        || matches!(c, '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_controls_a_terminal_is_left() {
        let all: String = (0..=0x000e_007f).filter_map(char::from_u32).collect();
        let shown = printable(&all);
        assert_eq!(shown.chars().count(), all.chars().count());
        assert!(!shown.chars().any(is_dangerous));
        for dangerous in ["\x1b", "\x07", "\x7f", "\u{9b}", "\u{202e}", "\u{2066}"] {
            assert_eq!(printable(dangerous), "\u{fffd}", "{dangerous:?}");
        }
    }

    #[test]
    fn what_is_harmless_is_left_as_it_is() {
        assert!(matches!(printable("übel, 你好, \u{1f44d}"), Cow::Borrowed(_)));
    }
}
