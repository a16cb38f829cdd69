//! Who asks for a login.

use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

use super::nonce::Nonce;
use crate::request::RequestId;

/// What a login needs to know of the request that asks for it.
#[derive(Clone, Debug)]
pub struct Caller {
    /// Its id.
    pub id: RequestId,
    /// The client's address, where it is known.
    pub address: Option<IpAddr>,
    /// The nonce that came with the code.
    pub nonce: Option<Nonce>,
    /// Whether its address has been turned away so often that what it is told shall move nobody else's time.
    pub crowded: bool,
    /// What WeChat said when it was called for this request.
    pub(super) said: Arc<Mutex<Said>>,
}

/// What a refused call to WeChat brought, for the log.
#[derive(Clone, Debug, Default)]
pub(super) struct Said {
    /// The id under which WeChat finds the call in its own logs.
    pub(super) rid: Option<String>,
    /// What WeChat wrote beside its number.
    pub(super) errmsg: Option<String>,
    /// Why there was no answer of WeChat's.
    pub(super) cause: Option<String>,
}

impl Caller {
    /// Describes who asks.
    pub fn new(id: RequestId, address: Option<IpAddr>, crowded: bool) -> Self {
        Self {
            id,
            address,
            nonce: None,
            crowded,
            said: Arc::default(),
        }
    }

    /// Keeps what the latest call brought.
    pub(super) fn note(&self, said: Said) {
        *self.said.lock().unwrap_or_else(PoisonError::into_inner) = said;
    }

    /// Returns what the latest call brought.
    pub(super) fn said(&self) -> Said {
        let said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        said.clone()
    }
}
