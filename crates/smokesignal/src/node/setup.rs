//! Makes the protocol's core and the driver of a node that starts.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use ring::{hmac, rand::SecureRandom as _};
use smokesignal_proto::{self as proto, Config, Keypair, MAX_ADDRESSES};

use super::Node;
use crate::broadcast::envelope::MAX_ENVELOPE;
use crate::command::CommandInbox;
use crate::driver::{Driver, Setup};
use crate::error::StartError;
use crate::incarnation;
use crate::options::{Retention, Secret};
use crate::transport::Endpoint;

impl Node {
    pub(super) fn make_driver(
        &self,
        endpoint: Arc<dyn Endpoint>,
        advertised: Vec<SocketAddr>,
        commands: CommandInbox,
    ) -> Result<Driver, StartError> {
        let options = &self.0.options;
        let keypair = Keypair::from_seed(self.0.identity.seed());
        let local = endpoint.local_addr();
        let seed = self.rng_seed().map_err(|source| StartError::Listen { address: local, source })?;
        let config = self.config();
        let find_timeout = config.find_timeout;
        let mut core = proto::Node::new(keypair, config, seed, proto::Instant::ZERO);
        core.set_addresses(reachable_at(local));
        if !advertised.is_empty() {
            core.advertise(advertised);
        }
        for seed in &options.seeds {
            core.join(seed.clone(), proto::Instant::ZERO);
        }
        Ok(Driver::new(Setup {
            core,
            shared: self.0.shared.clone(),
            endpoint,
            credentials: self.0.credentials.clone(),
            seeds: options.seeds.clone(),
            commands,
            find_timeout,
            relay_idle: 2 * options.effective_ping_timeout(),
            upload_limit: options.upload_limit,
            leave_timeout: options.leave_timeout,
            pace: options.pace,
        }))
    }

    /// Returns the seed of the core's random choices.
    fn rng_seed(&self) -> io::Result<u64> {
        let mut bytes = [0; 8];
        if let Some(seed) = self.0.options.rng_seed {
            // Mixed with the id, or nodes with the same seed would all choose the same.
            bytes.copy_from_slice(&self.id().as_bytes()[..8]);
            return Ok(seed ^ u64::from_le_bytes(bytes));
        }
        let filled = ring::rand::SystemRandom::new().fill(&mut bytes);
        filled.map_err(|_| io::Error::other("the system gives no random numbers"))?;
        Ok(u64::from_le_bytes(bytes))
    }

    fn config(&self) -> Config {
        let options = &self.0.options;
        let Retention { bytes, age } = options.effective_retention();
        let mut config = Config {
            incarnation: incarnation::next(&self.0.identity),
            min_peers: options.min_peers,
            max_peers: options.max_peers,
            max_message: options.max_message + MAX_ENVELOPE,
            signed: !options.unsigned_messages,
            read_from: options.read_from,
            pace: options.pace,
            reader_timeout: options.reader_timeout,
            reorder: options.prefer_near_peers,
            dial_for_streams: !options.relay_only,
            ring_bytes: bytes,
            ring_total: bytes,
            ring_age: age,
            ..options.preset.config().with_ping_timeout(options.effective_ping_timeout())
        };
        config.partial_total = config.partial_total.max(16 * options.max_message);
        config.partial_room = config.partial_room.max(2 * options.max_message);
        let secret = options.secret.as_ref().map(|Secret(secret)| &secret[..]);
        config.network = network_id(secret, options.unsigned_messages);
        config
    }
}

/// Returns the network's id, which every signature contains. Networks with and without signed
/// messages do not mix, so their ids differ.
fn network_id(secret: Option<&[u8]>, unsigned_messages: bool) -> [u8; 32] {
    let mut id = [0; 32];
    if let Some(secret) = secret {
        let key = hmac::Key::new(hmac::HMAC_SHA256, secret);
        id.copy_from_slice(hmac::sign(&key, b"smokesignal network id").as_ref());
    }
    if unsigned_messages {
        id.iter_mut().for_each(|byte| *byte = !*byte);
    }
    id
}

/// Returns what others may dial: the address itself, or for 0.0.0.0 and `::` those of this machine,
/// with loopback ones last.
fn reachable_at(local: SocketAddr) -> Vec<SocketAddr> {
    if !local.ip().is_unspecified() {
        return vec![local];
    }
    let fits = |ip: &IpAddr| local.is_ipv6() || ip.is_ipv4();
    let interfaces = if_addrs::get_if_addrs().unwrap_or_else(|error| {
        tracing::warn!(%error, "cannot list this machine's addresses; others will know the loopback one only");
        Vec::new()
    });
    let mut addresses: Vec<_> = interfaces.iter().map(if_addrs::Interface::ip).filter(fits).collect();
    addresses.sort_by_key(|ip| (ip.is_loopback(), ip.is_ipv6()));
    if addresses.is_empty() {
        addresses.push(IpAddr::from([127, 0, 0, 1]));
    }
    addresses.into_iter().take(MAX_ADDRESSES).map(|ip| SocketAddr::new(ip, local.port())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vectors::{hex, vectors};

    #[test]
    fn network_ids_are_those_of_the_test_vectors() {
        let secret = Some(&b"the secret of our network"[..]);
        let vectors = vectors();
        assert_eq!(vectors["network id: open"], hex(&network_id(None, false)));
        assert_eq!(vectors["network id: secret"], hex(&network_id(secret, false)));
        assert_eq!(vectors["network id: open, unsigned"], hex(&network_id(None, true)));
        assert_eq!(vectors["network id: secret, unsigned"], hex(&network_id(secret, true)));
    }
}
