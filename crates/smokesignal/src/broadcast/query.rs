//! Questions to everyone, and their answers: a question is a broadcast message with a mark, an answer comes over a stream
//! of its own from whoever has one.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use tokio::sync::{Semaphore, mpsc};
use tokio::time::{Instant, timeout, timeout_at};
use tracing::Instrument as _;

use crate::broadcast::Mailbox;
use crate::error::{AcceptError, SendError};
use crate::node::Node;
use crate::node::WeakNode;
use crate::stream::accept::Acceptor;
use crate::stream::accept::Acceptors;
use crate::stream::handle::NodeStream;
use smokesignal_proto::NodeId;

/// Answers to one question at most; more are refused.
const MAX_ANSWERS: usize = 1024;
/// Bytes of one answer at most: 1 MiB.
const MAX_ANSWER: usize = 1024 * 1024;
/// Questions that are being answered at once.
const AT_ONCE: usize = 64;
/// Answers that are being read at once: with their windows they fit into half of what one connection may hold.
const READ_AT_ONCE: usize = 8;
/// Questions that wait to be answered; more are not answered.
pub(crate) const WAITING: usize = 256;
/// An answer has to come, or to be taken, within this time once it has begun.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);
/// The name of the streams that answers come over: one that no application can have.
const NAME: &str = "";

/// What begins a broadcast message that is not the application's, after which comes what it is. A message of the
/// application that happens to begin like this is sent behind it, as [`LITERAL`].
const MARK: &[u8] = b"\0smokesignal\0";
const LITERAL: u8 = 0;
const QUESTION: u8 = 1;
const CHANNEL: u8 = 2;
/// Bytes of a channel's name at most.
pub(crate) const MAX_CHANNEL: usize = 32;
/// Bytes that marks add to a message at most: the mark, what it is, and a channel's name with its length (a question's number
/// is shorter).
pub(crate) const MARKED: usize = MARK.len() + 1 + 1 + MAX_CHANNEL;

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
    /// Who gives it.
    pub from: NodeId,
    /// What it says.
    pub data: Bytes,
}

/// The answers to a question, from [`Node::ask`]. When it is dropped, further ones are refused.
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
#[derive(Debug)]
pub struct Answers {
    number: u64,
    until: Instant,
    left: usize,
    answers: mpsc::Receiver<Answer>,
    questions: Arc<Questions>,
}

impl Answers {
    /// The next answer, as they arrive; `None` once the time is over, or 1 024 have come. Nothing is lost if the future is
    /// dropped.
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
        self.questions.lock().open.remove(&self.number);
    }
}

/// As long as it lives, the node answers questions. From [`Node::answer`].
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
#[derive(Debug)]
pub struct ResponderGuard {
    mailbox: Weak<Mailbox>,
}

impl Drop for ResponderGuard {
    fn drop(&mut self) {
        if let Some(mailbox) = self.mailbox.upgrade() {
            mailbox.set_questions(None);
        }
    }
}

/// A question that somebody asks.
#[derive(Debug)]
pub(crate) struct Question {
    from: NodeId,
    number: u64,
    data: Bytes,
}

/// What this node has asked and waits for.
#[derive(Debug, Default)]
pub(crate) struct Questions(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    open: BTreeMap<u64, mpsc::Sender<Answer>>,
    accepting: bool,
}

impl Questions {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks everyone.
    pub(crate) async fn ask(
        self: &Arc<Self>,
        node: &Node,
        acceptors: &Arc<Acceptors>,
        number: u64,
        question: Bytes,
        patience: Duration,
    ) -> Result<Answers, SendError> {
        if !std::mem::replace(&mut self.lock().accepting, true)
            && let Ok(acceptor) = acceptors.accept(NAME.to_owned())
        {
            tokio::spawn(take_answers(acceptor, Arc::downgrade(self)));
        }
        let (sender, answers) = mpsc::channel(1);
        self.lock().open.insert(number, sender);
        // A time that nobody lives to see is a year.
        let (now, year) = (Instant::now(), Duration::from_secs(365 * 86_400));
        let (until, questions) = (now.checked_add(patience).unwrap_or(now + year), Arc::clone(self));
        let asked = Answers { number, until, left: MAX_ANSWERS, answers, questions };
        let mut message = BytesMut::with_capacity(8 + question.len());
        message.put_u64(number);
        message.put_slice(&question);
        let sender = node.broadcast().sender();
        match timeout_at(until, sender.send_marked(question.len(), marked(QUESTION, &message))).await {
            Ok(sent) => sent.map(|()| asked),
            Err(_) => Ok(asked), // The time is over before anybody was there: no answers.
        }
    }
}

/// For as long as the node is there.
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
            // Whoever does not take its answers holds up nobody else's.
            drop(permit);
            let why = match read {
                Ok(Ok((asker, answer))) => match waiting.try_acquire() {
                    Ok(_waits) => match timeout(ANSWER_TIMEOUT, asker.send(answer)).await {
                        Ok(Ok(())) => return,
                        _ => "the answer was not taken",
                    },
                    Err(_) => "too many answers wait to be taken",
                },
                Ok(Err(why)) => why,
                Err(_) => "the answer came too slowly",
            };
            stream.abort(why);
        });
    }
}

/// The answer, and who waits for it; or why it is refused.
async fn read_answer(
    stream: &NodeStream,
    questions: &Weak<Questions>,
) -> Result<(mpsc::Sender<Answer>, Answer), &'static str> {
    let Ok(Some(mut data)) = stream.recv_up_to(MAX_ANSWER + 9).await else { return Err("no answer came") };
    if data.len() < 8 || data.len() > MAX_ANSWER + 8 {
        return Err("an answer has 1 MiB at most");
    }
    let number = data.get_u64();
    let asker = questions.upgrade().and_then(|questions| questions.lock().open.get(&number).cloned());
    let asker = asker.ok_or("nobody asks that any more")?;
    Ok((asker, Answer { from: stream.peer(), data }))
}

