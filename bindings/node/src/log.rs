//! Passes log lines of the library to the `logger` of the node that they are about.
//!
//! Each node runs in a tracing span that carries the number of its log. [`Router`], the addon's
//! subscriber, finds that number for every event and puts a line into the log's queue, which
//! JavaScript empties when the log's waker is due. With no logger at all nothing is subscribed, and
//! log statements cost nothing.

use std::collections::{BTreeMap, VecDeque};
use std::fmt::{self, Write as _};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, Once, PoisonError};
use std::task::Waker;

use crate::failure::in_javascript;
use napi_derive::napi;
use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::span::{Attributes, Id};
use tracing::{Event, Level, Metadata, Span, Subscriber};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt as _};
use tracing_subscriber::registry::{LookupSpan, Registry};

/// Lines that wait for JavaScript. Later ones are dropped and counted.
const MAX_LINES: usize = 1024;

/// A log line.
#[napi(object)]
pub struct NativeLine {
    /// One of `trace`, `debug`, `info`, `warn` and `error`.
    pub level: String,
    /// The message and its fields, as `message name=value`.
    pub text: String,
}

/// The log of one node.
pub(crate) struct Log {
    number: u64,
    level: LevelFilter,
    lines: Mutex<Lines>,
    waker: Waker,
}

#[derive(Default)]
struct Lines {
    queue: VecDeque<(Level, String)>,
    dropped: u64,
}

/// All logs, by the number that the span of a node carries.
static LOGS: Mutex<BTreeMap<u64, Arc<Log>>> = Mutex::new(BTreeMap::new());
/// The number of the next log.
static NUMBERS: AtomicU64 = AtomicU64::new(0);

/// Locks the map of all logs.
fn logs() -> MutexGuard<'static, BTreeMap<u64, Arc<Log>>> {
    LOGS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A node's log and span. Dropping it ends the log.
pub(crate) struct Logging {
    /// The log, if the node's logger has any method.
    pub(crate) log: Option<Arc<Log>>,
    /// Events inside this span go to the log.
    pub(crate) span: Span,
}

impl Logging {
    /// Opens a log. `level` is the least severe level that the node's logger takes, such as
    /// `debug`; `None` if the logger has no method at all.
    pub(crate) fn new(level: Option<&str>, waker: Waker) -> Self {
        let level = level.and_then(|level| level.parse::<Level>().ok());
        let Some(level) = level else { return Self { log: None, span: Span::none() } };
        static INSTALL: Once = Once::new();
        // It cannot fail: nothing else in this addon sets a subscriber.
        INSTALL.call_once(|| drop(tracing::subscriber::set_global_default(Registry::default().with(Router))));
        let number = NUMBERS.fetch_add(1, Ordering::Relaxed);
        let log =
            Arc::new(Log { number, level: LevelFilter::from_level(level), lines: Mutex::default(), waker });
        logs().insert(number, Arc::clone(&log));
        tracing_core::callsite::rebuild_interest_cache();
        Self { log: Some(log), span: tracing::error_span!("node", number) }
    }
}

impl Drop for Logging {
    fn drop(&mut self) {
        if let Some(log) = &self.log {
            logs().remove(&log.number);
            tracing_core::callsite::rebuild_interest_cache();
        }
    }
}

impl Log {
    fn lock(&self) -> MutexGuard<'_, Lines> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a line, or counts it as dropped if too many wait.
    fn push(&self, level: Level, text: String) {
        let mut lines = self.lock();
        if lines.queue.len() < MAX_LINES {
            lines.queue.push_back((level, text));
        } else {
            lines.dropped += 1;
        }
        drop(lines);
        self.waker.wake_by_ref();
    }

    /// Returns the lines that wait, and a warning if some were dropped.
    pub(crate) fn take(&self) -> Vec<NativeLine> {
        let mut lines = self.lock();
        let dropped = std::mem::take(&mut lines.dropped);
        let queue = std::mem::take(&mut lines.queue);
        drop(lines);
        let mut taken: Vec<_> = queue
            .into_iter()
            .map(|(level, text)| NativeLine { level: name(level).to_owned(), text })
            .collect();
        if dropped > 0 {
            let text = format!(
                "{dropped} log lines were dropped: more than {MAX_LINES} waited; log less, or at a higher level"
            );
            taken.push(NativeLine { level: name(Level::WARN).to_owned(), text });
        }
        taken
    }
}

/// Returns the name of a level, which is a method of the logger.
fn name(level: Level) -> &'static str {
    match level {
        Level::TRACE => "trace",
        Level::DEBUG => "debug",
        Level::INFO => "info",
        Level::WARN => "warn",
        Level::ERROR => "error",
    }
}

/// Returns the most verbose level that any log takes.
fn most_verbose() -> LevelFilter {
    logs().values().map(|log| log.level).max().unwrap_or(LevelFilter::OFF)
}

/// Routes events to the log of their node: the event's span, or one around it, has the number.
struct Router;

/// The number of a log, stored in a span.
struct Number(u64);

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for Router {
    fn enabled(&self, metadata: &Metadata<'_>, _: Context<'_, S>) -> bool {
        *metadata.level() <= most_verbose()
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(most_verbose())
    }

    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let mut text = Text::default();
        attributes.record(&mut text);
        if let (Some(number), Some(span)) = (text.number, context.span(id)) {
            span.extensions_mut().insert(Number(number));
        }
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let level = *event.metadata().level();
        let number = context.event_scope(event).and_then(|mut scope| {
            scope.find_map(|span| span.extensions().get::<Number>().map(|Number(number)| *number))
        });
        let log = number.and_then(|number| logs().get(&number).cloned());
        if let Some(log) = log.filter(|log| level <= log.level) {
            let mut text = Text::default();
            event.record(&mut text);
            log.push(level, in_javascript(&text.line()));
        }
    }
}

/// The text of an event: its message, then its fields as `name=value`.
#[derive(Default)]
struct Text {
    message: String,
    fields: String,
    number: Option<u64>,
}

impl Text {
    /// Returns the text as one line.
    fn line(self) -> String {
        self.message + &self.fields
    }
}

impl Visit for Text {
    fn record_u64(&mut self, field: &Field, value: u64) {
        if field.name() == "number" {
            self.number = Some(value);
        }
        self.record_debug(field, &value);
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.record_debug(field, &format_args!("{value}"));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let written = match field.name() {
            "message" => write!(self.message, "{value:?}"),
            name => write!(self.fields, " {name}={value:?}"),
        };
        debug_assert!(written.is_ok(), "writing to a string cannot fail");
    }
}
