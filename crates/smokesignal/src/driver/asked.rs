//! The limit of dials that questions cause.
//!
//! A question makes all nodes that have an answer look for the asker and dial the address in its
//! record, and that may be somebody else's. So this node dials such an address only once in the
//! time of a search if the asker does not answer there, for all askers together, and only a few
//! such addresses in that time. A dial above the limit fails before it begins, and the search goes
//! on as after any failed dial: this node reaches the asker through other nodes. A dial that
//! reaches the asker does not count any more.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Duration;

use smokesignal_proto::DialId;
use tokio::time::Instant;

/// How long a dial that has not succeeded counts. 15 s: a search lasts no longer, three times the
/// 5 s that it waits for an answer, so that one question causes one dial to an address.
const COUNTS_FOR: Duration = Duration::from_secs(15);
/// Maximum number of dials that count at the same time; further ones are not made. 32: about two a
/// second, far below the 650 that offers once made a node dial.
const MOST: usize = 32;

/// The dials to askers that are under way or have failed lately, the oldest first.
#[derive(Debug, Default)]
pub(super) struct AskedDials(VecDeque<Attempt>);

#[derive(Debug)]
struct Attempt {
    dial: DialId,
    address: SocketAddr,
    since: Instant,
}

impl AskedDials {
    /// Returns whether the address of an asker may be dialled, and counts the dial.
    pub(super) fn admit(&mut self, dial: DialId, address: SocketAddr, now: Instant) -> bool {
        while self.0.front().is_some_and(|attempt| now - attempt.since >= COUNTS_FOR) {
            self.0.pop_front();
        }
        let admitted = self.0.len() < MOST && self.0.iter().all(|attempt| attempt.address != address);
        if admitted {
            self.0.push_back(Attempt { dial, address, since: now });
        }
        admitted
    }

    /// Notes that the expected node has answered: the dial counts no longer.
    pub(super) fn succeeded(&mut self, dial: DialId) {
        self.0.retain(|attempt| attempt.dial != dial);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(host: u8) -> SocketAddr {
        SocketAddr::from(([10, 0, 0, host], 80))
    }

    #[test]
    fn an_address_that_has_not_answered_is_dialled_once_in_the_time_of_a_search_whoever_asks() {
        let (mut dials, begin) = (AskedDials::default(), Instant::now());
        let admitted = |dials: &mut AskedDials, dial, seconds| {
            dials.admit(DialId(dial), address(1), begin + Duration::from_secs(seconds))
        };
        assert!(admitted(&mut dials, 1, 0));
        assert!((2..100).all(|dial| !admitted(&mut dials, dial, 14)));
        assert!(admitted(&mut dials, 100, 15));
        // Where the asker itself answers, it may be dialled as often as it asks.
        dials.succeeded(DialId(100));
        assert!(admitted(&mut dials, 101, 15));
    }

    #[test]
    fn askers_without_number_cause_few_dials() {
        let (mut dials, begin) = (AskedDials::default(), Instant::now());
        let mut made = 0;
        for dial in 0..60_000 {
            let address = SocketAddr::from(([10, 0, (dial >> 8) as u8, dial as u8], 80));
            made += usize::from(dials.admit(DialId(dial), address, begin + Duration::from_millis(dial)));
        }
        assert_eq!(made, 60 / 15 * MOST);
        assert!(dials.0.len() <= MOST);
    }
}
