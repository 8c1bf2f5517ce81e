//! JSON that controls no terminal: somebody looks at the lines of `run --json` there.

use smokesignal::printable;

/// Returns the JSON with escapes for all characters that control a terminal, are invisible or
/// change the direction of text ([`printable`] has the list). Such characters stand in strings
/// only, so what a program reads remains the same.
pub(super) fn escaped(json: String) -> String {
    // JSON has no unescaped control character below DEL.
    if json.bytes().all(|byte| byte < 0x7f) {
        return json;
    }
    let mut escaped = String::with_capacity(json.len());
    for c in json.chars() {
        if c >= '\x7f' && !is_printable(c) {
            for unit in c.encode_utf16(&mut [0; 2]) {
                escaped += &format!("\\u{unit:04x}");
            }
        } else {
            escaped.push(c);
        }
    }
    escaped
}

fn is_printable(c: char) -> bool {
    let mut bytes = [0; 4];
    let text: &str = c.encode_utf8(&mut bytes);
    printable(text) == text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_controls_a_terminal_is_escaped_and_reads_as_before() {
        let all: String = (0..=0x0010_ffff).filter_map(char::from_u32).collect();
        let line = escaped(serde_json::to_string(&all).unwrap());
        assert_eq!(serde_json::from_str::<String>(&line).unwrap(), all);
        // U+FFFD itself is harmless.
        assert_eq!(printable(&line), line);
    }

    #[test]
    fn text_is_left_as_it_is() {
        for text in ["hello", "grüß, 你好, \u{1f44d}"] {
            let json = serde_json::to_string(text).unwrap();
            assert_eq!(escaped(json.clone()), json);
        }
        assert_eq!(escaped("\"\x7f\u{202e}\u{e0001}\"".into()), r#""\u007f\u202e\udb40\udc01""#);
    }
}
