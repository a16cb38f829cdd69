//! The classic token: each call for one ends the one before, so that nodes ask in turns, and a node that was away for longer than its
//! turn asks again.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::endpoint::Asking;
use super::renewal::{Renewal, ask};
use super::token::Kept;
use super::{AccessTokens, Reason};
use crate::session::{Holder, Turn};
use crate::wechat::lost::NOT_HTTP;
use crate::wechat::{ApiError, CallError, CallFailure};

/// How long a turn lasts: two calls with two secrets, and the store's own time.
const LEASE: Duration = Duration::from_secs(30);
/// How long a call must find of its turn.
const CALL: Duration = Duration::from_secs(15);
/// How long anybody waits for the token that another node asks for, and how often it looks.
const OTHER_NODE_TIMEOUT: Duration = Duration::from_secs(8);
const LOOK: Duration = Duration::from_millis(100);
/// How long a token is good for that was replaced, less what clocks and calls take.
const OVERLAP_MS: u64 = 280_000;

/// How a call in one's turn went.
enum Minted {
    Kept,
    /// The turn was over before the answer came: whose token is WeChat's latest, nobody knows. The rank of the other one.
    Late(u64),
}

impl AccessTokens {
    /// Takes the token that another node left in the store, or asks WeChat for another one in this node's turn.
    pub(super) async fn renew_classic(
        &self,
        renewal: &Renewal<'_>,
        by_force: bool,
    ) -> Result<(), ApiError> {
        let until = Instant::now() + OTHER_NODE_TIMEOUT;
        // What is in the store is of use where it is newer than this.
        let mut beaten = None;
        loop {
            if self.take_newer(renewal, beaten).await? {
                return Ok(());
            }
            let refused = renewal.refused.is_some();
            if refused && !by_force {
                // Another one would end that of everybody else: who refuses this one must be WeChat, and not one call alone.
                renewal.entry.state().doubt.asked = Some(self.now());
                return Ok(());
            }
            let holder = Holder::random().map_err(|_| ApiError::Store)?;
            let began = self.shared.clock.instant();
            let slot = renewal.entry.slot;
            let turn = self.shared.store.take_turn(slot, holder, LEASE).await;
            match turn.map_err(|_| ApiError::Store)? {
                Turn::Yours(fence) => {
                    // Somebody may have had a turn between the look and this one.
                    if self.take_newer(renewal, beaten).await? {
                        self.give_up(renewal, holder).await;
                        return Ok(());
                    }
                    let known = renewal.entry.state().kept.as_ref().map_or(0, |it| it.rank);
                    let own = self.now().saturating_mul(1000).max(known.saturating_add(1));
                    let rank = fence.unwrap_or(own);
                    let elapsed = self.elapsed(began);
                    if elapsed + CALL >= LEASE {
                        continue;
                    }
                    match self.mint(renewal, holder, rank, began).await? {
                        Minted::Kept => return Ok(()),
                        Minted::Late(rank) => beaten = Some(rank),
                    }
                }
                Turn::Anothers(_) if Instant::now() < until => sleep(LOOK).await,
                Turn::Anothers(_) => return Err(ApiError::Turn),
            }
        }
    }

    /// Takes what is in the store where it is newer and fresh; what is newer here goes there.
    async fn take_newer(
        &self,
        renewal: &Renewal<'_>,
        beaten: Option<u64>,
    ) -> Result<bool, ApiError> {
        let entry = renewal.entry;
        let now = self.now();
        let mine = entry.state().kept.clone();
        let mine = mine.filter(|kept| kept.is_good(now));
        let stored = mine.as_ref().and_then(Kept::stored);
        let kept = self
            .shared
            .store
            .keep_newer(entry.slot, stored.as_ref(), None);
        let kept = kept.await.map_err(|error| {
            tracing::debug!(%error, "the store could not be asked for an access_token");
            ApiError::Store
        })?;
        let now = self.now();
        entry.state().looked = Some(now);
        let Some(found) = kept.and_then(|found| Kept::read(&found, now, true)) else {
            return Ok(false);
        };
        let is_mine = mine.as_ref().is_some_and(|mine| mine.token == found.token);
        let is_newer = beaten.is_none_or(|beaten| found.rank > beaten);
        let usable = is_newer && found.is_good(now) && renewal.refused != Some(&found.token);
        let fresh = match (&mine, is_mine) {
            // When this one is renewed was drawn when it came.
            (Some(mine), true) => mine.is_fresh(now),
            _ => found.is_fresh(now),
        };
        if usable && !is_mine {
            self.adopt(renewal, found, Some("shared"));
        }
        Ok(usable && fresh)
    }

    /// Asks WeChat in this node's turn, and leaves in the store what comes.
    async fn mint(
        &self,
        renewal: &Renewal<'_>,
        holder: Holder,
        rank: u64,
        began: Instant,
    ) -> Result<Minted, ApiError> {
        let given = match ask(renewal.wechat, renewal.app, Asking::Classic).await {
            Ok(given) => given,
            Err(error) => {
                if let ApiError::Failed(CallFailure::Call(
                    CallError::NoAnswer
                    | CallError::BrokenOff
                    | CallError::NotAnAnswer(_)
                    | CallError::Gateway(_)
                    | CallError::NotWeChat(NOT_HTTP),
                )) = error
                {
                    self.may_be_replaced(renewal);
                }
                self.give_up(renewal, holder).await;
                return Err(error);
            }
        };
        let kept = Kept::new(given, self.now(), rank, true);
        let in_time = self.elapsed(began) < LEASE;
        let (slot, stored) = (renewal.entry.slot, kept.stored());
        let store = &self.shared.store;
        let newest = store.keep_newer(slot, stored.as_ref(), Some(holder)).await;
        match newest {
            Ok(Some(newest)) if newest.rank > rank => {
                if !in_time {
                    return Ok(Minted::Late(newest.rank));
                }
                let newest = Kept::read(&newest, self.now(), true).unwrap_or(kept);
                self.adopt(renewal, newest, Some("shared"));
            }
            Ok(_) => {
                renewal.entry.state().looked = Some(self.now());
                self.adopt(renewal, kept, self.how(renewal));
            }
            // It is there at the next look.
            Err(error) => {
                tracing::warn!(%error, "a new access_token could not be shared yet");
                self.adopt(renewal, kept, self.how(renewal));
            }
        }
        Ok(Minted::Kept)
    }

    fn how(&self, renewal: &Renewal<'_>) -> Option<&'static str> {
        let forced = matches!(renewal.reason, Reason::Refused | Reason::Reported);
        forced.then_some("forced")
    }

    /// Takes notice that WeChat may have replaced the token that is kept by one that nobody has heard of.
    fn may_be_replaced(&self, renewal: &Renewal<'_>) {
        let now = self.now();
        if let Some(kept) = &mut renewal.entry.state().kept {
            kept.ends = kept.ends.min(now.saturating_add(OVERLAP_MS));
            kept.renew = kept.renew.min(now);
        }
    }

    async fn give_up(&self, renewal: &Renewal<'_>, holder: Holder) {
        let store = &self.shared.store;
        let given_up = store.keep_newer(renewal.entry.slot, None, Some(holder));
        // Else it ends by itself.
        let _ = given_up.await;
    }

    fn elapsed(&self, began: Instant) -> Duration {
        self.shared.clock.instant().saturating_duration_since(began)
    }
}
