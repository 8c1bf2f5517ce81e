//! `smokesignal`: a small peer-to-peer network on the command line.

mod chat;
mod demo;
mod io;
mod message;
mod options;
mod pipe;
mod run;
mod tools;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::options::Failure;

/// A small, plain peer-to-peer network: what you write reaches everyone.
///
/// Give a node the address of one other, and it finds the rest. stdout carries data only, all else goes to stderr.
/// Exit status: 0 done, 1 failed, 2 usage, 130 interrupted.
#[derive(Debug, Parser)]
#[command(name = "smokesignal", version, arg_required_else_help = true)]
pub(crate) struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Chat with everyone in the network.
    Chat(chat::Args),
    /// Copy stdin to everyone, and what everyone else writes to stdout.
    Pipe(pipe::Args),
    /// Be a node for a program in any language: JSON lines in and out.
    Run(run::Args),
    /// Show a network in this process: gather, broadcast, kill some, heal.
    Demo(demo::Args),
    /// Print the id of a key file, which is made if need be.
    Id(tools::IdArgs),
    /// Print this machine's address in a subnet.
    Localip(tools::LocalIpArgs),
    /// Print shell completions.
    Completions(tools::CompletionArgs),
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let outcome = match cli.command {
        Command::Chat(args) => options::block_on(chat::run(args)),
        Command::Pipe(args) => options::block_on(pipe::run(args)),
        Command::Run(args) => options::block_on(run::run(args)),
        Command::Demo(args) => options::block_on(demo::run(args)),
        Command::Id(args) => tools::id(&args),
        Command::Localip(args) => tools::local_ip(&args),
        Command::Completions(args) => tools::completions(&args),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            if !matches!(failure, Failure::Interrupted) {
                eprintln!("smokesignal: {failure}");
            }
            ExitCode::from(failure.code())
        }
    }
}
