//! Carries out what others left undone: revocations that Redis lost, ends that were broken off, sessions that came back.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::{StreamExt as _, TryStreamExt as _};
use redis::{Cmd, FromRedisValue, RedisResult, Value};
use tokio::sync::Notify;

use super::answers::{Fields, read};
use super::connect::{Connection, Connector};
use super::ends::Ends;
use super::keys::Names;
use super::link::Link;
use super::stream::{PAGE, Stream};
use super::time::Time;
use super::trouble::Trouble;
use crate::session::{RevokedSessions, SessionId};

/// How often it is looked whether an end was broken off. In a Cluster that is a command for each slot.
const EVERY: Duration = Duration::from_secs(5);
const EVERY_IN_CLUSTER: Duration = Duration::from_secs(60);
/// How often sessions that came back are looked for, and entries that are over removed.
const THOROUGHLY_EVERY: Duration = Duration::from_secs(30);
/// How often the whole stream is read, whether or not anything is known to lack.
const WHOLE_EVERY: Duration = Duration::from_secs(600);
/// The pause before another try.
const PAUSE: Duration = Duration::from_millis(500);
/// Commands to a Cluster that are under way at once.
const AT_ONCE: usize = 64;

/// What is done beside the requests.
pub(super) struct Maintenance {
    pub(super) connector: Arc<Connector>,
    pub(super) link: Arc<Link>,
    pub(super) names: Names,
    pub(super) stream: Stream,
    pub(super) known: RevokedSessions,
    pub(super) time: Time,
    pub(super) ends: Ends,
    pub(super) seal_check: [u8; 16],
    /// Wakes it when the stream or an end may be incomplete.
    pub(super) incomplete: Arc<Notify>,
}

impl Maintenance {
    /// Goes on for ever.
    pub(super) async fn run(self, connection: Connection) {
        let every = match connection.is_cluster() {
            false => EVERY,
            true => EVERY_IN_CLUSTER,
        };
        let mut kept = Some(connection);
        let mut whole = false;
        // When the whole stream was read, and when everything else was looked through.
        let (mut read, mut searched) = (Instant::now(), None);
        loop {
            let thorough =
                whole || searched.is_none_or(|at: Instant| at.elapsed() > THOROUGHLY_EVERY);
            match self.once(&mut kept, whole, thorough).await {
                Ok(()) => {
                    let now = Instant::now();
                    if thorough {
                        searched = Some(now);
                    }
                    if whole {
                        read = now;
                    }
                    let woken = tokio::time::timeout(every, self.incomplete.notified()).await;
                    whole = woken.is_ok() || read.elapsed() > WHOLE_EVERY;
                }
                Err(error) => {
                    tracing::debug!(%error, "what Redis lacks cannot be completed");
                    tokio::time::sleep(PAUSE).await;
                    whole = true;
                }
            }
        }
    }

    async fn once(
        &self,
        kept: &mut Option<Connection>,
        whole: bool,
        thorough: bool,
    ) -> RedisResult<()> {
        let current = |connection: &Connection| self.connector.is_current(connection);
        let mut connection = match kept.take().filter(current) {
            Some(connection) => connection,
            None => self.connector.connect().await?,
        };
        let seal_check: RedisResult<bool> = self.seal_check().query_async(&mut connection).await;
        match seal_check {
            Ok(true) => tracing::warn!("Redis had lost which seal key belongs to the sessions"),
            Ok(false) => {}
            Err(error) => {
                // The only thing that is written where nothing else is to be done.
                if Trouble::of(&error).is_some_and(|trouble| trouble != Trouble::Away) {
                    self.link.fails(&error, |_| self.seal_check());
                }
                return Err(error);
            }
        }
        if !self.link.is_available() {
            self.link.revive().await;
        }
        if whole {
            self.complete(&mut connection).await?;
        }
        self.revoke_ending(&mut connection).await?;
        if thorough {
            self.end_again(&mut connection).await?;
            let ahead_ms = measure(&mut connection, &self.time).await?;
            self.time.warn(ahead_ms);
            while self.trim(&mut connection).await? == PAGE {}
        }
        *kept = Some(connection);
        Ok(())
    }

