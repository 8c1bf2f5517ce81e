//! Lines for people. They go to stderr, or above the prompt while a line editor runs.

use std::fmt;
use std::io::{self, Write as _};
use std::sync::{Mutex, PoisonError};

type Printer = Box<dyn FnMut(String) + Send>;

static ABOVE_PROMPT: Mutex<Option<Printer>> = Mutex::new(None);

/// Says one line to the person at the terminal: `notice!("listening on {address}")`.
macro_rules! notice {
    ($($text:tt)*) => { $crate::notice::say(format_args!($($text)*)) };
}

/// From now on lines go to this printer, which owns the terminal.
pub(crate) fn print_above_prompt(printer: impl FnMut(String) + Send + 'static) {
    *ABOVE_PROMPT.lock().unwrap_or_else(PoisonError::into_inner) = Some(Box::new(printer));
}

/// The line editor is gone: lines go to stderr again.
pub(crate) fn print_to_stderr() {
    *ABOVE_PROMPT.lock().unwrap_or_else(PoisonError::into_inner) = None;
}

/// The work behind [`notice!`].
pub(crate) fn say(text: fmt::Arguments<'_>) {
    write(format!("smokesignal: {text}\n"));
}

/// Text with its newline, as it is.
pub(crate) fn write(text: String) {
    match ABOVE_PROMPT.lock().unwrap_or_else(PoisonError::into_inner).as_mut() {
        Some(print) => print(text),
        // A closed stderr means that nobody wants to know.
        None => drop(io::stderr().lock().write_all(text.as_bytes())),
    }
}
