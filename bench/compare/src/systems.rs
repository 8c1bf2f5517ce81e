//! The systems, how each is started, and how many messages it has in flight.

use clap::builder::PossibleValuesParser;
use tokio::process::Command;

use crate::rows::{Group, Row, SIZES};

/// All others are compared with this one.
pub(crate) const CEILING: &str = "tls-tree";
/// The same for direct connections.
pub(crate) const DIRECT_CEILING: &str = "bare-tls";

/// The name of this project's system.
pub(crate) const OURS: &str = "smokesignal";

/// All systems, in the order of the tables.
pub(crate) const SYSTEMS: [System; 13] = [
    System::new("tcp-tree", Package::Here("ceilings"), &["ceilings", "--variant", "tcp-tree"]),
    System::new(CEILING, Package::Here("ceilings"), &["ceilings", "--variant", "tls-tree"]),
    System::new("tls-flood", Package::Here("ceilings"), &["ceilings", "--variant", "tls-flood"]),
    System::new(OURS, Package::Smokesignal, &["smokesignal", "bench", "--json"]),
    System::new(
        "smokesignal-unsigned",
        Package::Smokesignal,
        &["smokesignal", "bench", "--json", "--unsigned-messages"],
    ),
    System::new("iroh-gossip", Package::Here("rival-iroh"), &["iroh-gossip"]),
    System::new("gossipsub-tcp-signed", GOSSIPSUB, &["gossipsub", "--variant", "tcp-signed"]),
    System::new("gossipsub-tcp-unsigned", GOSSIPSUB, &["gossipsub", "--variant", "tcp-unsigned"]),
    System::new("gossipsub-quic-signed", GOSSIPSUB, &["gossipsub", "--variant", "quic-signed"]),
    System::new("gossipsub-quic-unsigned", GOSSIPSUB, &["gossipsub", "--variant", "quic-unsigned"]),
    System::new("zenoh-peers", Package::Here("rival-zenoh"), &["zenoh-peers"]),
    System::new("npm-smokesignal", Package::Npm, &["node", "rivals/npm/run.js"]),
    System::new(DIRECT_CEILING, Package::Here("ceilings"), &["bare-tls"]),
];

const GOSSIPSUB: Package = Package::Here("rival-gossipsub");

/// Payload that all writers of a system have in flight together, in bytes: enough that no buffer of
/// the system runs dry while the slowest reader reports.
const UNDER_WAY: usize = 8 << 20;
/// A window of fewer messages waits more than it works; one of more only fills memory.
const WINDOW: std::ops::RangeInclusive<usize> = 8..=131_072;

/// Messages in flight per writer with which a rival performed best, among those tried for 64 B, 1
/// KiB and 16 KiB: with one writer, and with as many as there are nodes. With more in flight
/// iroh-gossip drops messages (its readers fall behind), gossipsub and the npm original only get
/// later, and zenoh's throughput falls. Names are how those of systems begin.
const TUNED: [(&str, [usize; 3], [usize; 3]); 6] = [
    ("iroh-gossip", [128, 128, 8], [64, 64, 16]),
    ("gossipsub-tcp-signed", [64, 64, 16], [4, 1, 4]),
    ("gossipsub-quic-signed", [64, 64, 16], [32, 16, 2]),
    ("gossipsub-", [64, 64, 16], [16, 1, 4]),
    ("zenoh-peers", [1024, 1024, 64], [256, 256, 16]),
    ("npm-smokesignal", [512, 512, 8], [4, 16, 4]),
];

/// Written before the measuring begins: until the memory of what is retained is filled and used
/// again.
pub(crate) const WARM_UP: &str = "8s";

/// How long idle nodes are measured: their activity comes in waves of two seconds.
const IDLE_SECONDS: &str = "20";

/// One system under test.
#[derive(Debug)]
pub(crate) struct System {
    pub(crate) name: &'static str,
    pub(crate) package: Package,
    command: &'static [&'static str],
}

/// Where its program comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Package {
    /// A package of this workspace.
    Here(&'static str),
    /// The parent workspace.
    Smokesignal,
    /// The rival in JavaScript.
    Npm,
}

/// What `--only` takes.
pub(crate) fn names() -> PossibleValuesParser {
    PossibleValuesParser::new(SYSTEMS.map(|system| system.name))
}

impl System {
    const fn new(name: &'static str, package: Package, command: &'static [&'static str]) -> Self {
        Self { name, package, command }
    }

    /// Whether it is measured in this row.
    pub(crate) fn does(&self, row: &Row) -> bool {
        match row.group {
            Group::Direct => [DIRECT_CEILING, OURS].contains(&self.name),
            Group::Idle => self.name == OURS,
            _ => self.name != DIRECT_CEILING,
        }
    }

    /// What runs it.
    pub(crate) fn command(&self, row: &Row, seconds: f64) -> Command {
        let (program, arguments) = self.command.split_first().expect("each system has a program");
        let mut command = Command::new(match self.package {
            Package::Here(_) => format!("target/release/{program}"),
            Package::Smokesignal => format!("../target/release/{program}"),
            Package::Npm => (*program).to_owned(),
        });
        if row.group == Group::Idle {
            command.args(arguments).args(["--scale", "--seconds", IDLE_SECONDS]);
            command.args(["--nodes", &row.nodes.to_string()]);
            return command;
        }
        command.args(arguments).args(["--seconds", &seconds.to_string()]);
        if row.group == Group::Direct {
            // bare-tls knows nothing else.
            if self.package == Package::Smokesignal {
                command.arg("--direct");
            }
            return command;
        }
        let Row { nodes, writers, size, .. } = row;
        command.args([
            "--warm-up",
            WARM_UP,
            "--nodes",
            &nodes.to_string(),
            "--writers",
            &writers.to_string(),
        ]);
        command.args(["--size", &size.to_string()]);
        match row.rate {
            Some(rate) => command.args(["--rate", &rate.to_string()]),
            None => command.args(["--window", &self.window(row).to_string()]),
        };
        command
    }

    /// Messages that each writer has in flight.
    fn window(&self, row: &Row) -> usize {
        if row.group == Group::Large {
            return 1;
        }
        let size = SIZES.iter().position(|size| row.size <= *size).unwrap_or(SIZES.len() - 1);
        match TUNED.iter().find(|(name, ..)| self.name.starts_with(name)) {
            Some((_, one, _)) if row.writers == 1 => one[size],
            Some((_, _, all)) => all[size],
            None => (UNDER_WAY / row.size / row.writers).clamp(*WINDOW.start(), *WINDOW.end()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rows;

    #[test]
    fn the_writers_share_what_is_under_way() {
        let window_of = |name, group, size, writers| {
            let row = rows::all().into_iter().find(|row| row.group == group).unwrap();
            let system = SYSTEMS.iter().find(|system| system.name == name).unwrap();
            system.window(&Row { size, writers, ..row })
        };
        let window = |group, size, writers| window_of(CEILING, group, size, writers);
        assert_eq!(window(Group::Throughput, 1024, 1), 8192);
        assert_eq!(window(Group::Throughput, 1024, 20), 409);
        assert_eq!(window(Group::Throughput, 64, 1), 131_072);
        assert_eq!(window(Group::Throughput, 1 << 20, 20), 8);
        assert_eq!(window(Group::Large, 16 << 20, 1), 1);
        assert_eq!(window_of("iroh-gossip", Group::Throughput, 64, 20), 64);
        assert_eq!(window_of("gossipsub-tcp-unsigned", Group::Throughput, 16 << 10, 1), 16);
    }
}
