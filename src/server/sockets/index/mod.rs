//! Lists what is open, and ends what belongs to a session that has ended.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::StreamExt as _;
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval, timeout};

use super::handle::{Ending, Handle};
use crate::clock::Clock;
use crate::metrics::Count;
use crate::session::{SessionId, Sessions};

/// How often sessions that may have expired are looked for.
const TICK: Duration = Duration::from_millis(500);
/// How long the store may take to say when a session ends.
const ANSWER: Duration = Duration::from_secs(5);
/// When the store is asked again after it did not answer.
const AGAIN_SECS: u64 = 5;
/// How many sessions the store is asked about at once.
const CONCURRENT_LOOKUPS: usize = 16;

/// Everything that is open; no more than there are exchanges.
pub struct Sockets {
    open: Mutex<Open>,
    store: Sessions,
    clock: Clock,
    /// The bytes that WebSockets brought from clients, and those from servers.
    pub(super) received: Count,
    pub(super) sent: Count,
}

/// The session of an entry, if there is one, and a unique number.
type Key = (Option<SessionId>, u64);

/// What is open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::server) enum Kind {
    WebSocket,
    Exchange,
}

#[derive(Default)]
struct Open {
    entries: BTreeMap<Key, (Kind, Arc<Handle>)>,
    web_sockets: usize,
    /// When to ask the store whether each of these sessions has ended.
    due: HashMap<SessionId, u64>,
    /// The same, ordered by time.
    by_time: BTreeSet<(u64, SessionId)>,
    opened: u64,
    going_away: bool,
}

/// An entry of the index, which is removed when dropped.
pub(in crate::server) struct Entry {
    pub(super) sockets: Arc<Sockets>,
    key: Key,
    handle: Arc<Handle>,
}

impl Entry {
    /// Returns the handle that ends it.
    pub(in crate::server) fn handle(&self) -> &Handle {
        &self.handle
    }
}

impl Sockets {
    /// Makes an empty index of sessions in `store`.
    pub fn new(store: Sessions, clock: Clock) -> Arc<Self> {
        Arc::new(Self {
            open: Mutex::default(),
            store,
            clock,
            received: Count::default(),
            sent: Count::default(),
        })
    }

    /// Returns how many bytes WebSockets have brought from clients, and how many from servers.
    pub fn bytes(&self) -> (u64, u64) {
        (self.received.sum(), self.sent.sum())
    }

    /// Returns how many WebSockets are open.
    pub fn len(&self) -> usize {
        self.open().web_sockets
    }

    /// Returns whether no WebSocket is open.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Adds an entry for a session that lasts until the given time at least, or for no session.
    pub(in crate::server) fn enter(
        self: &Arc<Self>,
        kind: Kind,
        session: Option<(SessionId, u64)>,
    ) -> Entry {
        let handle = Arc::<Handle>::default();
        let mut open = self.open();
        open.opened += 1;
        let key = (session.map(|(id, _)| id), open.opened);
        open.entries.insert(key, (kind, Arc::clone(&handle)));
        open.web_sockets += usize::from(kind == Kind::WebSocket);
        if let Some((id, until)) = session
            && !open.due.contains_key(&id)
        {
            open.postpone(id, until);
        }
        let going_away = open.going_away && kind == Kind::WebSocket;
        drop(open);
        // The session may have been revoked since admission. Later revocations find the entry.
        let revoked = session.is_some_and(|(id, _)| self.store.revoked().contains(&id));
        if revoked {
            handle.end(Ending::SessionOver);
        } else if going_away {
            handle.end(Ending::GoingAway);
        }
        Entry {
            sockets: Arc::clone(self),
            key,
            handle,
        }
    }

    /// Ends entries when their sessions end, until the returned value is dropped.
    pub(in crate::server) fn keep(self: &Arc<Self>) -> JoinSet<()> {
        let mut keepers = JoinSet::new();
        let additions = self.store.revoked().additions();
        keepers.spawn(Arc::clone(self).follow_revocations(additions));
        keepers.spawn(Arc::clone(self).follow_time());
        keepers
    }

    /// Ends every WebSocket, present and future, since the process stops.
    pub fn go_away(&self) {
        let mut open = self.open();
        open.going_away = true;
        let sockets = open.entries.values();
        for (_, handle) in sockets.filter(|(kind, _)| *kind == Kind::WebSocket) {
            handle.end(Ending::GoingAway);
        }
    }

    async fn follow_revocations(self: Arc<Self>, mut additions: Receiver<SessionId>) {
        loop {
            match additions.recv().await {
                Ok(id) => self.open().end(id),
                // Some revocations were missed, so the whole set is compared.
                Err(RecvError::Lagged(_)) => self.end_revoked(),
                Err(RecvError::Closed) => return,
            }
        }
    }

    fn end_revoked(&self) {
        let open = self.open();
        let revoked = self.store.revoked();
        for id in open.due.keys().filter(|id| revoked.contains(id)) {
            open.end(*id);
        }
    }

    async fn follow_time(self: Arc<Self>) {
        let mut ticks = interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            let due = self.open().due(self.clock.unix_secs());
            let asked = futures::stream::iter(due);
            asked
                .for_each_concurrent(CONCURRENT_LOOKUPS, |id| self.ask_about(id))
                .await;
        }
    }

    /// Ends the entries of a session if it has expired; a refresh may have prolonged it.
    async fn ask_about(&self, id: SessionId) {
        let answer = timeout(ANSWER, self.store.end_of(id)).await;
        let now = self.clock.unix_secs();
        let mut open = self.open();
        match answer {
            Ok(Ok(Some(end))) => open.postpone(id, end.max(now.saturating_add(1))),
            Ok(Ok(None)) => open.end(id),
            // If the store does not answer, nothing ends.
            Ok(Err(_)) | Err(_) => open.postpone(id, now.saturating_add(AGAIN_SECS)),
        }
    }

    fn open(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Open {
    /// Ends the entries of a session.
    fn end(&self, id: SessionId) {
        for handle in self.of(id) {
            handle.end(Ending::SessionOver);
        }
    }

    fn of(&self, id: SessionId) -> impl Iterator<Item = &Arc<Handle>> {
        let all = (Some(id), 0)..=(Some(id), u64::MAX);
        self.entries.range(all).map(|(_, (_, handle))| handle)
    }

    /// Schedules the next look at a session that has entries.
    fn postpone(&mut self, id: SessionId, until: u64) {
        self.forget(id);
        if self.of(id).next().is_some() {
            self.due.insert(id, until);
            self.by_time.insert((until, id));
        }
    }

    fn forget(&mut self, id: SessionId) {
        if let Some(until) = self.due.remove(&id) {
            self.by_time.remove(&(until, id));
        }
    }

    /// Returns the sessions that may have expired.
    fn due(&self, now: u64) -> Vec<SessionId> {
        let due = self.by_time.iter().take_while(|(until, _)| *until <= now);
        due.map(|(_, id)| *id).collect()
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        let mut open = self.sockets.open();
        if let Some((Kind::WebSocket, _)) = open.entries.remove(&self.key) {
            open.web_sockets -= 1;
        }
        if let (Some(id), _) = self.key
            && open.of(id).next().is_none()
        {
            open.forget(id);
        }
    }
}

impl std::fmt::Debug for Entry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Entry").field(&self.key).finish()
    }
}

#[cfg(test)]
mod tests;
