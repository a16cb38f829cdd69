//! Repairs in the background what other nodes left undone and what Redis lost: unfinished ends, revocations, sessions that came back.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use redis::{RedisResult, Value};
use tokio::sync::Notify;

use super::answers::{Fields, read};
use super::connect::{Connection, Connector};
use super::durability::{texts, value};
use super::ends::Ends;
use super::keys::Names;
use super::link::{Link, is_lost};
use super::stream::{PAGE, Stream};
use super::time::Time;
use super::trouble::Trouble;
use super::witness::Checks;
use crate::session::{RevokedSessions, SessionId};

/// How often a node looks for unfinished ends, replaced servers and lost digests of the seal key.
const EVERY: Duration = Duration::from_secs(5);
/// How often Redis is asked for its time, and expired entries are removed.
const CLOCK_EVERY: Duration = Duration::from_secs(30);
/// How often the whole stream is read, and every ended session looked for, when nothing says that this is necessary. It must be less
/// than a revocation lasts, since the revocation refuses the session until it is found.
const WHOLE_EVERY: Duration = Duration::from_secs(600);
/// The pause before another attempt.
const RETRY_INTERVAL: Duration = Duration::from_millis(500);

/// The background task.
pub(super) struct Maintenance {
    pub(super) connector: Arc<Connector>,
    pub(super) link: Arc<Link>,
    pub(super) names: Names,
    pub(super) stream: Stream,
    pub(super) known: RevokedSessions,
    pub(super) time: Time,
    pub(super) ends: Ends,
    pub(super) checks: Checks,
    /// Wakes it when the stream or an end may be incomplete.
    pub(super) incomplete: Arc<Notify>,
    /// Whether the last round did everything. Until then, no revocation may be forgotten: its session may be back.
    pub(super) settled: Arc<AtomicBool>,
}

/// When each step was last taken.
struct Rounds {
    connection: Option<Connection>,
    /// Whether the whole stream is to be read, and when it was.
    whole: bool,
    stream: Instant,
    /// Whether Redis refused the last time to add what it lacks.
    refused: bool,
    clock: Option<Instant>,
    /// The servers on which ended sessions were looked for, and when.
    searched: Option<(Servers, Instant)>,
}

fn is_due(done: Option<Instant>, every: Duration) -> bool {
    done.is_none_or(|done| done.elapsed() >= every)
}

impl Maintenance {
    /// Runs until it is aborted.
    pub(super) async fn run(self, connection: Connection) {
        let mut rounds = Rounds {
            connection: Some(connection),
            whole: false,
            stream: Instant::now(),
            refused: false,
            clock: None,
            searched: None,
        };
        loop {
            let done = self.once(&mut rounds).await;
            self.settled.store(done.is_ok(), Ordering::Relaxed);
            if let Err(error) = done {
                tracing::debug!(%error, "what Redis lacks cannot be completed");
                // With a connection more may be lost than is known.
                rounds.whole |= is_lost(&error);
            }
            let pause = if rounds.whole { RETRY_INTERVAL } else { EVERY };
            let woken = tokio::time::timeout(pause, self.incomplete.notified()).await;
            rounds.whole |= woken.is_ok() || rounds.stream.elapsed() > WHOLE_EVERY;
        }
    }

    async fn once(&self, rounds: &mut Rounds) -> RedisResult<()> {
        let current = |connection: &Connection| self.connector.is_current(connection);
        let mut connection = match rounds.connection.take().filter(current) {
            Some(connection) => connection,
            None => self.connector.connect().await?,
        };
        self.write_checks(&mut connection).await?;
        if !self.link.is_available() {
            self.link.revive().await;
        }
        if rounds.whole {
            let completed = self.try_again(&mut connection, rounds.refused).await;
            rounds.refused = completed.as_ref().is_err_and(|error| !is_lost(error));
            completed?;
            rounds.whole = false;
            rounds.stream = Instant::now();
        }
        self.revoke_ending(&mut connection).await?;
        let servers = servers(&mut connection).await?;
        let searched = rounds.searched.take();
        rounds.searched = match searched.filter(|searched| are_searched(searched, &servers)) {
            Some(searched) => Some(searched),
            None => {
                self.end_again(&mut connection).await?;
                Some((servers, Instant::now()))
            }
        };
        if is_due(rounds.clock, CLOCK_EVERY) {
            let ahead_ms = measure(&mut connection, &self.time).await?;
            self.time.warn(ahead_ms);
            while self.trim(&mut connection).await? == PAGE {}
            rounds.clock = Some(Instant::now());
        }
        rounds.connection = Some(connection);
        Ok(())
    }

