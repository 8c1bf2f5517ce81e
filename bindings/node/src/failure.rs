//! Errors of the library as JavaScript gets them: a code, a text, and the kind of error.
//!
//! Each error type of the library has a `From` here, which gives every variant its code and, where
//! the system is the cause, the name that Node.js uses for it. Functions that return a [`Failure`]
//! hand it over as an object; functions that throw pack it into the text of the exception
//! ([`thrown`]).

use std::io;

use napi_derive::napi;
use smokesignal::{
    AcceptError, BuildError, ConnectError, IdentityError, LocalIpError, OpenError, ParseNodeIdError,
    SendError, StartError, StreamError, StreamErrorKind,
};

/// The parts of an error, from which `lib/errors.js` makes a JavaScript one.
#[napi(object)]
#[derive(Debug, Clone)]
pub struct Failure {
    /// The code, which `lib/errors.js` prefixes with `ERR_SMOKESIGNAL_`.
    pub code: String,
    /// The text, with the names of options and methods in JavaScript.
    pub message: String,
    /// Whether a value is out of range, which makes it a `RangeError`.
    pub range: bool,
    /// The system's name for the cause, such as `EADDRINUSE`.
    pub system: Option<String>,
}

impl Failure {
    /// Returns the failure of a stream for any other reason than a [`StreamError`].
    pub(crate) fn stream(error: &std::io::Error) -> Self {
        Self::new("STREAM", error)
    }

    /// Makes a plain error.
    fn new(code: &str, error: impl ToString) -> Self {
        Self { code: code.to_owned(), message: in_javascript(&error.to_string()), range: false, system: None }
    }

    /// Makes a `RangeError`.
    fn range(code: &str, error: impl ToString) -> Self {
        Self { range: true, ..Self::new(code, error) }
    }

    /// Adds the system's name for the cause.
    fn system(self, name: &str) -> Self {
        Self { system: Some(name.to_owned()), ..self }
    }
}

/// Returns a text of the library with the names that options and methods have in JavaScript.
pub(crate) fn in_javascript(text: &str) -> String {
    /// Names and phrases of the library's texts, each with its form in JavaScript.
    const NAMES: [(&str, &str); 12] = [
        ("max_message", "maxMessage"),
        ("max_peers", "maxPeerNo"),
        ("min_peers", "minPeerNo"),
        ("ping_timeout", "pingTimeout"),
        ("reader_timeout", "readerTimeout"),
        ("network secret", "networkSecret"),
        ("the same secret file", "the same secret"),
        ("`smokesignal localip SUBNET` prints one that is", "localIp(subnet) returns one that is"),
        (", as `smokesignal id` prints them", ""),
        ("one that `smokesignal id` has printed", "the id of a node"),
        ("drop its acceptor", "end its iteration"),
        ("drop what the first answer() gave", "close what the first answer() gave"),
    ];
    NAMES.iter().fold(text.to_owned(), |text, (rust, javascript)| text.replace(rust, javascript))
}

impl From<BuildError> for Failure {
    fn from(error: BuildError) -> Self {
        Self::range("BAD_OPTION", error)
    }
}

impl From<ParseNodeIdError> for Failure {
    fn from(error: ParseNodeIdError) -> Self {
        Self::range("BAD_OPTION", error)
    }
}

impl From<StartError> for Failure {
    fn from(error: StartError) -> Self {
        match &error {
            StartError::PortInUse(_) => Self::new("PORT_IN_USE", error).system("EADDRINUSE"),
            StartError::NotLocal(_) => Self::new("NOT_LOCAL", error).system("EADDRNOTAVAIL"),
            StartError::Listen { source, .. } if source.kind() == io::ErrorKind::PermissionDenied => {
                Self::new("LISTEN", error).system("EACCES")
            }
            StartError::Advertise { .. } => Self::new("ADVERTISE", error).system("ENOTFOUND"),
            StartError::AlreadyRunning => Self::new("ALREADY_RUNNING", error),
            _ => Self::new("LISTEN", error),
        }
    }
}

