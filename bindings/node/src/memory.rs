//! A simulated network for tests of programs.

use std::net::SocketAddr;
use std::time::Duration;

use napi::{Error, Result};
use napi_derive::napi;

#[napi]
pub struct NativeMemoryNetwork(pub(crate) smokesignal::transport::MemoryNetwork);

#[napi]
impl NativeMemoryNetwork {
    /// Latency one way in milliseconds, bytes per second of each direction of a connection.
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

    /// Cuts the network: each group of addresses reaches itself only.
    #[napi]
    pub fn partition(&self, groups: Vec<Vec<String>>) -> Result<()> {
        let mut parsed: Vec<Vec<SocketAddr>> = Vec::new();
        for group in groups {
            parsed.push(group.iter().map(|text| address(text)).collect::<Result<_>>()?);
        }
        self.0.partition(&parsed.iter().map(Vec::as_slice).collect::<Vec<_>>());
        Ok(())
    }

    #[napi]
    pub fn heal(&self) {
        self.0.heal();
    }

    #[napi]
    pub fn freeze(&self, node: String) -> Result<()> {
        self.0.freeze(address(&node)?);
        Ok(())
    }

    #[napi]
    pub fn thaw(&self, node: String) -> Result<()> {
        self.0.thaw(address(&node)?);
        Ok(())
    }

    #[napi]
    pub fn reset(&self, node: String) -> Result<()> {
        self.0.reset(address(&node)?);
        Ok(())
    }
}

fn address(text: &str) -> Result<SocketAddr> {
    let bad = |_| Error::from_reason(format!("`{text}` is not an address; write IP:PORT"));
    text.parse().map_err(bad)
}
