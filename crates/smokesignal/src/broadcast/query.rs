//! Questions to every node, and their answers.
//!
//! A question is a broadcast message with a random number, see [`envelope`](super::envelope). A
//! node that has a responder runs it for each question and sends the answer over a stream of its
//! own, whose first eight bytes are that number. The asking node accepts these streams under a name
//! that no application can use, reads a few of them at a time, and passes each answer to the
//! [`Answers`] that wait for its number. In a large network the nodes that are not linked with the
//! asker wait for up to a second before they connect to it. Everything has a limit: questions
//! that wait, questions being answered, answers being read, and the time for each step; what
//! exceeds it is refused with a reason.

use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::sync::{Arc, Weak};
use std::time::Duration;

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use ring::rand::{SecureRandom as _, SystemRandom};
use smokesignal_proto::NodeId;
use tokio::sync::{Semaphore, mpsc};
use tokio::time::{Instant, timeout, timeout_at};
use tracing::Instrument as _;

use crate::broadcast::BroadcastSender;
use crate::broadcast::envelope::Question;
use crate::broadcast::mailbox::Mailbox;
use crate::error::{AcceptError, OpenError, SendError};
use crate::lock::Lock;
use crate::opener::Opener;
use crate::stream::accept::{Acceptor, Acceptors};
use crate::stream::handle::NodeStream;

/// Maximum number of answers to one question; further ones are refused.
const MAX_ANSWERS: usize = 1024;
/// Maximum length of one answer: 1 MiB.
const MAX_ANSWER: usize = 1024 * 1024;
/// Maximum number of questions that the responder works on at the same time, and of answers that
/// were read and wait to be taken.
const AT_ONCE: usize = 64;
/// Maximum number of answers that are being read at the same time: their windows fit into half of
/// what one connection may hold.
const READ_AT_ONCE: usize = 8;
/// Maximum number of questions that wait for the responder; further ones are not answered.
const WAITING: usize = 256;
/// Time for each step of an answer: to arrive once it has begun, and to be taken.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);
/// The longest patience of a question: one year, above which the clock could overflow.
const MAX_PATIENCE: Duration = Duration::from_secs(365 * 86_400);
/// Networks of up to this many nodes answer without a delay. 64: a node has that many places for
/// handshakes that come from one network, so that all of them connect to it at the same time.
const NO_DELAY: usize = 64;
/// The span that answers are spread over, for each node of a larger network. 2 ms: the asker has
/// 500 connections a second to accept, and the places suffice for handshakes of up to 128 ms.
const DELAY_FOR_EACH: Duration = Duration::from_millis(2);
/// The longest such span. 1 s: askers often wait for 2 s only, and a search takes a part of that.
const MAX_DELAY: Duration = Duration::from_secs(1);
/// The name of the streams that carry answers: the empty one, which no application can use.
pub(crate) const ANSWERS: &str = "";

/// An answer to a question.
///
/// ```
/// # async fn example(node: smokesignal::Node) -> Result<(), Box<dyn std::error::Error>> {
/// use std::collections::BTreeMap;
///
/// let mut loads = BTreeMap::new();
/// let mut answers = node.ask("what is your load?", std::time::Duration::from_secs(1)).await?;
/// while let Some(smokesignal::Answer { from, data }) = answers.recv().await {
///     loads.insert(from, data);
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The node that gives it.
    pub from: NodeId,
    /// What it says.
    pub data: Bytes,
}

