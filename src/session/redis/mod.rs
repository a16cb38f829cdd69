//! The store for many nodes: Redis or Valkey, one server, a Sentinel group or a Cluster.
//!
//! # Layout
//! `connect` makes a connection in each of the three ways, with the driver's `clients` and what the `sentinels` say, `link` keeps one and repeats what was
//! lost with it, `trouble` names what Redis would not do,
//! `scripts` are the changes, each one round trip, `answers` what comes of them, `keys` their names, `codes` who redeems
//! which code, `kept` what nodes keep beside the sessions, `ends` how the end of a session is written down, `revocations` by which nodes tell each other: `stream` is
//! where, `follower` reads on in it, `maintenance` completes what lacks, `silence` refuses tokens while nothing is heard. `time` is
//! Redis's. `entrance` is what comes before all this, `witness` what proves the seal key, `rehearsal` what is tried then, `durability` what is said of how Redis is set
//! up and `refusal` what is said when it cannot be used.
//!
//! What a change touches is in one slot of a Cluster: a session, its user's other sessions, their session_key and the bucket
//! where its end is noted. Only the stream of revocations is elsewhere. It is written last; an end that was broken off before
//! is in its bucket, where every node finds it. What Redis brings back of a session that ended is removed by whoever meets it,
//! and by every node that knows of the end.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use redis::RedisError;
use tokio_util::task::TaskTracker;

use self::answers::{Fields, Refreshed};
use self::ends::Ends;
use self::keys::Names;
use self::link::Link;
use self::revocations::Revocations;
use self::scripts::{LIVE, LOGIN, REFRESH, REPLACE_KEY};
use self::time::Time;
use super::claim::{CodeMark, Held, Holder};
use super::encoding::Damaged;
use super::kept::{Budget, Sealed, Slot, Turn};
use super::record::{Record, identity_bytes};
use super::rotation::Rotation;
use super::store::{KeySwap, Login, MOST_AT_ONCE, Refresh, Renewal, SealedKeys, Store};
use super::user::User;
use super::{Lifetimes, RevokedSessions, SessionId, StoreError};
use crate::clock::Clock;

mod answers;
mod clients;
mod codes;
mod connect;
mod durability;
mod ends;
mod entrance;
mod follower;
mod kept;
mod keys;
mod link;
mod maintenance;
mod refusal;
mod rehearsal;
mod revocations;
mod scripts;
mod sentinels;
mod silence;
mod stream;
mod time;
mod trouble;
mod witness;

#[cfg(test)]
mod tests;

/// Sessions in Redis.
pub(super) struct Redis {
    link: Arc<Link>,
    names: Names,
    revocations: Revocations,
    ends: Ends,
    lifetimes: Lifetimes,
    clock: Clock,
    time: Time,
    closed: Arc<AtomicBool>,
    /// What is written behind an answer.
    behind: TaskTracker,
}

impl Redis {
    async fn ask<T: redis::FromRedisValue>(&self, command: &redis::Cmd) -> Result<T, StoreError> {
        if self.closed.load(Ordering::Relaxed) {
            return Err(StoreError::Unavailable);
        }
        Ok(self.link.ask(command).await?)
    }

    async fn ask_all<T: redis::FromRedisValue>(
        &self,
        commands: &redis::Pipeline,
    ) -> Result<T, StoreError> {
        if self.closed.load(Ordering::Relaxed) {
            return Err(StoreError::Unavailable);
        }
        Ok(self.link.ask_all(commands).await?)
    }

    async fn change<T: redis::FromRedisValue>(
        &self,
        change: scripts::Change<'_>,
    ) -> Result<T, StoreError> {
        if self.closed.load(Ordering::Relaxed) {
            return Err(StoreError::Unavailable);
        }
        Ok(change.make(&self.link).await?)
    }

    async fn revoke(&self, ids: &[SessionId]) -> Result<(), StoreError> {
        if self.closed.load(Ordering::Relaxed) {
            return Err(StoreError::Unavailable);
        }
        let lasting = self.ends.revoked_for;
        Ok(self.revocations.revoke(&self.link, ids, lasting).await?)
    }

    /// Returns which sessions of a user have not ended by Redis's clock, by which they end.
    async fn live_ids(&self, user: User) -> Result<Vec<SessionId>, StoreError> {
        let live = LIVE.with(vec![self.names.user(user)]);
        let live = live.arg(self.clock.moved_secs()).arg(MOST_AT_ONCE);
        let members: Vec<Vec<u8>> = self.change(live).await?;
        members.iter().map(|bytes| sid(bytes)).collect()
    }
}

