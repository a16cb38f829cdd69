//! The sessions that ended while tokens of theirs were still good, kept in memory.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use tokio::sync::broadcast;

use super::id::SessionId;

/// How many additions a listener may be behind; one that is further behind learns that it missed some.
const BEHIND: usize = 1024;

/// The revoked sessions; clones share one set.
#[derive(Clone, Debug, Default)]
pub struct RevokedSessions {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    /// The size of `until`; most of the time 0, and then nobody takes the lock.
    length: AtomicUsize,
    until: RwLock<HashMap<SessionId, u64>>,
    added: broadcast::Sender<SessionId>,
}

impl Default for Shared {
    fn default() -> Self {
        Self {
            length: AtomicUsize::default(),
            until: RwLock::default(),
            added: broadcast::Sender::new(BEHIND),
        }
    }
}

impl RevokedSessions {
    /// Tells whether tokens of this session must be refused.
    pub fn contains(&self, id: &SessionId) -> bool {
        self.shared.length.load(Ordering::Acquire) != 0
            && self
                .shared
                .until
                .read()
                .unwrap_or_else(PoisonError::into_inner)
                .contains_key(id)
    }

    /// Returns how many sessions are in the set.
    pub fn len(&self) -> usize {
        self.shared.length.load(Ordering::Acquire)
    }

    /// Tells whether no session is revoked.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns what tells of each session that is added from now on, after it is in the set.
    pub fn additions(&self) -> broadcast::Receiver<SessionId> {
        self.shared.added.subscribe()
    }

    /// Adds sessions, each until the last of the times given for it.
    pub(super) fn add(&self, revocations: impl IntoIterator<Item = (SessionId, u64)>) {
        let mut added = Vec::new();
        self.change(|set| {
            for (id, until) in revocations {
                let kept = set.entry(id).or_default();
                *kept = until.max(*kept);
                added.push(id);
            }
        });
        for id in added {
            // It fails when nobody listens.
            let _ = self.shared.added.send(id);
        }
    }

    /// Removes those of the given sessions whose time is over.
    pub(super) fn forget(&self, ids: impl IntoIterator<Item = SessionId>, now: u64) {
        self.change(|set| {
            for id in ids {
                if set.get(&id).is_some_and(|until| *until < now) {
                    set.remove(&id);
                }
            }
        });
    }

    fn change(&self, change: impl FnOnce(&mut HashMap<SessionId, u64>)) {
        let mut set = self
            .shared
            .until
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        change(&mut set);
        self.shared.length.store(set.len(), Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: SessionId = SessionId::from_bytes([1; 16]);

    #[test]
    fn a_revoked_session_is_seen_by_every_clone() {
        let set = RevokedSessions::default();
        let clone = set.clone();
        set.add([(ID, 10)]);
        assert!(clone.contains(&ID));
        assert!(!clone.contains(&SessionId::from_bytes([2; 16])));
    }

    #[test]
    fn a_listener_hears_of_what_is_already_in_the_set() {
        let set = RevokedSessions::default();
        let mut additions = set.clone().additions();
        set.add([(ID, 10)]);
        assert_eq!(additions.try_recv().unwrap(), ID);
        assert!(set.contains(&ID));
    }

    #[test]
    fn a_session_revoked_twice_stays_until_the_later_time() {
        let set = RevokedSessions::default();
        set.add([(ID, 10)]);
        set.add([(ID, 5)]);
        set.forget([ID], 10);
        assert!(set.contains(&ID));
        set.forget([ID], 11);
        assert!(set.is_empty());
    }
}
