//! Builds the systems under test. A failed build is a result, too: the others run without it.

use std::path::Path;
use std::process::Stdio;

use tokio::process::Command;

use crate::child::reason;
use crate::systems::{Package, System};

/// Which packages could not be built, and why.
#[derive(Debug, Default)]
pub(crate) struct Built {
    failures: Vec<(Package, String)>,
}

impl Built {
    /// Builds the packages of these systems.
    pub(crate) async fn all(systems: &[&System]) -> Self {
        let mut built = Self::default();
        for (place, system) in systems.iter().enumerate() {
            let package = system.package;
            if systems[..place].iter().any(|before| before.package == package) {
                continue;
            }
            eprintln!("building {}", package.name());
            if let Err(failure) = build(package).await {
                eprintln!("{failure}");
                built.failures.push((package, failure));
            }
        }
        built
    }

    pub(crate) fn failure(&self, system: &System) -> Option<String> {
        let failed = self.failures.iter().find(|(package, _)| *package == system.package);
        failed.map(|(_, failure)| failure.clone())
    }
}

impl Package {
    fn name(self) -> &'static str {
        match self {
            Self::Here(name) => name,
            Self::Smokesignal => "smokesignal",
            Self::Npm => "rivals/npm",
        }
    }
}

async fn build(package: Package) -> Result<(), String> {
    let mut command = Command::new(if package == Package::Npm { "npm" } else { "cargo" });
    match package {
        Package::Here(name) => command.args(["build", "--release", "--package", name]),
        Package::Smokesignal => command.args(["build", "--release"]).current_dir(".."),
        Package::Npm if Path::new("rivals/npm/node_modules").exists() => return Ok(()),
        Package::Npm => command.args(["ci", "--no-audit", "--no-fund"]).current_dir("rivals/npm"),
    };
    // The variables that cargo sets for the compare package must not reach the builds below.
    let output = command.env_remove("CARGO_MANIFEST_DIR").stdin(Stdio::null()).output().await;
    let output = output.map_err(|error| format!("cannot build it: {error}"))?;
    if output.status.success() { Ok(()) } else { Err(format!("cannot build it: {}", reason(&output.stderr))) }
}
