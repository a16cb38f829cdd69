//! Follows the stream of revocations, notices when entries are lost, and how long nothing was heard of it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use redis::RedisResult;
use redis::streams::StreamReadReply;
use tokio::sync::Notify;

use super::connect::{Connection, Connector};
use super::link::Link;
use super::stream::{Generation, PAGE, State, Stream, add, place};
use super::time::Time;
use crate::session::RevokedSessions;

/// The pause before another try to connect.
const PAUSE: Duration = Duration::from_millis(200);
/// The longest time for which nothing is asked of Redis.
const LONGEST_WAIT: Duration = Duration::from_millis(200);
/// Another node adds what is lost first, or each would add it.
const OTHERS_FIRST_MS: std::ops::Range<u64> = 50..300;

/// One node's place in the stream.
pub(super) struct Follower {
    pub(super) connector: Arc<Connector>,
    pub(super) link: Arc<Link>,
    pub(super) stream: Stream,
    pub(super) known: RevokedSessions,
    pub(super) time: Time,
    pub(super) wait: Duration,
    /// Wakes the maintenance.
    pub(super) incomplete: Arc<Notify>,
    /// Wakes whoever watches for how long nothing was heard.
    pub(super) heard: Arc<Notify>,
    pub(super) position: Position,
}

/// What was read of the stream.
#[derive(Debug)]
pub(super) struct Position {
    /// The last entry that was read.
    pub(super) last: String,
    pub(super) generation: Generation,
    /// The number of the last entry that was read.
    number: u64,
    /// How many entries had been added when the stream was looked at the last time.
    added: u64,
    /// Whether an entry had a number that one before it had.
    went_back: bool,
    /// When the whole stream is to be read because another node found that some is lost.
    read_whole_at: Option<Instant>,
}

impl Position {
    /// Begins after `last`, of a stream that was as `seen` before it was read.
    pub(super) fn new(last: String, seen: Option<State>) -> Self {
        Self {
            last,
            number: 0,
            added: seen.as_ref().map_or(0, |seen| seen.added),
            generation: seen.and_then(|seen| seen.generation),
            went_back: false,
            read_whole_at: None,
        }
    }
}

/// Returns how long to wait for an entry, well within the time in which the connection must answer.
pub(super) fn wait(timeout: Duration) -> Duration {
    (timeout / 8).min(LONGEST_WAIT)
}

impl Follower {
    /// Goes on for ever: reads on from the last entry after each failure, and has the whole read behind it.
    pub(super) async fn run(mut self, connection: Connection) {
        let mut connection = Some(connection);
        loop {
            if let Some(connection) = connection.take()
                && let Err(error) = self.read_on(connection).await
            {
                tracing::warn!(%error, "revocations by other nodes cannot be read");
                self.link.fails(&error, |_| redis::cmd("PING"));
            }
            self.known.forget(self.time.now());
            tokio::time::sleep(PAUSE).await;
            match self.connector.connect().await {
                Ok(new) => {
                    connection = Some(new);
                    self.incomplete.notify_one();
                }
                Err(error) => {
                    tracing::debug!(%error, "Redis cannot be reached");
                    // Why may be another thing by now. Where the others' connection works, it is nobody's trouble but this one's.
                    if !self.link.is_available() {
                        self.link.fails(&error, |_| redis::cmd("PING"));
                    }
                }
            }
        }
    }

    /// Follows the stream until the connection fails.
    async fn read_on(&mut self, mut connection: Connection) -> RedisResult<()> {
        let mut looked = None;
        // The end of the stream when it was looked at the last time.
        let mut end: Option<String> = None;
        while self.connector.is_current(&connection) {
            let due = looked.is_none_or(|looked: Instant| looked.elapsed() >= self.wait);
            if due || self.position.went_back {
                let has_read = |end: &String| place(end) <= place(&self.position.last);
                let has_read = end.as_ref().is_some_and(has_read);
                let newest = self.look(&mut connection).await?;
                if looked.is_none() {
                    self.link.revive().await;
                }
                if has_read {
                    self.heard.notify_one();
                }
                // Until all of it is read, nobody can tell what ended before. A stream that lost its end has another.
                let goes_on = |newest: &String| {
                    let is_behind = |end: &String| place(newest) < place(end);
                    has_read || end.as_ref().is_none_or(is_behind)
                };
                end = newest.filter(goes_on).or(end);
                looked = Some(Instant::now());
            }
            let mut read = redis::cmd("XREAD");
            read.arg("COUNT").arg(PAGE);
            read.arg("BLOCK").arg(self.wait.as_millis().max(1) as u64);
            read.arg("STREAMS").arg(self.stream.name());
            read.arg(self.position.last.as_str());
            let reply: Option<StreamReadReply> = read.query_async(&mut connection).await?;
            for stream in reply.into_iter().flat_map(|reply| reply.keys) {
                if let Some(end) = stream.ids.last() {
                    self.position.last.clone_from(&end.id);
                }
                add(&self.known, &stream.ids, self.time.now());
                for number in stream.ids.iter().filter_map(|entry| entry.get("n")) {
                    self.position.went_back |= number <= self.position.number;
                    self.position.number = number;
                }
            }
            self.known.forget(self.time.now());
        }
        Ok(())
    }

    /// Compares what Redis has with what was read of it, and returns its last entry; `None` says that it changed meanwhile.
    async fn look(&mut self, connection: &mut Connection) -> RedisResult<Option<String>> {
        let Some(state) = self.stream.look(connection).await? else {
            return Ok(None);
        };
        let position = &mut self.position;
        // A replica that became the master may go on from earlier, and number its entries by a clock that is behind.
        if place(&state.newest) < place(&position.last) {
            position.last.clone_from(&state.newest);
        }
        let highest = position.number.max(position.added);
        let lost = state.lacks_entries() || state.added < highest || position.went_back;
        if lost || !state.is_whole() {
            if lost {
                tracing::error!("Redis has lost revocations, which this node adds again");
            }
            let renewal = self.stream.renew(&state.generation, highest);
            let renewal = renewal.map_err(|_| std::io::Error::other("no randomness"))?;
            position.generation = renewal.make_on(connection).await?;
            position.went_back = false;
            self.incomplete.notify_one();
        } else if state.generation != position.generation {
            position.generation = state.generation;
            let pause = Duration::from_millis(fastrand::u64(OTHERS_FIRST_MS));
            position.read_whole_at = Some(Instant::now() + pause);
        }
        position.added = highest.max(state.added);
        if position
            .read_whole_at
            .is_some_and(|at| at <= Instant::now())
        {
            position.read_whole_at = None;
            self.incomplete.notify_one();
        }
        Ok(Some(state.newest))
    }
}