impl From<ConnectError> for Failure {
    fn from(error: ConnectError) -> Self {
        match &error {
            ConnectError::BadAddress(_) => Self::range("BAD_ADDRESS", error),
            ConnectError::Resolve { .. } => Self::new("RESOLVE", error).system("ENOTFOUND"),
            ConnectError::Refused(_) => Self::new("REFUSED", error).system("ECONNREFUSED"),
            ConnectError::TimedOut(_) => Self::new("TIMED_OUT", error).system("ETIMEDOUT"),
            ConnectError::ClosedEarly(_) => Self::new("CLOSED_EARLY", error).system("ECONNRESET"),
            ConnectError::Handshake { .. } => Self::new("HANDSHAKE", error),
            ConnectError::WrongSecret(_) => Self::new("WRONG_SECRET", error),
            ConnectError::NoCommonVersion { .. } => Self::new("NO_COMMON_VERSION", error),
            ConnectError::WrongNode { .. } => Self::new("WRONG_NODE", error),
            ConnectError::Myself(_) => Self::new("MYSELF", error),
            ConnectError::Full(_) => Self::new("FULL", error),
            ConnectError::Closed(_) => Self::new("CLOSED", error).system("ECONNRESET"),
            ConnectError::NotRunning => Self::new("NOT_RUNNING", error),
            _ => Self::new("CONNECT", error),
        }
    }
}

impl From<OpenError> for Failure {
    fn from(error: OpenError) -> Self {
        match &error {
            OpenError::Myself(_) => Self::new("MYSELF", error),
            OpenError::NotFound { .. } => Self::new("NOT_FOUND", error),
            OpenError::Unreachable(_) => Self::new("NO_WAY", error),
            OpenError::Busy => Self::new("BUSY", error),
            OpenError::BadName(_) => Self::range("BAD_NAME", error),
            OpenError::TooMany(_) => Self::new("TOO_MANY", error),
            OpenError::NotRunning => Self::new("NOT_RUNNING", error),
            _ => Self::new("OPEN", error),
        }
    }
}

impl From<SendError> for Failure {
    fn from(error: SendError) -> Self {
        match &error {
            SendError::TooLarge { .. } => Self::range("TOO_LARGE", error),
            SendError::Ended => Self::new("ENDED", error),
            SendError::IdentityInUse => Self::new("IDENTITY_IN_USE", error),
            _ => Self::from(ConnectError::NotRunning),
        }
    }
}

impl From<AcceptError> for Failure {
    fn from(error: AcceptError) -> Self {
        match &error {
            AcceptError::Taken(_) => Self::new("NAME_TAKEN", error),
            AcceptError::BadName(_) => Self::range("BAD_NAME", error),
            AcceptError::ResponderExists => Self::new("ANSWERING", error),
            _ => Self::new("ACCEPT", error),
        }
    }
}

impl From<StreamError> for Failure {
    fn from(error: StreamError) -> Self {
        match error.kind() {
            StreamErrorKind::Refused => Self::new("STREAM_REFUSED", error).system("ECONNREFUSED"),
            StreamErrorKind::Busy => Self::new("STREAM_BUSY", error),
            StreamErrorKind::Reset(_) => Self::new("STREAM_RESET", error).system("ECONNRESET"),
            StreamErrorKind::ConnectionLost => Self::new("STREAM_CUT", error).system("ECONNRESET"),
            StreamErrorKind::Stopped => Self::new("STREAM_STOPPED", error).system("EPIPE"),
            StreamErrorKind::Closed => Self::new("STREAM_CLOSED", error).system("EPIPE"),
            StreamErrorKind::TooLarge { .. } => Self::range("TOO_LARGE", error),
            _ => Self::new("STREAM", error),
        }
    }
}

impl From<IdentityError> for Failure {
    fn from(error: IdentityError) -> Self {
        match &error {
            IdentityError::Malformed { .. } => Self::new("BAD_KEY_FILE", error),
            IdentityError::Io { source, .. } => {
                let system = match source.kind() {
                    io::ErrorKind::NotFound => "ENOENT",
                    io::ErrorKind::PermissionDenied => "EACCES",
                    io::ErrorKind::IsADirectory => "EISDIR",
                    _ => "EIO",
                };
                Self::new("KEY_FILE", error).system(system)
            }
            _ => Self::new("KEY_FILE", error),
        }
    }
}

impl From<LocalIpError> for Failure {
    fn from(error: LocalIpError) -> Self {
        match &error {
            LocalIpError::BadSubnet(_) => Self::range("BAD_SUBNET", error),
            _ => Self::new("NO_LOCAL_ADDRESS", error),
        }
    }
}

/// An exception whose text has all parts; `calling` in `lib/errors.js` takes it apart.
impl From<Failure> for napi::Error {
    fn from(Failure { code, message, range, system }: Failure) -> Self {
        let kind = if range { "range" } else { "" };
        Self::from_reason(format!("{code}\n{kind}\n{}\n{message}", system.unwrap_or_default()))
    }
}

/// Returns an error as an exception, for `?` in functions that JavaScript calls.
pub(crate) fn thrown(error: impl Into<Failure>) -> napi::Error {
    error.into().into()
}
