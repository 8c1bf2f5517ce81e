//! The command line that all systems under test share: one system, one run, one JSON object on
//! standard output.
//!
//! A system without variants needs one line:
//! ```no_run
//! # struct Mine;
//! # impl harness::System for Mine {
//! #     type Running = Nodes;
//! #     async fn start(&self, _: Vec<harness::Sink>) -> Result<Nodes, harness::Error> { Ok(Nodes) }
//! # }
//! # struct Nodes;
//! # impl harness::Running for Nodes {
//! #     type Writer = MyWriter;
//! #     fn writer(&self, _: usize) -> MyWriter { MyWriter }
//! #     async fn stop(self) {}
//! # }
//! # struct MyWriter;
//! # impl harness::Writer for MyWriter {
//! #     async fn send(&mut self, _: bytes::Bytes) -> Result<(), harness::Error> { Ok(()) }
//! # }
//! fn main() -> std::process::ExitCode {
//!     harness::run("mine", "1.2.3", Mine)
//! }
//! ```
//! One with variants asks [`Args`] which of them is wanted.

mod args;

use std::process::ExitCode;

use serde::Serialize;
pub use smokesignal_load::{Error, Inbox, Outcome, Running, Sink, System, Workload, Writer};

pub use args::Args;

/// The same allocator for all systems written in Rust, and for the program that they are compared
/// with.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// The same for every system.
const WORKER_THREADS: usize = 2;

/// Runs a system that has no variants, as the command line says.
pub fn run<S: System>(name: &'static str, version: &'static str, system: S) -> ExitCode {
    Args::read(name, version, &[]).run(&system)
}

impl Args {
    /// Runs the system as the command line says, and prints what came of it.
    pub fn run<S: System>(&self, system: &S) -> ExitCode {
        match self.outcome(system) {
            Ok(line) => {
                println!("{line}");
                ExitCode::SUCCESS
            }
            Err(error) => {
                eprintln!("{}: {error}", self.name);
                ExitCode::FAILURE
            }
        }
    }

    fn outcome<S: System>(&self, system: &S) -> Result<String, Error> {
        allow_many_files();
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(WORKER_THREADS)
            .enable_all()
            .build()?;
        let outcome = runtime.block_on(smokesignal_load::measure(system, &self.workload(), |_| {}))?;
        // Tasks that a system leaves running do not delay the end.
        runtime.shutdown_background();
        Ok(serde_json::to_string(&Line {
            system: self.name,
            version: self.version,
            variant: self.variant.as_deref(),
            outcome,
        })?)
    }
}

#[derive(Serialize)]
struct Line<'a> {
    system: &'a str,
    version: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    variant: Option<&'a str>,
    #[serde(flatten)]
    outcome: Outcome,
}

/// Many nodes in one process have many sockets: the soft limit is raised to the hard one, or as far
/// as it goes.
fn allow_many_files() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    let _ = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum });
}
