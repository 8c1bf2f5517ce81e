//! The names that connections, dials and the user's requests go by.
//!
//! A connection is named by the caller and a dial by the node, so that neither has to wait for the
//! other to name it. No name is used twice: what still refers to a closed connection finds nothing.

use std::net::SocketAddr;

/// One connection, named by the caller. Never used twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LinkId(pub u64);

/// One attempt to connect, named by the node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DialId(pub u64);

/// One request of the user for a connection, named by the caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestId(pub u64);

/// An address to dial.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// `HOST:PORT` as the user wrote it, to be resolved anew each time.
    Name(String),
    /// An address learnt from a signed record.
    Address(SocketAddr),
}
