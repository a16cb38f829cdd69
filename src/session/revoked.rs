//! The sessions that ended while tokens of theirs were still good, kept in memory.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use tokio::sync::broadcast;

use super::id::SessionId;

/// How many additions a listener may be behind; one that is further behind learns that it missed some.
const LISTENER_LAG: usize = 1024;

/// The revoked sessions; clones share one set.
#[derive(Clone, Debug, Default)]
pub struct RevokedSessions {
    shared: Arc<RevokedSet>,
}

#[derive(Debug)]
struct RevokedSet {
    /// The size of the set; most of the time 0, and then nobody takes the lock.
    length: AtomicUsize,
    set: RwLock<Set>,
    added: broadcast::Sender<SessionId>,
    /// Whether sessions may have ended that are not in the set.
    unknown: AtomicBool,
}

impl Default for RevokedSet {
    fn default() -> Self {
        Self {
            length: AtomicUsize::default(),
            set: RwLock::default(),
            added: broadcast::Sender::new(LISTENER_LAG),
            unknown: AtomicBool::new(false),
        }
    }
}

#[derive(Debug, Default)]
struct Set {
    until: HashMap<SessionId, u64>,
    /// The same, soonest first.
    order: BTreeSet<(u64, SessionId)>,
}

impl RevokedSessions {
    /// Returns whether tokens of this session must be refused.
    pub fn contains(&self, id: &SessionId) -> bool {
        self.shared.length.load(Ordering::Acquire) != 0
            && self
                .shared
                .set
                .read()
                .unwrap_or_else(PoisonError::into_inner)
                .until
                .contains_key(id)
    }

    /// Returns whether tokens must be refused because sessions may have ended that are not in the set.
    pub fn is_unknown(&self) -> bool {
        self.shared.unknown.load(Ordering::Relaxed)
    }

    /// Returns whether sessions may have ended that are not in the set.
    pub(super) fn set_unknown(&self, unknown: bool) {
        self.shared.unknown.store(unknown, Ordering::Relaxed);
    }

    /// Returns how many sessions are in the set.
    pub fn len(&self) -> usize {
        self.shared.length.load(Ordering::Acquire)
    }

    /// Returns whether no session is revoked.
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
                let known = set.until.get(&id).copied();
                if known.is_none_or(|known| known < until) {
                    known.map(|known| set.order.remove(&(known, id)));
                    set.until.insert(id, until);
                    set.order.insert((until, id));
                    added.push(id);
                }
            }
        });
        for id in added {
            // It fails when nobody listens.
            let _ = self.shared.added.send(id);
        }
    }

    /// Returns the sessions of the set that are not among the `others`, each with its time.
    pub(super) fn missing_in(&self, others: &HashSet<SessionId>) -> Vec<(SessionId, u64)> {
        let set = self.shared.set.read();
        let set = set.unwrap_or_else(PoisonError::into_inner);
        let missing = set.until.iter().filter(|(id, _)| !others.contains(id));
        missing.map(|(id, until)| (*id, *until)).collect()
    }

    /// Removes the sessions whose time is over.
    pub(super) fn forget(&self, now: u64) {
        if self.is_empty() {
            return;
        }
        self.change(|set| {
            while let Some((until, id)) = set.order.first().copied() {
                if until >= now {
                    break;
                }
                set.order.pop_first();
                set.until.remove(&id);
            }
        });
    }

    fn change(&self, change: impl FnOnce(&mut Set)) {
        let set = self.shared.set.write();
        let mut set = set.unwrap_or_else(PoisonError::into_inner);
        change(&mut set);
        let length = set.until.len();
        self.shared.length.store(length, Ordering::Release);
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
        set.forget(10);
        assert!(set.contains(&ID));
        set.forget(11);
        assert!(set.is_empty());
    }
}
