//! The revoked sessions: the node's own, those of other nodes, and the tasks that keep both complete.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use redis::RedisResult;
use tokio::sync::Notify;
use tokio::task::AbortHandle;

use super::connect::{Connection, Connector};
use super::cut_off;
use super::ends::Ends;
use super::follower::{Follower, Position, wait};
use super::keys::Names;
use super::link::Link;
use super::maintenance::{Maintenance, Masters, measure};
use super::seal_key_check::Checks;
use super::stream::{Generation, Renewer, Stream, StreamState};
use super::time::Time;
use crate::session::{RevokedSessions, SessionId};

/// The longest time that a node which starts waits for others that add again what Redis lost.
const LONGEST_REPAIR: Duration = Duration::from_secs(30);
/// Within how many times [`wait`] a running node notices a loss: it reads the state of the stream after each.
const NOTICED_WITHIN: u32 = 2;

/// The revoked sessions, and the tasks that follow the stream.
pub(super) struct Revocations {
    known: RevokedSessions,
    stream: Stream,
    time: Time,
    incomplete: Arc<Notify>,
    tasks: Vec<AbortHandle>,
}

/// What the tasks need.
pub(super) struct Beginning {
    pub(super) connector: Arc<Connector>,
    pub(super) link: Arc<Link>,
    pub(super) names: Names,
    pub(super) ends: Ends,
    pub(super) time: Time,
    pub(super) checks: Checks,
    pub(super) timeout: Duration,
    /// After how long without reading the stream to its end tokens are refused.
    pub(super) refuse_after: Option<Duration>,
}

impl Revocations {
    /// Reads the stream, finishes what other nodes left undone, and starts the tasks.
    pub(super) async fn follow(beginning: Beginning) -> RedisResult<Self> {
        let Beginning {
            connector,
            link,
            names,
            ends,
            time,
            checks,
            timeout,
            refuse_after,
        } = beginning;
        let (known, stream) = (RevokedSessions::default(), Stream::new(&names));
        let (incomplete, heard) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
        let settled = Arc::new(AtomicBool::new(false));
        let maintenance = Maintenance {
            connector: Arc::clone(&connector),
            link: Arc::clone(&link),
            names,
            stream: stream.clone(),
            known: known.clone(),
            time: time.clone(),
            ends,
            checks,
            incomplete: Arc::clone(&incomplete),
            settled: Arc::clone(&settled),
        };
        let mut connection = connector.connect().await?;
        measure(&mut connection, &time).await?;
        let state = stream.look(&mut connection).await?;
        let last = maintenance.complete(&mut connection).await?;
        let masters = Masters::default();
        maintenance.revoke_ending(&mut connection, &masters).await?;
        let follower = Follower {
            link: Arc::clone(&link),
            stream: stream.clone(),
            known: known.clone(),
            time: time.clone(),
            wait: wait(timeout),
            incomplete: Arc::clone(&incomplete),
            heard: Arc::clone(&heard),
            settled,
            position: Position::new(last, state),
            connector: Arc::clone(&connector),
        };
        let own = connector.connect().await?;
        let mut tasks = vec![
            tokio::spawn(follower.run(own)),
            tokio::spawn(maintenance.run(connection)),
            tokio::spawn(async move { link.probe().await }),
            tokio::spawn(async move { connector.watch().await }),
        ];
        if let Some(limit) = refuse_after {
            tasks.push(tokio::spawn(cut_off::watch(heard, known.clone(), limit)));
        }
        Ok(Self {
            known,
            stream,
            time,
            incomplete,
            tasks: tasks.iter().map(|task| task.abort_handle()).collect(),
        })
    }

    /// Revokes sessions for this many seconds: on this node at once, on the others when they read the stream.
    pub(super) async fn revoke(
        &self,
        link: &Link,
        ids: &[SessionId],
        lasting: u64,
    ) -> RedisResult<()> {
        let until = self.time.now().saturating_add(lasting);
        let revocations: Vec<_> = ids.iter().map(|id| (*id, until)).collect();
        self.known.add(revocations.iter().copied());
        let added: RedisResult<Generation> = self.stream.add(&revocations).make(link).await;
        if added.as_ref().is_ok_and(Generation::is_some) {
            return Ok(());
        }
        // Either this revocation is not in the stream, or the stream lost its generation and so perhaps others.
        self.incomplete.notify_one();
        added.map(drop)
    }

    pub(super) fn known(&self) -> &RevokedSessions {
        &self.known
    }

    pub(super) fn stop(&self) {
        self.tasks.iter().for_each(AbortHandle::abort);
    }
}

impl Drop for Revocations {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Returns when the stream can be read: after the nodes that run have added again what Redis lost. Where none does, the entries
/// that are there count as complete.
pub(super) async fn settle(
    connection: &mut Connection,
    stream: &Stream,
    timeout: Duration,
) -> RedisResult<()> {
    let wait = wait(timeout);
    let begun = Instant::now();
    loop {
        let state = stream.look(connection).await?;
        if state.as_ref().is_none_or(StreamState::is_whole) {
            if !stream.is_under_repair(connection).await? || begun.elapsed() > LONGEST_REPAIR {
                return Ok(());
            }
        } else if let Some(state) = state.filter(|_| begun.elapsed() > wait * NOTICED_WITHIN) {
            if state.generation.is_some() {
                tracing::error!("Redis has lost revocations, and no other node adds them again");
            }
            let renewal = stream.renew(&state.generation, state.added, Renewer::Starting);
            let renewal = renewal.map_err(|_| std::io::Error::other("no randomness"))?;
            renewal.make_on::<Generation>(connection).await?;
        }
        tokio::time::sleep(wait / 2).await;
    }
}
