//! stdin and stdout on threads of their own: neither a silent stdin nor a slow reader of stdout holds up the node.

use std::io::{BufRead, BufReader, BufWriter, Read, Write};

use tokio::sync::mpsc;

/// Chunks or lines that wait between the threads and the node. Few: both ends have buffers of their own.
const QUEUE: usize = 64;
/// Bytes of one read of stdin at most.
const CHUNK: usize = 64 * 1024;

/// stdin in chunks as they come. Ends with the input; an error counts as its end and is said on stderr.
pub(crate) fn stdin_chunks() -> mpsc::Receiver<Vec<u8>> {
    let (sender, receiver) = mpsc::channel(QUEUE);
    std::thread::spawn(move || {
        let mut stdin = std::io::stdin().lock();
        let mut buffer = vec![0; CHUNK];
        loop {
            match stdin.read(&mut buffer) {
                Ok(0) => return,
                Ok(read) if sender.blocking_send(buffer[..read].to_vec()).is_err() => return,
                Ok(_) => {}
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) => return eprintln!("smokesignal: cannot read stdin: {error}"),
            }
        }
    });
    receiver
}

/// One line of stdin, without its newline.
pub(crate) enum Line {
    Text(Vec<u8>),
    /// It was longer than the limit and is skipped. So many bytes it had.
    TooLong(usize),
}

/// stdin line by line; a line above `limit` bytes is skipped without being kept.
pub(crate) fn stdin_lines(limit: usize) -> mpsc::Receiver<Line> {
    let (sender, receiver) = mpsc::channel(QUEUE);
    std::thread::spawn(move || {
        let mut stdin = BufReader::with_capacity(CHUNK, std::io::stdin().lock());
        loop {
            match read_line(&mut stdin, limit) {
                Ok(None) => return,
                Ok(Some(line)) => {
                    if sender.blocking_send(line).is_err() {
                        return;
                    }
                }
                Err(error) => return eprintln!("smokesignal: cannot read stdin: {error}"),
            }
        }
    });
    receiver
}

fn read_line(input: &mut impl BufRead, limit: usize) -> std::io::Result<Option<Line>> {
    let mut line = Vec::new();
    let read = input.by_ref().take(limit as u64 + 1).read_until(b'\n', &mut line)?;
    if read == 0 {
        return Ok(None);
    }
    if line.last() == Some(&b'\n') {
        line.pop();
        return Ok(Some(Line::Text(line)));
    }
    if read <= limit {
        return Ok(Some(Line::Text(line))); // The last one, without a newline.
    }
    drop(line);
    let mut length = read;
    loop {
        let buffer = input.fill_buf()?;
        let end = buffer.iter().position(|byte| *byte == b'\n');
        let used = end.map_or(buffer.len(), |end| end + 1);
        let done = end.is_some() || buffer.is_empty();
        input.consume(used);
        length += used;
        if done {
            return Ok(Some(Line::TooLong(length)));
        }
    }
}

/// stdout. What is sent while the thread writes goes out together.
#[derive(Debug, Clone)]
pub(crate) struct Stdout(mpsc::Sender<Vec<u8>>);

/// Resolves once all is written, or stdout is closed.
pub(crate) struct Written(std::thread::JoinHandle<()>);

impl Stdout {
    pub(crate) fn open() -> (Self, Written) {
        let (sender, receiver) = mpsc::channel(QUEUE);
        (Self(sender), Written(std::thread::spawn(move || write_all(receiver))))
    }

    /// False: nobody reads stdout any more.
    pub(crate) async fn write(&self, bytes: Vec<u8>) -> bool {
        self.0.send(bytes).await.is_ok()
    }

    /// Resolves when nobody reads stdout any more.
    pub(crate) async fn closed(&self) {
        self.0.closed().await;
    }
}

impl Written {
    pub(crate) async fn wait(self) {
        let joined = tokio::task::spawn_blocking(move || self.0.join()).await;
        if !matches!(joined, Ok(Ok(()))) {
            tracing::error!("the thread that writes stdout failed");
        }
    }
}

fn write_all(mut receiver: mpsc::Receiver<Vec<u8>>) {
    let mut stdout = BufWriter::with_capacity(CHUNK, std::io::stdout().lock());
    while let Some(bytes) = receiver.blocking_recv() {
        let mut written = stdout.write_all(&bytes);
        while let (Ok(()), Ok(bytes)) = (&written, receiver.try_recv()) {
            written = stdout.write_all(&bytes);
        }
        // A closed stdout (`| head`) is a way to say: enough.
        match written.and_then(|()| stdout.flush()) {
            Ok(()) => {}
            Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => return,
            Err(error) => return eprintln!("smokesignal: cannot write to stdout: {error}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_above_the_limit_are_skipped_and_the_next_ones_read() {
        let mut input = BufReader::with_capacity(4, &b"ok\n123456789\nfive5\n\nend"[..]);
        let mut lines = Vec::new();
        while let Some(line) = read_line(&mut input, 5).unwrap() {
            lines.push(match line {
                Line::Text(text) => String::from_utf8(text).unwrap(),
                Line::TooLong(length) => format!("too long: {length}"),
            });
        }
        assert_eq!(lines, ["ok", "too long: 10", "five5", "", "end"]);
    }
}
