//! What is kept for one app.

use std::sync::atomic::AtomicBool;
use std::sync::{Mutex as Lock, MutexGuard, PoisonError};

use aws_lc_rs::digest::Digest;
use tokio::sync::Mutex;

use super::AccessToken;
use super::forced_renewal::Doubt;
use super::status::{Failure, TokenStatus};
use super::token::Kept;
use crate::config::{App, TokenKind};
use crate::secret::Secret;
use crate::session::SharedSlot;
use crate::wechat::ApiError;

/// How old the knowledge of what other nodes have done may be before it is renewed behind an answer, or before one.
const LOOK_BEHIND_MS: u64 = 30_000;
const LOOK_FIRST_MS: u64 = 120_000;

/// What is kept for one app.
pub(super) struct Entry {
    app: String,
    pub(super) kind: TokenKind,
    /// The digest of where WeChat is, the appid and the secret: with another secret it is another entry.
    whose: Digest,
    /// Where it is in the store.
    pub(super) slot: SharedSlot,
    state: Lock<TokenState>,
    /// Locked while WeChat is asked, so that everybody else waits for that answer.
    pub(super) asking: Mutex<()>,
    /// Whether somebody asks behind an answer.
    pub(super) behind: AtomicBool,
}

#[derive(Default)]
pub(super) struct TokenState {
    pub(super) kept: Option<Kept>,
    /// Why WeChat gave none, and until when it is not asked again.
    pub(super) resting: Option<(ApiError, u64)>,
    /// When the store was last looked at.
    pub(super) looked: Option<u64>,
    pub(super) doubt: Doubt,
    pub(super) failure: Option<Failure>,
}

/// Whether a token can be given out.
pub(super) enum Readiness {
    Fresh(AccessToken),
    /// It can, and another should be had meanwhile.
    Due(AccessToken),
    /// It cannot before somebody has looked whether there is another, and can if there is none.
    Old,
    Nothing,
}

impl Entry {
    pub(super) fn new(app: &App, whose: Digest, slot: SharedSlot) -> Self {
        Self {
            app: app.name.clone(),
            kind: app.access_token,
            whose,
            slot,
            state: Lock::default(),
            asking: Mutex::default(),
            behind: AtomicBool::new(false),
        }
    }

    pub(super) fn is_of(&self, whose: &Digest) -> bool {
        self.whose.as_ref() == whose.as_ref()
    }

    pub(super) fn is_classic(&self) -> bool {
        self.kind == TokenKind::Classic
    }

    pub(super) fn state(&self) -> MutexGuard<'_, TokenState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns whether the token that is kept can be given out; `shared` says that other nodes may replace it.
    pub(super) fn readiness(&self, now: u64, shared: bool) -> Readiness {
        let state = self.state();
        let Some(kept) = state.kept.as_ref().filter(|kept| kept.is_good(now)) else {
            return Readiness::Nothing;
        };
        // A stable token is good until its end, whoever asks; another classic one ends it in five minutes.
        let age = match state.looked {
            Some(at) if shared && self.is_classic() => now.saturating_sub(at),
            _ => 0,
        };
        if age >= LOOK_FIRST_MS {
            Readiness::Old
        } else if age >= LOOK_BEHIND_MS || !kept.is_fresh(now) {
            Readiness::Due(kept.given(now))
        } else {
            Readiness::Fresh(kept.given(now))
        }
    }

    /// Returns whether somebody who looked a moment ago need not look again.
    pub(super) fn has_looked(&self, now: u64) -> bool {
        let looked = self.state().looked;
        let age = looked.and_then(|at| now.checked_sub(at));
        age.is_some_and(|age| age < LOOK_BEHIND_MS)
    }

    /// Returns the token that is kept, unless it is the one that is refused.
    pub(super) fn other_than(&self, refused: Option<&Secret>, now: u64) -> Option<AccessToken> {
        let state = self.state();
        let kept = state.kept.as_ref().filter(|kept| kept.is_good(now))?;
        (refused != Some(&kept.token)).then(|| kept.given(now))
    }

    /// Takes a token that is newer than the one that is kept.
    pub(super) fn adopt(&self, new: Kept) -> bool {
        let mut state = self.state();
        let same = state
            .kept
            .as_ref()
            .is_some_and(|kept| kept.token == new.token);
        if same {
            // When it ends, WeChat has now said more exactly; when it is renewed was drawn before.
            if let Some(kept) = &mut state.kept {
                kept.ends = kept.ends.min(new.ends);
                kept.rank = kept.rank.max(new.rank);
            }
        } else {
            state.kept = Some(new);
            state.doubt = Doubt::default();
        }
        (state.resting, state.failure) = (None, None);
        !same
    }

    /// Counts a refusal of the token that is kept.
    pub(super) fn doubt(&self, refused: &Secret, path: &str) {
        let mut state = self.state();
        if state.kept.as_ref().is_some_and(|it| it.token == *refused) {
            state.doubt.count(path);
        }
    }

    /// Takes notice that WeChat took a token.
    pub(super) fn trust(&self, token: &Secret) {
        let mut state = self.state();
        if state.doubt.is_any() && state.kept.as_ref().is_some_and(|it| it.token == *token) {
            state.doubt.dispel();
        }
    }

    pub(super) fn status(&self, now: u64) -> TokenStatus {
        let state = self.state();
        let kept = state.kept.as_ref();
        TokenStatus {
            app: self.app.clone(),
            kind: self.kind,
            age_secs: kept.map(|kept| now.saturating_sub(kept.read) / 1000),
            left_secs: kept.map(|kept| kept.ends.saturating_sub(now) / 1000),
            failure: state.failure.clone(),
        }
    }
}
