//! The program `smokesignal`. This file is the table of contents: each command has a module of its
//! own, and the modules below them are what the commands share.
//!
//! A command that joins a network builds its node from [`options::JoinArgs`], runs until its work
//! is done, a signal arrives or the reader of stdout is gone, and then leaves the network properly
//! ([`leave`]). Data goes to stdout ([`output`]), everything for people goes to stderr
//! ([`notice`]). The exit code is 0 for success, 1 for a failure, 2 for wrong usage and 130 after
//! SIGINT ([`outcome`]).
//!
//! The commands that join no network (`id`, `localip`, `completions` and `sim`) are plain functions
//! without an event loop. A signal ends them as it ends any program.

// First, because the other modules use its macro.
#[macro_use]
mod notice;

mod bench;
mod chat;
mod completions;
mod demo;
mod forward;
mod id;
mod localip;
mod pipe;
mod run;
mod sim;

// Shared by several commands.
mod direct;
mod input;
mod leave;
mod limits;
mod lines;
mod log;
mod open;
mod options;
mod outbox;
mod outcome;
mod output;
mod queue;
mod receivers;
mod request;
mod signals;
mod terminal;

use clap::{Parser, Subcommand};

use crate::outcome::{Exit, Failure};

/// The allocator of glibc never returns most of the memory that a peak load needed: after five
/// seconds of load, twenty nodes held 1 500 MB, of which 6 MB were in use. jemalloc is as fast and
/// returns it within a minute.
#[cfg(not(target_env = "msvc"))]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// A peer-to-peer overlay for programs: broadcast to everyone, open a stream to any node
#[derive(Debug, Parser)]
#[command(
    name = "smokesignal",
    version,
    propagate_version = true,
    max_term_width = 100,
    after_help = "Start with `smokesignal demo`, or with `smokesignal chat` in two terminals."
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

/// The commands. Their arguments are defined in their modules.
#[derive(Debug, Subcommand)]
enum Command {
    Chat(chat::Args),
    Pipe(pipe::Args),
    Run(run::Args),
    Forward(forward::Args),
    Demo(demo::Args),
    Bench(bench::Args),
    Sim(sim::Args),
    Id(id::Args),
    Localip(localip::Args),
    Completions(completions::Args),
}

/// Runs the command, prints its failure, and exits with its code.
fn main() {
    let code = match run(Cli::parse().command) {
        Ok(exit) => exit.code(),
        Err(failure) => {
            notice!("{failure}");
            failure.code()
        }
    };
    terminal::restore();
    // Not a plain return, because a thread may still wait for stdin, and nothing can wake it. No
    // destructor runs here: each command has stopped its nodes and flushed stdout before.
    std::process::exit(code);
}

/// Passes each command on to its module.
fn run(command: Command) -> Result<Exit, Failure> {
    match command {
        Command::Chat(args) => chat::run(args),
        Command::Pipe(args) => pipe::run(args),
        Command::Run(args) => run::run(args),
        Command::Forward(args) => forward::run(args),
        Command::Demo(args) => demo::run(&args),
        Command::Bench(args) => bench::run(&args),
        Command::Sim(args) => sim::run(&args),
        Command::Id(args) => id::run(&args),
        Command::Localip(args) => localip::run(&args),
        Command::Completions(args) => completions::run(&args),
    }
}
