//! The states of a stream's two directions, and why a stream has failed.
//!
//! The two directions end independently of each other, so each has a state of its own:
//!
//! ```text
//!  receiving                                    sending
//!
//!            ┌──── FIN arrives ───> Finished             ┌─ finish() ─> Finishing ── all sent ─> Finished
//!            │                                           │                  │
//!     Open ──┼──── stop_reading() ─> Stopped      Open ──┤                  │
//!            │                                           │                  │
//!            └──── failure ────────> Aborted             └──── failure ─────┴──────────────────> Aborted
//! ```
//!
//! A failure is a RESET of either side or the loss of the connection. It aborts each direction that
//! has not ended; a STOP from the other side aborts sending only. A direction that has ended keeps
//! its first end: data that was finished stays readable after a later failure.

use crate::error::StreamErrorKind;

/// The receiving direction.
#[derive(Debug)]
pub(super) enum RecvState {
    Open,
    /// The other side has finished: nothing follows what has arrived.
    Finished,
    /// This side does not read any more. A reader would get an end although the other side has not
    /// finished, but only the crate itself stops reading, and no application reads then.
    Stopped,
    /// The stream failed before its end. Data that had arrived can be read first.
    Aborted(StreamErrorKind),
}

impl RecvState {
    pub(super) const fn is_open(&self) -> bool {
        matches!(self, Self::Open)
    }

    /// Returns what a reader gets once everything that has arrived is read: the end of the stream
    /// or its failure; `None` while more may arrive.
    pub(super) fn end(&self) -> Option<Result<(), StreamErrorKind>> {
        match self {
            Self::Open => None,
            Self::Finished | Self::Stopped => Some(Ok(())),
            Self::Aborted(failure) => Some(Err(failure.clone())),
        }
    }
}

/// The sending direction.
#[derive(Debug)]
pub(super) enum SendState {
    Open,
    /// The application writes no more; the end follows once everything is sent.
    Finishing,
    /// Everything is sent, and the end, too.
    Finished,
    /// Nothing can be sent any more.
    Aborted {
        failure: StreamErrorKind,
        lost: Lost,
    },
}

/// What a failure has kept from being sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Lost {
    Nothing,
    /// All that was written was sent, but not that nothing follows.
    End,
    /// Something that was written, and what came after it.
    Data,
}

impl SendState {
    pub(super) const fn is_open(&self) -> bool {
        matches!(self, Self::Open)
    }

    pub(super) const fn is_finishing(&self) -> bool {
        matches!(self, Self::Finishing)
    }

    /// Returns whether nothing will be sent any more.
    pub(super) const fn is_over(&self) -> bool {
        matches!(self, Self::Finished | Self::Aborted { .. })
    }

    /// Returns why a write fails.
    pub(super) fn write_failure(&self) -> StreamErrorKind {
        match self {
            Self::Aborted { failure, .. } => failure.clone(),
            Self::Open | Self::Finishing | Self::Finished => StreamErrorKind::Closed,
        }
    }

    /// Returns the failure that has lost something that was written, if there was one.
    pub(super) fn lost_data(&self) -> Result<(), StreamErrorKind> {
        match self {
            Self::Aborted { failure, lost: Lost::Data } => Err(failure.clone()),
            _ => Ok(()),
        }
    }

    /// Returns the failure that has lost something that was written, or the end, if there was one.
    pub(super) fn lost_anything(&self) -> Result<(), StreamErrorKind> {
        match self {
            Self::Aborted { failure, lost: Lost::Data | Lost::End } => Err(failure.clone()),
            _ => Ok(()),
        }
    }
}
