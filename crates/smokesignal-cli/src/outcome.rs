//! How a command ends: its exit code, and the error text of a failure.
//!
//! A script can tell from the exit code what to do: correct the call (2), look at the error on
//! stderr (1), or nothing (0, and 130 after Ctrl-C). A service manager ends a node with SIGTERM,
//! and one that has left properly then has not failed: 0. clap exits with 2 on its own for
//! arguments that it cannot parse.

use std::future::Future;
use std::{fmt, io};

use smokesignal::{BuildError, IdentityError, LocalIpError, StartError, Stopped};

/// The end of a command that has not failed. Nothing is printed about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    /// The command has done its work.
    Done,
    /// SIGINT (Ctrl-C) ended the command; it has left the network properly.
    Interrupted,
    /// SIGTERM did.
    #[cfg_attr(not(unix), expect(dead_code, reason = "other systems have no such signal"))]
    Terminated,
}

impl Exit {
    /// Returns the exit code. 130 is what shells report for a program that SIGINT ended.
    pub(crate) const fn code(self) -> i32 {
        match self {
            Self::Done | Self::Terminated => 0,
            Self::Interrupted => 130,
        }
    }
}

/// The command could not do its work. The text names the value at fault and the cure.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Failure {
    /// The arguments are wrong: exit code 2.
    Usage(String),
    /// The arguments are right, but the work failed: exit code 1.
    Failed(String),
}

impl Failure {
    /// The failure of a command whose node has stopped although nobody asked for that.
    pub(crate) fn node_stopped() -> Self {
        Self::Failed("the node stopped unexpectedly; -v logs what happened before".to_owned())
    }

    /// The failure of a command that SIGTERM has ended before others had what it sent.
    pub(crate) fn unread(stopped: &Stopped) -> Self {
        Self::Failed(format!("ended by SIGTERM too early: {stopped}"))
    }

    /// Returns the exit code.
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

/// The options are wrong. The text names them as they are written on the command line.
impl From<BuildError> for Failure {
    fn from(error: BuildError) -> Self {
        let nobody = "and a node without peers reaches nobody";
        Self::Usage(match error {
            BuildError::MinAboveMax { min, max } => format!(
                "--min-peers {min} is above --max-peers {max}; give --min-peers {max} as well, or raise --max-peers to {min}"
            ),
            BuildError::MaxPeersZero => format!(
                "--max-peers is 0, {nobody}; use 1 or more, better 2: a node with one peer forwards nothing"
            ),
            BuildError::MinPeersZero => format!("--min-peers is 0, {nobody}; use 1 or more"),
            BuildError::BadSeed(seed) => format!(
                "--seed `{seed}` is not an address; write HOST:PORT, for example 192.168.2.100:8495 or [::1]:8495"
            ),
            BuildError::UploadLimitTooLow { limit, least, ping_timeout } => format!(
                "--upload-limit {limit} (bytes per second) is too low for --ping-timeout {}; use {least} or more, \
                 raise --ping-timeout, or leave it out for no limit",
                humantime::format_duration(ping_timeout)
            ),
            // The command line checks the others itself, and names them then.
            other => other.to_string(),
        })
    }
}

/// The options are right, but the system does not allow them: a port in use, for example.
impl From<StartError> for Failure {
    fn from(error: StartError) -> Self {
        Self::Failed(error.to_string())
    }
}

/// The key file exists but cannot be used, or cannot be created.
impl From<IdentityError> for Failure {
    fn from(error: IdentityError) -> Self {
        Self::Failed(error.to_string())
    }
}

/// A malformed subnet is wrong usage. A subnet in which this machine has no address is a failure,
/// because it may be right on another machine.
impl From<LocalIpError> for Failure {
    fn from(error: LocalIpError) -> Self {
        match error {
            LocalIpError::BadSubnet(_) => Self::Usage(error.to_string()),
            _ => Self::Failed(error.to_string()),
        }
    }
}

/// Runs a command that uses the network, on an event loop of its own.
pub(crate) fn block_on<F>(command: F) -> Result<Exit, Failure>
where
    F: Future<Output = Result<Exit, Failure>>,
{
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error: io::Error| Failure::Failed(format!("cannot start the event loop: {error}")))?;
    let outcome = runtime.block_on(command);
    // A thread may still resolve a host name; the end of the program does not wait for it.
    runtime.shutdown_background();
    outcome
}
