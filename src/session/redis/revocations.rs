//! The sessions that were revoked: this node's own, those that it hears of, and what it does so that none is lost.

use std::sync::Arc;
use std::time::Duration;

use redis::RedisResult;
use tokio::sync::Notify;
use tokio::task::AbortHandle;

use super::connect::{Connection, Connector};
use super::ends::Ends;
use super::follower::{Follower, Position, wait};
use super::keys::Names;
use super::link::Link;
use super::maintenance::{Maintenance, measure};
use super::silence;
use super::stream::{Generation, State, Stream};
use super::time::Time;
use super::witness::Checks;
use crate::session::{RevokedSessions, SessionId};

/// What this node knows of the stream.
pub(super) struct Revocations {
    known: RevokedSessions,
    stream: Stream,
    time: Time,
    incomplete: Arc<Notify>,
    tasks: Vec<AbortHandle>,
}

/// What is needed to follow the stream.
pub(super) struct Beginning {
    pub(super) connector: Arc<Connector>,
    pub(super) link: Arc<Link>,
    pub(super) names: Names,
    pub(super) ends: Ends,
    pub(super) time: Time,
    pub(super) checks: Checks,
    pub(super) timeout: Duration,
    /// After how long without news tokens are refused.
    pub(super) refuse_after: Option<Duration>,
}

impl Revocations {
    /// Reads what is there, carries out what was left undone, then goes on to follow the stream.
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
        };
        let mut connection = connector.connect().await?;
        measure(&mut connection, &time).await?;
        let state = stream.look(&mut connection).await?;
        let last = maintenance.complete(&mut connection).await?;
        maintenance.revoke_ending(&mut connection).await?;
        let follower = Follower {
            link: Arc::clone(&link),
            stream: stream.clone(),
            known: known.clone(),
            time: time.clone(),
            wait: wait(timeout),
            incomplete: Arc::clone(&incomplete),
            heard: Arc::clone(&heard),
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
            tasks.push(tokio::spawn(silence::watch(heard, known.clone(), limit)));
        }
        Ok(Self {
            known,
            stream,
            time,
            incomplete,
            tasks: tasks.iter().map(|task| task.abort_handle()).collect(),
        })
    }

    /// Adds sessions for this many seconds; this node knows of them at once, the others when they read on.
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
        // It is added again, or what else Redis has lost.
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

/// Waits a moment where Redis has lost something or is new, so that nodes that know more have added it; then everything that is
/// there counts as all.
pub(super) async fn settle(
    connection: &mut Connection,
    stream: &Stream,
    timeout: Duration,
) -> RedisResult<()> {
    let is_whole = |state: &State| state.is_whole();
    if stream.look(connection).await?.as_ref().is_none_or(is_whole) {
        return Ok(());
    }
    // The others look as often as this, and then read the stream.
    tokio::time::sleep(wait(timeout) * 2).await;
    let Some(state) = stream
        .look(connection)
        .await?
        .filter(|state| !is_whole(state))
    else {
        return Ok(());
    };
    if state.generation.is_some() {
        tracing::error!("Redis has lost revocations, and no other node adds them again");
    }
    let renewal = stream.renew(&state.generation, state.added);
    let renewal = renewal.map_err(|_| std::io::Error::other("no randomness"))?;
    renewal.make_on::<Generation>(connection).await.map(drop)
}
