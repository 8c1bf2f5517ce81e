//! What the process has used.

use std::time::Duration;

/// What the process has used so far.
#[derive(Debug, Clone, Copy, Default)]
pub struct Usage {
    /// Processor time, of all threads.
    pub cpu: Duration,
}

impl Usage {
    /// Until now. Zero where the system does not tell.
    pub fn now() -> Self {
        #[cfg(unix)]
        {
            let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
            Self { cpu: Duration::new(time.tv_sec as u64, time.tv_nsec as u32) }
        }
        #[cfg(not(unix))]
        Self::default()
    }
}

/// Memory of the process that is in use and not swapped out, where the system tells (Linux).
pub fn resident_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmRSS:"))?;
    let kib: u64 = line.split_whitespace().nth(1)?.parse().ok()?;
    Some(kib * 1024)
}
