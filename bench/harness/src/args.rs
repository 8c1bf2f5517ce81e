//! The command line of a system under test: the workload, and the variant of the system.

use std::time::Duration;

use clap::builder::PossibleValuesParser;
use clap::{Arg, ArgMatches, Args as _, Command, FromArgMatches as _};
use smokesignal_load::{Pace, Workload};

/// The system, its variant, and the workload.
#[derive(Debug)]
pub struct Args {
    pub(crate) name: &'static str,
    pub(crate) version: &'static str,
    pub(crate) variant: Option<String>,
    flags: Flags,
}

#[derive(Debug, clap::Args)]
struct Flags {
    /// Number of nodes.
    #[arg(long, default_value_t = 20)]
    nodes: usize,
    /// Number of nodes that write.
    #[arg(long, default_value_t = 1)]
    writers: usize,
    /// Bytes per message, 24 or more.
    #[arg(long, default_value_t = 64)]
    size: usize,
    /// Most messages of each writer that are not yet read by all [default: 1024, without --rate].
    #[arg(long, value_name = "MESSAGES", conflicts_with = "rate")]
    window: Option<u64>,
    /// Messages per second, summed over all writers, whether or not they are read.
    #[arg(long, value_name = "MESSAGES_PER_S")]
    rate: Option<f64>,
    /// Write for this long before measuring, such as 500ms or 8s.
    #[arg(long, default_value = "1s", value_parser = humantime::parse_duration)]
    warm_up: Duration,
    /// Measure for this many seconds.
    #[arg(long, default_value_t = 5.0)]
    seconds: f64,
}

impl Args {
    /// Parses the command line of a system with these variants; the list may be empty. Exits if the
    /// command line is wrong.
    ///
    /// `version` is the version of the measured library, such as `0.57.0`.
    pub fn read(name: &'static str, version: &'static str, variants: &[&'static str]) -> Self {
        let matches = command(name, variants).get_matches();
        Self::of(name, version, variants, &matches).unwrap_or_else(|error| error.exit())
    }

    /// Returns the variant to run: one of those given to [`Args::read`], by default the first.
    /// Returns an empty text for a system without variants.
    pub fn variant(&self) -> &str {
        self.variant.as_deref().unwrap_or_default()
    }

    /// Returns the workload to run.
    pub fn workload(&self) -> Workload {
        let Flags { nodes, writers, size, window, rate, warm_up, seconds } = self.flags;
        let pace = rate.map_or(Pace::Window(window.unwrap_or(1024)), Pace::Rate);
        Workload { nodes, writers, size, pace, warm_up, duration: Duration::from_secs_f64(seconds) }
    }

    fn of(
        name: &'static str,
        version: &'static str,
        variants: &[&'static str],
        matches: &ArgMatches,
    ) -> Result<Self, clap::Error> {
        let variant = if variants.is_empty() { None } else { matches.get_one::<String>("variant").cloned() };
        Ok(Self { name, version, variant, flags: Flags::from_arg_matches(matches)? })
    }
}

fn command(name: &'static str, variants: &[&'static str]) -> Command {
    let command = Flags::augment_args(Command::new(name).about("One run, one JSON object"));
    let Some(first) = variants.first() else { return command };
    let variant = Arg::new("variant").long("variant").value_name("NAME").default_value(*first);
    command.arg(variant.value_parser(PossibleValuesParser::new(variants.iter().copied())))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args(variants: &[&'static str], line: &str) -> Result<Args, clap::Error> {
        let matches = command("mine", variants).try_get_matches_from(line.split(' '))?;
        Args::of("mine", "1", variants, &matches)
    }

    #[test]
    fn a_rate_replaces_the_window() {
        let workload = args(&[], "mine --rate 200 --size 1024").unwrap().workload();
        assert_eq!((workload.pace, workload.size, workload.nodes), (Pace::Rate(200.0), 1024, 20));
        assert_eq!(args(&[], "mine --window 8").unwrap().workload().pace, Pace::Window(8));
        assert!(args(&[], "mine --window 8 --rate 200").is_err());
    }

    #[test]
    fn the_first_variant_is_the_default_and_an_unknown_one_is_refused() {
        assert_eq!(args(&["tcp", "tls"], "mine").unwrap().variant(), "tcp");
        assert_eq!(args(&["tcp", "tls"], "mine --variant tls").unwrap().variant(), "tls");
        assert!(args(&["tcp", "tls"], "mine --variant quic").is_err());
        assert_eq!(args(&[], "mine").unwrap().variant(), "");
    }
}
