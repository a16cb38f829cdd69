//! What can be done to the tables inside one write transaction.

use redb::{ReadableTable, StorageError, Table, TableError, WriteTransaction};

use super::sealed_keys;
use super::tables::{
    Bytes, EXPIRIES, Fault, Place, REVOKED, TimeAndSid, USERS, live_sessions, place_of,
    place_of_keys, session, sessions_of, time_and_sid, time_of,
};
use crate::session::record::Record;
use crate::session::rotation::{Presented, Rotation};
use crate::session::store::{KeySwap, Login, MOST_AT_ONCE, Refresh, Renewal, SealedKeys};
use crate::session::user::User;
use crate::session::{Lifetimes, SessionId};

/// How many entries of a kind one batch purges, so that a crowd of them never holds up a login.
const PURGE_STEP: usize = 64;
/// What a transaction did that matters outside it, once it is committed.
#[derive(Debug, Default)]
pub(super) struct Effects {
    pub(super) changed: bool,
    pub(super) revoked: Vec<(SessionId, u64)>,
    pub(super) more_to_purge: bool,
}

/// The tables during a write transaction.
pub(super) struct Tables<'txn> {
    users: Table<'txn, Place, Bytes>,
    expiries: Table<'txn, TimeAndSid, ()>,
    revoked: Table<'txn, TimeAndSid, ()>,
    lifetimes: Lifetimes,
    now: u64,
    effects: Effects,
}

impl<'txn> Tables<'txn> {
    pub(super) fn open(
        transaction: &'txn WriteTransaction,
        lifetimes: Lifetimes,
        now: u64,
    ) -> Result<Self, TableError> {
        Ok(Self {
            users: transaction.open_table(USERS)?,
            expiries: transaction.open_table(EXPIRIES)?,
            revoked: transaction.open_table(REVOKED)?,
            lifetimes,
            now,
            effects: Effects::default(),
        })
    }

    pub(super) fn into_effects(self) -> Effects {
        self.effects
    }

    /// Stores a new session, and its user's session_key in place of an older one.
    pub(super) fn add(&mut self, login: Login) -> Result<Record, Fault> {
        let record = Record {
            identity: login.identity,
            created: self.now,
            expires: self.expiry(),
            rotation: Rotation::first(login.first),
        };
        let (sid, user) = (login.sid, login.user);
        self.put(sid, &record)?;
        let older = self.stored_keys(user)?;
        self.put_keys(user, older, login.sealed_key)?;
        Ok(record)
    }

    /// Puts a session_key in place of the one that is expected.
    pub(super) fn replace_session_key(&mut self, swap: KeySwap) -> Result<bool, Fault> {
        let KeySwap {
            user,
            expected,
            sealed_key,
        } = swap;
        let Some(stored) = self.stored_keys(user)? else {
            return Ok(false);
        };
        if stored.latest == expected {
            self.put_keys(user, Some(stored), sealed_key)?;
            return Ok(true);
        }
        // Asked again after an answer that was lost.
        Ok(stored.latest == sealed_key)
    }

    /// Replaces the refresh token, says again by what it was replaced, or ends the session.
    pub(super) fn refresh(&mut self, refresh: Refresh) -> Result<Renewal, Fault> {
        let Some(old) = self.live(refresh.sid)? else {
            return Ok(Renewal::Ended);
        };
        if !refresh.apps.have(&old.identity) {
            return Ok(Renewal::AppUnknown);
        }
        let grace_secs = self.lifetimes.refresh_grace.as_secs();
        let Refresh {
            sid,
            generation,
            presented,
            successor,
            ..
        } = refresh;
        let rotation = &old.rotation;
        match rotation.present(generation, presented, successor, self.now, grace_secs) {
            Presented::Current(rotation) => {
                self.expiries.remove(&time_and_sid(old.expires, sid))?;
                let new = Record {
                    expires: self.expiry(),
                    rotation,
                    ..old
                };
                self.put(sid, &new)?;
                Ok(Renewal::Renewed(new))
            }
            Presented::WithinGrace => Ok(Renewal::Renewed(old)),
            Presented::Reused => {
                self.remove(sid, &old)?;
                self.revoke(sid)?;
                Ok(Renewal::Reused)
            }
        }
    }

    /// Ends a session; its tokens are revoked even when it expired before them.
    pub(super) fn end(&mut self, sid: SessionId) -> Result<bool, Fault> {
        let live = self.live(sid)?;
        if let Some(record) = &live {
            self.remove(sid, record)?;
        }
        self.revoke(sid)?;
        Ok(live.is_some())
    }

