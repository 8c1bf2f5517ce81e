//! The state of the terminal, kept while a line editor has it in raw mode.
//!
//! A signal or a closed stdout can end the process in the middle of a line; the shell must not inherit raw mode.

#[cfg(unix)]
pub(crate) use unix::{remember, restore};

#[cfg(unix)]
mod unix {
    use std::io::{self, Write as _};
    use std::sync::Mutex;

    use nix::sys::termios::{SetArg, Termios, tcgetattr, tcsetattr};

    static BEFORE: Mutex<Option<Termios>> = Mutex::new(None);

    /// Call before the line editor starts.
    pub(crate) fn remember() {
        if let (Ok(mut before), Ok(now)) = (BEFORE.lock(), tcgetattr(io::stdin())) {
            *before = Some(now);
        }
    }

    /// Call before the process ends. Does nothing if nothing was remembered.
    pub(crate) fn restore() {
        let Some(before) = BEFORE.lock().ok().and_then(|mut before| before.take()) else { return };
        // End of "bracketed paste", then a line of its own for the shell's prompt. At the end of the
        // process there is nobody left to report an error to.
        drop(io::stdout().write_all(b"\x1b[?2004l\r").and_then(|()| io::stdout().flush()));
        let _nobody_left = tcsetattr(io::stdin(), SetArg::TCSADRAIN, &before);
    }
}

#[cfg(not(unix))]
pub(crate) fn remember() {}

#[cfg(not(unix))]
pub(crate) fn restore() {}
