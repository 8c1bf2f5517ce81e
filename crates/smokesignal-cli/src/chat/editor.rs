//! The source of lines: a line editor on a terminal, plain stdin otherwise.
//!
//! The line editor blocks, so it runs in a thread of its own. While it runs it owns the terminal,
//! and everything else is printed above its prompt. The terminal is in raw mode then, in which
//! Ctrl-C is a key and not a signal: the editor reports it as [`Input::Interrupt`].

use std::io::{self, Write};
use std::thread;

use rustyline::error::ReadlineError;
use rustyline::{DefaultEditor, ExternalPrinter};
use tokio::sync::mpsc::{Receiver, Sender, channel};

use crate::input;
use crate::lines::Line;
use crate::notice::{print_above_prompt, print_to_stderr};
use crate::outcome::Failure;
use crate::output::Output;
use crate::terminal;

const PROMPT: &str = "> ";
/// The longest line of stdin, in bytes: 1 MiB. A guess; nobody types more.
const LINE: usize = 1 << 20;
/// Lines that may wait for the session; then the editor waits. A guess.
const WAITING: usize = 16;

/// An action of the person at the terminal.
#[derive(Debug)]
pub(super) enum Input {
    /// A line was typed or read from stdin.
    Line(String),
    /// Ctrl-D was pressed, or stdin has ended.
    End,
    /// Ctrl-C was pressed at the prompt.
    Interrupt,
    /// The terminal or stdin cannot be read.
    Failed(String),
}

/// The source of the user's input, and the place where the messages of others are printed.
pub(super) type Console = (Receiver<Input>, Output);

/// Starts the line editor. Its history of lines lives as long as the process.
pub(super) fn start() -> Result<Console, Failure> {
    let failed = |error| Failure::Failed(format!("cannot start the line editor: {error}"));
    terminal::remember();
    let mut editor = DefaultEditor::new().map_err(failed)?;
    let mut notices = editor.create_external_printer().map_err(failed)?;
    let output = Output::to(AbovePrompt(editor.create_external_printer().map_err(failed)?));
    print_above_prompt(move |text| {
        // Fails if the terminal is gone, and then nobody could read the error.
        drop(notices.print(text));
    });
    let (sender, receiver) = channel(WAITING);
    thread::spawn(move || edit(editor, &sender));
    Ok((receiver, output))
}

/// Starts to read stdin; messages of others go to stdout.
pub(super) fn plain() -> Console {
    let (sender, receiver) = channel(WAITING);
    tokio::spawn(read_plain(sender));
    (receiver, Output::stdout())
}

/// Reads lines until the first input that is not one. Runs in a thread of its own, which is left
/// behind in the middle of a line if the session ends for another reason.
fn edit(mut editor: DefaultEditor, lines: &Sender<Input>) {
    loop {
        let input = match editor.readline(PROMPT) {
            Ok(line) => {
                if !line.trim().is_empty()
                    && let Err(error) = editor.add_history_entry(line.as_str())
                {
                    tracing::debug!(%error, "cannot add the line to the history");
                }
                Input::Line(line)
            }
            Err(ReadlineError::Eof) => Input::End,
            Err(ReadlineError::Interrupted) => Input::Interrupt,
            Err(error) => Input::Failed(error.to_string()),
        };
        let last = !matches!(input, Input::Line(_));
        // There is no prompt any more, so lines above it would not appear.
        if last {
            print_to_stderr();
        }
        if lines.blocking_send(input).is_err() || last {
            return;
        }
    }
}

/// Passes on the lines of stdin, and at last its end.
async fn read_plain(lines: Sender<Input>) {
    let mut input = input::lines(LINE);
    while let Some(batch) = input.recv().await {
        let batch = match batch {
            Ok(batch) => batch,
            Err(error) => {
                // Fails only when the program is ending, here and below.
                let _ended = lines.send(Input::Failed(error.to_string())).await;
                return;
            }
        };
        for line in batch {
            match line {
                Line::Whole { bytes, .. } => {
                    let text = String::from_utf8_lossy(&bytes);
                    let text = text.strip_suffix('\r').unwrap_or(&text).to_owned();
                    if lines.send(Input::Line(text)).await.is_err() {
                        return;
                    }
                }
                Line::TooLong { number, .. } => {
                    notice!("line {number} is longer than {LINE} bytes and was not sent; split it");
                }
            }
        }
    }
    let _ended = lines.send(Input::End).await;
}

/// A writer of whole lines that appear above the prompt.
struct AbovePrompt<P>(P);

impl<P: ExternalPrinter> Write for AbovePrompt<P> {
    /// Prints lines. They are whole, because the buffer of [`Output`] splits only what is longer
    /// than itself, and the texts of chat are cut long before.
    fn write(&mut self, lines: &[u8]) -> io::Result<usize> {
        self.0.print(String::from_utf8_lossy(lines).into_owned()).map_err(io::Error::other)?;
        Ok(lines.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
