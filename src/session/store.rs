//! What a store must do; it sees digests and sealed bytes only, so that no store can leak more than these.

use std::time::Duration;

use async_trait::async_trait;

use super::claim::{CodeMark, Held, Holder, Memo};
use super::kept::{Budget, Sealed, SharedSlot, Turn};
use super::record::Record;
use super::refresh_token::Fingerprint;
use super::user::User;
use super::{Apps, Identity, RevokedSessions, SessionId, StoreError};

/// How many sessions of one user are listed, or ended in one step: a user may log in without end, and nobody else shall wait for
/// what that leaves behind.
pub(super) const MOST_AT_ONCE: usize = 500;

/// Keeps sessions. The contract that every implementation must pass is in `contract`.
///
/// An operation that answered `Ok` is as durable as the store promises to be. One that failed or was not answered may
/// have happened: each can be asked for again.
#[async_trait]
pub(super) trait Store: Send + Sync {
    /// Claims a code for `holder`, unless another holder has it or it has an outcome. A store of a single process leaves claims to
    /// that process, and keeps only which codes must not be used again after a restart.
    async fn claim(
        &self,
        _code: CodeMark,
        _holder: Holder,
        _lease: Duration,
    ) -> Result<Held, StoreError> {
        Ok(Held::Yours)
    }

    /// Gives a code back that was not spent, if `holder` still has it.
    async fn give_back(&self, _code: CodeMark, _holder: Holder) -> Result<(), StoreError> {
        Ok(())
    }

    /// Keeps for a while what WeChat refused a code with, if `holder` still has it; nobody else asks WeChat then.
    async fn keep_refusal(
        &self,
        _code: CodeMark,
        _holder: Holder,
        _errcode: i64,
        _keep: Duration,
    ) -> Result<(), StoreError> {
        Ok(())
    }

    /// Has others told who ask for a code that its session could not be stored, as soon as that can be.
    fn keep_not_stored(&self, _code: CodeMark, _holder: Holder) {}

    /// Stores a new session, and its user's session_key in place of the one before, which is kept beside it.
    async fn add(&self, login: NewLogin) -> Result<Record, StoreError>;

    /// Rotates the refresh token, returns the same successor within the grace, or ends the session; a session of another app
    /// stays as it is.
    async fn refresh(&self, refresh: Refresh) -> Result<Renewal, StoreError>;

    /// Ends a session and revokes its tokens; `false` means that there was none, which revokes them too.
    async fn end(&self, id: SessionId) -> Result<bool, StoreError>;

    /// Ends some sessions of a user and revokes their tokens; when it is fewer than [`MOST_AT_ONCE`], none is left.
    async fn end_some(&self, user: User) -> Result<Vec<SessionId>, StoreError>;

    /// Removes what may be left of a session that was revoked, where ending one is more than one step.
    async fn sweep(&self, _id: SessionId, _user: User) -> Result<(), StoreError> {
        Ok(())
    }

    /// Returns a session that has not ended.
    async fn session(&self, id: SessionId) -> Result<Option<Record>, StoreError>;

    /// Returns the sessions of a user that have not ended, or [`MOST_AT_ONCE`] of them.
    async fn sessions_of(&self, user: User) -> Result<Vec<(SessionId, Record)>, StoreError>;

    /// Returns the users who have a live session and this unionid as the latest that WeChat gave, or [`MOST_AT_ONCE`] of them.
    ///
    /// Only where [`SessionRules::unionid_lookup`](super::SessionRules::unionid_lookup) is set.
    async fn users_of(&self, unionid: &str) -> Result<Vec<Identity>, StoreError>;

    /// Compare-and-swap of the latest session_key: replaces it if it is the expected one, which becomes the previous one.
    async fn replace_session_key(&self, swap: KeySwap) -> Result<bool, StoreError>;

    /// Returns a user's session_keys; `None` when no session of theirs is left.
    async fn session_keys(&self, user: User) -> Result<Option<SealedKeys>, StoreError>;

