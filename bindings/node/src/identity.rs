//! Key pairs, and the addresses of this machine.

use napi::Result;
use napi::bindgen_prelude::Uint8Array;
use napi_derive::napi;

use crate::failure::thrown;

/// A node's key pair.
#[napi]
pub struct NativeIdentity(pub(crate) smokesignal::Identity);

#[napi]
impl NativeIdentity {
    /// Returns a new random key pair.
    #[napi(factory)]
    pub fn generate() -> Self {
        Self(smokesignal::Identity::generate())
    }

    /// Returns the key pair that belongs to 32 bytes.
    #[napi(factory)]
    pub fn from_seed(seed: Uint8Array) -> Result<Self> {
        let seed: [u8; 32] = seed.as_ref().try_into().map_err(|_| {
            napi::Error::from_reason(format!("a seed has to have 32 bytes, not {}", seed.len()))
        })?;
        Ok(Self(smokesignal::Identity::from_seed(seed)))
    }

    /// Reads a key file.
    #[napi(factory)]
    pub fn load(path: String) -> Result<Self> {
        smokesignal::Identity::load(path).map(Self).map_err(thrown)
    }

    /// Reads a key file, or creates one if there is none.
    #[napi(factory)]
    pub fn load_or_create(path: String) -> Result<Self> {
        smokesignal::Identity::load_or_create(path).map(Self).map_err(thrown)
    }

    /// The public key in hex: the node's id.
    #[napi(getter)]
    pub fn id(&self) -> String {
        self.0.id().to_string()
    }
}

/// Returns this machine's address in a subnet.
#[napi]
pub fn local_ip(subnet: String) -> Result<String> {
    smokesignal::local_ip(&subnet).map(|address| address.to_string()).map_err(thrown)
}
