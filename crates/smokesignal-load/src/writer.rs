//! Writes messages through a window or at a fixed rate.
//!
//! Each writer is a task that ends at a given time. With a window, it sends until that many
//! messages are under way and then waits for its slowest reader. With a rate, it sends each message
//! at its due time, or immediately if that time has passed.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep_until, timeout};

use crate::message::{Header, clock};
use crate::pace::Pace;
use crate::progress::Progress;
use crate::{Error, Writer};

/// A reader that makes no progress for this long while the window is full has lost those messages;
/// the writer goes on without it. A guess.
const LOST_AFTER: Duration = Duration::from_secs(2);
/// Messages that share one look at the clock when the writer has a window. A guess: few enough to
/// be written within microseconds of each other.
const SAME_DUE_TIME: u64 = 16;

/// The task of one writer.
pub(crate) struct WriterTask<W> {
    /// The writing side of this writer's node.
    pub(crate) writer: W,
    /// The number of this writer.
    pub(crate) number: usize,
    /// The number of all writers.
    pub(crate) writers: usize,
    /// A message of the wanted size; a header overwrites its first bytes.
    pub(crate) filler: Vec<u8>,
    /// Writing ends at this time.
    pub(crate) until: Instant,
    /// How far the readers are.
    pub(crate) progress: Arc<Progress>,
    /// Messages written so far.
    pub(crate) sent: u64,
}

impl<W: Writer> WriterTask<W> {
    /// Writes until the end, and returns the number of messages written.
    pub(crate) async fn run(mut self, pace: Pace) -> Result<u64, Error> {
        match pace {
            Pace::Window(window) => self.write_through_window(window).await?,
            Pace::Rate(rate) => self.write_at_rate(rate).await?,
        }
        Ok(self.sent)
    }

    async fn write_through_window(&mut self, window: u64) -> Result<(), Error> {
        let mut limit = window;
        while Instant::now() < self.until {
            if self.sent >= limit {
                limit = self.wait_for_room(window).await;
            }
            let due = clock();
            for _ in 0..(limit - self.sent).min(SAME_DUE_TIME) {
                self.send(due).await?;
            }
        }
        Ok(())
    }

    /// Waits until the slowest reader leaves room in the window, and returns the number of messages
    /// up to which this writer may write then.
    async fn wait_for_room(&mut self, window: u64) -> u64 {
        loop {
            let step = self.progress.next_step(self.number);
            let limit = self.progress.slowest(self.number).saturating_add(window);
            if limit > self.sent {
                return limit;
            }
            if timeout(LOST_AFTER, step).await.is_err() {
                return self.sent + window;
            }
        }
    }

    async fn write_at_rate(&mut self, rate: f64) -> Result<(), Error> {
        let interval = self.writers as f64 / rate;
        // The writers take turns.
        let turn = interval * self.number as f64 / self.writers as f64;
        let begin = Instant::now() + Duration::from_secs_f64(turn);
        let (clock_now, now) = (clock(), Instant::now());
        let begin_clock = clock_now as f64 + (begin - now).as_nanos() as f64;
        loop {
            let after = Duration::from_secs_f64(interval * self.sent as f64);
            let at = begin + after;
            if at >= self.until {
                return Ok(());
            }
            // A writer that the system held up is late, and its message was due at the planned
            // time. A timer that wakes late is not the system's fault, so the message is due when
            // it wakes.
            let due = if Instant::now() > at {
                (begin_clock + after.as_nanos() as f64) as u64
            } else {
                sleep_until(at).await;
                clock()
            };
            self.send(due).await?;
        }
    }

    async fn send(&mut self, due: u64) -> Result<(), Error> {
        let header = Header { due, seq: self.sent, writer: self.number as u32, probe: false };
        self.writer.send(header.message(&self.filler)).await?;
        self.sent += 1;
        Ok(())
    }
}
