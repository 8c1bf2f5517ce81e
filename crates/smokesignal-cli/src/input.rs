//! Reads stdin in a thread of its own, because a read that never returns must not delay the end of
//! the process.
//!
//! The thread hands on what it reads through a short channel. While the channel is full, the thread
//! does not read, the pipe behind stdin fills up, and the program that writes to it waits: this is
//! how the back-pressure of the network reaches that program.

use std::io::{self, ErrorKind, Read as _};
use std::thread;

use tokio::sync::mpsc::{Receiver, Sender, channel};

use crate::lines::{Line, LineReader};

/// Batches of lines, or chunks of bytes, that may wait to be handled; then the thread stops
/// reading. A guess.
const WAITING: usize = 2;
/// The longest chunk of bytes: 64 KiB, the longest segment on the wire.
const CHUNK: usize = 64 << 10;

/// Starts to read stdin as lines of at most `limit` bytes. The channel closes at the end of stdin
/// or after an error.
pub(crate) fn lines(limit: usize) -> Receiver<io::Result<Vec<Line>>> {
    let mut reader = LineReader::new(io::stdin(), limit);
    read_in_thread(move || reader.next_batch())
}

/// Starts to read stdin as chunks of bytes, as they arrive. The channel closes at the end of stdin
/// or after an error.
pub(crate) fn chunks() -> Receiver<io::Result<Vec<u8>>> {
    let mut buffer = vec![0; CHUNK];
    read_in_thread(move || {
        loop {
            match io::stdin().read(&mut buffer) {
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
                Ok(0) => return Ok(None),
                Ok(size) => return Ok(Some(buffer[..size].to_vec())),
            }
        }
    })
}

/// Starts a thread that calls `next` until it returns `None` or an error.
///
/// The thread cannot be stopped while it reads. It is left behind when the process exits.
fn read_in_thread<T: Send + 'static>(
    mut next: impl FnMut() -> io::Result<Option<T>> + Send + 'static,
) -> Receiver<io::Result<T>> {
    let (sender, receiver): (Sender<io::Result<T>>, _) = channel(WAITING);
    thread::spawn(move || {
        while let Some(item) = next().transpose() {
            let failed = item.is_err();
            let receiver_gone = sender.blocking_send(item).is_err();
            if failed || receiver_gone {
                return;
            }
        }
    });
    receiver
}
