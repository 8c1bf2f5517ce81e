//! The small commands: `id`, `localip`, `completions`.

use std::path::PathBuf;

use clap::CommandFactory as _;
use clap_complete::Shell;
use smokesignal::Identity;

use crate::options::Failure;

/// Options of `id`.
#[derive(Debug, clap::Args)]
pub(crate) struct IdArgs {
    /// The key file.
    #[arg(long, env = "SMOKESIGNAL_KEY", value_name = "FILE")]
    key: PathBuf,
}

/// Options of `localip`.
#[derive(Debug, clap::Args)]
pub(crate) struct LocalIpArgs {
    /// For example 192.168.2.0/24, 192.168.2.1/255.255.255.0 or fd00::/8.
    subnet: String,
}

/// Options of `completions`.
#[derive(Debug, clap::Args)]
pub(crate) struct CompletionArgs {
    /// For which shell.
    shell: Shell,
}

pub(crate) fn id(args: &IdArgs) -> Result<(), Failure> {
    let new = !args.key.exists();
    let identity = Identity::load_or_create(&args.key).map_err(Failure::failed)?;
    if new {
        eprintln!("smokesignal: made the key file {}", args.key.display());
    }
    print(&format!("{}\n", identity.id()))
}

pub(crate) fn local_ip(args: &LocalIpArgs) -> Result<(), Failure> {
    let address = smokesignal::local_ip(&args.subnet).map_err(|error| match error {
        smokesignal::LocalIpError::BadSubnet(_) => Failure::Usage(error.to_string()),
        error => Failure::failed(error),
    })?;
    print(&format!("{address}\n"))
}

pub(crate) fn completions(args: &CompletionArgs) -> Result<(), Failure> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut crate::Cli::command(), "smokesignal", &mut script);
    print(&String::from_utf8_lossy(&script))
}

/// Prints to stdout; a closed one (`| head`) is no failure.
pub(crate) fn print(text: &str) -> Result<(), Failure> {
    use std::io::Write as _;
    let mut stdout = std::io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(Failure::failed(error)),
        _ => Ok(()),
    }
}
