//! Key pairs, and this machine's addresses.

use napi::Result;
use napi::bindgen_prelude::Uint8Array;
use napi_derive::napi;

use crate::failure::thrown;

/// A node's key pair.
#[napi]
pub struct NativeIdentity(pub(crate) smokesignal::Identity);

#[napi]
impl NativeIdentity {
    #[napi(factory)]
    pub fn generate() -> Self {
        Self(smokesignal::Identity::generate())
    }

    /// `seed` has 32 bytes.
    #[napi(factory)]
    pub fn from_seed(seed: Uint8Array) -> Result<Self> {
        let seed: [u8; 32] = seed.as_ref().try_into().map_err(|_| {
            napi::Error::from_reason(format!("a seed has 32 bytes, this one has {}", seed.len()))
        })?;
        Ok(Self(smokesignal::Identity::from_seed(seed)))
    }

    #[napi(factory)]
    pub fn load(path: String) -> Result<Self> {
        smokesignal::Identity::load(path).map(Self).map_err(thrown)
    }

    #[napi(factory)]
    pub fn load_or_create(path: String) -> Result<Self> {
        smokesignal::Identity::load_or_create(path).map(Self).map_err(thrown)
    }

    #[napi(getter)]
    pub fn id(&self) -> String {
        self.0.id().to_string()
    }
}

/// This machine's address in a subnet.
#[napi]
pub fn local_ip(subnet: String) -> Result<String> {
    smokesignal::local_ip(&subnet).map(|address| address.to_string()).map_err(thrown)
}
