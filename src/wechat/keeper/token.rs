//! One access_token as it is kept, here and sealed in the store.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use zeroize::Zeroize as _;

use super::AccessToken;
use super::endpoint::Given;
use crate::secret::Secret;
use crate::session::Ranked;

/// In its last five minutes WeChat gives another stable token, and the old one goes on being good.
const OVERLAP: Duration = Duration::from_secs(300);
/// A classic one can be replaced at any time: this much earlier, so that a store that is away for minutes costs nothing.
const EARLY: Duration = Duration::from_secs(600);
/// What a call takes, with all its delays: who gets a token can use it.
const MARGIN_MS: u64 = 5_000;
/// What may pass between two looks at the clock of one that was not set back.
const TICKS_MS: u64 = 1_000;

/// A token; times are in milliseconds since the Unix epoch.
#[derive(Clone)]
pub(super) struct Kept {
    pub(super) token: Secret,
    /// Of two tokens the one with the higher rank is the newer.
    pub(super) rank: u64,
    pub(super) read: u64,
    /// When another one is asked for.
    pub(super) renew: u64,
    pub(super) ends: u64,
    /// How long before its end another one can be had, at most.
    early: u64,
}

/// The same as text.
#[derive(Deserialize, Serialize)]
struct Stored {
    token: String,
    ends: u64,
    early: u64,
}

impl Kept {
    /// Takes what WeChat gave; a stable token's rank is when it was asked for, a classic one's that of the turn in which it was.
    pub(super) fn new(given: Given, now: u64, rank: u64, classic: bool) -> Self {
        let ends = now.saturating_add(millis(given.left));
        let overlap = if classic { EARLY } else { OVERLAP };
        let early = millis(overlap.min(given.left / 2));
        Self {
            renew: renewal(ends, early, classic),
            rank,
            token: given.token,
            read: now,
            ends,
            early,
        }
    }

    /// Reads what another node, or this one before it was restarted, left in the store.
    pub(super) fn read(stored: &Ranked, now: u64, classic: bool) -> Option<Self> {
        let Stored { token, ends, early } = serde_json::from_str(stored.text.expose()).ok()?;
        Some(Self {
            token: Secret::new(token),
            rank: stored.rank,
            read: now,
            renew: renewal(ends, early, classic),
            ends,
            early,
        })
    }

    /// Returns what is written into the store.
    pub(super) fn stored(&self) -> Option<Ranked> {
        let mut stored = Stored {
            token: self.token.expose().to_owned(),
            ends: self.ends,
            early: self.early,
        };
        let text = serde_json::to_string(&stored).map(Secret::new);
        stored.token.zeroize();
        Some(Ranked {
            rank: self.rank,
            text: text.ok()?,
        })
    }

    /// Returns whether it can be given out; a clock that was set back makes nothing last longer.
    pub(super) fn is_good(&self, now: u64) -> bool {
        self.read <= now.saturating_add(TICKS_MS) && now.saturating_add(MARGIN_MS) < self.ends
    }

    /// Returns whether no other one should be asked for.
    pub(super) fn is_fresh(&self, now: u64) -> bool {
        self.is_good(now) && now < self.renew
    }

    pub(super) fn given(&self, now: u64) -> AccessToken {
        AccessToken {
            token: self.token.clone(),
            left: Duration::from_millis(self.ends.saturating_sub(now)),
        }
    }
}

/// Chooses when to ask for another one: not all nodes at once, and well before the end.
fn renewal(ends: u64, early: u64, classic: bool) -> u64 {
    let jitter = if classic { 0.5 } else { 0.8 };
    let early = Duration::from_millis(early).mul_f64(1.0 - jitter * fastrand::f64());
    ends.saturating_sub(millis(early))
}

pub(super) fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u64 = 1_700_000_040_000;

    fn given(secs: u64) -> Given {
        Given {
            token: Secret::new("t".repeat(4096)),
            left: Duration::from_secs(secs),
        }
    }

    #[test]
    fn a_token_survives_the_store() {
        let kept = Kept::new(given(7200), NOW, 7, true);
        let read = Kept::read(&kept.stored().unwrap(), NOW + 1, true).unwrap();
        assert!(read.token == kept.token);
        assert_eq!((read.rank, read.ends), (7, kept.ends));
        // What has little time left is not fresh, however late it is read.
        let late = NOW + 7_150_000;
        let read = Kept::read(&kept.stored().unwrap(), late, true).unwrap();
        assert!(read.is_good(late) && !read.is_fresh(late));
    }

    #[test]
    fn another_one_is_asked_for_early_enough_and_not_by_all_at_once() {
        let early = |classic| {
            let kept = Kept::new(given(7200), NOW, 1, classic);
            (kept.ends - kept.renew) / 1000
        };
        let stable: Vec<u64> = (0..100).map(|_| early(false)).collect();
        assert!(stable.iter().all(|early| (59..=300).contains(early)));
        let classic: Vec<u64> = (0..100).map(|_| early(true)).collect();
        assert!(classic.iter().all(|early| (299..=600).contains(early)));
        assert!(stable.iter().any(|early| *early != stable[0]));
    }

    #[test]
    fn nothing_is_good_at_its_end_or_before_its_beginning() {
        let kept = Kept::new(given(7200), NOW, 1, false);
        assert!(kept.is_fresh(NOW) && !kept.is_good(NOW - 2 * TICKS_MS));
        assert!(kept.is_good(NOW + 7_190_000) && !kept.is_fresh(NOW + 7_190_000));
        assert!(!kept.is_good(NOW + 7_195_000));
    }
}
