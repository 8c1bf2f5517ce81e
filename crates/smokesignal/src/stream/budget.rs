//! The memory that other nodes may make this node keep, per connection and in total.
//!
//! A [`Pool`] is a number of bytes with a limit: each connection has one, and the node another one.
//! A [`Budget`] is one stream's share of both. A new stream gets its first window if both pools
//! have room. Windows and large chunks grow only while less than half of each pool is used, so that
//! the other half is left for first windows; a stream that finds no room even there is refused.
//! Data that waits to be sent is not charged: a limit of each stream's sending half bounds it.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// A shared number of bytes with a limit.
#[derive(Debug)]
pub(crate) struct Pool {
    used: AtomicUsize,
    limit: usize,
}

impl Pool {
    pub(crate) fn new(limit: usize) -> Arc<Self> {
        Arc::new(Self { used: AtomicUsize::new(0), limit })
    }

    fn take(&self, bytes: usize, limit: usize) -> bool {
        let fits = |used: usize| used.checked_add(bytes).filter(|used| *used <= limit);
        self.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, fits).is_ok()
    }

    fn give_back(&self, bytes: usize) {
        self.used.fetch_sub(bytes, Ordering::Relaxed);
    }

    #[cfg(test)]
    pub(crate) fn used(&self) -> usize {
        self.used.load(Ordering::Relaxed)
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        // Every share holds the pool, so all of them are gone.
        let used = *self.used.get_mut();
        debug_assert!(used == 0 || std::thread::panicking(), "{used} bytes of a pool were not given back");
    }
}

/// One stream's share of its connection's pool and of the node's. Dropping it returns the share.
#[derive(Debug)]
pub(crate) struct Budget {
    pools: [Arc<Pool>; 2],
    held: AtomicUsize,
}

impl Budget {
    /// Takes `bytes` from both pools; `None` if one of them has less left.
    pub(crate) fn new(connection: &Arc<Pool>, node: &Arc<Pool>, bytes: usize) -> Option<Self> {
        let budget = Self { pools: [Arc::clone(connection), Arc::clone(node)], held: AtomicUsize::new(0) };
        budget.take(bytes, 1).then_some(budget)
    }

    /// Takes further bytes, up to half of each pool. Returns whether both had them.
    pub(crate) fn grow(&self, bytes: usize) -> bool {
        self.take(bytes, 2)
    }

    fn take(&self, bytes: usize, share: usize) -> bool {
        let [connection, node] = &self.pools;
        if !connection.take(bytes, connection.limit / share) {
            return false;
        }
        if !node.take(bytes, node.limit / share) {
            connection.give_back(bytes);
            return false;
        }
        self.held.fetch_add(bytes, Ordering::Relaxed);
        true
    }

    /// Returns `bytes` of the share, which are not needed any more.
    pub(crate) fn give_back(&self, bytes: usize) {
        self.held.fetch_sub(bytes, Ordering::Relaxed);
        self.pools.iter().for_each(|pool| pool.give_back(bytes));
    }
}

impl Drop for Budget {
    fn drop(&mut self) {
        let held = *self.held.get_mut();
        self.pools.iter().for_each(|pool| pool.give_back(held));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_taken_is_given_back_to_both() {
        let (connection, node) = (Pool::new(200), Pool::new(100));
        let budget = Budget::new(&connection, &node, 30).unwrap();
        assert!(!budget.grow(21), "the other half is for new ones");
        assert!(budget.grow(20));
        assert_eq!((connection.used(), node.used()), (50, 50));
        let other = Budget::new(&connection, &node, 50).unwrap();
        assert!(Budget::new(&connection, &node, 1).is_none(), "the node has no more");
        drop((budget, other));
        assert_eq!((connection.used(), node.used()), (0, 0));
    }
}
