//! The records that this node holds: its own, and those of the nodes it knows and is not linked to.
//!
//! A record is believed only if its owner has signed it for this network. Checking a signature
//! costs far more than comparing, so records that are held, or were verified lately, are compared.

use std::net::SocketAddr;

use super::passive::Passive;
use crate::config::Config;
use crate::context::{Cx, Me};
use crate::id::NodeId;
use crate::record::{Record, VerifiedRecords};
use crate::rng::Rng;

/// The own record and the passive view.
#[derive(Debug)]
pub(crate) struct Known {
    /// Where this node listens, which decides what it may dial.
    addresses: Vec<SocketAddr>,
    record: Record,
    /// The least version of the own record: above those that earlier starts have had, as far as is
    /// known.
    least_version: u64,
    passive: Passive,
    verified: VerifiedRecords,
}

impl Known {
    pub(crate) fn new(me: &Me, config: &Config) -> Self {
        let (passive, verified) = (Passive::default(), VerifiedRecords::default());
        let record = sign(me, config, Vec::new(), 0);
        Self { addresses: Vec::new(), record, least_version: 0, passive, verified }
    }

    pub(crate) fn passive(&self) -> &Passive {
        &self.passive
    }

    pub(crate) fn passive_mut(&mut self) -> &mut Passive {
        &mut self.passive
    }

    pub(crate) fn own_record(&self) -> Record {
        self.record.clone()
    }

    /// Sets where this node listens, and publishes it as the address to dial.
    pub(crate) fn listen_at(&mut self, me: &Me, config: &Config, addresses: Vec<SocketAddr>) {
        self.advertise(me, config, addresses.clone());
        self.addresses = addresses;
    }

    /// Publishes these as the addresses to dial.
    pub(crate) fn advertise(&mut self, me: &Me, config: &Config, addresses: Vec<SocketAddr>) {
        self.record = sign(me, config, addresses, self.least_version);
    }

    /// Signs the own record anew, with a version above this one: nodes that have a later one would
    /// not believe it.
    pub(crate) fn renew(&mut self, me: &Me, config: &Config, above: u64) {
        self.least_version = self.least_version.max(above.saturating_add(1));
        self.advertise(me, config, self.record.socket_addrs().collect());
    }

    /// Returns where this node may dial the owner of the record.
    pub(crate) fn address_of(&self, record: &Record) -> Option<SocketAddr> {
        record.dialable_from(&self.addresses)
    }

    /// Returns whether the record is its owner's word in this network. `linked` are the records of
    /// the connections.
    pub(crate) fn believes<'a>(
        &mut self,
        config: &Config,
        record: &Record,
        mut linked: impl Iterator<Item = &'a Record>,
    ) -> bool {
        let held = *record == self.record || self.passive.has(record) || linked.any(|known| known == record);
        held || self.verified.verify(record, &config.network)
    }

    /// Remembers a node that `teller` has named, if it can be dialled. Its record has been
    /// verified.
    pub(crate) fn learn(&mut self, cx: &mut Cx<'_>, record: &Record, teller: &NodeId) {
        if record.id != cx.me.id() && self.address_of(record).is_some() {
            self.passive.learn(record, teller, cx.rng, cx.config);
        }
    }

    /// Returns up to `count` random nodes, for others.
    pub(crate) fn sample(&self, count: usize, rng: &mut Rng) -> Vec<Record> {
        self.passive.sample(count, rng)
    }
}

#[cfg(not(smokesignal_next))]
fn sign(me: &Me, config: &Config, addresses: Vec<SocketAddr>, least: u64) -> Record {
    Record::sign(me.keypair(), &config.network, addresses, me.incarnation().max(least))
}

/// As the next version does it, which has a kind of address more.
#[cfg(smokesignal_next)]
fn sign(me: &Me, config: &Config, addresses: Vec<SocketAddr>, least: u64) -> Record {
    use crate::record::Address;

    let mut addresses: Vec<_> = addresses.into_iter().map(Address::Ip).collect();
    addresses.truncate(crate::record::MAX_ADDRESSES);
    addresses.insert(0, Address::next());
    Record::sign_all(me.keypair(), &config.network, addresses, me.incarnation().max(least))
}
