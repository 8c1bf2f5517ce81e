//! A simulated network for tests of programs. Arguments are checked by `lib/memory-network.js`.

use std::net::SocketAddr;
use std::time::Duration;

use napi::{Error, Result};
use napi_derive::napi;

/// A network in the memory of this process, used in place of TCP.
#[napi]
pub struct NativeMemoryNetwork(pub(crate) smokesignal::transport::MemoryNetwork);

#[napi]
impl NativeMemoryNetwork {
    /// `latency` is the least and the most one way, in milliseconds; `bandwidth` is bytes per
    /// second of each direction of a connection. Without them, bytes arrive immediately.
    #[napi(constructor)]
    pub fn new(latency: Option<Vec<f64>>, bandwidth: Option<f64>) -> Result<Self> {
        let mut network = smokesignal::transport::MemoryNetwork::new();
        if let Some([least, most]) = latency.as_deref() {
            let time = |ms: &f64| {
                Duration::try_from_secs_f64(ms / 1000.0)
                    .map_err(|error| Error::from_reason(error.to_string()))
            };
            network = network.latency(time(least)?..=time(most)?);
        }
        if let Some(bandwidth) = bandwidth {
            network = network.bandwidth(bandwidth as u64);
        }
        Ok(Self(network))
    }

    /// Cuts the network: nodes reach only those of their own group. Nodes are named `IP:PORT`.
    #[napi]
    pub fn partition(&self, groups: Vec<Vec<String>>) -> Result<()> {
        let mut parsed: Vec<Vec<SocketAddr>> = Vec::new();
        for group in groups {
            parsed.push(group.iter().map(|text| address(text)).collect::<Result<_>>()?);
        }
        self.0.partition(&parsed.iter().map(Vec::as_slice).collect::<Vec<_>>());
        Ok(())
    }

    /// Ends all cuts.
    #[napi]
    pub fn heal(&self) {
        self.0.heal();
    }

    /// Keeps a node from sending and receiving until it is thawed.
    #[napi]
    pub fn freeze(&self, node: String) -> Result<()> {
        self.0.freeze(address(&node)?);
        Ok(())
    }

    /// Ends a freeze.
    #[napi]
    pub fn thaw(&self, node: String) -> Result<()> {
        self.0.thaw(address(&node)?);
        Ok(())
    }

    /// Breaks all connections of a node.
    #[napi]
    pub fn reset(&self, node: String) -> Result<()> {
        self.0.reset(address(&node)?);
        Ok(())
    }
}

/// Parses `IP:PORT`.
fn address(text: &str) -> Result<SocketAddr> {
    let bad = |_| Error::from_reason(format!("`{text}` is not an address; write IP:PORT"));
    text.parse().map_err(bad)
}
