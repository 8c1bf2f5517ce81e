//! How a command ends: the exit code, and for failures what to say about it.

use std::future::Future;
use std::{fmt, io};

use smokesignal::{BuildError, IdentityError, LocalIpError, StartError};

/// The command ended as it should.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    /// All is done.
    Done,
    /// SIGINT, SIGTERM or Ctrl-C; the network was left properly.
    Interrupted,
}

impl Exit {
    /// 130 is what shells report for a program ended by SIGINT.
    pub(crate) const fn code(self) -> i32 {
        match self {
            Self::Done => 0,
            Self::Interrupted => 130,
        }
    }
}

/// The command could not do its work. The text names the value and the cure.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Failure {
    /// The command was called wrongly: exit 2.
    Usage(String),
    /// The world did not play along: exit 1.
    Failed(String),
}

impl Failure {
    pub(crate) const fn code(&self) -> i32 {
        match self {
            Self::Failed(_) => 1,
            Self::Usage(_) => 2,
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Self::Usage(text) | Self::Failed(text)) = self;
        f.write_str(text)
    }
}

impl From<BuildError> for Failure {
    fn from(error: BuildError) -> Self {
        Self::Usage(error.to_string())
    }
}

impl From<StartError> for Failure {
    fn from(error: StartError) -> Self {
        Self::Failed(error.to_string())
    }
}

impl From<IdentityError> for Failure {
    fn from(error: IdentityError) -> Self {
        Self::Failed(error.to_string())
    }
}

impl From<LocalIpError> for Failure {
    fn from(error: LocalIpError) -> Self {
        match error {
            LocalIpError::BadSubnet(_) => Self::Usage(error.to_string()),
            _ => Self::Failed(error.to_string()),
        }
    }
}

/// Runs a command that talks to the network.
pub(crate) fn block_on<F>(command: F) -> Result<Exit, Failure>
where
    F: Future<Output = Result<Exit, Failure>>,
{
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error: io::Error| Failure::Failed(format!("cannot start the event loop: {error}")))?;
    let outcome = runtime.block_on(command);
    // A host name may still be looked up in a thread: do not wait for it.
    runtime.shutdown_background();
    outcome
}
