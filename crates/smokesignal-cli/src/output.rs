//! stdout: one thread writes, everybody else hands over whole pieces.
//!
//! Pieces that wait are written together; the buffer is flushed whenever no more of them is ready.

use std::io::{self, BufWriter, ErrorKind, Write};
use std::thread;

use tokio::sync::{oneshot, watch};

use crate::outcome::Failure;
use crate::queue::{self, Receiver, Sender};

/// Bytes that may wait for the reader of our stdout. Then whoever writes waits. A guess.
const WAITING: usize = 8 << 20;
/// Bytes written with one system call at most, unless one piece is longer. A guess.
const BUFFER: usize = 64 << 10;

/// Takes what goes to stdout. Clones write to the same place.
#[derive(Debug, Clone)]
pub(crate) struct Output {
    queue: Sender<Piece>,
    end: watch::Receiver<End>,
}

#[derive(Debug)]
enum Piece {
    Bytes(Vec<u8>),
    Flush(oneshot::Sender<()>),
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum End {
    NotYet,
    /// The reader has gone: no error, nobody wants more.
    Closed,
    Failed(String),
}

impl Output {
    /// Our stdout. Notices early if its reader goes.
    pub(crate) fn stdout() -> Self {
        let (output, report) = Self::start(io::stdout());
        thread::spawn(move || watch_reader(&report));
        output
    }

    /// Another place to write to.
    pub(crate) fn to(place: impl Write + Send + 'static) -> Self {
        Self::start(place).0
    }

    fn start(place: impl Write + Send + 'static) -> (Self, watch::Sender<End>) {
        let (sender, receiver) = queue::queue(WAITING);
        let (report, end) = watch::channel(End::NotYet);
        let own_report = report.clone();
        thread::spawn(move || write_all(receiver, BufWriter::with_capacity(BUFFER, place), &own_report));
        (Self { queue: sender, end }, report)
    }

    /// Hands one piece over; waits while the reader of stdout is slow.
    pub(crate) async fn write(&self, bytes: Vec<u8>) {
        let size = bytes.len();
        // The writing thread ends only with the last sender, and `closed` tells when its work is in vain.
        let _ends_with_us = self.queue.send(Piece::Bytes(bytes), size).await;
    }

    /// Resolves when all that was handed over is written (or cannot be any more).
    pub(crate) async fn flush(&self) {
        let (done, wait) = oneshot::channel();
        if self.queue.send(Piece::Flush(done), 0).await.is_ok() {
            let _gone_is_as_good_as_done = wait.await;
        }
    }

    /// Resolves when nothing can be written any more: `Ok` if the reader has gone.
    pub(crate) async fn closed(&self) -> Result<(), Failure> {
        let mut end = self.end.clone();
        match end.wait_for(|end| *end != End::NotYet).await.as_deref() {
            Ok(End::Failed(text)) => Err(Failure::Failed(format!("cannot write to stdout: {text}"))),
            _ => Ok(()),
        }
    }
}

fn write_all(mut pieces: Receiver<Piece>, mut place: impl Write, report: &watch::Sender<End>) {
    while let Some(first) = pieces.blocking_recv() {
        let mut next = Some(first);
        while let Some(piece) = next {
            match piece.item {
                Piece::Bytes(bytes) => note(place.write_all(&bytes), report),
                Piece::Flush(done) => {
                    note(place.flush(), report);
                    // Who asked may have stopped waiting.
                    let _nobody_waits = done.send(());
                }
            }
            next = pieces.try_recv();
        }
        note(place.flush(), report);
    }
}

/// After an error the thread goes on, so that nobody waits for it for ever.
fn note(result: io::Result<()>, report: &watch::Sender<End>) {
    let Err(error) = result else { return };
    let end = match error.kind() {
        ErrorKind::BrokenPipe => End::Closed,
        _ => End::Failed(error.to_string()),
    };
    report.send_if_modified(|now| {
        let first = *now == End::NotYet;
        if first {
            *now = end;
        }
        first
    });
}

/// Says so as soon as the reader of stdout has gone, also if we have nothing to write.
#[cfg(unix)]
fn watch_reader(report: &watch::Sender<End>) {
    use std::os::fd::AsFd as _;

    use nix::errno::Errno;
    use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

    let stdout = io::stdout();
    // No flags: errors and hang-ups are told all the same, and files never have any.
    let mut watched = [PollFd::new(stdout.as_fd(), PollFlags::empty())];
    loop {
        match poll(&mut watched, PollTimeout::NONE) {
            Err(Errno::EINTR) => {}
            // Then the next write tells.
            Err(_) => return,
            Ok(_) => {
                let gone = PollFlags::POLLERR | PollFlags::POLLHUP;
                if watched[0].revents().is_some_and(|now| now.intersects(gone)) {
                    note(Err(ErrorKind::BrokenPipe.into()), report);
                }
                return;
            }
        }
    }
}

/// Elsewhere the next write tells.
#[cfg(not(unix))]
fn watch_reader(_report: &watch::Sender<End>) {}

/// For commands that only print: the text to stdout, and a closed stdout is no error.
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
    async fn pieces_arrive_in_order_and_flush_waits_for_them() {
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
    async fn a_reader_that_goes_is_no_failure() {
        let output = Output::to(Broken);
        output.write(b"nobody reads this".to_vec()).await;
        assert_eq!(output.closed().await, Ok(()));
        output.write(b"nor this".to_vec()).await;
        output.flush().await;
    }
}
