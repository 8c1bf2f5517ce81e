//! What the system tells about this process (Linux), and the event loop about its tasks.

use std::fs;

use tokio::runtime::Handle;

/// Open files, sockets above all.
pub(super) fn open_files() -> Option<usize> {
    // The one that reads the list is in it.
    Some(fs::read_dir("/proc/self/fd").ok()?.count().saturating_sub(1))
}

/// How often a thread of this process has gone to sleep so far, and so has been woken.
pub(super) fn sleeps() -> Option<u64> {
    let threads = fs::read_dir("/proc/self/task").ok()?;
    threads.map(|thread| sleeps_of(&fs::read_to_string(thread.ok()?.path().join("status")).ok()?)).sum()
}

fn sleeps_of(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
    line?.trim().parse().ok()
}

/// Tasks of the event loop that have not ended.
pub(super) fn tasks() -> usize {
    Handle::current().metrics().num_alive_tasks()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sleeps_are_what_a_thread_did_on_its_own() {
        let status = "Threads:\t1\nvoluntary_ctxt_switches:\t17\nnonvoluntary_ctxt_switches:\t4\n";
        assert_eq!((sleeps_of(status), sleeps_of("")), (Some(17), None));
    }
}