    /// Stores the digests of the seal key that Redis lost. This is also the only write that reaches each server while nobody logs in,
    /// so that a server which refuses writes is noticed here.
    async fn write_checks(&self, connection: &mut Connection) -> RedisResult<()> {
        for write in self.checks.writes() {
            match write.query_async(connection).await {
                Ok(true) => {
                    tracing::warn!("Redis had lost which seal key belongs to the sessions");
                }
                Ok(false) => {}
                Err(error) => {
                    let trouble = Trouble::of(&error);
                    if trouble.is_some_and(|trouble| trouble != Trouble::Away) {
                        self.link.fails(&error, |_| write);
                    }
                    // The other servers of a Cluster may accept the write.
                    if trouble.is_none_or(Trouble::is_of_connection) {
                        return Err(error);
                    }
                }
            }
        }
        Ok(())
    }

    /// Completes the stream; where Redis refused that, only when it takes writes again, since the stream may be long.
    async fn try_again(&self, connection: &mut Connection, refused: bool) -> RedisResult<String> {
        if refused {
            let nothing = self.stream.add_again(&[]);
            nothing.make_on::<Value>(connection).await?;
        }
        self.complete(connection).await
    }

    /// Reads the whole stream, adds what this node knows and the stream lacks, and returns the id of the last entry that was read.
    pub(super) async fn complete(&self, connection: &mut Connection) -> RedisResult<String> {
        let (last, found) = self
            .stream
            .read(connection, &self.known, self.time.now())
            .await?;
        for lost in self.known.missing_in(&found).chunks(PAGE) {
            let add = self.stream.add_again(lost);
            add.make_on::<Value>(connection).await?;
        }
        Ok(last)
    }

    /// Finishes the ends that a node began: revokes the sessions that it removed and did not revoke.
    pub(super) async fn revoke_ending(&self, connection: &mut Connection) -> RedisResult<()> {
        let reads = self.names.all_ending().into_iter().map(|name| {
            let mut read = redis::cmd("SMEMBERS");
            read.arg(name);
            read
        });
        let mut failed = None;
        for bucket in connection.ask_several(reads.collect()).await {
            let bucket: Vec<Vec<u8>> = match bucket {
                Ok(bucket) => bucket,
                // The other servers of a Cluster may answer.
                Err(error) => {
                    failed = Some(error);
                    continue;
                }
            };
            let ids = bucket.iter().filter_map(|id| id.as_slice().try_into().ok());
            let ids: Vec<SessionId> = ids.map(SessionId::from_bytes).collect();
            if !ids.is_empty() {
                self.revoke(connection, &ids).await?;
            }
        }
        failed.map_or(Ok(()), Err)
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

    /// Ends again the revoked sessions that exist because Redis lost the write that removed them.
    async fn end_again(&self, connection: &mut Connection) -> RedisResult<()> {
        let known = self.known.missing_in(&HashSet::new());
        for page in known.chunks(PAGE) {
            let looks = page.iter().map(|(id, _)| {
                let mut look = redis::cmd("EXISTS");
                look.arg(self.names.session(*id));
                look
            });
            let there = connection.ask_several(looks.collect()).await;
            let there: Vec<bool> = there.into_iter().collect::<RedisResult<_>>()?;
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
}

/// Asks Redis for its time, and returns by how many milliseconds it is ahead of the node's.
pub(super) async fn measure(connection: &mut Connection, time: &Time) -> RedisResult<i64> {
    let (secs, micros): (u64, u64) = redis::cmd("TIME").query_async(connection).await?;
    Ok(time.measured(secs.saturating_mul(1000).saturating_add(micros / 1000)))
}

/// The replication ids of the masters. A replica that became the master has a new one, and so has a server that was restarted.
type Servers = Vec<String>;

/// Asks each master for its replication id; empty where a service does not tell it.
async fn servers(connection: &mut Connection) -> RedisResult<Servers> {
    let mut info = redis::cmd("INFO");
    info.arg("replication");
    let answers = match connection.ask_masters(&info).await {
        // Some services do not allow INFO.
        Err(error) if Trouble::of(&error).is_none() => Vec::new(),
        answers => answers?,
    };
    let texts = answers.into_iter().flat_map(|(_, answer)| texts(answer));
    let mut names: Servers = texts
        .filter_map(|text| value(&text, "master_replid").map(str::to_owned))
        .collect();
    names.sort();
    Ok(names)
}

/// Returns whether no session can have come back since the last search: that takes a replica that became the master, or a server that
/// loaded an older file.
fn are_searched((searched, at): &(Servers, Instant), servers: &Servers) -> bool {
    let every = if servers.is_empty() {
        CLOCK_EVERY
    } else {
        WHOLE_EVERY
    };
    searched == servers && at.elapsed() < every
}
