//! Times what a store does, counts what came of it, and logs what failed.

use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;

use super::claim::{CodeMark, Held, Holder};
use super::kept::{Budget, Sealed, SharedSlot, Turn};
use super::record::Record;
use super::store::{KeySwap, NewLogin, Refresh, Renewal, SealedKeys, Store};
use super::user::User;
use super::{Identity, RevokedSessions, SessionId, StoreError};
use crate::metrics::{Count, Durations};

/// What is counted of a store.
#[derive(Debug)]
pub struct StoreUses {
    /// Logins that were stored.
    pub opened: Count,
    /// Refresh tokens that got a successor.
    pub refreshed: Count,
    /// Sessions that were ended before their time.
    pub ended: Count,
    claim: StoreUse,
    give_back: StoreUse,
    keep_refusal: StoreUse,
    add: StoreUse,
    refresh: StoreUse,
    end: StoreUse,
    end_all: StoreUse,
    sweep: StoreUse,
    session: StoreUse,
    sessions_of: StoreUse,
    users_of: StoreUse,
    replace_session_key: StoreUse,
    session_keys: StoreUse,
    keep_newer: StoreUse,
    take_turn: StoreUse,
    spend: StoreUse,
}

/// The uses of one operation.
#[derive(Debug)]
pub struct StoreUse {
    /// What was asked of the store.
    pub name: &'static str,
    /// How long each took.
    pub took: Durations,
    /// How many failed.
    pub errors: Count,
}

impl Default for StoreUses {
    fn default() -> Self {
        Self {
            opened: Count::default(),
            refreshed: Count::default(),
            ended: Count::default(),
            claim: StoreUse::of_operation("claim"),
            give_back: StoreUse::of_operation("give_back"),
            keep_refusal: StoreUse::of_operation("keep_refusal"),
            add: StoreUse::of_operation("add"),
            refresh: StoreUse::of_operation("refresh"),
            end: StoreUse::of_operation("end"),
            end_all: StoreUse::of_operation("end_all"),
            sweep: StoreUse::of_operation("sweep"),
            session: StoreUse::of_operation("session"),
            sessions_of: StoreUse::of_operation("sessions_of"),
            users_of: StoreUse::of_operation("users_of"),
            replace_session_key: StoreUse::of_operation("replace_session_key"),
            session_keys: StoreUse::of_operation("session_keys"),
            keep_newer: StoreUse::of_operation("keep_newer"),
            take_turn: StoreUse::of_operation("take_turn"),
            spend: StoreUse::of_operation("spend"),
        }
    }
}

impl StoreUses {
    /// Iterates over the operations.
    pub fn operations(&self) -> impl Iterator<Item = &StoreUse> {
        let all = [
            &self.claim,
            &self.give_back,
            &self.keep_refusal,
            &self.add,
            &self.refresh,
            &self.end,
            &self.end_all,
            &self.sweep,
            &self.session,
            &self.sessions_of,
            &self.users_of,
            &self.replace_session_key,
            &self.session_keys,
            &self.keep_newer,
            &self.take_turn,
            &self.spend,
        ];
        all.into_iter()
    }
}

impl StoreUse {
    fn of_operation(name: &'static str) -> Self {
        Self {
            name,
            took: Durations::default(),
            errors: Count::default(),
        }
    }

    /// Runs an operation. A failure is logged here, because callers learn only that the store is unavailable.
    async fn of<T>(
        &self,
        work: impl Future<Output = Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        let started = Instant::now();
        let done = work.await;
        self.took.note(started.elapsed());
        if let Err(error) = &done {
            self.errors.add(1);
            tracing::error!(operation = self.name, %error, "the session store failed");
        }
        done
    }
}

/// A store of which this is counted.
pub(super) struct Measured {
    store: Box<dyn Store>,
    uses: Arc<StoreUses>,
}

impl Measured {
    pub(super) fn new(store: Box<dyn Store>) -> Self {
        Self {
            store,
            uses: Arc::default(),
        }
    }

    pub(super) fn uses(&self) -> Arc<StoreUses> {
        Arc::clone(&self.uses)
    }
}

#[async_trait]
impl Store for Measured {
    async fn claim(
        &self,
        code: CodeMark,
        holder: Holder,
        lease: Duration,
    ) -> Result<Held, StoreError> {
        self.uses
            .claim
            .of(self.store.claim(code, holder, lease))
            .await
    }

    async fn give_back(&self, code: CodeMark, holder: Holder) -> Result<(), StoreError> {
        self.uses
            .give_back
            .of(self.store.give_back(code, holder))
            .await
    }

    async fn keep_refusal(
        &self,
        code: CodeMark,
        holder: Holder,
        errcode: i64,
        keep: Duration,
    ) -> Result<(), StoreError> {
        let kept = self.store.keep_refusal(code, holder, errcode, keep);
        self.uses.keep_refusal.of(kept).await
    }

