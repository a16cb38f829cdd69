//! The store for many nodes: Redis or Valkey, one server, a Sentinel group or a Cluster.
//!
//! # Layout
//! | | |
//! |---|---|
//! | start | `startup_checks`: the checks before the first session; `seal_key_check`: is it the right seal key; `rehearsal`: every command once; `durability`: warnings about Redis's settings; `refusal`: why Redis cannot be used |
//! | connections | `connect`: makes one; `clients`: the driver's clients; `sentinels`: who is the master; `link`: keeps one, repeats commands that were lost with it; `trouble`: names of Redis's states |
//! | changes | `store`: the operations; `scripts`: the Lua scripts, each one round trip; `answers`: what they return; `keys`: names; `codes`: who redeems which code; `kept`: values beside the sessions; `count`: how many sessions there are |
//! | ends | `ends`: tombstones and notes; `revocations`: the node's tasks; `stream`: where nodes tell each other; `follower`: reads it; `maintenance`: repairs; `cut_off`: refuses tokens while nothing is heard; `time`: Redis's clock |
//!
//! A change touches keys of one slot of a Cluster: a session, its user's other sessions, their session_keys, and the tombstones and
//! unfinished ends of their bucket. Only the stream of revocations is elsewhere. It is written last; until then the end is noted in the
//! bucket, where every node looks for it. A session that ended and exists again is removed by whoever meets it, and by every node that
//! knows of the end.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use redis::RedisError;
use tokio_util::task::TaskTracker;

use self::count::Count;
use self::ends::Ends;
use self::keys::Names;
use self::link::Link;
use self::revocations::Revocations;
use self::time::Time;
use super::encoding::Damaged;
use super::{SessionId, SessionRules, StoreError};
use crate::clock::Clock;

mod answers;
mod clients;
mod codes;
mod connect;
mod count;
mod cut_off;
mod durability;
mod ends;
mod follower;
mod kept;
mod keys;
mod link;
mod maintenance;
mod refusal;
mod rehearsal;
mod revocations;
mod scripts;
mod seal_key_check;
mod sentinels;
mod startup_checks;
mod store;
mod stream;
mod time;
mod trouble;
mod unionids;

#[cfg(test)]
mod tests;

/// Sessions in Redis.
pub(super) struct Redis {
    link: Arc<Link>,
    names: Names,
    revocations: Revocations,
    count: Count,
    ends: Ends,
    rules: SessionRules,
    clock: Clock,
    time: Time,
    closed: Arc<AtomicBool>,
    /// Writes that nobody waits for.
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
