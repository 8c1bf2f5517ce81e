//! The log of the library, for `-v` and `RUST_LOG`.
//!
//! The library reports through `tracing`. Log lines are for people, so they go the way of notices:
//! to stderr, or above the prompt of `chat`.

use std::io;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;

use crate::notice;

/// Starts to write the log to stderr. `RUST_LOG` overrides `-v`.
pub(crate) fn start(verbose: u8) {
    let level = match verbose {
        0 => "warn",
        1 => "info",
        2 => "debug",
        _ => "trace",
    };
    // The names of the library and of the protocol crate both begin with `smokesignal`. Other
    // crates log warnings only, whatever `-v` says. A `RUST_LOG` that cannot be parsed is ignored.
    let filter = EnvFilter::try_from_default_env()
        .unwrap_or_else(|_| EnvFilter::new(format!("warn,smokesignal={level}")));
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(io::IsTerminal::is_terminal(&io::stderr()))
        .with_writer(Notices)
        .try_init();
    if log.is_err() {
        notice!("-v has no effect, because another logger is already installed");
    }
}

/// Writes log lines as notices, so that they do not disturb the prompt.
struct Notices;

impl MakeWriter<'_> for Notices {
    type Writer = Self;

    fn make_writer(&self) -> Self {
        Self
    }
}

impl io::Write for Notices {
    /// Prints a line. The subscriber formats each event first and writes it with one call, so
    /// `line` is always whole and ends with its newline.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        notice::write_log(&String::from_utf8_lossy(line));
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
