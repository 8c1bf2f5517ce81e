//! The way back of walks and shuffles that passed here.
//!
//! A walk is forwarded at random, and its answer must find the way back: each node on the way
//! remembers the link that the walk came from. The answer uses the entry up, and what is not
//! answered expires.

use std::collections::{BTreeMap, VecDeque};

use crate::context::Cx;
use crate::ids::LinkId;
use crate::time::Instant;

/// The links that walks came from, by the walk's number. The oldest loses.
#[derive(Debug, Default)]
pub(crate) struct ReversePaths {
    back: BTreeMap<u64, LinkId>,
    order: VecDeque<(u64, Instant)>,
}

impl ReversePaths {
    pub(crate) fn len(&self) -> usize {
        self.back.len()
    }

    /// Remembers where a walk came from, the first time: a walk that comes by twice would lead its
    /// answer in circles.
    pub(crate) fn remember(&mut self, cx: &Cx<'_>, walk: u64, from: LinkId) {
        if self.back.contains_key(&walk) {
            return;
        }
        self.back.insert(walk, from);
        self.order.push_back((walk, cx.now + cx.config.walk_timeout));
        if self.order.len() > cx.config.max_walks
            && let Some((oldest, _)) = self.order.pop_front()
        {
            self.back.remove(&oldest);
        }
    }

    /// Takes the link that the walk came from, for its answer.
    pub(crate) fn take(&mut self, walk: u64) -> Option<LinkId> {
        self.back.remove(&walk)
    }

    pub(crate) fn expire(&mut self, now: Instant) {
        while self.order.front().is_some_and(|(_, until)| *until <= now) {
            if let Some((walk, _)) = self.order.pop_front() {
                self.back.remove(&walk);
            }
        }
    }
}
