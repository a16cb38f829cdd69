//! Follows the stream of revocations, and notices that Redis has lost entries.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use redis::RedisResult;
use redis::streams::StreamReadReply;
use tokio::sync::Notify;

use super::connect::{Connection, Connector};
use super::link::Link;
use super::stream::{Generation, PAGE, Renewer, Stream, StreamState, add, place};
use super::time::Time;
use crate::session::RevokedSessions;

/// The pause between two attempts to connect.
const RECONNECT_INTERVAL: Duration = Duration::from_millis(200);
/// The longest time that one command waits for a new entry.
const LONGEST_WAIT: Duration = Duration::from_millis(200);
/// How long a node waits for the node that noticed a loss to add what was lost, in milliseconds; it is random, so that nodes do not
/// all read the stream at the same time.
const OTHERS_FIRST_MS: std::ops::Range<u64> = 50..300;

/// Reads the stream for one node.
pub(super) struct Follower {
    pub(super) connector: Arc<Connector>,
    pub(super) link: Arc<Link>,
    pub(super) stream: Stream,
    pub(super) known: RevokedSessions,
    pub(super) time: Time,
    pub(super) wait: Duration,
    /// Wakes the maintenance, which reads the whole stream.
    pub(super) incomplete: Arc<Notify>,
    /// Says that the stream was read to its end.
    pub(super) heard: Arc<Notify>,
    /// Whether the maintenance has looked for sessions that came back; see there.
    pub(super) settled: Arc<AtomicBool>,
    pub(super) position: Position,
}

/// How far the stream was read.
#[derive(Debug)]
pub(super) struct Position {
    /// The id of the last entry that was read.
    pub(super) last: String,
    pub(super) generation: Generation,
    /// The number of the last entry that was read.
    number: u64,
    /// How many entries had been added when the state was last read.
    added: u64,
    /// Whether an entry had a number that an earlier one had.
    went_back: bool,
    /// When the whole stream is to be read because another node noticed a loss.
    read_whole_at: Option<Instant>,
}

impl Position {
    /// Begins after the entry `last`, of a stream whose state was `seen` before it was read.
    pub(super) fn new(last: String, seen: Option<StreamState>) -> Self {
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

/// Returns how long to wait for a new entry: much shorter than the timeout of a connection.
pub(super) fn wait(timeout: Duration) -> Duration {
    (timeout / 8).min(LONGEST_WAIT)
}

impl Follower {
    /// Runs until it is aborted. After a lost connection it reads on from the last entry at once, and the maintenance reads the
    /// whole stream beside that.
    pub(super) async fn run(mut self, connection: Connection) {
        let mut connection = Some(connection);
        loop {
            if let Some(connection) = connection.take()
                && let Err(error) = self.read_on(connection).await
            {
                tracing::warn!(%error, "revocations by other nodes cannot be read");
                self.link.fails(&error, |_| redis::cmd("PING"));
            }
            self.settled.store(false, Ordering::Relaxed);
            tokio::time::sleep(RECONNECT_INTERVAL).await;
            match self.connector.connect().await {
                Ok(new) => {
                    connection = Some(new);
                    self.incomplete.notify_one();
                }
                Err(error) => {
                    tracing::debug!(%error, "Redis cannot be reached");
                    // The cause may have changed. While the connection of the requests works, only this one is concerned.
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
        // The newest entry when the state was last read.
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
                // The end stays where it is until it was read, or a busy stream would never be heard. After a loss it moves back.
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
            if self.settled.load(Ordering::Relaxed) {
                self.known.forget(self.time.now());
            }
        }
        Ok(())
    }

    /// Compares the state of the stream with what was read of it, and returns the id of the newest entry; `None` means that the
    /// state changed while it was read.
    async fn look(&mut self, connection: &mut Connection) -> RedisResult<Option<String>> {
        let Some(state) = self.stream.look(connection).await? else {
            return Ok(None);
        };
        let position = &mut self.position;
        // A replica that became the master may lack entries, and its clock may be behind: then new entries have smaller ids, and
        // what came before the newest of them was not read.
        if place(&state.newest) < place(&position.last) {
            position.last.clone_from(&state.newest);
            self.incomplete.notify_one();
        }
        let highest = position.number.max(position.added);
        let lost = state.lacks_entries() || state.added < highest || position.went_back;
        if lost || !state.is_whole() {
            if lost {
                tracing::error!("Redis has lost revocations, which this node adds again");
            }
            let renewal = self
                .stream
                .renew(&state.generation, highest, Renewer::Running);
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
