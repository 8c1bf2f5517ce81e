//! builder
use crate::*;
use std::net::IpAddr;
use std::time::Duration;
/// Options
#[derive(Debug, Clone)]
pub struct Builder {}
impl Builder {
    /// Default 127.0.0.1
    pub fn address(self, _a: IpAddr) -> Self { todo!() }
    /// Default 0
    pub fn port(self, _p: u16) -> Self { todo!() }
    /// HOST:PORT, repeatable
    pub fn seed(self, _s: impl Into<String>) -> Self { todo!() }
    /// default 3
    pub fn min_peers(self, _n: usize) -> Self { todo!() }
    /// default 5; usize::MAX: no limit
    pub fn max_peers(self, _n: usize) -> Self { todo!() }
    /// default 3 s
    pub fn ping_timeout(self, _d: Duration) -> Self { todo!() }
    /// default: a new random one
    pub fn identity(self, _i: Identity) -> Self { todo!() }
    /// both sides must hold the same
    pub fn network_secret(self, _s: impl AsRef<[u8]>) -> Self { todo!() }
    /// default 16 MiB
    pub fn max_message(self, _n: usize) -> Self { todo!() }
    /// check and make
    pub fn build(self) -> Result<Node, BuildError> { todo!() }
}