#[async_trait]
impl Store for Redis {
    async fn claim(
        &self,
        code: CodeMark,
        holder: Holder,
        lease: Duration,
    ) -> Result<Held, StoreError> {
        self.take_code(code, holder, lease).await
    }

    async fn give_back(&self, code: CodeMark, holder: Holder) -> Result<(), StoreError> {
        self.give_code_back(code, holder).await
    }

    async fn keep_refusal(
        &self,
        code: CodeMark,
        holder: Holder,
        errcode: i64,
        keep: Duration,
    ) -> Result<(), StoreError> {
        self.keep_refused(code, holder, errcode, keep).await
    }

    fn keep_not_stored(&self, code: CodeMark, holder: Holder) {
        self.tell_not_stored(code, holder);
    }

    async fn add(&self, login: Login) -> Result<Record, StoreError> {
        let ttl = self.lifetimes.session_ttl.as_secs();
        let mut record = Record {
            identity: login.identity,
            created: 0,
            expires: 0,
            rotation: Rotation::first(login.first),
        };
        let change = LOGIN
            .of(&self.names, login.sid, login.user)
            .arg(self.clock.moved_secs())
            .arg(ttl)
            .arg(login.sid.as_bytes())
            .arg(identity_bytes(&record.identity))
            .arg(&record.rotation.current)
            .arg(login.sealed_key)
            .arg(record.identity.unionid.as_deref().unwrap_or(""));
        let (created, unionid): (u64, String) = self.change(change).await?;
        record.created = created;
        record.expires = created.saturating_add(ttl);
        record.identity.unionid = Some(unionid).filter(|unionid| !unionid.is_empty());
        // Not beside it: whoever finds the memo first would find no session, and take the code for spent.
        self.remember(login.memo);
        Ok(record)
    }

    async fn refresh(&self, refresh: Refresh) -> Result<Renewal, StoreError> {
        let mut change = REFRESH
            .of(&self.names, refresh.sid, refresh.user)
            .arg(self.clock.moved_secs())
            .arg(self.lifetimes.session_ttl.as_secs())
            .arg(refresh.sid.as_bytes())
            .arg(self.lifetimes.refresh_grace.as_secs())
            .arg(refresh.generation)
            .arg(refresh.presented.as_flattened())
            .arg(&refresh.successor)
            .arg(super::rotation::REMEMBERED)
            .arg(self.ends.revoked_for)
            .arg(self.ends.ended_for);
        for beginning in refresh.apps.beginnings() {
            change = change.arg(beginning);
        }
        match self.change(change).await? {
            Refreshed::Renewed(fields, unionid) => {
                let mut record = record(fields)?;
                record.identity.unionid = unionid.or(record.identity.unionid);
                Ok(Renewal::Renewed(record))
            }
            Refreshed::Ended => Ok(Renewal::Ended),
            Refreshed::AppUnknown => Ok(Renewal::AppUnknown),
            Refreshed::Reused => {
                self.revoke_ending(&[refresh.sid]).await?;
                Ok(Renewal::Reused)
            }
        }
    }

    async fn end(&self, id: SessionId) -> Result<bool, StoreError> {
        let Some(record) = self.stored(id).await? else {
            // Who was not answered asks again, and comes as far as this.
            self.change::<redis::Value>(self.ends.unknown(id)).await?;
            self.revoke_ending(&[id]).await?;
            return Ok(false);
        };
        let removed: bool = self
            .change(self.ends.one(id, record.identity.user()))
            .await?;
        self.revoke_ending(&[id]).await?;
        Ok(removed && self.time.now() < record.expires)
    }

    async fn end_some(&self, user: User) -> Result<Vec<SessionId>, StoreError> {
        let live = self.live_ids(user).await?;
        let ending: Vec<Vec<u8>> = self.change(self.ends.several(user, &live)).await?;
        let ending = ending.iter().map(|bytes| sid(bytes));
        let ending: Vec<SessionId> = ending.collect::<Result<_, _>>()?;
        if !ending.is_empty() {
            self.revoke_ending(&ending).await?;
        }
        Ok(live)
    }

    async fn sweep(&self, id: SessionId, user: User) -> Result<(), StoreError> {
        if self.change(self.ends.one(id, user)).await? {
            self.revoke_ending(&[id]).await?;
        }
        Ok(())
    }

