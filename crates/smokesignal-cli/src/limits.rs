//! The limit of open files: many nodes in one process need many sockets.
//!
//! Unix has two limits per process. A process may raise the soft one, which applies to it, up to
//! the hard one. Shells usually start with a soft limit of 1 024, which `demo` and `bench` exceed
//! from about 60 nodes on. Without this, nodes would fail at random when no socket is left.

use crate::outcome::Failure;

/// Open files that a node needs: a listener, up to seven links (`max_peers` and two more), and
/// connections that are being made. A generous guess.
#[cfg(unix)]
const PER_NODE: u64 = 16;
/// Open files that the process itself needs. A generous guess.
#[cfg(unix)]
const BASE: u64 = 64;

/// Raises the soft limit of open files as far as this many nodes need.
#[cfg(unix)]
pub(crate) fn allow_sockets_for(nodes: usize) -> Result<(), Failure> {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};

    let needed = BASE + PER_NODE * nodes as u64;
    let failed = |error| Failure::Failed(format!("cannot read or raise the limit of open files: {error}"));
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).map_err(failed)?;
    if soft >= needed {
        return Ok(());
    }
    if hard < needed {
        return Err(Failure::Failed(format!(
            "{nodes} nodes need {needed} open files, but the system allows {hard}; use fewer nodes, or raise the \
             limit with `ulimit -Hn`"
        )));
    }
    // More than needed if allowed, because connections that are being made pile up on a busy
    // machine.
    setrlimit(Resource::RLIMIT_NOFILE, hard.min(4 * needed), hard).map_err(failed)
}

/// Does nothing: other systems have no such limit.
#[cfg(not(unix))]
pub(crate) fn allow_sockets_for(_nodes: usize) -> Result<(), Failure> {
    Ok(())
}
