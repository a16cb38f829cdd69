//! What can be done to the tables inside one write transaction.

use redb::{ReadableTableMetadata as _, StorageError, Table, TableError, WriteTransaction};

use super::row::Row;
use super::tables::{
    Bytes, EXPIRIES, Fault, META, PURGE_STEP, REVOKED, SESSIONS, Sid, TimeKey, newest, row,
    rows_of, take_until, time_key,
};
use super::unionids::Unionids;
use super::used::Used;
use crate::session::encoding::Damaged;
use crate::session::record::Record;
use crate::session::rotation::{Presented, Rotation};
use crate::session::store::{KeySwap, MOST_AT_ONCE, NewLogin, Refresh, Renewal, SealedKeys};
use crate::session::user::User;
use crate::session::{SessionId, SessionRules};

/// What a transaction did that matters outside it, once it is committed.
#[derive(Debug, Default)]
pub(super) struct Effects {
    pub(super) changed: bool,
    pub(super) revoked: Vec<(SessionId, u64)>,
    pub(super) more_to_purge: bool,
    /// How many sessions there are then.
    pub(super) stored: u64,
}

/// The tables during a write transaction.
pub(super) struct Tables<'txn> {
    sessions: Table<'txn, Sid, Bytes>,
    expiries: Table<'txn, TimeKey, ()>,
    revoked: Table<'txn, TimeKey, ()>,
    meta: Table<'txn, &'static str, Bytes>,
    unionids: Unionids<'txn>,
    used: Used<'txn>,
    rules: SessionRules,
    now: u64,
    effects: Effects,
}

impl<'txn> Tables<'txn> {
    pub(super) fn open(
        transaction: &'txn WriteTransaction,
        rules: SessionRules,
        now: u64,
    ) -> Result<Self, TableError> {
        Ok(Self {
            sessions: transaction.open_table(SESSIONS)?,
            expiries: transaction.open_table(EXPIRIES)?,
            revoked: transaction.open_table(REVOKED)?,
            meta: transaction.open_table(META)?,
            unionids: Unionids::open(transaction, rules.unionid_lookup)?,
            used: Used::open(transaction)?,
            rules,
            now,
            effects: Effects::default(),
        })
    }

    /// What stands beside the sessions.
    pub(super) fn meta(&self) -> &Table<'txn, &'static str, Bytes> {
        &self.meta
    }

    /// The same, to be changed.
    pub(super) fn meta_mut(&mut self) -> &mut Table<'txn, &'static str, Bytes> {
        self.effects.changed = true;
        &mut self.meta
    }

    pub(super) fn now(&self) -> u64 {
        self.now
    }

    pub(super) fn into_effects(self) -> Result<Effects, StorageError> {
        Ok(Effects {
            stored: self.sessions.len()?,
            ..self.effects
        })
    }

    /// Stores a new session, and its user's session_key in place of an older one.
    pub(super) fn add(&mut self, login: NewLogin) -> Result<Record, Fault> {
        let newest = newest(&self.sessions, login.user)?;
        let known = newest
            .as_ref()
            .and_then(|(_, row)| row.record.identity.unionid.clone());
        let mut identity = login.identity;
        // The newest session has the latest unionid that WeChat gave, as it has the session_keys.
        identity.unionid = identity.unionid.or_else(|| known.clone());
        self.unionids
            .replace(login.user, known.as_deref(), identity.unionid.as_deref())?;
        let record = Record {
            identity,
            created: self.now,
            expires: self.expiry(),
            rotation: Rotation::first(login.first),
        };
        let older = newest.as_ref().map(|(_, row)| row.keys.clone());
        let keys = SealedKeys::after(older, login.sealed_key, self.now);
        if let Some((newest, mut row)) = newest
            && newest > login.sid
        {
            row.keys = keys.clone();
            row.record
                .identity
                .unionid
                .clone_from(&record.identity.unionid);
            self.put(newest, &row)?;
        }
        let row = Row { record, keys };
        self.put(login.sid, &row)?;
        let expiry = time_key(row.record.expires, login.sid.as_bytes());
        self.expiries.insert(&expiry, ())?;
        if let Some(memo) = &login.memo {
            self.used.put(memo, self.now)?;
        }
        Ok(row.record)
    }

    /// Puts a session_key in place of the one that is expected.
    pub(super) fn replace_session_key(&mut self, swap: KeySwap) -> Result<bool, Fault> {
        let KeySwap {
            user,
            expected,
            sealed_key,
        } = swap;
        let Some((newest, mut row)) = newest(&self.sessions, user)? else {
            return Ok(false);
        };
        if row.keys.latest == expected {
            row.keys = SealedKeys::after(Some(row.keys), sealed_key, self.now);
            self.put(newest, &row)?;
            return Ok(true);
        }
        // Asked again after an answer that was lost.
        Ok(row.keys.latest == sealed_key)
    }

