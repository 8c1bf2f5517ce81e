//! Waits for conditions on what processes print.
//!
//! All threads that read from processes count in [`ACTIVITY`]. A waiting test checks its condition
//! again whenever that count changes.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::JsonNode;

/// The longest wait for anything. Far above what it takes, also on a busy machine.
pub const DEADLINE: Duration = Duration::from_secs(60);

/// Counts the pieces of output of all processes of this test program.
static ACTIVITY: Mutex<u64> = Mutex::new(0);
static ACTIVITY_CHANGED: Condvar = Condvar::new();

/// Locks a mutex, also if a test has failed while it held the lock.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Makes all waiting tests check their conditions again.
pub(super) fn notify() {
    *lock(&ACTIVITY) += 1;
    ACTIVITY_CHANGED.notify_all();
}

/// Waits until `check` returns a value, and returns it.
///
/// Fails the test after [`DEADLINE`], or when one of the nodes has ended or has printed something
/// that no node may ever print.
pub fn wait<T>(what: &str, nodes: &[&JsonNode], check: impl FnMut() -> Option<T>) -> T {
    wait_within(DEADLINE, what, nodes, check)
}

/// Waits as [`wait`] does, for a promise that names a time limit.
pub fn wait_within<T>(
    limit: Duration,
    what: &str,
    nodes: &[&JsonNode],
    check: impl FnMut() -> Option<T>,
) -> T {
    let ended = || {
        if let Some(wrong) = nodes.iter().find_map(|node| node.transcript().wrong.clone()) {
            panic!("{wrong}, while waiting for: {what}");
        }
        nodes.iter().any(|node| node.transcript().ended)
    };
    wait_or(limit, check, ended, |why| {
        let tails: String = nodes.iter().map(|node| node.tail()).collect();
        panic!("{why} while waiting for: {what}\n{tails}")
    })
}

/// Waits until `check` returns a value; calls `fail` with the reason after the limit, or when
/// `ended` holds and `check` still returns nothing.
pub(super) fn wait_or<T>(
    limit: Duration,
    mut check: impl FnMut() -> Option<T>,
    ended: impl Fn() -> bool,
    fail: impl FnOnce(&str) -> T,
) -> T {
    let deadline = Instant::now() + limit;
    loop {
        let seen = *lock(&ACTIVITY);
        // In this order, because what a process printed before it ended still counts.
        let ended = ended();
        if let Some(found) = check() {
            return found;
        }
        if ended {
            return fail("a process ended");
        }
        let mut activity = lock(&ACTIVITY);
        while *activity == seen {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                drop(activity);
                return fail("the deadline passed");
            }
            let changed = ACTIVITY_CHANGED.wait_timeout(activity, left);
            activity = changed.unwrap_or_else(PoisonError::into_inner).0;
        }
        drop(activity);
        if Instant::now() >= deadline {
            // Other processes may print without end.
            return check().unwrap_or_else(|| fail("the deadline passed"));
        }
    }
}
