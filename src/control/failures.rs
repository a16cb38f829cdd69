//! Limits failed decryptions for each user and wrong secrets for each address.

use std::num::NonZeroU32;
use std::time::Duration;

use tokio::time::Instant;

use super::denial::ControlDenial;
use super::exchange::Peer;
use crate::clock::Clock;
use crate::request::Counts;

/// Somebody who guesses a byte of plaintext by whether changed data opens needs 128 tries for it, one who makes up data
/// that opens needs millions.
const BURST: NonZeroU32 = NonZeroU32::MIN.saturating_add(29);
const INTERVAL: Duration = Duration::from_secs(120);

/// What did not open of late, by user, and how many wrong secrets came, by address or user of the machine.
#[derive(Debug)]
pub struct Failures {
    counts: Counts,
    clock: Clock,
    began: Instant,
}

impl Failures {
    /// Nothing has failed yet.
    pub fn new(clock: Clock) -> Self {
        Self {
            counts: Counts::new(INTERVAL, BURST),
            began: clock.instant(),
            clock,
        }
    }

    /// Refuses a user of whose data too much did not open.
    pub(super) fn check(&self, appid: &str, openid: &str) -> Result<(), ControlDenial> {
        let checked = self.counts.check(&(appid, openid), self.now());
        checked.map_err(ControlDenial::TooManyFailures)
    }

    /// Counts what did not open. What is asked at the same time is all let in before it is counted: no more than there are
    /// connections.
    pub(super) fn count(&self, appid: &str, openid: &str) {
        self.counts.count(&(appid, openid), self.now());
    }

    /// Refuses an address from which too many wrong secrets came, before one more is compared.
    pub(super) fn check_secrets(&self, peer: &Peer) -> Result<(), ControlDenial> {
        let checked = self.counts.check(&peer.network(), self.now());
        checked.map_err(ControlDenial::TooManySecrets)
    }

    /// Counts a wrong secret.
    pub(super) fn count_secret(&self, peer: &Peer) {
        self.counts.count(&peer.network(), self.now());
    }

    fn now(&self) -> Duration {
        self.clock.instant().saturating_duration_since(self.began)
    }
}
