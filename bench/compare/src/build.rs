//! Builds the systems. A system that cannot be built is reported as failed, and the others run
//! without it.

use std::path::Path;
use std::process::Stdio;

use tokio::process::Command;

use crate::child::reason;
use crate::systems::{Package, System};

/// The packages that could not be built, and the reasons.
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

    /// Returns why the package of this system could not be built, if that is so.
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
    // The variable describes the package `compare`, and would mislead the build.
    let output = command.env_remove("CARGO_MANIFEST_DIR").stdin(Stdio::null()).output().await;
    let output = output.map_err(|error| format!("cannot be built: {error}"))?;
    if output.status.success() { Ok(()) } else { Err(format!("cannot be built: {}", reason(&output.stderr))) }
}
