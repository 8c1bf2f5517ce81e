//! The parts that membership is made of. Each owns its fields: what another file may not touch it
//! cannot reach.
//!
//! A part knows its own rule (when the next shuffle is due, how many joins are served) and nothing
//! of the other parts. The files above this folder combine them: they take a message or a tick and
//! ask the parts what follows.

pub(super) mod admission;
pub(super) mod conn;
pub(super) mod conns;
pub(super) mod crossed;
pub(super) mod dials;
pub(super) mod known;
pub(super) mod optimisation;
pub(super) mod passive;
pub(super) mod probing;
pub(super) mod reconnect;
pub(super) mod refill;
pub(super) mod reverse_paths;
pub(super) mod seeds;
pub(super) mod shuffle;
pub(super) mod splits;
pub(super) mod ticker;