    /// Keeps the newer of what is there and what is brought, ends a turn, and returns what is there then.
    async fn keep_newer(
        &self,
        slot: SharedSlot,
        mine: Option<Sealed>,
        turn: Option<Holder>,
    ) -> Result<Option<Sealed>, StoreError>;

    /// Takes the turn to replace what is kept; where one process has the store to itself, it is always its own.
    async fn take_turn(
        &self,
        _slot: SharedSlot,
        _holder: Holder,
        _lease: Duration,
    ) -> Result<Turn, StoreError> {
        Ok(Turn::Yours(None))
    }

    /// Counts one more of what must not happen too often, unless it does.
    async fn spend(&self, slot: SharedSlot, budget: Budget) -> Result<bool, StoreError>;

    /// Returns whether other processes use the same store.
    fn is_shared(&self) -> bool {
        false
    }

    /// Returns the sessions whose tokens must be refused although they have not expired.
    fn revoked(&self) -> &RevokedSessions;

    /// Returns whether the last thing asked of it could be done.
    fn is_available(&self) -> bool;

    /// Returns in what state it would not do the last thing, as a sentence, where it said so.
    fn trouble(&self) -> Option<&'static str> {
        None
    }

    /// Returns how many operations it was given since the start.
    fn operations(&self) -> u64;

    /// Returns how many sessions are stored, those that nobody has removed yet included; `None` where that is not known.
    fn stored(&self) -> Option<usize> {
        None
    }

    /// Copies what is stored to a file of its own, and returns how many sessions that were; `None` where that is not this
    /// process's to do.
    async fn back_up(&self) -> Result<Option<u64>, StoreError> {
        Ok(None)
    }

    /// Finishes what was begun and lets another process have what only one can; unavailable until [`Store::resume`].
    async fn release(&self) {}

    /// Goes on after [`Store::release`].
    async fn resume(&self) {}

    /// Finishes what was begun; it is unavailable from then on.
    async fn close(&self);
}

/// A login to be stored.
#[derive(Clone, Debug)]
pub(super) struct NewLogin {
    pub(super) sid: SessionId,
    pub(super) user: User,
    pub(super) identity: super::Identity,
    /// The first refresh token.
    pub(super) first: Fingerprint,
    /// Empty where the login brought no session_key, so that the one that is there stays.
    pub(super) sealed_key: Vec<u8>,
    /// What is kept of the code beside it, where others ask for it.
    pub(super) memo: Option<Memo>,
}

/// A session_key that follows another one without a login.
#[derive(Clone, Debug)]
pub(super) struct KeySwap {
    pub(super) user: User,
    /// The latest one, sealed.
    pub(super) expected: Vec<u8>,
    pub(super) sealed_key: Vec<u8>,
}

/// The two ends of a refresh: the token that came, and the one that follows it.
#[derive(Clone, Debug)]
pub(super) struct Refresh {
    pub(super) sid: SessionId,
    pub(super) user: User,
    /// How many tokens of the session came before the presented one.
    pub(super) generation: u32,
    /// The presented token, and those before it that it proves to follow, newest first.
    pub(super) presented: Vec<Fingerprint>,
    pub(super) successor: Fingerprint,
    /// Sessions of other apps are left alone.
    pub(super) apps: Apps,
}

/// What became of a refresh.
#[derive(Debug)]
pub(super) enum Renewal {
    Renewed(Record),
    Reused,
    Ended,
    AppUnknown,
}

/// A user's session_keys as they are stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct SealedKeys {
    pub(super) latest: Vec<u8>,
    /// The one before, and when it was replaced, in seconds since the Unix epoch.
    pub(super) previous: Option<(Vec<u8>, u64)>,
}

impl SealedKeys {
    /// Returns the keys after another one came; the same again, as sealed, is no other one.
    pub(super) fn after(older: Option<Self>, latest: Vec<u8>, now: u64) -> Self {
        if let (Some(older), true) = (&older, latest.is_empty()) {
            return older.clone();
        }
        let previous = match older {
            Some(older) if older.latest.is_empty() => None,
            Some(older) if older.latest == latest => older.previous,
            Some(older) => Some((older.latest, now)),
            None => None,
        };
        Self { latest, previous }
    }
}
