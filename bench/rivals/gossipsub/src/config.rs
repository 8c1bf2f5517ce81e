//! How the nodes are set up.
//!
//! Settings that differ from gossipsub's defaults, and why:
//! - A mesh of 4 (3 to 5) instead of 6 (5 to 12): smokesignal's degree is about the same.
//! - A message's first bytes are its id. The default is the sender's name in base 58, which takes
//!   longer.
//! - Queues are long and patient: by default a message that has waited for one second is dropped.
//! - Without signatures `IDONTWANT` is sent only above 1 MiB instead of 1000 bytes, because it
//!   costs more than the copies it saves. With signatures it is worth its cost, and stays.
//! - No flood publishing: with so few connections it is the same as the mesh.
//! - The largest message is raised, from 64 KiB.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use harness::Error;
use libp2p::gossipsub::{
    Behaviour, Config, ConfigBuilder, Message, MessageAuthenticity, MessageId, ValidationMode,
};
use libp2p::identity::Keypair;

/// Only a limit, nothing is allocated: above the largest message that is measured, 16 MiB.
const LARGEST: usize = 17 << 20;
/// Longer than a run.
pub(crate) const LONG: Duration = Duration::from_secs(600);

/// The differences between the variants.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Settings {
    pub(crate) quic: bool,
    pub(crate) signed: bool,
}

/// The behaviour of a swarm. It counts the messages that it names.
pub(crate) fn behaviour(
    key: &Keypair,
    settings: Settings,
    named: Arc<AtomicU64>,
) -> Result<Behaviour, Error> {
    let (authenticity, validation) = if settings.signed {
        (MessageAuthenticity::Signed(key.clone()), ValidationMode::Strict)
    } else {
        (MessageAuthenticity::Anonymous, ValidationMode::Anonymous)
    };
    Ok(Behaviour::new(authenticity, config(settings, validation, named)?)?)
}

fn config(settings: Settings, validation: ValidationMode, named: Arc<AtomicU64>) -> Result<Config, Error> {
    let idontwant_above = if settings.signed { 1_000 } else { 1 << 20 };
    let config = ConfigBuilder::default()
        .validation_mode(validation)
        // All that makes a message of the workload different is in its header.
        .message_id_fn(move |message: &Message| {
            named.fetch_add(1, Ordering::Relaxed);
            MessageId::from(message.data.get(..24).unwrap_or(&message.data).to_vec())
        })
        .mesh_n(4)
        .mesh_n_low(3)
        .mesh_n_high(5)
        .mesh_outbound_min(1)
        .heartbeat_initial_delay(Duration::from_millis(100))
        .heartbeat_interval(Duration::from_secs(1))
        .flood_publish(false)
        .idontwant_message_size_threshold(idontwant_above)
        .max_transmit_size(LARGEST)
        .connection_handler_queue_len(100_000)
        .publish_queue_duration(LONG)
        .forward_queue_duration(LONG)
        .build()?;
    Ok(config)
}
