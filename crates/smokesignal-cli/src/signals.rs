//! SIGINT (Ctrl-C) and SIGTERM. The first signal makes a command leave the network properly; a
//! second one ends the process immediately. Both end it with exit code 130.
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

    /// Resolves at the next signal.
    #[cfg(unix)]
    pub(crate) async fn next(&mut self) {
        tokio::select! {
            Some(()) = self.interrupt.recv() => {}
            Some(()) = self.terminate.recv() => {}
            else => std::future::pending().await,
        }
    }

    /// Resolves at the next signal.
    #[cfg(not(unix))]
    pub(crate) async fn next(&mut self) {
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending().await
        }
    }

    /// Runs the work to its end. A signal meanwhile ends the process immediately.
    pub(crate) async fn or_exit<T>(&mut self, work: impl Future<Output = T>) -> T {
        tokio::select! {
            done = work => done,
            // Destructors do not run at an exit, so the terminal needs this.
            () = self.next() => {
                terminal::restore();
                std::process::exit(Exit::Interrupted.code())
            }
        }
    }
}
