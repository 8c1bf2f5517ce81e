//! Restores the terminal after the line editor.
//!
//! The line editor puts the terminal into raw mode. A signal or a closed stdout can end the process
//! in the middle of a line, and then the shell must not inherit that mode.

#[cfg(unix)]
pub(crate) use unix::{remember, restore};

#[cfg(unix)]
mod unix {
    use std::io::{self, Write as _};
    use std::sync::Mutex;

    use nix::sys::termios::{SetArg, Termios, tcgetattr, tcsetattr};

    /// The state of the terminal before the line editor.
    static BEFORE: Mutex<Option<Termios>> = Mutex::new(None);

    /// Saves the state of the terminal. Call it before the line editor starts.
    pub(crate) fn remember() {
        if let (Ok(mut before), Ok(now)) = (BEFORE.lock(), tcgetattr(io::stdin())) {
            *before = Some(now);
        }
    }

    /// Restores the saved state, if there is one. Call it before the process ends; further calls do
    /// nothing.
    pub(crate) fn restore() {
        let Some(before) = BEFORE.lock().ok().and_then(|mut before| before.take()) else { return };
        // Ends "bracketed paste" and returns to the first column for the shell's prompt. At the end
        // of the process nobody could handle an error.
        drop(io::stdout().write_all(b"\x1b[?2004l\r").and_then(|()| io::stdout().flush()));
        let _at_the_end = tcsetattr(io::stdin(), SetArg::TCSADRAIN, &before);
    }
}

#[cfg(not(unix))]
pub(crate) fn remember() {}

#[cfg(not(unix))]
pub(crate) fn restore() {}
