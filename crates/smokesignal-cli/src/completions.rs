//! `smokesignal completions`: prints the script with which a shell completes commands and options.

use clap::CommandFactory as _;
use clap_complete::Shell;

use crate::outcome::{Exit, Failure};
use crate::output::print;

/// Print the completion script for a shell
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The shell that is to run the script
    shell: Shell,
}

/// Prints the script, which clap generates from the definition of the command line.
pub(crate) fn run(args: &Args) -> Result<Exit, Failure> {
    let mut command = crate::Cli::command();
    let name = command.get_name().to_owned();
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut command, name, &mut script);
    print(&String::from_utf8_lossy(&script))?;
    Ok(Exit::Done)
}
