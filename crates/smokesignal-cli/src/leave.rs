//! The end of every command that joined a network: leave properly, then write out what is left.

use std::future::{Future, ready};
use std::time::Duration;

use smokesignal::Node;

use crate::outcome::Exit;
use crate::output::Output;
use crate::signals::Signals;

/// How long an interrupted program waits for the reader of its stdout. A guess: nobody likes to press Ctrl-C twice.
const FLUSH_AFTER_INTERRUPT: Duration = Duration::from_secs(2);

/// Stops the node: what was accepted is flushed to the neighbours, then they are told. A signal meanwhile
/// ends the process at once.
pub(crate) async fn leave(node: &Node, signals: &mut Signals) {
    signals.or_exit(node.stop()).await;
}

/// Writes out what waits for stdout. Whoever interrupts does not wait for a reader that has stopped reading.
pub(crate) async fn flush(output: &Output, exit: Exit, signals: &mut Signals) {
    match exit {
        Exit::Done => signals.or_exit(output.flush()).await,
        Exit::Interrupted => {
            let flush = tokio::time::timeout(FLUSH_AFTER_INTERRUPT, output.flush());
            if signals.or_exit(flush).await.is_err() {
                notice!("the reader of stdout does not read; some output is lost");
            }
        }
    }
}

/// What the future has to give now, without waiting.
pub(crate) async fn if_ready<T>(future: impl Future<Output = T>) -> Option<T> {
    tokio::select! {
        biased;
        value = future => Some(value),
        () = ready(()) => None,
    }
}