    async fn session(&self, id: SessionId) -> Result<Option<Record>, StoreError> {
        let found = self.stored(id).await?;
        Ok(found.filter(|record| self.time.now() < record.expires))
    }

    async fn sessions_of(&self, user: User) -> Result<Vec<(SessionId, Record)>, StoreError> {
        let ids = self.live_ids(user).await?;
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        let mut reads = redis::pipe();
        for id in &ids {
            reads.add_command(answers::read(&self.names, *id));
        }
        let found: Vec<Fields> = self.ask_all(&reads).await?;
        let mut sessions = Vec::with_capacity(ids.len());
        for (id, fields) in ids.into_iter().zip(found) {
            if fields.is_some() {
                sessions.push((id, record(fields)?));
            }
        }
        Ok(sessions)
    }

    async fn replace_session_key(&self, swap: KeySwap) -> Result<bool, StoreError> {
        let change = REPLACE_KEY
            .of_keys(&self.names, swap.user)
            .arg(self.clock.moved_secs())
            .arg(swap.expected)
            .arg(swap.sealed_key);
        self.change(change).await
    }

    async fn session_keys(&self, user: User) -> Result<Option<SealedKeys>, StoreError> {
        let now = self.time.now();
        let mut reads = redis::pipe();
        reads
            .cmd("ZCOUNT")
            .arg(self.names.user(user))
            .arg(format!("({now}"))
            .arg("+inf");
        reads
            .cmd("HMGET")
            .arg(self.names.session_keys(user))
            .arg(&["latest", "previous", "replaced"]);
        let (live, (latest, previous, replaced)): (
            u64,
            (Option<Vec<u8>>, Option<Vec<u8>>, Option<u64>),
        ) = self.ask_all(&reads).await?;
        Ok(latest.filter(|_| live > 0).map(|latest| SealedKeys {
            latest,
            previous: previous.zip(replaced.map(|at| self.time.own(at))),
        }))
    }

    async fn keep_newer(
        &self,
        slot: Slot,
        mine: Option<Sealed>,
        turn: Option<Holder>,
    ) -> Result<Option<Sealed>, StoreError> {
        self.keep(slot, mine, turn).await
    }

    async fn take_turn(
        &self,
        slot: Slot,
        holder: Holder,
        lease: Duration,
    ) -> Result<Turn, StoreError> {
        self.turn(slot, holder, lease).await
    }

    async fn spend(&self, slot: Slot, budget: Budget) -> Result<bool, StoreError> {
        self.spent(slot, budget).await
    }

    fn is_shared(&self) -> bool {
        true
    }

    fn revoked(&self) -> &RevokedSessions {
        self.revocations.known()
    }

    fn is_available(&self) -> bool {
        self.link.is_available()
    }

    fn trouble(&self) -> Option<&'static str> {
        self.link.trouble()
    }

    fn operations(&self) -> u64 {
        self.link.operations()
    }

    async fn close(&self) {
        self.closed.store(true, Ordering::Relaxed);
        self.behind.close();
        self.behind.wait().await;
        self.revocations.stop();
    }
}

impl Redis {
    /// Revokes sessions of one bucket that were removed, and notes that this is done.
    async fn revoke_ending(&self, ids: &[SessionId]) -> Result<(), StoreError> {
        self.revoke(ids).await?;
        if let Some(done) = self.ends.revoked(ids) {
            // What stays there is revoked once more.
            let _: u64 = self.ask(&done).await?;
        }
        Ok(())
    }

    /// Reads a session, which may have expired.
    async fn stored(&self, id: SessionId) -> Result<Option<Record>, StoreError> {
        let fields: Fields = self.ask(&answers::read(&self.names, id)).await?;
        match fields.is_some() {
            true => Ok(Some(record(fields)?)),
            false => Ok(None),
        }
    }
}

fn record(fields: Fields) -> Result<Record, StoreError> {
    fields.into_record().map_err(StoreError::from)
}

fn sid(bytes: &[u8]) -> Result<SessionId, StoreError> {
    let bytes = bytes.try_into().map_err(|_| StoreError::Damaged)?;
    Ok(SessionId::from_bytes(bytes))
}

impl From<Damaged> for StoreError {
    fn from(_: Damaged) -> Self {
        Self::Damaged
    }
}

impl From<RedisError> for StoreError {
    fn from(error: RedisError) -> Self {
        Self::Storage(Arc::new(error))
    }
}