/// The answers to a question, from [`Node::ask`](crate::Node::ask). Dropping it refuses further
/// ones.
///
/// ```
/// # #[tokio::main(flavor = "current_thread", start_paused = true)]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let network = smokesignal::transport::MemoryNetwork::new();
/// # let ann = smokesignal::Node::builder().transport(network.clone()).port(1).build()?;
/// # let bob = smokesignal::Node::builder().transport(network).port(2).seed("127.0.0.1:1").build()?;
/// # let mut connected = bob.events();
/// # ann.start().await?;
/// # bob.start().await?;
/// # while !matches!(connected.recv().await, Some(smokesignal::Event::Connect)) {}
/// let _guard = ann.answer(|_from, question| async move {
///     (question == "who has 7.txt?").then(|| "I have".into())
/// })?;
/// let mut answers = bob.ask("who has 7.txt?", std::time::Duration::from_secs(2)).await?;
/// let answer = answers.recv().await.expect("ann answers in time");
/// assert_eq!((answer.from, &answer.data[..]), (ann.id(), &b"I have"[..]));
/// assert_eq!(answers.recv().await, None); // The time is over.
/// # Ok(())
/// # }
/// ```
pub struct Answers {
    number: u64,
    until: Instant,
    left: usize,
    answers: mpsc::Receiver<Answer>,
    questions: Arc<Questions>,
}

impl Answers {
    /// Returns the next answer, in the order of arrival, and `None` once the time is over or 1 024
    /// have come. Cancel safe: nothing is lost if the future is dropped.
    pub async fn recv(&mut self) -> Option<Answer> {
        if self.left == 0 {
            return None;
        }
        let answer = timeout_at(self.until, self.answers.recv()).await.ok().flatten()?;
        self.left -= 1;
        Some(answer)
    }
}

impl Drop for Answers {
    fn drop(&mut self) {
        self.questions.0.lock().open.remove(&self.number);
    }
}

impl fmt::Debug for Answers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Answers").field("left", &self.left).finish_non_exhaustive()
    }
}

/// Keeps the responder of [`Node::answer`](crate::Node::answer) running until it is dropped.
///
/// ```
/// # #[tokio::main(flavor = "current_thread", start_paused = true)]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let node = smokesignal::Node::builder().transport(smokesignal::transport::MemoryNetwork::new()).build()?;
/// let guard = node.answer(|_from, _question| async { Some("yes".into()) })?;
/// assert!(node.answer(|_from, _question| async { None }).is_err()); // One handler at a time.
/// drop(guard);
/// let _other = node.answer(|_from, _question| async { None })?;
/// # Ok(())
/// # }
/// ```
pub struct ResponderGuard {
    mailbox: Weak<Mailbox>,
}

impl Drop for ResponderGuard {
    fn drop(&mut self) {
        if let Some(mailbox) = self.mailbox.upgrade() {
            mailbox.stop_answering();
        }
    }
}

impl fmt::Debug for ResponderGuard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponderGuard").finish_non_exhaustive()
    }
}

/// The questions that this node has asked and that are still open.
#[derive(Debug, Default)]
pub(crate) struct Questions(Lock<State>);

#[derive(Debug, Default)]
struct State {
    open: BTreeMap<u64, mpsc::Sender<Answer>>,
    /// Whether the task that accepts answers runs.
    accepting: bool,
}

impl Questions {
    /// Asks every node. A random number names the question in its answers.
    pub(crate) async fn ask(
        self: &Arc<Self>,
        sender: BroadcastSender,
        acceptors: &Arc<Acceptors>,
        question: Bytes,
        patience: Duration,
    ) -> Result<Answers, SendError> {
        let mut number = [0; 8];
        SystemRandom::new().fill(&mut number).map_err(|_| SendError::Closed)?;
        let number = u64::from_be_bytes(number);
        self.accept_answers(acceptors);
        let (answer_sender, answers) = mpsc::channel(1);
        self.0.lock().open.insert(number, answer_sender);
        let until = Instant::now() + patience.min(MAX_PATIENCE);
        let asked = Answers { number, until, left: MAX_ANSWERS, answers, questions: Arc::clone(self) };
        match timeout_at(until, sender.send_question(number, &question)).await {
            Ok(sent) => sent.map(|()| asked),
            Err(_) => Ok(asked), // The time is over before there was a peer: no answers.
        }
    }

