//! A mutex for state that stays valid when its holder panics.
//!
//! Everything behind a [`Lock`] is changed in steps that leave it valid after each one, so a panic
//! while it is held does not corrupt it: the poison flag of the standard mutex is ignored. Locks
//! are held for a few lines of code and never across an `await`.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// A mutex that ignores poisoning.
#[derive(Debug, Default)]
pub(crate) struct Lock<T>(Mutex<T>);

impl<T> Lock<T> {
    pub(crate) const fn new(value: T) -> Self {
        Self(Mutex::new(value))
    }

    /// Blocks until no one else holds the lock.
    pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
