//! Nodes that were turned away because no version of the protocol is common to both.
//!
//! A refused connection is nothing that an application should hear of: it may be a port scanner's.
//! But a network in which half of the nodes cannot speak with the others looks like one that is
//! broken for no reason, so these nodes are noted here, on both sides, and the driver passes them
//! on. Anybody can send the HELLO of another version: each address is noted a few times only.

use std::collections::VecDeque;
use std::net::IpAddr;

use tokio::sync::Notify;

use crate::lock::Lock;
use crate::version::{VersionMismatch, Versions};

/// Ranges of versions that are noted of one address; further ones are not. 4: several nodes of
/// different versions may share a host.
const MAX_OF_ONE: usize = 4;
/// Addresses that are remembered, so that each is noted once; the oldest loses.
const REMEMBERED: usize = 64;

/// The nodes that were turned away lately.
#[derive(Debug, Default)]
pub(crate) struct Incompatible {
    state: Lock<State>,
    noted: Notify,
}

#[derive(Debug, Default)]
struct State {
    /// Not yet taken; never more than are remembered.
    waiting: VecDeque<(IpAddr, VersionMismatch)>,
    remembered: VecDeque<(IpAddr, Versions)>,
}

impl Incompatible {
    /// Notes a node at this address, unless that was done already.
    pub(crate) fn note(&self, address: IpAddr, versions: VersionMismatch) {
        let mut state = self.state.lock();
        let State { waiting, remembered } = &mut *state;
        let known = remembered.contains(&(address, versions.theirs));
        let same_address = remembered.iter().filter(|(other, _)| *other == address).count();
        if known || same_address >= MAX_OF_ONE {
            return;
        }
        remembered.push_back((address, versions.theirs));
        waiting.push_back((address, versions));
        if remembered.len() > REMEMBERED {
            remembered.pop_front();
        }
        if waiting.len() > REMEMBERED {
            waiting.pop_front();
        }
        drop(state);
        self.noted.notify_one();
    }

    /// Waits for the next node that was turned away. Cancel safe.
    pub(crate) async fn next(&self) -> (IpAddr, VersionMismatch) {
        loop {
            if let Some(next) = self.state.lock().waiting.pop_front() {
                return next;
            }
            self.noted.notified().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mismatch(newest: u8) -> VersionMismatch {
        VersionMismatch { ours: Versions::OURS, theirs: Versions { oldest: newest, newest } }
    }

    fn address(host: u8) -> IpAddr {
        IpAddr::from([10, 0, 0, host])
    }

    #[tokio::test]
    async fn a_node_is_noted_once_and_a_stranger_who_makes_up_versions_a_few_times() {
        let turned_away = Incompatible::default();
        for _ in 0..10 {
            turned_away.note(address(1), mismatch(9));
        }
        (100..200).for_each(|made_up| turned_away.note(address(2), mismatch(made_up)));
        turned_away.note(address(3), mismatch(9));
        assert_eq!(turned_away.next().await, (address(1), mismatch(9)));
        for made_up in 100..104 {
            assert_eq!(turned_away.next().await, (address(2), mismatch(made_up)));
        }
        assert_eq!(turned_away.next().await, (address(3), mismatch(9)));
        for host in 0..200 {
            turned_away.note(address(host), mismatch(20));
        }
        let state = turned_away.state.lock();
        assert_eq!((state.waiting.len(), state.remembered.len()), (REMEMBERED, REMEMBERED));
    }
}
