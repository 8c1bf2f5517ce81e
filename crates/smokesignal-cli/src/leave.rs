//! The end of every command that has joined a network: leave it properly, then flush stdout.

use std::future::{Future, ready};
use std::time::Duration;

use smokesignal::Node;

use crate::outcome::Exit;
use crate::output::Output;
use crate::signals::Signals;

/// How long an interrupted program waits for the reader of its stdout. A guess: nobody likes to
/// press Ctrl-C twice.
const FLUSH_AFTER_INTERRUPT: Duration = Duration::from_secs(2);

/// Stops the node: it flushes accepted messages to its neighbours and says goodbye to them. That
/// takes a few round trips, and at most 13 s if a peer reads nothing. A signal meanwhile ends the
/// process immediately.
pub(crate) async fn leave(node: &Node, signals: &mut Signals) {
    signals.or_exit(node.stop()).await;
}

/// Flushes stdout. After an interrupt, waits only [`FLUSH_AFTER_INTERRUPT`] for a reader that has
/// stopped reading. Commands pass [`Exit::Interrupted`] after a failure, too: its error should not
/// wait for that reader, either.
pub(crate) async fn flush(output: &Output, exit: Exit, signals: &mut Signals) {
    match exit {
        Exit::Done => signals.or_exit(output.flush()).await,
        Exit::Interrupted => {
            let flush = tokio::time::timeout(FLUSH_AFTER_INTERRUPT, output.flush());
            if signals.or_exit(flush).await.is_err() {
                notice!("some output is lost, because nothing read from stdout for 2 s");
            }
        }
    }
}

/// Returns the value of the future if it is ready now. Otherwise drops the future, so pass only one
/// that may be dropped without a loss.
pub(crate) async fn if_ready<T>(future: impl Future<Output = T>) -> Option<T> {
    tokio::select! {
        biased;
        value = future => Some(value),
        () = ready(()) => None,
    }
}
