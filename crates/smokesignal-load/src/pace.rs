//! How fast the writers write.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep_until, timeout};

use crate::message::{Header, clock};
use crate::sink::Board;
use crate::{Error, Writer};

/// How fast the writers write.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Pace {
    /// Each writer has so many messages under way at most: the next is written when the slowest reader has read the
    /// first of them.
    Window(u64),
    /// So many messages a second by all writers together, whatever becomes of them.
    Rate(f64),
}

/// A reader that has read nothing of a full window for this long has lost it: the writer goes on.
const LOST_AFTER: Duration = Duration::from_secs(2);

/// One writer at work until `until`. Tells how many messages it has written.
pub(crate) async fn write(
    mut writer: impl Writer,
    number: usize,
    writers: usize,
    filler: Vec<u8>,
    pace: Pace,
    until: Instant,
    board: Arc<Board>,
) -> Result<u64, Error> {
    let mut sent = 0;
    let header = |due, seq| Header { due, seq, writer: number as u32, probe: false };
    match pace {
        Pace::Window(window) => {
            let mut free_to = window;
            while Instant::now() < until {
                while sent >= free_to {
                    let more = board.writers[number].notified();
                    free_to = board.slowest(number).saturating_add(window);
                    if sent >= free_to && timeout(LOST_AFTER, more).await.is_err() {
                        free_to = sent + window;
                    }
                }
                // The clock is looked at once for a few messages, not for each.
                let due = clock();
                for _ in 0..(free_to - sent).min(16) {
                    writer.send(header(due, sent).message(&filler)).await?;
                    sent += 1;
                }
            }
        }
        Pace::Rate(rate) => {
            let interval = writers as f64 / rate;
            // The writers take turns.
            let begin = Instant::now() + Duration::from_secs_f64(interval * number as f64 / writers as f64);
            let (begin_clock, now) = (clock(), Instant::now());
            let origin = begin_clock as f64 + (begin - now).as_nanos() as f64;
            loop {
                let after = Duration::from_secs_f64(interval * sent as f64);
                let at = begin + after;
                if at >= until {
                    break;
                }
                // Who is late because the system held him up is late; a timer that wakes late is not the system's.
                let due = if Instant::now() > at {
                    (origin + after.as_nanos() as f64) as u64
                } else {
                    sleep_until(at).await;
                    clock()
                };
                writer.send(header(due, sent).message(&filler)).await?;
                sent += 1;
            }
        }
    }
    Ok(sent)
}
