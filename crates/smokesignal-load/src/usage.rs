//! Processor time and memory of this process, as the operating system reports them.

use std::time::Duration;

/// Resources that this process has used since its start.
#[derive(Debug, Clone, Copy, Default)]
pub struct Usage {
    /// Processor time of all threads. Zero where the operating system does not report it.
    pub cpu: Duration,
}

impl Usage {
    /// Reads the usage up to now.
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

/// Returns the resident memory of this process in bytes, or `None` where the operating system does
/// not report it in `/proc` (it does on Linux).
pub fn resident_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmRSS:"))?;
    let kib: u64 = line.split_whitespace().nth(1)?.parse().ok()?;
    Some(kib * 1024)
}