    /// Reads the whole stream, adds what this node knows and the stream lacks, and returns the last entry that was read.
    pub(super) async fn complete(&self, connection: &mut Connection) -> RedisResult<String> {
        let (last, found) = self
            .stream
            .read(connection, &self.known, self.time.now())
            .await?;
        for lost in self.known.missing_in(&found).chunks(PAGE) {
            self.stream.add(lost).make_on::<Value>(connection).await?;
        }
        Ok(last)
    }

    /// Revokes the sessions that were removed by somebody who did not come as far as revoking them.
    pub(super) async fn revoke_ending(&self, connection: &mut Connection) -> RedisResult<()> {
        let reads = self.names.all_ending().into_iter().map(|name| {
            let mut read = redis::cmd("SMEMBERS");
            read.arg(name);
            read
        });
        let buckets: Vec<Vec<Vec<u8>>> = several(connection, reads.collect()).await?;
        for bucket in buckets.into_iter().filter(|bucket| !bucket.is_empty()) {
            let ids = bucket.iter().filter_map(|id| id.as_slice().try_into().ok());
            let ids: Vec<SessionId> = ids.map(SessionId::from_bytes).collect();
            self.revoke(connection, &ids).await?;
        }
        Ok(())
    }

    async fn revoke(&self, connection: &mut Connection, ids: &[SessionId]) -> RedisResult<()> {
        let until = self.time.now().saturating_add(self.ends.revoked_for);
        let revocations: Vec<_> = ids.iter().map(|id| (*id, until)).collect();
        self.known.add(revocations.iter().copied());
        let add = self.stream.add(&revocations);
        add.make_on::<Value>(connection).await?;
        match self.ends.revoked(ids) {
            Some(done) => done.query_async(connection).await,
            None => Ok(()),
        }
    }

    /// Ends those revoked sessions again that a write which Redis lost brought back.
    async fn end_again(&self, connection: &mut Connection) -> RedisResult<()> {
        let known = self.known.missing_in(&HashSet::new());
        for page in known.chunks(PAGE) {
            let looks = page.iter().map(|(id, _)| {
                let mut look = redis::cmd("EXISTS");
                look.arg(self.names.session(*id));
                look
            });
            let there: Vec<bool> = several(connection, looks.collect()).await?;
            let back = page.iter().zip(there).filter(|(_, there)| *there);
            for ((id, _), _) in back {
                let fields: Fields = read(&self.names, *id).query_async(connection).await?;
                let Ok(record) = fields.into_record() else {
                    continue;
                };
                let user = record.identity.user();
                if self.ends.one(*id, user).make_on(connection).await? {
                    tracing::warn!("Redis had brought back a session that was ended");
                    self.revoke(connection, &[*id]).await?;
                }
            }
        }
        Ok(())
    }

    async fn trim(&self, connection: &mut Connection) -> RedisResult<usize> {
        let now = self.time.now();
        match self.stream.begins_with_the_past(connection, now).await? {
            true => self.stream.trim(now).make_on(connection).await,
            false => Ok(0),
        }
    }

    /// Writes down which seal key belongs to the data, where Redis lost that.
    fn seal_check(&self) -> Cmd {
        let mut write = redis::cmd("SET");
        write.arg(self.names.seal_check()).arg(&self.seal_check);
        write.arg("NX");
        write
    }
}

/// Asks Redis for its time, and returns by how much it is ahead of the node's, in milliseconds.
pub(super) async fn measure(connection: &mut Connection, time: &Time) -> RedisResult<i64> {
    let (secs, micros): (u64, u64) = redis::cmd("TIME").query_async(connection).await?;
    Ok(time.measured(secs.saturating_mul(1000).saturating_add(micros / 1000)))
}

/// Sends commands of which each may be meant for another server.
async fn several<T>(connection: &mut Connection, commands: Vec<Cmd>) -> RedisResult<Vec<T>>
where
    T: FromRedisValue,
{
    if connection.is_cluster() {
        let asked = commands.into_iter().map(|command| {
            let mut connection = connection.clone();
            async move { command.query_async(&mut connection).await }
        });
        let asked = futures::stream::iter(asked).buffered(AT_ONCE);
        return asked.try_collect().await;
    }
    let mut answers = Vec::with_capacity(commands.len());
    for page in commands.chunks(PAGE) {
        let mut all = redis::pipe();
        for command in page {
            all.add_command(command.clone());
        }
        let some: Vec<T> = all.query_async(connection).await?;
        answers.extend(some);
    }
    Ok(answers)
}
