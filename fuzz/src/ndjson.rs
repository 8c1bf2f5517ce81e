#[path = "../../crates/smokesignal-cli/src/lines.rs"]
mod lines;
#[path = "../../crates/smokesignal-cli/src/run/parse.rs"]
mod parse;

use self::lines::{Line, LineReader};
use self::parse::{Command, quote};
use crate::input::Input;

/// The longest message, for the test: longer payloads are for the node to refuse.
const SHORT_LINE: usize = 64;
/// Characters that an error may quote, and the mark behind them.
const QUOTED: usize = 80 + 1;

/// Splits the input into lines and parses each. The first byte says whether short lines are too
/// long already.
pub fn run(input: &[u8]) {
    let mut input = Input::new(input);
    let limit = if input.byte() & 1 == 1 { SHORT_LINE } else { usize::MAX };
    let mut reader = LineReader::new(input.rest(), limit);
    let mut last = 0;
    while let Some(batch) = reader.next_batch().expect("reading from memory does not fail") {
        assert!(!batch.is_empty());
        for line in batch {
            let (Line::Whole { number, bytes } | Line::TooLong { number, start: bytes }) = &line;
            last += 1;
            assert_eq!(*number, last, "lines are numbered from 1");
            assert!(!bytes.contains(&b'\n'));
            assert!(quote(bytes).chars().count() <= QUOTED);
            if let Line::Whole { bytes, .. } = line {
                assert!(bytes.len() <= limit);
                parse(&bytes);
            }
        }
    }
}

fn parse(line: &[u8]) {
    let (request, command) = Command::parse_line(line);
    if let Some(request) = request {
        let text = serde_json::to_string(&request).expect("a request is valid JSON");
        let line = std::str::from_utf8(line).expect("a line with a request is UTF-8");
        assert!(line.contains(&text), "{text} is not in {line}");
    }
    match command {
        Ok(Command::AddPeer { address }) => assert!(address.contains(':'), "{address}"),
        Ok(_) => {}
        Err(error) => assert!(!error.is_empty() && error.len() < 4096, "{error}"),
    }
}