    fn keep_not_stored(&self, code: CodeMark, holder: Holder) {
        self.store.keep_not_stored(code, holder);
    }

    async fn add(&self, login: NewLogin) -> Result<Record, StoreError> {
        let added = self.uses.add.of(self.store.add(login)).await?;
        self.uses.opened.add(1);
        Ok(added)
    }

    async fn refresh(&self, refresh: Refresh) -> Result<Renewal, StoreError> {
        let renewal = self.uses.refresh.of(self.store.refresh(refresh)).await?;
        match &renewal {
            Renewal::Renewed(_) => self.uses.refreshed.add(1),
            Renewal::Reused => self.uses.ended.add(1),
            Renewal::Ended | Renewal::AppUnknown => {}
        }
        Ok(renewal)
    }

    async fn end(&self, id: SessionId) -> Result<bool, StoreError> {
        let stood = self.uses.end.of(self.store.end(id)).await?;
        self.uses.ended.add(u64::from(stood));
        Ok(stood)
    }

    async fn end_some(&self, user: User) -> Result<Vec<SessionId>, StoreError> {
        let ended = self.uses.end_all.of(self.store.end_some(user)).await?;
        self.uses.ended.add(ended.len() as u64);
        Ok(ended)
    }

    async fn sweep(&self, id: SessionId, user: User) -> Result<(), StoreError> {
        self.uses.sweep.of(self.store.sweep(id, user)).await
    }

    async fn session(&self, id: SessionId) -> Result<Option<Record>, StoreError> {
        self.uses.session.of(self.store.session(id)).await
    }

    async fn sessions_of(&self, user: User) -> Result<Vec<(SessionId, Record)>, StoreError> {
        self.uses.sessions_of.of(self.store.sessions_of(user)).await
    }

    async fn users_of(&self, unionid: &str) -> Result<Vec<Identity>, StoreError> {
        self.uses.users_of.of(self.store.users_of(unionid)).await
    }

    async fn replace_session_key(&self, swap: KeySwap) -> Result<bool, StoreError> {
        let replaced = self.store.replace_session_key(swap);
        self.uses.replace_session_key.of(replaced).await
    }

    async fn session_keys(&self, user: User) -> Result<Option<SealedKeys>, StoreError> {
        self.uses
            .session_keys
            .of(self.store.session_keys(user))
            .await
    }

    async fn keep_newer(
        &self,
        slot: SharedSlot,
        mine: Option<Sealed>,
        turn: Option<Holder>,
    ) -> Result<Option<Sealed>, StoreError> {
        let kept = self.store.keep_newer(slot, mine, turn);
        self.uses.keep_newer.of(kept).await
    }

    async fn take_turn(
        &self,
        slot: SharedSlot,
        holder: Holder,
        lease: Duration,
    ) -> Result<Turn, StoreError> {
        let taken = self.store.take_turn(slot, holder, lease);
        self.uses.take_turn.of(taken).await
    }

    async fn spend(&self, slot: SharedSlot, budget: Budget) -> Result<bool, StoreError> {
        self.uses.spend.of(self.store.spend(slot, budget)).await
    }

    fn is_shared(&self) -> bool {
        self.store.is_shared()
    }

    fn revoked(&self) -> &RevokedSessions {
        self.store.revoked()
    }

    fn is_available(&self) -> bool {
        self.store.is_available()
    }

    fn trouble(&self) -> Option<&'static str> {
        self.store.trouble()
    }

    fn operations(&self) -> u64 {
        self.store.operations()
    }

    fn stored(&self) -> Option<usize> {
        self.store.stored()
    }

    async fn back_up(&self) -> Result<Option<u64>, StoreError> {
        self.store.back_up().await
    }

    async fn release(&self) {
        self.store.release().await;
    }

    async fn resume(&self) {
        self.store.resume().await;
    }

    async fn close(&self) {
        self.store.close().await;
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    /// Returns the names of the functions of a source.
    fn functions(source: &str) -> BTreeSet<&str> {
        let lines = source.lines().filter_map(|line| line.strip_prefix("    "));
        let names = lines.filter_map(|line| {
            let line = line.strip_prefix("async ").unwrap_or(line);
            line.strip_prefix("fn ")?.split(['(', '<']).next()
        });
        names.collect()
    }

    // One that is left out would do what the trait does by default, and nothing of what the store does.
    #[test]
    fn everything_that_is_asked_of_a_store_is_passed_on() {
        let (_, asked) = include_str!("store.rs").split_once("trait Store").unwrap();
        let (asked, _) = asked.split_once("\n}\n").unwrap();
        let (_, passed) = include_str!("measured.rs")
            .split_once("impl Store for Measured")
            .unwrap();
        let (passed, _) = passed.split_once("\n}\n").unwrap();
        assert!(functions(asked).len() > 20);
        assert_eq!(functions(passed), functions(asked));
    }
}
