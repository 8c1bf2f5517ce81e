//! Splits bytes into lines of bounded length. A longer line is skipped without being kept in
//! memory.
//!
//! Lines are returned in batches, because handing each short line to another task on its own would
//! cost more than reading it.

use std::io::{self, BufRead as _, BufReader, ErrorKind, Read};

/// Bytes read with one system call. A guess.
const BUFFER: usize = 64 << 10;
/// Bytes kept of a line that is too long, so that an error can quote them. A guess.
const KEPT: usize = 128;

/// A line without its `\n`; a `\r` before it stays. Lines are numbered from 1.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Line {
    /// A line of allowed length.
    Whole { number: u64, bytes: Vec<u8> },
    /// A line above the limit, of which only the start is kept.
    TooLong { number: u64, start: Vec<u8> },
}

/// Reads lines. The last one need not end with `\n`.
#[derive(Debug)]
pub(crate) struct LineReader<R> {
    reader: BufReader<R>,
    /// The longest line, in bytes.
    limit: usize,
    /// The number of the last line returned.
    number: u64,
}

impl<R: Read> LineReader<R> {
    /// Creates a reader to which lines of more than `limit` bytes are too long.
    pub(crate) fn new(reader: R, limit: usize) -> Self {
        Self { reader: BufReader::with_capacity(BUFFER, reader), limit, number: 0 }
    }

    /// Returns the next line and all complete lines that were read together with it. Returns `None`
    /// at the end.
    pub(crate) fn next_batch(&mut self) -> io::Result<Option<Vec<Line>>> {
        let Some(first) = self.next()? else { return Ok(None) };
        let mut batch = vec![first];
        // The buffer holds another complete line, so `next` does not have to read, and cannot
        // block.
        while self.reader.buffer().contains(&b'\n') {
            batch.extend(self.next()?);
        }
        Ok(Some(batch))
    }

    /// Returns the next line, or `None` at the end of the input.
    ///
    /// Takes the line from the buffer part by part, because a line may be longer than the buffer.
    /// Once the line is too long, further parts are dropped.
    fn next(&mut self) -> io::Result<Option<Line>> {
        let mut bytes = Vec::new();
        let (mut started, mut too_long) = (false, false);
        loop {
            let buffer = match self.reader.fill_buf() {
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                buffer => buffer?,
            };
            if buffer.is_empty() {
                break;
            }
            started = true;
            let newline = buffer.iter().position(|byte| *byte == b'\n');
            let part = &buffer[..newline.unwrap_or(buffer.len())];
            if !too_long && bytes.len() + part.len() > self.limit {
                too_long = true;
                bytes.extend_from_slice(&part[..part.len().min(KEPT)]);
                bytes.truncate(KEPT);
                bytes.shrink_to_fit();
            } else if !too_long {
                bytes.extend_from_slice(part);
            }
            let used = part.len() + usize::from(newline.is_some());
            self.reader.consume(used);
            if newline.is_some() {
                break;
            }
        }
        if !started {
            return Ok(None);
        }
        self.number += 1;
        let number = self.number;
        Ok(Some(if too_long {
            Line::TooLong { number, start: bytes }
        } else {
            Line::Whole { number, bytes }
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(text: &[u8], limit: usize) -> Vec<Line> {
        let mut reader = LineReader::new(text, limit);
        let mut lines = Vec::new();
        while let Some(batch) = reader.next_batch().unwrap() {
            lines.extend(batch);
        }
        lines
    }

    fn whole(number: u64, text: &str) -> Line {
        Line::Whole { number, bytes: text.into() }
    }

    #[test]
    fn a_line_ends_with_its_newline_or_with_the_input() {
        assert_eq!(all(b"a\n\nb\r\nc", 10), [whole(1, "a"), whole(2, ""), whole(3, "b\r"), whole(4, "c")]);
        assert_eq!(all(b"", 10), []);
        assert_eq!(all(b"\n", 10), [whole(1, "")]);
    }

    #[test]
    fn a_line_at_the_limit_is_whole_and_one_byte_more_is_skipped() {
        let lines = all(b"1234\n12345\nok\n", 4);
        let too_long = Line::TooLong { number: 2, start: b"12345".to_vec() };
        assert_eq!(lines, [whole(1, "1234"), too_long, whole(3, "ok")]);
    }

    #[test]
    fn only_the_start_of_a_huge_line_is_kept() {
        let mut text = vec![b'x'; 300_000];
        text.extend_from_slice(b"\nnext");
        let lines = all(&text, 100_000);
        assert_eq!(lines, [Line::TooLong { number: 1, start: vec![b'x'; KEPT] }, whole(2, "next")]);
    }
}
