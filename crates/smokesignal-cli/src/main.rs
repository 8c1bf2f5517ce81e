//! `smokesignal` on the command line. This file is the table of contents: one command, one file.
//!
//! Data goes to stdout, everything for people to stderr. Exit codes: 0 done, 1 failed, 2 usage, 130 interrupted.

// First, because the others use its macro.
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

// What the commands share.
mod direct;
mod input;
mod leave;
mod limits;
mod lines;
mod log;
mod options;
mod outbox;
mod outcome;
mod output;
mod queue;
mod signals;
mod terminal;

use clap::{Parser, Subcommand};

use crate::outcome::{Exit, Failure};

/// glibc keeps most of what a busy hour needed for ever: after a load of five seconds twenty nodes held 1 500 MB of which 6
/// were in use. This one gives it back within a minute, and is as fast.
#[cfg(not(target_env = "msvc"))]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// A small peer-to-peer network: nodes find each other, everyone can write to everyone.
#[derive(Debug, Parser)]
#[command(name = "smokesignal", version, propagate_version = true, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

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

fn main() {
    let code = match run(Cli::parse().command) {
        Ok(exit) => exit.code(),
        Err(failure) => {
            notice!("{failure}");
            failure.code()
        }
    };
    terminal::restore();
    // Not a plain return: a thread may still wait for stdin, and nothing can wake it.
    std::process::exit(code);
}

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
