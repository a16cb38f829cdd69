//! The stream of revocations: every node adds to it, follows it, and reads all of it when it may have missed something.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use redis::streams::{StreamId, StreamRangeReply, StreamReadReply};
use redis::{Pipeline, RedisResult};
use tokio::task::{AbortHandle, JoinHandle};

use super::connect::{Connection, Connector};
use super::keys::Names;
use super::link::Link;
use crate::clock::Clock;
use crate::session::{RevokedSessions, SessionId};

/// Entries that are asked for at once.
const PAGE: usize = 1000;
/// The pause before another try to connect.
const PAUSE: Duration = Duration::from_millis(200);
/// How often entries that are over are removed from the stream, by whichever nodes there are.
const TRIM_EVERY: Duration = Duration::from_secs(30);

/// What this node knows of the stream.
pub(super) struct Revocations {
    known: RevokedSessions,
    stream: String,
    follower: AbortHandle,
}

impl Revocations {
    /// Reads what is there, then goes on to follow the stream.
    pub(super) async fn follow(
        connector: Arc<Connector>,
        link: &Arc<Link>,
        names: &Names,
        clock: Clock,
        timeout: Duration,
    ) -> RedisResult<Self> {
        let known = RevokedSessions::default();
        let mut follower = Follower {
            connector,
            link: Arc::clone(link),
            stream: names.revoked(),
            known: known.clone(),
            clock,
            // Well within the time in which the connection must answer.
            wait: timeout / 8,
            trimmed: Instant::now(),
        };
        let (connection, last) = follower.catch_up().await?;
        let task: JoinHandle<()> =
            tokio::spawn(async move { follower.run(connection, last).await });
        Ok(Self {
            known,
            stream: names.revoked(),
            follower: task.abort_handle(),
        })
    }

    /// Adds sessions; this node knows of them at once, the others when they read on.
    pub(super) async fn revoke(
        &self,
        link: &Link,
        ids: &[SessionId],
        until: u64,
    ) -> RedisResult<()> {
        let revocations: Vec<_> = ids.iter().map(|id| (*id, until)).collect();
        link.ask_all::<()>(&additions(&self.stream, &revocations))
            .await?;
        self.known.add(revocations);
        Ok(())
    }

    pub(super) fn known(&self) -> &RevokedSessions {
        &self.known
    }

    pub(super) fn stop(&self) {
        self.follower.abort();
    }
}

impl Drop for Revocations {
    fn drop(&mut self) {
        self.stop();
    }
}

struct Follower {
    connector: Arc<Connector>,
    link: Arc<Link>,
    stream: String,
    known: RevokedSessions,
    clock: Clock,
    wait: Duration,
    trimmed: Instant,
}

impl Follower {
    async fn run(&mut self, mut connection: Connection, mut last: String) {
        loop {
            match self.read_on(&mut connection, &mut last).await {
                Ok(()) => tracing::error!("Redis has lost revocations, which this node adds again"),
                Err(error) => {
                    tracing::warn!(%error, "revocations by other nodes cannot be read");
                    self.link.set_available(false);
                }
            }
            (connection, last) = loop {
                tokio::time::sleep(PAUSE).await;
                self.known.forget(self.clock.unix_secs());
                match self.catch_up().await {
                    Ok(caught_up) => break caught_up,
                    Err(error) => tracing::debug!(%error, "Redis cannot be reached"),
                }
            };
            self.link.revive().await;
        }
    }

    /// Makes a connection of its own, which waiting may block, and reads the whole stream: after a failover it may go on
    /// from earlier than this node had read. What the stream has lost by then is added to it again.
    async fn catch_up(&self) -> RedisResult<(Connection, String)> {
        let mut connection = self.connector.connect().await?;
        let mut last = "0-0".to_owned();
        let mut found = HashSet::new();
        loop {
            let mut range = redis::cmd("XRANGE");
            range.arg(&self.stream).arg(format!("({last}")).arg("+");
            range.arg("COUNT").arg(PAGE);
            let page: StreamRangeReply = range.query_async(&mut connection).await?;
            let Some(end) = page.ids.last() else {
                break;
            };
            last = end.id.clone();
            found.extend(page.ids.iter().filter_map(revocation).map(|(id, _)| id));
            self.add(&page.ids);
        }
        for lost in self.known.missing_in(&found).chunks(PAGE) {
            let additions = additions(&self.stream, lost);
            additions.query_async::<()>(&mut connection).await?;
        }
        Ok((connection, last))
    }

