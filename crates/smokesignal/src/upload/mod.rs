//! The upload limit: how fast all connections of a node together send.
//!
//! All of a node's connections share one [`UploadLimit`], a [token bucket](bucket) behind a lock.
//! What they want to send is of two kinds. Urgent are the small messages that keep links alive:
//! they leave immediately and put the bucket into debt, up to [`MOST_DEBT`]. Everything else goes
//! in pieces, and each piece waits for a [turn](Share::turn): the bucket is paid for, and no other
//! connection that waits is further behind.
//!
//! That order is start-time fair queueing (Goyal, Vin and Cheng, 1996): a connection's tag is the
//! number of bytes that it has sent, a connection that was idle catches up with the tag that was
//! served last, and the lowest tag is next. So connections that are busy get the same number of
//! bytes, and one that sends little hardly waits. All pieces of one batch of frames have the same
//! tag and follow each other, because the other side can read nothing of a frame before its end.
//!
//! Only the first connection in the queue runs a timer; it wakes the next one when it leaves, also
//! if its task is aborted. No lock is held across an `await`.

mod bucket;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

use self::bucket::Bucket;
use crate::lock::Lock;
use crate::transport::tls::keys::sealed_size;

/// What an idle node saves up. 100 ms: a timer is late by a few milliseconds, and on a busy machine
/// by some tens of them; without it that time would be lost.
const BURST: Duration = Duration::from_millis(100);
/// The debt from which on urgent messages wait, too. 500 ms: more than a busy node has, and so
/// little that the limit holds over seconds.
const MOST_DEBT: Duration = Duration::from_millis(500);
/// A piece is what leaves in this time, within the two bounds below.
const PIECE: Duration = Duration::from_millis(50);
/// The smallest piece. 2 KiB: TLS adds 1 % to it.
const PIECE_LEAST: usize = 2 * 1024;
/// The largest piece, as large as a segment: 64 KiB.
const PIECE_MOST: usize = 64 * 1024;
/// The lowest limit, in bytes per second, however long the ping timeout is. 16 000: sixteen times
/// what the upkeep of five idle links takes.
const LEAST: u64 = 16_000;
/// The largest frame. A limit is so high that a neighbour has it in half the ping timeout: until
/// then it hears nothing.
const LARGEST_FRAME: u64 = 64 * 1024;

/// Returns the lowest limit, in bytes per second, of a node with this ping timeout.
pub(crate) fn least(ping_timeout: Duration) -> u64 {
    let least = u128::from(2 * LARGEST_FRAME) * 1_000_000 / ping_timeout.as_micros().max(1);
    u64::try_from(least).unwrap_or(u64::MAX).max(LEAST)
}

/// The limit that all connections of a node share.
#[derive(Debug)]
pub(crate) struct UploadLimit {
    epoch: Instant,
    piece: usize,
    state: Lock<State>,
}

#[derive(Debug)]
struct State {
    bucket: Bucket,
    /// The connections that wait for their turn, with what wakes them: by tag and number.
    waiting: BTreeMap<(u64, u64), Arc<Notify>>,
    /// The tag that was served last.
    served: u64,
    /// The number of the latest connection.
    last: u64,
}

impl UploadLimit {
    /// Makes a limit of this many bytes per second.
    pub(crate) fn new(rate: u64) -> Arc<Self> {
        let piece = u128::from(rate) * PIECE.as_millis() / 1000;
        let piece = usize::try_from(piece).unwrap_or(PIECE_MOST).clamp(PIECE_LEAST, PIECE_MOST);
        let bucket = Bucket::new(rate, BURST, Duration::ZERO);
        let state = State { bucket, waiting: BTreeMap::new(), served: 0, last: 0 };
        Arc::new(Self { epoch: Instant::now(), piece, state: Lock::new(state) })
    }

    /// Returns the share of one more connection.
    pub(crate) fn share(self: &Arc<Self>) -> Share {
        let mut state = self.state.lock();
        state.last += 1;
        Share { limit: Arc::clone(self), number: state.last, tag: 0, wake: Arc::default() }
    }

    /// Pays for urgent bytes, if the debt is not too high. Returns whether they may leave.
    pub(crate) fn try_urgent(&self, bytes: usize) -> bool {
        self.urgent(bytes).is_none()
    }

    /// Pays for urgent bytes, or returns when to try again.
    fn urgent(&self, bytes: usize) -> Option<Instant> {
        let now = self.epoch.elapsed();
        let mut state = self.state.lock();
        let ready = state.bucket.ready_at();
        if ready > now + MOST_DEBT {
            return Some(self.epoch + (ready - MOST_DEBT));
        }
        state.bucket.take(sealed_size(bytes), now);
        None
    }
}

/// One connection's share of the limit.
#[derive(Debug)]
pub(crate) struct Share {
    limit: Arc<UploadLimit>,
    number: u64,
    /// The bytes that the connection has sent, and those that it has let pass.
    tag: u64,
    wake: Arc<Notify>,
}

/// The answer to a connection that wants its turn.
enum Answer {
    Now,
    At(Instant),
    NotFirst,
}

impl Share {
    /// Returns the largest number of bytes that leave in one turn.
    pub(crate) fn piece(&self) -> usize {
        self.limit.piece
    }

    /// Waits until urgent bytes may leave, and pays for them. Cancel safe.
    pub(crate) async fn urgent(&self, bytes: usize) {
        while let Some(at) = self.limit.urgent(bytes) {
            sleep_until(at).await;
        }
    }