    /// Replaces the refresh token, says again by what it was replaced, or ends the session.
    pub(super) fn refresh(&mut self, refresh: Refresh) -> Result<Renewal, Fault> {
        // Of one that cannot be read nothing is left to go on with; another login is.
        let Some(Ok(mut old)) = row(&self.sessions, refresh.sid)? else {
            return Ok(Renewal::Ended);
        };
        if !old.is_live(self.now) {
            return Ok(Renewal::Ended);
        }
        if !refresh.apps.have(&old.record.identity) {
            return Ok(Renewal::AppUnknown);
        }
        let newest = newest(&self.sessions, refresh.user)?;
        if let Some(known) = newest.and_then(|(_, row)| row.record.identity.unionid) {
            old.record.identity.unionid = Some(known);
        }
        let grace_secs = self.rules.refresh_grace.as_secs();
        let Refresh {
            sid,
            generation,
            presented,
            successor,
            ..
        } = refresh;
        let rotation = &old.record.rotation;
        match rotation.present(generation, &presented, successor, self.now, grace_secs) {
            Presented::Current(rotation) => {
                let expiry = |expires| time_key(expires, sid.as_bytes());
                self.expiries.remove(&expiry(old.record.expires))?;
                let record = Record {
                    expires: self.expiry(),
                    rotation,
                    ..old.record
                };
                self.expiries.insert(&expiry(record.expires), ())?;
                let new = Row { record, ..old };
                self.put(sid, &new)?;
                Ok(Renewal::Renewed(new.record))
            }
            Presented::WithinGrace => Ok(Renewal::Renewed(old.record)),
            Presented::Reused => {
                self.remove(sid, Ok(old))?;
                self.revoke(sid)?;
                Ok(Renewal::Reused)
            }
        }
    }

    /// Ends a session; its tokens are revoked even when it expired before them.
    pub(super) fn end(&mut self, sid: SessionId) -> Result<bool, Fault> {
        let found = row(&self.sessions, sid)?.filter(|row| self.is_not_over(row));
        let ended = found.is_some();
        if let Some(row) = found {
            self.remove(sid, row)?;
        }
        self.revoke(sid)?;
        Ok(ended)
    }

    /// Ends some sessions of a user, and what cannot be read and may be theirs.
    pub(super) fn end_some(&mut self, user: User) -> Result<Vec<SessionId>, Fault> {
        let mut found = Vec::new();
        for stored in rows_of(&self.sessions, user)? {
            let (sid, row) = stored?;
            if self.is_not_over(&row) {
                found.push((sid, row));
            }
            if found.len() == MOST_AT_ONCE {
                break;
            }
        }
        let mut ended = Vec::with_capacity(found.len());
        // Oldest first, so that none of them has changed by being the heir of one before.
        for (sid, row) in found {
            self.remove(sid, row)?;
            self.revoke(sid)?;
            ended.push(sid);
        }
        Ok(ended)
    }

    /// Removes a few of the sessions and revocations whose time is over.
    pub(super) fn purge(&mut self) -> Result<(), StorageError> {
        let expired = take_until(&mut self.expiries, self.now.saturating_add(1))?;
        for sid in &expired {
            let sid = SessionId::from_bytes(*sid);
            match row(&self.sessions, sid)? {
                Some(Ok(row)) if row.is_live(self.now) => {}
                Some(row) => self.remove(sid, row)?,
                None => {}
            }
        }
        let over = take_until(&mut self.revoked, self.now)?;
        let used = self.used.purge(self.now)?;
        let purged = [expired.len(), over.len(), used];
        self.effects.changed |= purged.iter().any(|count| *count > 0);
        self.effects.more_to_purge = purged.contains(&PURGE_STEP);
        Ok(())
    }

    /// Returns when a session that is opened or refreshed now expires.
    fn expiry(&self) -> u64 {
        self.now.saturating_add(self.rules.session_ttl.as_secs())
    }

    /// Returns whether a session has not expired, as far as it can be read.
    fn is_not_over(&self, row: &Result<Row, Damaged>) -> bool {
        row.as_ref().map_or(true, |row| row.is_live(self.now))
    }

    fn put(&mut self, sid: SessionId, row: &Row) -> Result<(), StorageError> {
        self.effects.changed = true;
        let bytes = row.to_bytes();
        self.sessions.insert(sid.as_bytes(), bytes.as_slice())?;
        Ok(())
    }

    /// Removes a session; if it was the newest of its user, the one before it has their session_keys and unionid from now on.
    fn remove(&mut self, sid: SessionId, row: Result<Row, Damaged>) -> Result<(), StorageError> {
        self.effects.changed = true;
        self.sessions.remove(sid.as_bytes())?;
        let Ok(Row { record, keys }) = row else {
            return Ok(());
        };
        let expiry = time_key(record.expires, sid.as_bytes());
        self.expiries.remove(&expiry)?;
        let (user, unionid) = (record.identity.user(), record.identity.unionid);
        match newest(&self.sessions, user)? {
            Some((newest, mut heir)) if newest < sid => {
                heir.keys = keys;
                heir.record.identity.unionid = unionid.or(heir.record.identity.unionid);
                self.put(newest, &heir)
            }
            Some(_) => Ok(()),
            // Nobody without a session is found by a unionid.
            None => self.unionids.replace(user, unionid.as_deref(), None),
        }
    }

    fn revoke(&mut self, sid: SessionId) -> Result<(), StorageError> {
        self.effects.changed = true;
        let until = self.rules.revoked_until(self.now);
        self.revoked.insert(&time_key(until, sid.as_bytes()), ())?;
        self.effects.revoked.push((sid, until));
        Ok(())
    }
}