    /// Follows the stream until it turns out to have lost what this node has read.
    async fn read_on(&mut self, connection: &mut Connection, last: &mut String) -> RedisResult<()> {
        loop {
            let mut read = redis::cmd("XREAD");
            read.arg("COUNT").arg(PAGE);
            read.arg("BLOCK").arg(self.wait.as_millis().max(1) as u64);
            read.arg("STREAMS").arg(&self.stream).arg(last.as_str());
            let reply: Option<StreamReadReply> = read.query_async(connection).await?;
            for stream in reply.into_iter().flat_map(|reply| reply.keys) {
                if let Some(end) = stream.ids.last() {
                    *last = end.id.clone();
                }
                self.add(&stream.ids);
            }
            self.known.forget(self.clock.unix_secs());
            if self.trimmed.elapsed() > TRIM_EVERY {
                self.trimmed = Instant::now();
                self.trim(connection).await?;
                if !self.known.is_empty() && self.has_lost(connection, last).await? {
                    return Ok(());
                }
            }
        }
    }

    /// Tells whether the stream ends before what was read of it: somebody deleted it, or Redis had no memory left.
    async fn has_lost(&self, connection: &mut Connection, last: &str) -> RedisResult<bool> {
        let mut newest = redis::cmd("XREVRANGE");
        newest.arg(&self.stream).arg("+").arg("-");
        newest.arg("COUNT").arg(1);
        let newest: StreamRangeReply = newest.query_async(connection).await?;
        let newest = newest.ids.first().map(|entry| place(&entry.id));
        Ok(newest.is_none_or(|newest| newest < place(last)))
    }

    fn add(&self, entries: &[StreamId]) {
        let now = self.clock.unix_secs();
        let revocations = entries.iter().filter_map(revocation);
        self.known
            .add(revocations.filter(|(_, until)| *until >= now));
    }

    /// Removes entries from the beginning of the stream, as far as they are over.
    async fn trim(&self, connection: &mut Connection) -> RedisResult<()> {
        let now = self.clock.unix_secs();
        loop {
            let mut range = redis::cmd("XRANGE");
            range.arg(&self.stream).arg("-").arg("+");
            range.arg("COUNT").arg(PAGE);
            let page: StreamRangeReply = range.query_async(connection).await?;
            let is_over =
                |entry: &&StreamId| revocation(entry).is_none_or(|(_, until)| until < now);
            let over: Vec<&StreamId> = page.ids.iter().take_while(is_over).collect();
            if over.is_empty() {
                return Ok(());
            }
            let mut delete = redis::cmd("XDEL");
            delete.arg(&self.stream);
            for entry in &over {
                delete.arg(&entry.id);
            }
            let _: u64 = delete.query_async(connection).await?;
            if over.len() < PAGE {
                return Ok(());
            }
        }
    }
}

/// Returns where in a stream an entry is, in an order that can be compared.
fn place(id: &str) -> (u64, u64) {
    let (time, number) = id.split_once('-').unwrap_or((id, "0"));
    (time.parse().unwrap_or(0), number.parse().unwrap_or(0))
}

fn additions(stream: &str, revocations: &[(SessionId, u64)]) -> Pipeline {
    let mut additions = redis::pipe();
    for (id, until) in revocations {
        additions.cmd("XADD").arg(stream).arg("*");
        additions.arg("s").arg(id.as_bytes()).arg("u").arg(*until);
        additions.ignore();
    }
    additions
}

/// Reads an entry; one that is none of ours revokes nothing.
fn revocation(entry: &StreamId) -> Option<(SessionId, u64)> {
    let id: Vec<u8> = entry.get("s")?;
    let until = entry.get("u")?;
    Some((SessionId::from_bytes(id.try_into().ok()?), until))
}
