//! The program around a system under test: runs one workload over it, and prints one JSON object to
//! stdout.
//!
//! A system implements [`System`], [`Running`] and [`Writer`]. Without variants its `main` needs
//! one line:
//! ```no_run
//! # struct Mine;
//! # impl harness::System for Mine {
//! #     type Running = Nodes;
//! #     async fn start(&self, _: Vec<harness::Sink>) -> Result<Nodes, harness::Error> { Ok(Nodes) }
//! # }
//! # struct Nodes;
//! # impl harness::Running for Nodes {
//! #     type Writer = NodeWriter;
//! #     fn writer(&self, _: usize) -> NodeWriter { NodeWriter }
//! #     async fn stop(self) {}
//! # }
//! # struct NodeWriter;
//! # impl harness::Writer for NodeWriter {
//! #     async fn send(&mut self, _: bytes::Bytes) -> Result<(), harness::Error> { Ok(()) }
//! # }
//! fn main() -> std::process::ExitCode {
//!     harness::run("mine", "1.2.3", Mine)
//! }
//! ```
//! A system with variants reads from [`Args`] which of them to run.

mod args;

use std::process::ExitCode;

use serde::Serialize;
pub use smokesignal_load::{Error, Inbox, Outcome, Running, Sink, System, Workload, Writer};

pub use args::Args;

/// All systems written in Rust use the allocator of the `smokesignal` program.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// Threads of the event loop, the same for every system.
const WORKER_THREADS: usize = 2;

/// Runs a system without variants, with the workload that the command line describes.
pub fn run<S: System>(name: &'static str, version: &'static str, system: S) -> ExitCode {
    Args::read(name, version, &[]).run(&system)
}

impl Args {
    /// Runs the system with this workload, and prints the outcome or the error.
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
        // Tasks that the system has left running must not delay the end.
        runtime.shutdown_background();
        Ok(serde_json::to_string(&Line {
            system: self.name,
            version: self.version,
            variant: self.variant.as_deref(),
            outcome,
        })?)
    }
}

/// The printed object.
#[derive(Serialize)]
struct Line<'a> {
    system: &'a str,
    version: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    variant: Option<&'a str>,
    #[serde(flatten)]
    outcome: Outcome,
}

/// Raises the soft limit of open files to the hard one, because many nodes in one process have many
/// sockets. A failure shows itself later, if the limit is reached.
fn allow_many_files() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    let _ = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum });
}
