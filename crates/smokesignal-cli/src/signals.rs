//! SIGINT (Ctrl-C) and SIGTERM. The first signal makes a command leave the network properly; it
//! ends with exit code 130 after SIGINT, and after SIGTERM with 0, if it is one that runs until
//! somebody ends it. A second signal ends the process immediately, with 130.
//!
//! A signal that arrives while nobody waits for it is kept for the next call of [`Signals::next`].
//! SIGHUP, which a closed terminal sends, is not caught: it ends the process immediately.

use std::future::Future;

use crate::outcome::{Exit, Failure};
use crate::terminal;

/// Catches the signals that end a program.
#[derive(Debug)]
pub(crate) struct Signals {
    #[cfg(unix)]
    interrupt: tokio::signal::unix::Signal,
    #[cfg(unix)]
    terminate: tokio::signal::unix::Signal,
}

impl Signals {
    /// Starts to catch the signals, which then do not end the process by themselves.
    #[cfg(unix)]
    pub(crate) fn install() -> Result<Self, Failure> {
        use tokio::signal::unix::{SignalKind, signal};
        let catch = |kind| signal(kind).map_err(|e| Failure::Failed(format!("cannot catch signals: {e}")));
        Ok(Self { interrupt: catch(SignalKind::interrupt())?, terminate: catch(SignalKind::terminate())? })
    }

    /// Does nothing: other systems need no set-up.
    #[cfg(not(unix))]
    pub(crate) fn install() -> Result<Self, Failure> {
        Ok(Self {})
    }

    /// Resolves at the next signal, to how it ends a command that runs until somebody ends it.
    #[cfg(unix)]
    pub(crate) async fn next(&mut self) -> Exit {
        tokio::select! {
            Some(()) = self.interrupt.recv() => Exit::Interrupted,
            Some(()) = self.terminate.recv() => Exit::Terminated,
            else => std::future::pending().await,
        }
    }

    /// Resolves at the next signal, to how it ends a command that runs until somebody ends it.
    #[cfg(not(unix))]
    pub(crate) async fn next(&mut self) -> Exit {
        match tokio::signal::ctrl_c().await {
            Ok(()) => Exit::Interrupted,
            Err(_) => std::future::pending().await,
        }
    }

    /// Runs the work to its end. A signal meanwhile ends the process immediately.
    pub(crate) async fn or_exit<T>(&mut self, work: impl Future<Output = T>) -> T {
        tokio::select! {
            done = work => done,
            // Destructors do not run at an exit, so the terminal needs this.
            _exit = self.next() => {
                terminal::restore();
                std::process::exit(Exit::Interrupted.code())
            }
        }
    }
}
