//! Repairs in the background what other nodes left undone and what Redis lost: unfinished ends, revocations, sessions that came back.

use std::collections::HashSet;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use futures::StreamExt as _;
use futures::future::join_all;
use redis::{RedisError, RedisResult, Value};
use tokio::sync::Notify;

use super::answers::{Fields, read};
use super::connect::{Answered, Connection, Connector, Slots};
use super::durability::{texts, value};
use super::ends::Ends;
use super::keys::{Names, Page};
use super::link::{Link, is_lost};
use super::seal_key_check::Checks;
use super::stream::{PAGE, Stream};
use super::time::Time;
use super::trouble::RedisState;
use crate::session::{RevokedSessions, SessionId};

/// How often a node looks for unfinished ends, replaced servers and lost digests of the seal key.
const EVERY: Duration = Duration::from_secs(5);
/// How often Redis is asked for its time, expired entries are removed, and ended sessions are looked for again where no
/// server says which data it has, or not all could be looked for.
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
    searched: Option<Search>,
}

/// The last search for ended sessions that came back.
struct Search {
    masters: Vec<String>,
    is_complete: bool,
    at: Instant,
}

/// The outcomes of steps. In a Cluster they go on where one server refuses something, as while a slot is moved, or where it is known that
/// one does not answer. A connection that is lost without warning ends the round, and the next one knows.
struct Outcomes {
    is_cluster: bool,
    knows_silent: bool,
    failed: Option<RedisError>,
}

impl Outcomes {
    /// Takes the outcome of a step; returns its error where no other step is to be taken.
    fn take<T>(&mut self, outcome: RedisResult<T>) -> RedisResult<Option<T>> {
        match outcome {
            Err(error) if self.knows_silent || (self.is_cluster && !is_lost(&error)) => {
                self.failed.get_or_insert(error);
                Ok(None)
            }
            outcome => outcome.map(Some),
        }
    }

