//! What can be done to the tables inside one write transaction.

use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use redb::{ReadableTable, StorageError, Table, TableError, WriteTransaction};

use super::index::{Entry, Index};
use super::row::{Row, sid_of};
use super::tables::{
    Bytes, EXPIRIES, Fault, META, REVOKED, SESSIONS, TimeAndPlace, TimeAndSid, readable, row,
    row_at, rows_of, time_and_sid, time_of,
};
use super::unionids::Unionids;
use super::used::Used;
use crate::session::record::Record;
use crate::session::rotation::{Presented, Rotation};
use crate::session::store::{KeySwap, Login, MOST_AT_ONCE, Refresh, Renewal, SealedKeys};
use crate::session::user::User;
use crate::session::{Identity, SessionId, SessionRules};

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
    sessions: Table<'txn, u64, Bytes>,
    expiries: Table<'txn, TimeAndPlace, ()>,
    revoked: Table<'txn, TimeAndSid, ()>,
    meta: Table<'txn, &'static str, Bytes>,
    unionids: Unionids<'txn>,
    used: Used<'txn>,
    index: &'txn RwLock<Index>,
    rules: SessionRules,
    now: u64,
    effects: Effects,
}

impl<'txn> Tables<'txn> {
    pub(super) fn open(
        transaction: &'txn WriteTransaction,
        index: &'txn RwLock<Index>,
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
            index,
            rules,
            now,
            effects: Effects::default(),
        })
    }

    /// Locked for as long as it is looked at, since nobody else changes it, and briefly to change it.
    fn index(&self) -> RwLockReadGuard<'txn, Index> {
        self.index.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn index_mut(&self) -> RwLockWriteGuard<'txn, Index> {
        self.index.write().unwrap_or_else(PoisonError::into_inner)
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

    pub(super) fn into_effects(self) -> Effects {
        self.effects
    }

    /// Stores a new session, and its user's session_key in place of an older one.
    pub(super) fn add(&mut self, login: Login) -> Result<Record, Fault> {
        let newest = self.newest(login.user)?;
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
        if let Some((place, mut row)) = newest
            && row.sid > login.sid
        {
            row.keys = keys.clone();
            row.record
                .identity
                .unionid
                .clone_from(&record.identity.unionid);
            self.put(place, &row)?;
        }
        let place = self.index_mut().push(login.sid);
        self.put(place, &Row::new(login.sid, record.clone(), keys))?;
        self.expiries.insert((record.expires, place), ())?;
        if let Some(memo) = &login.memo {
            self.used.put(memo, self.now)?;
        }
        Ok(record)
    }

    /// Puts a session_key in place of the one that is expected.
    pub(super) fn replace_session_key(&mut self, swap: KeySwap) -> Result<bool, Fault> {
        let KeySwap {
            user,
            expected,
            sealed_key,
        } = swap;
        let Some((place, mut row)) = self.newest(user)? else {
            return Ok(false);
        };
        if row.keys.latest == expected {
            row.keys = SealedKeys::after(Some(row.keys), sealed_key, self.now);
            self.put(place, &row)?;
            return Ok(true);
        }
        // Asked again after an answer that was lost.
        Ok(row.keys.latest == sealed_key)
    }

    /// Replaces the refresh token, says again by what it was replaced, or ends the session.
    pub(super) fn refresh(&mut self, refresh: Refresh) -> Result<Renewal, Fault> {
        let (place, mut old) = match self.live(refresh.sid) {
            Ok(Some(found)) => found,
            // Of one that cannot be read nothing is left to go on with; another login is.
            Ok(None) | Err(Fault::Damaged) => return Ok(Renewal::Ended),
            Err(fault @ Fault::Storage(_)) => return Err(fault),
        };
        if !refresh.apps.have(&old.record.identity) {
            return Ok(Renewal::AppUnknown);
        }
        let newest = self.newest(refresh.user)?;
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
                self.expiries.remove((old.record.expires, place))?;
                let record = Record {
                    expires: self.expiry(),
                    rotation,
                    ..old.record
                };
                self.expiries.insert((record.expires, place), ())?;
                let new = Row { record, ..old };
                self.put(place, &new)?;
                Ok(Renewal::Renewed(new.record))
            }
            Presented::WithinGrace => Ok(Renewal::Renewed(old.record)),
            Presented::Reused => {
                self.remove(place, old)?;
                self.revoke(sid)?;
                Ok(Renewal::Reused)
            }
        }
    }

    /// Ends a session; its tokens are revoked even when it expired before them.
    pub(super) fn end(&mut self, sid: SessionId) -> Result<bool, Fault> {
        let place = self.index().get(sid);
        let ended = match place {
            Some(place) => self.end_row(place, row(&self.sessions, (sid, place)))?,
            None => false,
        };
        self.revoke(sid)?;
        Ok(ended)
    }

    /// Ends some sessions of a user.
    pub(super) fn end_some(&mut self, user: User) -> Result<Vec<SessionId>, Fault> {
        let mut ended = Vec::new();
        let entries: Vec<Entry> = self.index().of_user(user).collect();
        for (sid, place) in entries {
            if ended.len() == MOST_AT_ONCE {
                break;
            }
            let found = row(&self.sessions, (sid, place));
            let others = matches!(&found, Ok(Some(row)) if row.record.identity.user() != user);
            if !others && self.end_row(place, found)? {
                self.revoke(sid)?;
                ended.push(sid);
            }
        }
        Ok(ended)
    }

    /// Removes what was found at a place if it has not expired, and tells whether; what is damaged goes too.
    fn end_row(&mut self, place: u64, found: Result<Option<Row>, Fault>) -> Result<bool, Fault> {
        match found {
            Ok(Some(row)) if self.now < row.record.expires => self.remove(place, row)?,
            Ok(_) => return Ok(false),
            Err(Fault::Damaged) => self.remove_damaged(place)?,
            Err(fault @ Fault::Storage(_)) => return Err(fault),
        }
        Ok(true)
    }

    /// Removes a few of the sessions and revocations whose time is over.
    pub(super) fn purge(&mut self) -> Result<(), StorageError> {
        let end = (self.now.saturating_add(1), 0);
        let range = self.expiries.range(..end)?.take(PURGE_STEP);
        let expired = range.map(|entry| entry.map(|(key, _)| key.value()));
        let expired = expired.collect::<Result<Vec<TimeAndPlace>, _>>()?;
        for &(time, place) in &expired {
            match row_at(&self.sessions, place) {
                Ok(Some(row)) if row.record.expires <= self.now => self.remove(place, row)?,
                Ok(_) => {}
                Err(Fault::Damaged) => self.remove_damaged(place)?,
                Err(Fault::Storage(error)) => return Err(error),
            }
            self.expiries.remove((time, place))?;
        }
        let over = self.revocations_before(self.now)?;
        for (time, sid) in &over {
            self.revoked.remove(&time_and_sid(*time, *sid))?;
        }
        let used = self.used.purge(self.now, PURGE_STEP)?;
        let purged = [expired.len(), over.len(), used];
        self.effects.changed |= purged.iter().any(|count| *count > 0);
        self.effects.more_to_purge = purged.contains(&PURGE_STEP);
        Ok(())
    }

    /// Reads the first revocations, as far as they lie before a time.
    fn revocations_before(&self, time: u64) -> Result<Vec<(u64, SessionId)>, StorageError> {
        let end = time_and_sid(time, SessionId::from_bytes([0; 16]));
        let range = self.revoked.range::<&[u8; 24]>(..&end)?.take(PURGE_STEP);
        range
            .filter_map(|entry| match entry {
                Ok((key, _)) => time_of(key.value()).map(Ok),
                Err(error) => Some(Err(error)),
            })
            .collect()
    }

    /// Returns when a session that is opened or refreshed now expires.
    fn expiry(&self) -> u64 {
        self.now.saturating_add(self.rules.session_ttl.as_secs())
    }

    /// Reads the newest session of a user, in which their session_keys are.
    fn newest(&self, user: User) -> Result<Option<(u64, Row)>, StorageError> {
        let index = self.index();
        let newest_first = rows_of(&self.sessions, user, index.of_user(user).rev());
        newest_first.filter_map(readable).next().transpose()
    }

    fn live(&self, sid: SessionId) -> Result<Option<(u64, Row)>, Fault> {
        let Some(place) = self.index().get(sid) else {
            return Ok(None);
        };
        let row = row(&self.sessions, (sid, place))?;
        let live = row.filter(|row| self.now < row.record.expires);
        Ok(live.map(|row| (place, row)))
    }

    fn put(&mut self, place: u64, row: &Row) -> Result<(), StorageError> {
        self.effects.changed = true;
        self.sessions.insert(place, row.to_bytes().as_slice())?;
        Ok(())
    }

    /// Removes a session; if it was the newest of its user, the one before it has their session_keys and unionid from now on.
    fn remove(&mut self, place: u64, row: Row) -> Result<(), StorageError> {
        if let Some((place, mut heir)) = self.heir(&row)? {
            heir.keys = row.keys;
            if let Some(unionid) = &row.record.identity.unionid {
                heir.record.identity.unionid = Some(unionid.clone());
            }
            self.put(place, &heir)?;
        }
        self.effects.changed = true;
        self.sessions.remove(place)?;
        self.expiries.remove((row.record.expires, place))?;
        self.index_mut().remove(row.sid, place);
        self.leave_unionid(&row.record.identity)
    }

    /// Has a user without a session be found by no unionid.
    fn leave_unionid(&mut self, identity: &Identity) -> Result<(), StorageError> {
        let user = identity.user();
        if self.unionids.is_wanted() && self.newest(user)?.is_none() {
            self.unionids
                .replace(user, identity.unionid.as_deref(), None)?;
        }
        Ok(())
    }

    /// Reads the session before the newest of its user.
    fn heir(&self, newest: &Row) -> Result<Option<(u64, Row)>, StorageError> {
        let (sid, user) = (newest.sid, newest.record.identity.user());
        let index = self.index();
        match rows_of(&self.sessions, user, index.after(sid, user)).next() {
            // It is not the newest; one that cannot be read may be theirs.
            Some(Ok(_) | Err(Fault::Damaged)) => Ok(None),
            Some(Err(Fault::Storage(error))) => Err(error),
            None => {
                let older = rows_of(&self.sessions, user, index.before(sid, user));
                older.filter_map(readable).next().transpose()
            }
        }
    }

    fn remove_damaged(&mut self, place: u64) -> Result<(), StorageError> {
        self.effects.changed = true;
        let removed = self.sessions.remove(place)?;
        if let Some(sid) = removed.and_then(|bytes| sid_of(bytes.value())) {
            self.index_mut().remove(sid, place);
        }
        Ok(())
    }

    fn revoke(&mut self, sid: SessionId) -> Result<(), StorageError> {
        self.effects.changed = true;
        let until = self.rules.revoked_until(self.now);
        self.revoked.insert(&time_and_sid(until, sid), ())?;
        self.effects.revoked.push((sid, until));
        Ok(())
    }
}