    /// Starts to accept answers with the first question.
    fn accept_answers(self: &Arc<Self>, acceptors: &Arc<Acceptors>) {
        let first = !std::mem::replace(&mut self.0.lock().accepting, true);
        if first && let Ok(acceptor) = acceptors.accept(ANSWERS.to_owned()) {
            tokio::spawn(take_answers(acceptor, Arc::downgrade(self)));
        }
    }
}

/// Takes the streams that carry answers, for as long as the node exists.
async fn take_answers(mut acceptor: Acceptor, questions: Weak<Questions>) {
    let (room, waiting) = (Arc::new(Semaphore::new(READ_AT_ONCE)), Arc::new(Semaphore::new(AT_ONCE)));
    while let Some(stream) = acceptor.recv().await {
        let (Ok(permit), questions) = (Arc::clone(&room).acquire_owned().await, Weak::clone(&questions))
        else {
            return;
        };
        let waiting = Arc::clone(&waiting);
        tokio::spawn(async move {
            let read = timeout(ANSWER_TIMEOUT, read_answer(&stream, &questions)).await;
            // A question whose answers are not taken must not keep those of others from being read.
            drop(permit);
            let reason = match read {
                Ok(Ok((asker, answer))) => match waiting.try_acquire() {
                    Ok(_waits) => match timeout(ANSWER_TIMEOUT, asker.send(answer)).await {
                        Ok(Ok(())) => return,
                        _ => "the answer was not taken",
                    },
                    Err(_) => "too many answers wait to be taken",
                },
                Ok(Err(reason)) => reason,
                Err(_) => "the answer arrived too slowly",
            };
            stream.abort(reason);
        });
    }
}

/// Reads an answer and finds out who waits for it; an error is the reason to refuse it.
async fn read_answer(
    stream: &NodeStream,
    questions: &Weak<Questions>,
) -> Result<(mpsc::Sender<Answer>, Answer), &'static str> {
    let Ok(Some(mut data)) = stream.recv_up_to(MAX_ANSWER + 9).await else {
        return Err("no answer arrived");
    };
    if data.len() < 8 || data.len() > MAX_ANSWER + 8 {
        return Err("an answer has at most 1 MiB");
    }
    let number = data.get_u64();
    let asker = questions.upgrade().and_then(|questions| questions.0.lock().open.get(&number).cloned());
    let asker = asker.ok_or("the question is not open any more")?;
    Ok((asker, Answer { from: stream.peer(), data }))
}

/// Runs `handler` for each question that other nodes ask, until the guard is dropped.
pub(crate) fn answer<F, A>(
    opener: Opener,
    mailbox: &Arc<Mailbox>,
    handler: F,
) -> Result<ResponderGuard, AcceptError>
where
    F: Fn(NodeId, Bytes) -> A + Send + Sync + 'static,
    A: Future<Output = Option<Bytes>> + Send + 'static,
{
    let (sender, mut questions) = mpsc::channel::<Question>(WAITING);
    if !mailbox.answer_questions(sender) {
        return Err(AcceptError::ResponderExists);
    }
    let responder = async move {
        let (room, handler) = (Arc::new(Semaphore::new(AT_ONCE)), Arc::new(handler));
        while let Some(Question { from, number, data }) = questions.recv().await {
            let Ok(permit) = Arc::clone(&room).acquire_owned().await else { return };
            let (handler, opener) = (Arc::clone(&handler), opener.clone());
            // A task for each question: a handler that panics does not end the others.
            let answering = async move {
                if let Some(answer) = handler(from, data).await
                    && let Err(error) = send_answer(&opener, from, number, &answer).await
                {
                    tracing::warn!(?from, error, "an answer could not be sent");
                }
                drop(permit);
            };
            tokio::spawn(answering.in_current_span());
        }
    };
    tokio::spawn(responder.in_current_span());
    Ok(ResponderGuard { mailbox: Arc::downgrade(mailbox) })
}

