//! The systems under test: how each is started, and how many messages its writers have under way.

use clap::builder::PossibleValuesParser;
use tokio::process::Command;

use crate::rows::{Group, Row, SIZES};

/// The system that broadcasts of all others are compared with.
pub(crate) const CEILING: &str = "tls-tree";
/// The system that direct connections are compared with.
pub(crate) const DIRECT_CEILING: &str = "bare-tls";

/// The system of this repository.
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

/// Payload under way, in bytes, summed over all writers: enough that no buffer of a system runs
/// empty while the slowest reader reports.
const UNDER_WAY: usize = 8 << 20;
/// The allowed windows, in messages. A smaller window waits more than it works, and a larger one
/// only fills memory.
const WINDOW: std::ops::RangeInclusive<usize> = 8..=131_072;

/// The windows with which each rival performed best, of several that were tried: for messages of 64
/// B, 1 KiB and 16 KiB, first with one writer and then with all nodes writing.
///
/// With larger windows iroh-gossip drops messages (its readers fall behind), the latency of
/// gossipsub and of the npm original rises without more throughput, and zenoh's throughput falls. A
/// name stands for all systems that begin with it.
const TUNED: [(&str, [usize; 3], [usize; 3]); 6] = [
    ("iroh-gossip", [128, 128, 8], [64, 64, 16]),
    ("gossipsub-tcp-signed", [64, 64, 16], [4, 1, 4]),
    ("gossipsub-quic-signed", [64, 64, 16], [32, 16, 2]),
    ("gossipsub-", [64, 64, 16], [16, 1, 4]),
    ("zenoh-peers", [1024, 1024, 64], [256, 256, 16]),
    ("npm-smokesignal", [512, 512, 8], [4, 16, 4]),
];

/// The warm-up: long enough that the memory for retained messages is full and is being reused.
pub(crate) const WARM_UP: &str = "8s";

/// How long idle nodes are measured. Their activity comes in waves of two seconds, so this is ten
/// of them.
const IDLE_SECONDS: &str = "20";

/// One system under test.
#[derive(Debug)]
pub(crate) struct System {
    pub(crate) name: &'static str,
    pub(crate) package: Package,
    command: &'static [&'static str],
}

/// The source of a system's program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Package {
    /// A package of this workspace.
    Here(&'static str),
    /// The parent workspace.
    Smokesignal,
    /// The rival written in JavaScript.
    Npm,
}

/// Parses a value of `--only`.
pub(crate) fn names() -> PossibleValuesParser {
    PossibleValuesParser::new(SYSTEMS.map(|system| system.name))
}

impl System {
    const fn new(name: &'static str, package: Package, command: &'static [&'static str]) -> Self {
        Self { name, package, command }
    }

    /// Returns whether the system is measured in this row.
    pub(crate) fn does(&self, row: &Row) -> bool {
        match row.group {
            Group::Direct => [DIRECT_CEILING, OURS].contains(&self.name),
            Group::Idle => self.name == OURS,
            _ => self.name != DIRECT_CEILING,
        }
    }

    /// Returns the command that runs the system with the workload of this row.
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
            // `bare-tls` measures nothing else, and has no such option.
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

    /// Returns how many messages each writer has under way.
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
    fn the_writers_share_the_payload_under_way() {
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