    /// Ends some sessions of a user.
    pub(super) fn end_some(&mut self, user: User) -> Result<Vec<SessionId>, Fault> {
        let live = live_sessions(&self.users, user, self.now, MOST_AT_ONCE)?;
        for (sid, record) in &live {
            self.remove(*sid, record)?;
            self.revoke(*sid)?;
        }
        Ok(live.into_iter().map(|(sid, _)| sid).collect())
    }

    /// Removes a few of the sessions and revocations whose time is over.
    pub(super) fn purge(&mut self) -> Result<(), StorageError> {
        let expired = before(&self.expiries, self.now.saturating_add(1))?;
        for (time, sid) in &expired {
            match session(&self.users, *sid) {
                Ok(Some(record)) => self.remove(*sid, &record)?,
                Ok(None) | Err(Fault::Damaged) => {
                    self.users.remove(&place_of(*sid))?;
                }
                Err(Fault::Storage(error)) => return Err(error),
            }
            self.expiries.remove(&time_and_sid(*time, *sid))?;
        }
        let over = before(&self.revoked, self.now)?;
        for (time, sid) in &over {
            self.revoked.remove(&time_and_sid(*time, *sid))?;
        }
        self.effects.changed |= !expired.is_empty() || !over.is_empty();
        self.effects.more_to_purge = expired.len() == PURGE_STEP || over.len() == PURGE_STEP;
        Ok(())
    }

    /// Returns when a session that is opened or refreshed now expires.
    fn expiry(&self) -> u64 {
        self.now
            .saturating_add(self.lifetimes.session_ttl.as_secs())
    }

    fn stored_keys(&self, user: User) -> Result<Option<SealedKeys>, Fault> {
        match self.users.get(&place_of_keys(user))? {
            Some(bytes) => Ok(Some(sealed_keys::from_bytes(bytes.value())?)),
            None => Ok(None),
        }
    }

    fn put_keys(
        &mut self,
        user: User,
        older: Option<SealedKeys>,
        latest: Vec<u8>,
    ) -> Result<(), StorageError> {
        self.effects.changed = true;
        let keys = sealed_keys::to_bytes(&SealedKeys::after(older, latest, self.now));
        self.users.insert(&place_of_keys(user), keys.as_slice())?;
        Ok(())
    }

    fn live(&self, sid: SessionId) -> Result<Option<Record>, Fault> {
        Ok(session(&self.users, sid)?.filter(|record| self.now < record.expires))
    }

    fn put(&mut self, sid: SessionId, record: &Record) -> Result<(), StorageError> {
        self.effects.changed = true;
        self.users
            .insert(&place_of(sid), record.to_bytes().as_slice())?;
        self.expiries
            .insert(&time_and_sid(record.expires, sid), ())?;
        Ok(())
    }

    fn remove(&mut self, sid: SessionId, record: &Record) -> Result<(), StorageError> {
        self.effects.changed = true;
        let user = record.identity.user();
        self.users.remove(&place_of(sid))?;
        self.expiries.remove(&time_and_sid(record.expires, sid))?;
        let was_last = match sessions_of(&self.users, user)?.next() {
            None => true,
            // One that cannot be read may be theirs.
            Some(Ok(_) | Err(Fault::Damaged)) => false,
            Some(Err(Fault::Storage(error))) => return Err(error),
        };
        if was_last {
            self.users.remove(&place_of_keys(user))?;
        }
        Ok(())
    }

    fn revoke(&mut self, sid: SessionId) -> Result<(), StorageError> {
        self.effects.changed = true;
        let until = self.lifetimes.revoked_until(self.now);
        self.revoked.insert(&time_and_sid(until, sid), ())?;
        self.effects.revoked.push((sid, until));
        Ok(())
    }
}

/// Reads the first entries of a table that is ordered by time, as far as they lie before one.
fn before(
    table: &impl ReadableTable<TimeAndSid, ()>,
    time: u64,
) -> Result<Vec<(u64, SessionId)>, StorageError> {
    let end = time_and_sid(time, SessionId::from_bytes([0; 16]));
    table
        .range::<&[u8; 24]>(..&end)?
        .take(PURGE_STEP)
        .filter_map(|entry| match entry {
            Ok((key, _)) => time_of(key.value()).map(Ok),
            Err(error) => Some(Err(error)),
        })
        .collect()
}
