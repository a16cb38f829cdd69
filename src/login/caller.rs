//! The client that asks for a login.

use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

use super::Nonce;
use super::charge::Charge;
use super::trace::LoginTrace;
use crate::request::RequestId;

/// The bits of an IPv6 address that identify a customer in the queue: no provider gives one customer more than a /48 by default.
const IPV6_BITS: u32 = 48;

/// Who takes turns in the queue: an IPv4 address, or a /48 of IPv6; all unknown addresses are one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Network(Option<IpAddr>);

impl Network {
    pub(super) fn of(address: Option<IpAddr>) -> Self {
        Self(address.map(|address| match address.to_canonical() {
            IpAddr::V4(address) => IpAddr::V4(address),
            IpAddr::V6(address) => {
                let rest = u128::BITS - IPV6_BITS;
                IpAddr::V6((u128::from(address) >> rest << rest).into())
            }
        }))
    }
}

/// What a login needs to know of the request that asks for it.
#[derive(Clone, Debug)]
pub struct Caller {
    /// Its id.
    pub id: RequestId,
    /// The client's address, where it is known.
    pub address: Option<IpAddr>,
    /// The nonce that was sent with the code.
    pub nonce: Option<Nonce>,
    /// Whether its address was turned away so often that no slot is reserved for it.
    pub over_limit: bool,
    /// What the code counts for against its address, where that is limited.
    pub charge: Option<Arc<Charge>>,
    /// The id of the trace that the login is part of, recorded or not.
    pub trace_id: Option<String>,
    /// That trace, where there is a record of it.
    pub trace: Option<LoginTrace>,
    /// What WeChat answered to this request's latest call.
    pub(super) said: Arc<Mutex<WechatErrorDetails>>,
}

/// What is logged of a refused call to WeChat.
#[derive(Clone, Debug, Default)]
pub(super) struct WechatErrorDetails {
    /// WeChat's id of the call in its own logs.
    pub(super) rid: Option<String>,
    /// WeChat's text beside the errcode.
    pub(super) errmsg: Option<String>,
    /// Why there was no answer.
    pub(super) cause: Option<String>,
}

impl Caller {
    /// Describes the client of a request.
    pub fn new(id: RequestId, address: Option<IpAddr>, over_limit: bool) -> Self {
        Self {
            id,
            address,
            nonce: None,
            over_limit,
            charge: None,
            trace_id: None,
            trace: None,
            said: Arc::default(),
        }
    }

    /// Stores what the latest call answered.
    pub(super) fn note(&self, said: WechatErrorDetails) {
        *self.said.lock().unwrap_or_else(PoisonError::into_inner) = said;
    }

    /// Returns what the latest call answered.
    pub(super) fn said(&self) -> WechatErrorDetails {
        let said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        said.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_one_customer_may_have_is_one_network() {
        let network = |address: &str| Network::of(Some(address.parse().unwrap()));
        assert_eq!(network("2001:db8:1::1"), network("2001:db8:1:ffff:2::"));
        assert_ne!(network("2001:db8:1::1"), network("2001:db8:2::1"));
        assert_ne!(network("192.0.2.1"), network("192.0.2.2"));
        assert_eq!(network("::ffff:192.0.2.1"), network("192.0.2.1"));
        assert_ne!(Network::of(None), network("192.0.2.1"));
    }
}
