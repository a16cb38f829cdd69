//! What the store does, as every store must: each change is one script, and an end is revoked after it.

use std::sync::atomic::Ordering;
use std::time::Duration;

use async_trait::async_trait;

use super::Redis;
use super::answers::{self, Fields, Refreshed};
use super::scripts::{LIVE, LOGIN, REFRESH, REPLACE_KEY};
use crate::session::claim::{CodeMark, Held, Holder};
use crate::session::kept::{Budget, Sealed, SharedSlot, Turn};
use crate::session::record::{Record, identity_bytes};
use crate::session::rotation::{REMEMBERED, Rotation};
use crate::session::store::{KeySwap, MOST_AT_ONCE, NewLogin, Refresh, Renewal, SealedKeys, Store};
use crate::session::user::User;
use crate::session::{Identity, RevokedSessions, SessionId, StoreError};

/// The latest session_key, the previous one, and when that was replaced.
type KeyFields = (Option<Vec<u8>>, Option<Vec<u8>>, Option<u64>);

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

    async fn add(&self, login: NewLogin) -> Result<Record, StoreError> {
        let ttl = self.rules.session_ttl.as_secs();
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
        self.note_unionid(login.user, record.identity.unionid.as_deref());
        // Afterwards: whoever found the memo and no session would take the code for spent.
        self.remember(login.memo);
        Ok(record)
    }

    async fn refresh(&self, refresh: Refresh) -> Result<Renewal, StoreError> {
        loop {
            let master = self.link.masters();
            let renewal = self.renew(&refresh).await?;
            if !matches!(renewal, Renewal::Ended) || self.link.is_still(master).await? {
                return Ok(renewal);
            }
        }
    }

    async fn end(&self, id: SessionId) -> Result<bool, StoreError> {
        let Some(record) = self.stored(id).await? else {
            // A client that got no answer asks again and ends here.
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
        loop {
            let master = self.link.masters();
            let found = self.stored(id).await?;
            let found = found.filter(|record| self.time.now() < record.expires);
            if found.is_some() || self.link.is_still(master).await? {
                return Ok(found);
            }
        }
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

    async fn users_of(&self, unionid: &str) -> Result<Vec<Identity>, StoreError> {
        self.users_with(unionid).await
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
        loop {
            let master = self.link.masters();
            let found = self.stored_keys(user).await?;
            if found.is_some() || self.link.is_still(master).await? {
                return Ok(found);
            }
        }
    }

    async fn keep_newer(
        &self,
        slot: SharedSlot,
        mine: Option<Sealed>,
        turn: Option<Holder>,
    ) -> Result<Option<Sealed>, StoreError> {
        self.keep(slot, mine, turn).await
    }

    async fn take_turn(
        &self,
        slot: SharedSlot,
        holder: Holder,
        lease: Duration,
    ) -> Result<Turn, StoreError> {
        self.turn(slot, holder, lease).await
    }

    async fn spend(&self, slot: SharedSlot, budget: Budget) -> Result<bool, StoreError> {
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

    fn stored(&self) -> Option<usize> {
        self.count.last()
    }

    async fn close(&self) {
        self.closed.store(true, Ordering::Relaxed);
        self.behind.close();
        self.behind.wait().await;
        self.revocations.stop();
        self.count.stop();
    }
}

impl Redis {
    /// Revokes sessions of one bucket that were removed, and deletes the notes that this is to be done.
    async fn revoke_ending(&self, ids: &[SessionId]) -> Result<(), StoreError> {
        self.revoke(ids).await?;
        if let Some(done) = self.ends.revoked(ids) {
            // What stays there would be revoked once more.
            let _: u64 = self.ask(&done).await?;
        }
        Ok(())
    }

    /// Replaces a refresh token on the server that this node takes for the master.
    async fn renew(&self, refresh: &Refresh) -> Result<Renewal, StoreError> {
        let mut change = REFRESH
            .of(&self.names, refresh.sid, refresh.user)
            .arg(self.clock.moved_secs())
            .arg(self.rules.session_ttl.as_secs())
            .arg(refresh.sid.as_bytes())
            .arg(self.rules.refresh_grace.as_secs())
            .arg(refresh.generation)
            .arg(refresh.presented.as_flattened())
            .arg(&refresh.successor)
            .arg(REMEMBERED)
            .arg(self.ends.revoked_for)
            .arg(self.ends.ended_for);
        for beginning in refresh.apps.beginnings() {
            change = change.arg(beginning);
        }
        match self.change(change).await? {
            Refreshed::Renewed(fields, unionid) => {
                let mut record = record(fields)?;
                record.identity.unionid = unionid.or(record.identity.unionid);
                self.note_unionid(refresh.user, record.identity.unionid.as_deref());
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

    /// Reads a session, which may have expired.
    async fn stored(&self, id: SessionId) -> Result<Option<Record>, StoreError> {
        let fields: Fields = self.ask(&answers::read(&self.names, id)).await?;
        match fields.is_some() {
            true => Ok(Some(record(fields)?)),
            false => Ok(None),
        }
    }

    /// Reads the session_keys of a user that has a session.
    async fn stored_keys(&self, user: User) -> Result<Option<SealedKeys>, StoreError> {
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
        let (live, (latest, previous, replaced)): (u64, KeyFields) = self.ask_all(&reads).await?;
        Ok(latest.filter(|_| live > 0).map(|latest| SealedKeys {
            latest,
            previous: previous.zip(replaced.map(|at| self.time.own(at))),
        }))
    }

    /// Returns the sessions of a user that have not ended by Redis's clock.
    async fn live_ids(&self, user: User) -> Result<Vec<SessionId>, StoreError> {
        let live = LIVE.with(vec![self.names.user(user)]);
        let live = live.arg(self.clock.moved_secs()).arg(MOST_AT_ONCE);
        let members: Vec<Vec<u8>> = self.change(live).await?;
        members.iter().map(|bytes| sid(bytes)).collect()
    }
}

fn record(fields: Fields) -> Result<Record, StoreError> {
    fields.into_record().map_err(StoreError::from)
}

fn sid(bytes: &[u8]) -> Result<SessionId, StoreError> {
    let bytes = bytes.try_into().map_err(|_| StoreError::Damaged)?;
    Ok(SessionId::from_bytes(bytes))
}
