//! Who asks for a login.

use std::net::IpAddr;

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
}
