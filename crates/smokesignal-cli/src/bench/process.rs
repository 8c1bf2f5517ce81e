//! Counters of this process, from the operating system (Linux only) and the event loop.

use std::fs;

use tokio::runtime::Handle;

/// Returns the number of open files, most of which are sockets.
pub(super) fn open_files() -> Option<usize> {
    // The list includes the file through which it is read.
    Some(fs::read_dir("/proc/self/fd").ok()?.count().saturating_sub(1))
}

/// Returns how often threads of this process have gone to sleep, and therefore have been woken.
pub(super) fn sleeps() -> Option<u64> {
    let threads = fs::read_dir("/proc/self/task").ok()?;
    threads.map(|thread| sleeps_of(&fs::read_to_string(thread.ok()?.path().join("status")).ok()?)).sum()
}

/// Returns the voluntary context switches in the status of a thread. A thread makes one when it has
/// nothing more to do; being preempted by others does not count.
fn sleeps_of(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
    line?.trim().parse().ok()
}

/// Returns the number of tasks in the event loop that have not ended.
pub(super) fn tasks() -> usize {
    Handle::current().metrics().num_alive_tasks()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sleeps_are_the_voluntary_context_switches_of_a_thread() {
        let status = "Threads:\t1\nvoluntary_ctxt_switches:\t17\nnonvoluntary_ctxt_switches:\t4\n";
        assert_eq!((sleeps_of(status), sleeps_of("")), (Some(17), None));
    }
}
