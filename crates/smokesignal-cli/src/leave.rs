//! The end of every command that has joined a network: leave it properly, then flush stdout.

use std::future::{Future, ready};
use std::time::Duration;

use smokesignal::{Node, Stopped};
use tokio::time::{sleep, timeout};

use crate::outcome::Exit;
use crate::output::Output;
use crate::signals::Signals;

/// How long an interrupted program waits for the reader of its stdout. A guess: nobody likes to
/// press Ctrl-C twice.
const FLUSH_AFTER_INTERRUPT: Duration = Duration::from_secs(2);

/// How long an interrupted program waits for its neighbours to read what it sent.
const STOP_AFTER_INTERRUPT: Duration = Duration::from_secs(5);
/// After this long the program prints what it waits for.
const TELL_AFTER: Duration = Duration::from_secs(2);

/// Stops the node: it waits until others have read what was sent, and says goodbye to them. After a
/// signal it waits for its present neighbours only, and not as long. A signal meanwhile ends
/// the process immediately.
pub(crate) async fn leave(node: &Node, exit: Exit, signals: &mut Signals) -> Stopped {
    let is_alone = node.peers().is_empty();
    let stop = async {
        match exit {
            Exit::Done => node.stop().await,
            Exit::Interrupted | Exit::Terminated if is_alone => node.stop_within(Duration::ZERO).await,
            Exit::Interrupted | Exit::Terminated => node.stop_within(STOP_AFTER_INTERRUPT).await,
        }
    };
    let tell = async {
        sleep(TELL_AFTER).await;
        match is_alone {
            true => notice!("waiting for a peer that takes what was sent; a signal ends the wait"),
            false => notice!("waiting for others to read what was sent; a signal ends the wait"),
        }
        std::future::pending().await
    };
    signals
        .or_exit(async {
            tokio::select! { stopped = stop => stopped, stopped = tell => stopped }
        })
        .await
}

/// Flushes stdout. After an interrupt, waits only [`FLUSH_AFTER_INTERRUPT`] for a reader that has
/// stopped reading. Commands pass [`Exit::Interrupted`] after a failure, too: its error should not
/// wait for that reader, either.
pub(crate) async fn flush(output: &Output, exit: Exit, signals: &mut Signals) {
    match exit {
        Exit::Done => signals.or_exit(output.flush()).await,
        Exit::Interrupted | Exit::Terminated => {
            let flush = timeout(FLUSH_AFTER_INTERRUPT, output.flush());
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
