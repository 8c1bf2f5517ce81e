//! `smokesignal localip`: prints the address of this machine that is in a subnet.

use crate::outcome::{Exit, Failure};
use crate::output::print;

/// Print this machine's address in a subnet
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The subnet, for example 192.168.2.0/24, 192.168.2.1/255.255.255.0 or fd00::/8
    subnet: String,
}

/// Prints the address. Exits with 1 if this machine has none in the subnet, and with 2 if the text
/// is not a subnet.
pub(crate) fn run(args: &Args) -> Result<Exit, Failure> {
    let address = smokesignal::local_ip(&args.subnet)?;
    print(&format!("{address}\n"))?;
    Ok(Exit::Done)
}