    /// Returns the first error of all steps.
    fn whole(self) -> RedisResult<()> {
        self.failed.map_or(Ok(()), Err)
    }
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
        let masters = Masters::of(&mut connection).await?;
        let mut outcomes = masters.outcomes();
        let checked = outcomes.take(self.write_checks(&connection, &masters).await)?;
        if checked.is_some() && !self.link.is_available() {
            self.link.revive().await;
        }
        if rounds.whole {
            let completed = self.try_again(&mut connection, rounds.refused).await;
            rounds.refused = completed.as_ref().is_err_and(|error| !is_lost(error));
            if outcomes.take(completed)?.is_some() {
                rounds.whole = false;
                rounds.stream = Instant::now();
            }
        }
        outcomes.take(self.revoke_ending(&mut connection, &masters).await)?;
        let searched = rounds.searched.take();
        rounds.searched = match searched.filter(|searched| searched.covers(&masters)) {
            Some(searched) => Some(searched),
            None => {
                let ended = self.end_again(&mut connection, &masters).await;
                Some(Search {
                    is_complete: outcomes.take(ended)?.is_some(),
                    masters: masters.names,
                    at: Instant::now(),
                })
            }
        };
        if is_due(rounds.clock, CLOCK_EVERY)
            && outcomes.take(self.tidy(&mut connection).await)?.is_some()
        {
            rounds.clock = Some(Instant::now());
        }
        outcomes.whole()?;
        rounds.connection = Some(connection);
        Ok(())
    }

    /// Measures the clock, and removes expired entries.
    async fn tidy(&self, connection: &mut Connection) -> RedisResult<()> {
        let ahead_ms = measure(connection, &self.time).await?;
        self.time.warn(ahead_ms);
        while self.trim(connection).await? == PAGE {}
        Ok(())
    }

    /// Stores the digests of the seal key that Redis lost. This is also the only write that reaches each server while nobody logs in,
    /// so that a server which refuses writes is noticed here.
    async fn write_checks(&self, connection: &Connection, masters: &Masters) -> RedisResult<()> {
        let mut outcomes = masters.outcomes();
        let writes = self.checks.writes();
        let written = writes.iter().map(async |write| {
            let mut connection = connection.clone();
            write.query_async(&mut connection).await
        });
        for (write, written) in writes.iter().zip(join_all(written).await) {
            match written {
                Ok(true) => {
                    tracing::warn!("Redis had lost which seal key belongs to the sessions");
                }
                Ok(false) => {}
                Err(error) => {
                    let trouble = RedisState::of(&error);
                    if trouble.is_some_and(|trouble| trouble != RedisState::Away) {
                        self.link.fails(&error, |_| write.clone());
                    }
                    // Where Redis refuses writes, the other steps of the round may succeed all the same.
                    if trouble.is_none_or(RedisState::is_of_connection) {
                        outcomes.take(Err::<(), _>(error))?;
                    }
                }
            }
        }
        outcomes.whole()
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
    pub(super) async fn revoke_ending(
        &self,
        connection: &mut Connection,
        masters: &Masters,
    ) -> RedisResult<()> {
        let pages = self.names.all_ending().into_iter();
        let reads = pages.filter(|page| masters.answers(page)).map(|page| {
            let mut reads = redis::pipe();
            for name in page.of {
                reads.cmd("SMEMBERS").arg(name);
            }
            ((), reads)
        });
        let mut outcomes = masters.outcomes();
        let own = connection.clone();
        let mut read = pin!(own.ask_pipelines::<(), Vec<Vec<u8>>>(reads));
        while let Some(((), buckets)) = read.next().await {
            for bucket in outcomes.take(buckets)?.unwrap_or_default() {
                let ids = bucket.iter().filter_map(|id| id.as_slice().try_into().ok());
                let ids: Vec<SessionId> = ids.map(SessionId::from_bytes).collect();
                if !ids.is_empty() {
                    outcomes.take(self.revoke(connection, &ids).await)?;
                }
            }
        }
        outcomes.whole()
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
    async fn end_again(&self, connection: &mut Connection, masters: &Masters) -> RedisResult<()> {
        let known = self.known.missing_in(&HashSet::new());
        let ids = known.into_iter().map(|(id, _)| id);
        let pages = self.names.pages(ids.collect(), PAGE).into_iter();
        let looks = pages.filter(|page| masters.answers(page)).map(|page| {
            let mut looks = redis::pipe();
            for id in &page.of {
                looks.cmd("EXISTS").arg(self.names.session(*id));
            }
            (page, looks)
        });
        let mut outcomes = masters.outcomes();
        let own = connection.clone();
        let mut looked = pin!(own.ask_pipelines::<_, bool>(looks));
        while let Some((page, there)) = looked.next().await {
            let there = outcomes.take(there)?.unwrap_or_default();
            let back = page.of.iter().zip(there).filter(|(_, there)| *there);
            for (id, _) in back {
                outcomes.take(self.end_one_again(connection, *id).await)?;
            }
        }
        outcomes.whole()
    }

    async fn end_one_again(&self, connection: &mut Connection, id: SessionId) -> RedisResult<()> {
        let fields: Fields = read(&self.names, id).query_async(connection).await?;
        let Ok(record) = fields.into_record() else {
            return Ok(());
        };
        let user = record.identity.user();
        if self.ends.one(id, user).make_on(connection).await? {
            tracing::warn!("Redis had brought back a session that was ended");
            self.revoke(connection, &[id]).await?;
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

/// The masters, as they answered a moment ago.
#[derive(Default)]
pub(super) struct Masters {
    /// The replication ids of those that answer; empty where a service does not tell them. A replica that became the master has a new
    /// one, and so has a server that was restarted.
    names: Vec<String>,
    /// The slots of those of a Cluster that do not answer. Each command to them would wait for its timeout.
    silent: Vec<Slots>,
    failed: Option<RedisError>,
    is_cluster: bool,
}

impl Masters {
    async fn of(connection: &mut Connection) -> RedisResult<Self> {
        let mut info = redis::cmd("INFO");
        info.arg("replication");
        let mut masters = Self {
            is_cluster: connection.is_cluster(),
            ..Self::default()
        };
        for Answered { slots, answer } in connection.ask_each_master(&info).await? {
            match answer {
                Ok(answer) => {
                    let told = texts(answer);
                    let ids = told.iter().filter_map(|text| value(text, "master_replid"));
                    masters.names.extend(ids.map(str::to_owned));
                }
                // Some services do not allow INFO.
                Err(error) if RedisState::of(&error).is_none() => {}
                Err(error) if slots.is_empty() => return Err(error),
                Err(error) => {
                    masters.silent.extend(slots);
                    masters.failed = Some(error);
                }
            }
        }
        masters.names.sort();
        Ok(masters)
    }

    fn outcomes(&self) -> Outcomes {
        Outcomes {
            is_cluster: self.is_cluster,
            knows_silent: self.failed.is_some(),
            failed: self.failed.clone(),
        }
    }

    fn answers<T>(&self, page: &Page<T>) -> bool {
        !self.silent.iter().any(|slots| slots.contains(&page.slot))
    }
}

impl Search {
    /// Returns whether no session can have come back since on these servers: that takes a replica that became the master, or a server
    /// that loaded an older file.
    fn covers(&self, masters: &Masters) -> bool {
        let every = if self.is_complete && !masters.names.is_empty() {
            WHOLE_EVERY
        } else {
            CLOCK_EVERY
        };
        self.masters == masters.names && self.at.elapsed() < every
    }
}
