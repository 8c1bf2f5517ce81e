//! What a neighbour is sent unasked, over a line that is slow or unknown.
//!
//! The first segment of a new stream goes to all neighbours, so that it arrives by the shortest
//! way, and those that have it already prune the others. On a slow line that takes as long as the
//! queue in front of it is, and five neighbours would go on to send five copies. So a neighbour
//! behind such a line is sent one small segment, and then nothing until it reports, which says that
//! the sender has become its parent, or requests the stream. A segment that has to go in parts is
//! not sent unasked at all. Meanwhile it gets digests.

use super::Link;
use crate::context::Cx;
use crate::streams::StreamIx;

/// How a neighbour has taken what it was sent unasked of one stream.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Trial {
    /// It was sent nothing.
    #[default]
    Open,
    /// It was sent one segment, and has not answered.
    Waits,
    /// It has answered, or the line is fast.
    Passed,
}

impl Trial {
    /// Returns whether the neighbour may be sent a segment.
    pub(super) fn admits(self, is_large: bool) -> bool {
        match self {
            Self::Open => !is_large,
            Self::Waits => false,
            Self::Passed => true,
        }
    }

    /// Notes that the neighbour was sent a segment; `is_free`: without a trial.
    pub(super) fn sent(&mut self, is_free: bool) {
        if *self == Self::Open {
            *self = if is_free { Self::Passed } else { Self::Waits };
        }
    }

    /// Notes that the neighbour reports on the stream. Returns whether that was waited for.
    pub(super) fn confirmed(&mut self) -> bool {
        std::mem::replace(self, Self::Passed) == Self::Waits
    }
}

impl Link {
    /// Sends the neighbour a digest about a stream that it is not sent unasked: without the usual
    /// delay, unless it may be about to answer.
    pub(super) fn offer(&mut self, cx: &Cx<'_>, ix: StreamIx) {
        self.make_dirty(cx, ix);
        if self.stream(ix).trial == Trial::Waits {
            return;
        }
        let at = cx.now.max(self.digest_after);
        self.digest_at = Some(self.digest_at.map_or(at, |next| next.min(at)));
    }
}