    /// Waits for the connection's turn. `begins` says that it begins a batch of frames; further
    /// pieces of it go before the others. Cancel safe.
    pub(crate) async fn turn(&mut self, begins: bool) {
        let place = Place::new(self, begins);
        loop {
            match place.ask() {
                Answer::Now => return,
                Answer::At(at) => sleep_until(at).await,
                Answer::NotFirst => place.share.wake.notified().await,
            }
        }
    }

    /// Pays for the piece that leaves, after [`Self::turn`].
    pub(crate) fn pay(&self, bytes: usize) {
        let now = self.limit.epoch.elapsed();
        self.limit.state.lock().bucket.take(sealed_size(bytes), now);
    }

    /// Notes that a batch of this many bytes has ended: others that wait come first now.
    pub(crate) fn end_batch(&mut self, bytes: usize) {
        self.tag += sealed_size(bytes) as u64;
    }
}

/// A place in the queue. Leaving it wakes the next one.
struct Place<'a> {
    share: &'a Share,
    key: (u64, u64),
}

impl<'a> Place<'a> {
    fn new(share: &'a mut Share, begins: bool) -> Self {
        let mut state = share.limit.state.lock();
        if begins {
            share.tag = share.tag.max(state.served);
        }
        let key = (share.tag, share.number);
        state.waiting.insert(key, Arc::clone(&share.wake));
        drop(state);
        Self { share, key }
    }

    fn ask(&self) -> Answer {
        let limit = &self.share.limit;
        let now = limit.epoch.elapsed();
        let mut state = limit.state.lock();
        let is_first = state.waiting.keys().next() == Some(&self.key);
        match state.bucket.ready_at() {
            _ if !is_first => Answer::NotFirst,
            ready if ready > now => Answer::At(limit.epoch + ready),
            _ => {
                state.served = state.served.max(self.key.0);
                Answer::Now
            }
        }
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let mut state = self.share.limit.state.lock();
        state.waiting.remove(&self.key);
        if let Some(next) = state.waiting.values().next() {
            next.notify_one();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use tokio::time::{sleep, timeout};

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    /// Sends batches of this size in pieces without an end, and counts what was sent with the
    /// records.
    fn busy(limit: &Arc<UploadLimit>, batch: usize) -> Arc<AtomicUsize> {
        let (mut share, sent) = (limit.share(), Arc::new(AtomicUsize::new(0)));
        let count = Arc::clone(&sent);
        tokio::spawn(async move {
            loop {
                let mut left = batch;
                while left > 0 {
                    share.turn(left == batch).await;
                    let piece = share.piece().min(left);
                    share.pay(piece);
                    count.fetch_add(sealed_size(piece), Ordering::Relaxed);
                    left -= piece;
                }
                share.end_batch(batch);
            }
        });
        sent
    }

    #[tokio::test(start_paused = true)]
    async fn busy_connections_share_the_limit_evenly_whatever_the_size_of_their_batches() {
        for rate in [50_000, 500_000, 50_000_000] {
            let limit = UploadLimit::new(rate);
            let sent = [64 * 1024, 100, 3_000, 20_000].map(|batch| busy(&limit, batch));
            sleep(20 * SECOND).await;
            let sent = sent.map(|sent| sent.load(Ordering::Relaxed));
            let (sum, most) = (sent.iter().sum::<usize>(), 20 * rate as usize);
            assert!((most * 99 / 100..=most + PIECE_MOST).contains(&sum), "{sum} of {most}");
            for one in &sent {
                assert!(one.abs_diff(sum / 4) <= 2 * PIECE_MOST, "{sent:?} at {rate} bytes/s");
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn urgent_bytes_do_not_wait_and_others_pay_for_them() {
        let limit = UploadLimit::new(100_000);
        let sent = busy(&limit, 64 * 1024);
        let urgent = limit.share();
        for _ in 0..100 {
            sleep(SECOND / 10).await;
            let asked = Instant::now();
            urgent.urgent(1_000).await;
            assert_eq!(asked.elapsed(), Duration::ZERO);
        }
        let sum = sent.load(Ordering::Relaxed) + 100 * 1_022;
        assert!((980_000..=1_020_000).contains(&sum), "{sum} bytes in 10 s");
    }

    #[tokio::test(start_paused = true)]
    async fn more_urgent_bytes_than_the_limit_wait_too() {
        let limit = UploadLimit::new(100_000);
        let (urgent, begin) = (limit.share(), Instant::now());
        for _ in 0..1_000 {
            urgent.urgent(1_000).await;
        }
        let took = begin.elapsed();
        assert!((9 * SECOND..=11 * SECOND).contains(&took), "1 MB of them took {took:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_that_gives_up_its_place_holds_up_nobody() {
        let limit = UploadLimit::new(100_000);
        let (mut first, mut second) = (limit.share(), limit.share());
        first.turn(true).await;
        first.pay(100_000);
        let waiting = tokio::spawn(async move { second.turn(true).await });
        tokio::task::yield_now().await;
        assert!(timeout(SECOND / 2, first.turn(false)).await.is_err(), "it is not paid for");
        timeout(SECOND, waiting).await.expect("it is its turn").unwrap();
        // Aborted while it runs the timer.
        let (mut third, mut fourth) = (limit.share(), limit.share());
        third.pay(100_000);
        let aborted = tokio::spawn(async move { third.turn(true).await });
        let waiting = tokio::spawn(async move { fourth.turn(true).await });
        tokio::task::yield_now().await;
        aborted.abort();
        timeout(2 * SECOND, waiting).await.expect("it is its turn").unwrap();
    }

    #[test]
    fn the_lowest_limit_lets_the_largest_frame_leave_in_half_the_ping_timeout() {
        assert_eq!(least(3 * SECOND), 43_690);
        assert_eq!(least(SECOND), 131_072);
        assert_eq!(least(3_600 * SECOND), LEAST);
    }
}