/// Lets `handler` answer what others ask.
pub(crate) fn answer<F, A>(
    node: WeakNode,
    mailbox: &Arc<Mailbox>,
    handler: F,
) -> Result<ResponderGuard, AcceptError>
where
    F: Fn(NodeId, Bytes) -> A + Send + Sync + 'static,
    A: Future<Output = Option<Bytes>> + Send + 'static,
{
    let (sender, mut questions) = mpsc::channel::<Question>(WAITING);
    if !mailbox.set_questions(Some(sender)) {
        return Err(AcceptError::ResponderExists);
    }
    let answering = async move {
        let (room, handler) = (Arc::new(Semaphore::new(AT_ONCE)), Arc::new(handler));
        while let Some(Question { from, number, data }) = questions.recv().await {
            let (Ok(permit), node) = (Arc::clone(&room).acquire_owned().await, node.clone()) else { return };
            let handler = Arc::clone(&handler);
            let answering = async move {
                // Within its own task: where it panics, others are answered still.
                let answering = handler(from, data);
                if let Some(answer) = answering.await
                    && let Err(error) = give(&node, from, number, &answer).await
                {
                    tracing::warn!(?from, error, "an answer could not be given");
                }
                drop(permit);
            };
            tokio::spawn(answering.in_current_span());
        }
    };
    tokio::spawn(answering.in_current_span());
    Ok(ResponderGuard { mailbox: Arc::downgrade(mailbox) })
}

async fn give(node: &WeakNode, to: NodeId, number: u64, answer: &Bytes) -> Result<(), String> {
    if answer.len() > MAX_ANSWER {
        return Err(format!("it has {} bytes, {MAX_ANSWER} is the limit", answer.len()));
    }
    let Some(node) = node.upgrade() else { return Ok(()) };
    let stream = node.open_any(to, NAME).await.map_err(|error| error.to_string())?;
    drop(node);
    let mut data = BytesMut::with_capacity(8 + answer.len());
    data.put_u64(number);
    data.put_slice(answer);
    stream.send(data).await.map_err(|error| error.to_string())?;
    stream.finish();
    // Its end, or why it was refused.
    match timeout(ANSWER_TIMEOUT, stream.recv()).await {
        Ok(Err(error)) => Err(error.to_string()),
        _ => Ok(()),
    }
}

/// What an application writes, so that it is not taken for something else.
pub(crate) fn literal(data: Bytes) -> Bytes {
    if is_marked(&data) { marked(LITERAL, &data) } else { data }
}

/// What is written to a channel. Its name has [`MAX_CHANNEL`] bytes at most.
pub(crate) fn on_channel(channel: &str, data: &[u8]) -> Bytes {
    [MARK, &[CHANNEL, channel.len() as u8], channel.as_bytes(), data].concat().into()
}

fn marked(kind: u8, data: &[u8]) -> Bytes {
    [MARK, &[kind], data].concat().into()
}

/// What a message that was read is.
pub(crate) enum Read {
    /// For the application.
    Message(Bytes),
    Question(Question),
    /// For the readers of this channel.
    OnChannel(Bytes, Bytes),
    /// Of a later version.
    Unknown,
}

/// A message that is not simply the application's.
pub(crate) fn is_marked(data: &[u8]) -> bool {
    data.starts_with(MARK)
}

pub(crate) fn read(from: NodeId, mut data: Bytes) -> Read {
    if !is_marked(&data) {
        return Read::Message(data);
    }
    data.advance(MARK.len());
    let kind = if data.is_empty() { u8::MAX } else { data.get_u8() };
    match kind {
        LITERAL => Read::Message(data),
        QUESTION if data.len() >= 8 => Read::Question(Question { from, number: data.get_u64(), data }),
        CHANNEL if !data.is_empty() => {
            let length = data.get_u8() as usize;
            if length > data.len() {
                return Read::Unknown;
            }
            let channel = data.split_to(length);
            Read::OnChannel(channel, data)
        }
        _ => Read::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_an_application_writes_is_read_as_it_was() {
        let from = NodeId::from_bytes([1; 32]);
        for data in
            [&b""[..], b"hello", MARK, b"\0smokesignal\0\0x", b"\0smokesignal\0\x0112345678", b"\0smoke"]
        {
            let Read::Message(read) = read(from, literal(Bytes::copy_from_slice(data))) else {
                panic!("{data:?}")
            };
            assert_eq!(read, data);
        }
        assert!(matches!(read(from, MARK.into()), Read::Unknown));
        assert!(matches!(read(from, marked(QUESTION, b"1234567")), Read::Unknown));
        assert!(matches!(read(from, marked(QUESTION, b"12345678")), Read::Question(_)));
    }

    #[test]
    fn what_is_written_to_a_channel_is_read_there_and_a_broken_one_nowhere() {
        let from = NodeId::from_bytes([1; 32]);
        for data in [&b""[..], b"hello", MARK] {
            let Read::OnChannel(channel, read) = read(from, on_channel("one", data)) else {
                panic!("{data:?}")
            };
            assert_eq!((&channel[..], &read[..]), (&b"one"[..], data));
        }
        for broken in [&b""[..], b"\x01", b"\x05four"] {
            assert!(matches!(read(from, marked(CHANNEL, broken)), Read::Unknown), "{broken:?}");
        }
    }
}
