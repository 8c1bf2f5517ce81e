//! Writes to stdout in a thread of its own, so that a slow reader of stdout never blocks the event
//! loop.
//!
//! Tasks queue whole pieces. The thread writes all waiting pieces together, and flushes its buffer
//! whenever the queue is empty.
//!
//! Rust programs ignore SIGPIPE, so a write to a closed stdout fails instead of ending the process.
//! That is a normal end (`| head` has read enough): [`Output::closed`] resolves, and the command
//! leaves the network and exits with 0. A second thread watches stdout, because a command that has
//! nothing to write would not notice otherwise. Any other error, such as a full disk, is a failure.

use std::io::{self, BufWriter, ErrorKind, Write};
use std::thread;

use tokio::sync::{oneshot, watch};

use crate::outcome::Failure;
use crate::queue::{self, Receiver, Sender};

/// Bytes that may wait for the reader of stdout; then writing tasks wait. A guess.
const WAITING: usize = 8 << 20;
/// The most bytes written with one system call, unless a single piece is longer. A guess.
const BUFFER: usize = 64 << 10;

/// A handle to stdout or another writer. Clones write to the same place.
#[derive(Debug, Clone)]
pub(crate) struct Output {
    queue: Sender<Item>,
    end: watch::Receiver<End>,
}

/// An item of the queue.
#[derive(Debug)]
enum Item {
    /// A piece to write.
    Bytes(Vec<u8>),
    /// A request to report when everything queued before it has been written.
    Flush(oneshot::Sender<()>),
}

/// Whether and how writing has ended.
#[derive(Debug, Clone, PartialEq, Eq)]
enum End {
    NotYet,
    /// The reader has closed its end. This is not an error: it has read enough.
    Closed,
    /// Writing has failed.
    Failed(String),
}

impl Output {
    /// Opens stdout, and watches for the end of its reader.
    pub(crate) fn stdout() -> Self {
        let (output, report) = Self::start(io::stdout());
        thread::spawn(move || watch_reader(&report));
        output
    }

    /// Opens another place to write to.
    pub(crate) fn to(place: impl Write + Send + 'static) -> Self {
        Self::start(place).0
    }

    /// Starts the writing thread. Returns also the place to which another thread may report the
    /// end.
    fn start(place: impl Write + Send + 'static) -> (Self, watch::Sender<End>) {
        let (sender, receiver) = queue::queue(WAITING);
        let (report, end) = watch::channel(End::NotYet);
        let own_report = report.clone();
        thread::spawn(move || write_all(receiver, BufWriter::with_capacity(BUFFER, place), &own_report));
        (Self { queue: sender, end }, report)
    }

    /// Queues a piece. Waits while the reader of stdout is slow.
    pub(crate) async fn write(&self, bytes: Vec<u8>) {
        let size = bytes.len();
        // Cannot fail: the thread ends only with the last sender. `closed` reports a failed write.
        let _cannot_fail = self.queue.send(Item::Bytes(bytes), size).await;
    }

    /// Resolves when every queued piece has been written, or has failed to be.
    pub(crate) async fn flush(&self) {
        let (done, wait) = oneshot::channel();
        if self.queue.send(Item::Flush(done), 0).await.is_ok() {
            let _done = wait.await;
        }
    }

    /// Returns whether the reader has closed its end.
    pub(crate) fn is_closed(&self) -> bool {
        *self.end.borrow() == End::Closed
    }

    /// Resolves when nothing can be written any more: with `Ok` if the reader has closed its end.
    pub(crate) async fn closed(&self) -> Result<(), Failure> {
        let mut end = self.end.clone();
        match end.wait_for(|end| *end != End::NotYet).await.as_deref() {
            Ok(End::Failed(text)) => Err(Failure::Failed(format!("cannot write to stdout: {text}"))),
            _ => Ok(()),
        }
    }
}

/// Writes all items. Runs in the writing thread until the last [`Output`] is dropped.
fn write_all(mut pieces: Receiver<Item>, mut place: impl Write, report: &watch::Sender<End>) {
    while let Some(first) = pieces.blocking_recv() {
        // Writes everything that is queued before it flushes: under load that saves system calls,
        // and otherwise nothing is delayed.
        let mut next = Some(first);
        while let Some(piece) = next {
            match piece.item {
                Item::Bytes(bytes) => report_error(place.write_all(&bytes), report),
                Item::Flush(done) => {
                    report_error(place.flush(), report);
                    // Fails if the caller has stopped waiting.
                    let _nobody_waits = done.send(());
                }
            }
            next = pieces.try_recv();
        }
        report_error(place.flush(), report);
    }
}

/// Reports the first error. The thread goes on after it, so that no task waits for it forever.
fn report_error(result: io::Result<()>, report: &watch::Sender<End>) {
    let Err(error) = result else { return };
    let end = match error.kind() {
        ErrorKind::BrokenPipe => End::Closed,
        _ => End::Failed(error.to_string()),
    };
    // Only the first error counts; later ones follow from it.
    report.send_if_modified(|now| {
        let first = *now == End::NotYet;
        if first {
            *now = end;
        }
        first
    });
}

/// Reports when the reader closes its end of stdout, also while nothing is written.
#[cfg(unix)]
fn watch_reader(report: &watch::Sender<End>) {
    use std::os::fd::AsFd as _;

    use nix::errno::Errno;
    use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

    let stdout = io::stdout();
    // No flags are needed for errors and hang-ups. Files never report any.
    let mut watched = [PollFd::new(stdout.as_fd(), PollFlags::empty())];
    loop {
        match poll(&mut watched, PollTimeout::NONE) {
            Err(Errno::EINTR) => {}
            // The next write notices instead.
            Err(_) => return,
            Ok(_) => {
                let gone = PollFlags::POLLERR | PollFlags::POLLHUP;
                if watched[0].revents().is_some_and(|now| now.intersects(gone)) {
                    report_error(Err(ErrorKind::BrokenPipe.into()), report);
                }
                return;
            }
        }
    }
}

/// Does nothing: on other systems the next write notices.
#[cfg(not(unix))]
fn watch_reader(_report: &watch::Sender<End>) {}

/// Prints a text to stdout, for commands that do nothing else, so it may block. A closed stdout is
/// not an error.
pub(crate) fn print(text: &str) -> Result<(), Failure> {
    let mut stdout = io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            Err(Failure::Failed(format!("cannot write to stdout: {error}")))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Clone, Default)]
    struct Shared(Arc<Mutex<Vec<u8>>>);

    impl Write for Shared {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    struct Broken;

    impl Write for Broken {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(ErrorKind::BrokenPipe.into())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[tokio::test]
    async fn pieces_are_written_in_order_before_flush_resolves() {
        let place = Shared::default();
        let output = Output::to(place.clone());
        for n in 0..100 {
            output.write(format!("{n} ").into_bytes()).await;
        }
        output.flush().await;
        let expected: String = (0..100).map(|n| format!("{n} ")).collect();
        assert_eq!(place.0.lock().unwrap().as_slice(), expected.as_bytes());
    }

    #[tokio::test]
    async fn a_closed_stdout_is_not_a_failure() {
        let output = Output::to(Broken);
        output.write(b"nobody reads this".to_vec()).await;
        assert_eq!(output.closed().await, Ok(()));
        output.write(b"nor this".to_vec()).await;
        output.flush().await;
    }
}
