//! `smokesignal id`: prints the id that belongs to a key file.
//!
//! Others need the id before the node runs, for example for `forward --to` and `--from`. The id is
//! the public key, so the file alone is enough, and no node is started.

use std::path::PathBuf;

use smokesignal::Identity;

use crate::log;
use crate::outcome::{Exit, Failure};
use crate::output::print;

/// Print the node id of a key file, and create the file if it does not exist
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The key file. Keep it secret: its holder can act as this node
    #[arg(long, value_name = "FILE", env = "SMOKESIGNAL_KEY")]
    key: PathBuf,
}

/// Reads or creates the key file, and prints its id.
pub(crate) fn run(args: &Args) -> Result<Exit, Failure> {
    log::start(0);
    let is_new = !args.key.exists();
    let identity = Identity::load_or_create(&args.key)?;
    if is_new {
        notice!("created the key file {}; keep it secret, because it proves this id", args.key.display());
    }
    print(&format!("{}\n", identity.id()))?;
    Ok(Exit::Done)
}