/// Returns how long an answer waits before this node connects to the asker, so that the nodes of a
/// large network do not all connect at the same time: a random part of a span that grows with it.
fn delay(network_size: usize) -> Duration {
    if network_size <= NO_DELAY {
        return Duration::ZERO;
    }
    let nodes = u32::try_from(network_size).unwrap_or(u32::MAX);
    let span = DELAY_FOR_EACH.saturating_mul(nodes).min(MAX_DELAY);
    let mut random = [0; 4];
    match SystemRandom::new().fill(&mut random) {
        Ok(()) => span.mul_f64(f64::from(u32::from_be_bytes(random)) / f64::from(u32::MAX)),
        Err(_) => span,
    }
}

async fn send_answer(opener: &Opener, to: NodeId, number: u64, answer: &Bytes) -> Result<(), String> {
    if answer.len() > MAX_ANSWER {
        return Err(format!("it has {} bytes, the limit is {MAX_ANSWER}", answer.len()));
    }
    if !opener.is_linked(&to) {
        tokio::time::sleep(delay(opener.network_size())).await;
    }
    let stream = match opener.open(to, ANSWERS).await {
        Ok(stream) => stream,
        Err(OpenError::NotRunning) => return Ok(()), // The node was stopped meanwhile.
        Err(error) => return Err(error.to_string()),
    };
    let mut data = BytesMut::with_capacity(8 + answer.len());
    data.put_u64(number);
    data.put_slice(answer);
    stream.send(data).await.map_err(|error| error.to_string())?;
    stream.finish();
    // Waits for the end of the stream, or for the reason why the answer was refused.
    match timeout(ANSWER_TIMEOUT, stream.recv()).await {
        Ok(Err(error)) => Err(error.to_string()),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::{self, Command, Commands};
    use crate::metrics::Counters;
    use crate::peers::Peers;

    /// Returns when this node, in a network of this size, begins to look for 64 askers whose
    /// questions come at the same time.
    async fn searches(network_size: usize) -> Vec<Duration> {
        let (counters, commands) = (Arc::new(Counters::default()), Arc::new(Commands::default()));
        counters.set_network_size(network_size);
        let (sender, mut inbox) = command::channel();
        commands.open(sender, ([10, 0, 0, 1], 1).into());
        let id = |number: u8| NodeId::from_bytes([number; 32]);
        let opener = Opener::new(id(0), Peers::default(), counters, &commands);
        let (mailbox, begin) = (Arc::new(Mailbox::new(1000)), Instant::now());
        let _answering = answer(opener, &mailbox, |_, _| async { Some("here".into()) }).unwrap();
        let questions = mailbox.questions().unwrap();
        for number in 1..=AT_ONCE as u8 {
            questions.try_send(Question { from: id(number), number: 7, data: Bytes::new() }).unwrap();
        }
        let mut searches = Vec::new();
        for _ in 0..AT_ONCE {
            let Some(Command::Open { .. }) = inbox.recv().await else { panic!("no search") };
            searches.push(begin.elapsed());
        }
        searches
    }

    #[tokio::test(start_paused = true)]
    async fn the_answers_of_a_large_network_are_spread_over_time_and_those_of_a_small_one_are_not() {
        assert!(searches(NO_DELAY).await.iter().all(Duration::is_zero));
        for (nodes, span) in [(100, Duration::from_millis(200)), (1_000_000, MAX_DELAY)] {
            let searches = searches(nodes).await;
            // The clock of the test has steps of 1 ms.
            assert!(searches.iter().all(|at| *at <= span + Duration::from_millis(1)), "{searches:?}");
            // By chance, one run in 2^64 has none of 64 in one half.
            let early = searches.iter().filter(|at| **at < span / 2).count();
            assert!((1..AT_ONCE).contains(&early), "{searches:?}");
        }
    }
}
