//! Many nodes in one process need many sockets.

use crate::outcome::Failure;

/// Open files one node needs: a listener, up to seven links, and links being made. Generous.
#[cfg(unix)]
const PER_NODE: u64 = 16;
/// What the process itself needs.
#[cfg(unix)]
const BASE: u64 = 64;

/// Raises the soft limit of open files as far as needed.
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
            "{nodes} nodes need {needed} open files, this system allows {hard}; take fewer nodes or raise `ulimit -n`"
        )));
    }
    // More where it is allowed: on a busy machine connections that are being made pile up.
    setrlimit(Resource::RLIMIT_NOFILE, hard.min(4 * needed), hard).map_err(failed)
}

#[cfg(not(unix))]
pub(crate) fn allow_sockets_for(_nodes: usize) -> Result<(), Failure> {
    Ok(())
}
