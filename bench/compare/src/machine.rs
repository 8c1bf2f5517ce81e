//! The date and the kind of the machine, for the report. Its name is never read.

use std::fs;
use std::process::Command;
use std::time::SystemTime;

use serde::{Deserialize, Serialize};

/// The kind of a machine.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Machine {
    pub(crate) processor: String,
    pub(crate) cores: usize,
    pub(crate) memory_gib: u64,
    pub(crate) kernel: String,
    pub(crate) compiler: String,
}

impl Machine {
    /// Describes this machine, as far as Linux reports it.
    pub(crate) fn this() -> Self {
        let read = |file| fs::read_to_string(file).unwrap_or_default();
        let kib: u64 = value(&read("/proc/meminfo"), "MemTotal").trim_end_matches(" kB").parse().unwrap_or(0);
        // The text after the version number names the builder of the kernel.
        let kernel = read("/proc/sys/kernel/osrelease");
        let kernel = kernel.trim().split('-').next().unwrap_or_default();
        let compiler = Command::new("rustc").arg("--version").output().map(|output| output.stdout);
        let compiler = String::from_utf8_lossy(&compiler.unwrap_or_default()).into_owned();
        Self {
            processor: value(&read("/proc/cpuinfo"), "model name"),
            cores: std::thread::available_parallelism().map_or(0, usize::from),
            memory_gib: (kib + (1 << 19)) >> 20,
            kernel: format!("Linux {kernel}"),
            compiler: compiler.split(" (").next().unwrap_or_default().trim().to_owned(),
        }
    }
}

/// Returns the date, such as `2025-01-31`.
pub(crate) fn today() -> String {
    humantime::format_rfc3339_seconds(SystemTime::now()).to_string().chars().take(10).collect()
}

/// Returns the value after `KEY:` in the first line that begins with the key.
fn value(text: &str, key: &str) -> String {
    let line = text.lines().find(|line| line.starts_with(key)).unwrap_or_default();
    line.split_once(':').map(|(_, value)| value.trim().to_owned()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_line_with_the_key_counts() {
        assert_eq!(value("a : 1\nmodel name\t: X 1\nmodel name\t: Y", "model name"), "X 1");
        assert_eq!(value("", "model name"), "");
    }
}
