//! Where each session is stored, in memory.
//!
//! On the disk sessions stand in the order of their logins, so that a login costs the same however many there are. What is asked
//! for by an id or a user is found here: 24 bytes a session and their share of a tree, read from the file at the start.

use std::collections::BTreeMap;
use std::ops::Bound;

use crate::session::SessionId;
use crate::session::user::User;

/// The place of each session in the order of logins.
#[derive(Debug, Default)]
pub(super) struct Index {
    places: BTreeMap<SessionId, u64>,
    /// What the places were of those sessions that changed theirs, oldest first, until a commit.
    changes: Vec<(SessionId, Option<u64>)>,
    next: u64,
}

impl Index {
    /// Makes an index of sessions in any order; places after `next` are free.
    pub(super) fn new(places: impl IntoIterator<Item = (SessionId, u64)>, next: u64) -> Self {
        Self {
            places: places.into_iter().collect(),
            changes: Vec::new(),
            next,
        }
    }

    pub(super) fn get(&self, sid: SessionId) -> Option<u64> {
        self.places.get(&sid).copied()
    }

    /// Walks the sessions that may be a user's, oldest first: another user may have the same eight bytes.
    pub(super) fn of_user(
        &self,
        user: User,
    ) -> impl DoubleEndedIterator<Item = (SessionId, u64)> + '_ {
        let (least, greatest) = SessionId::range_of(user);
        let range = self.places.range(least..=greatest);
        range.map(|(sid, place)| (*sid, *place))
    }

    /// Walks those of [`Self::of_user`] that come before one of them, newest first.
    pub(super) fn before(
        &self,
        sid: SessionId,
        user: User,
    ) -> impl Iterator<Item = (SessionId, u64)> + '_ {
        let (least, _) = SessionId::range_of(user);
        let range = self.places.range(least..sid);
        range.rev().map(|(sid, place)| (*sid, *place))
    }

    /// Walks those of [`Self::of_user`] that come after one of them.
    pub(super) fn after(
        &self,
        sid: SessionId,
        user: User,
    ) -> impl Iterator<Item = (SessionId, u64)> + '_ {
        let (_, greatest) = SessionId::range_of(user);
        let range = (Bound::Excluded(sid), Bound::Included(greatest));
        self.places.range(range).map(|(sid, place)| (*sid, *place))
    }

    /// Gives a new session its place, after all others.
    pub(super) fn push(&mut self, sid: SessionId) -> u64 {
        let place = self.next;
        self.next = self.next.saturating_add(1);
        let before = self.places.insert(sid, place);
        self.changes.push((sid, before));
        place
    }

    pub(super) fn remove(&mut self, sid: SessionId) {
        let before = self.places.remove(&sid);
        self.changes.push((sid, before));
    }

    /// Keeps what changed.
    pub(super) fn commit(&mut self) {
        self.changes.clear();
    }

    /// Takes back what changed since the last commit.
    pub(super) fn roll_back(&mut self) {
        while let Some((sid, before)) = self.changes.pop() {
            match before {
                Some(place) => self.places.insert(sid, place),
                None => self.places.remove(&sid),
            };
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn sid(user: User, n: u8) -> SessionId {
        let mut bytes = *user.as_bytes();
        bytes[8..].fill(n);
        SessionId::from_bytes(bytes)
    }

    #[test]
    fn a_users_sessions_are_found_among_others() {
        let [alice, bob] = ["alice", "bob"].map(|name| User::new("wx1", name));
        let mut index = Index::new([(sid(bob, 3), 9)], 10);
        assert_eq!(index.push(sid(alice, 2)), 10);
        assert_eq!(index.push(sid(alice, 1)), 11);
        assert_eq!(index.get(sid(bob, 3)), Some(9));
        assert_eq!(index.get(sid(bob, 2)), None);
        let of_alice: Vec<_> = index.of_user(alice).collect();
        assert_eq!(of_alice, [(sid(alice, 1), 11), (sid(alice, 2), 10)]);
        let sids = |walk: &mut dyn Iterator<Item = (SessionId, u64)>| -> Vec<SessionId> {
            walk.map(|(sid, _)| sid).collect()
        };
        let before = sids(&mut index.before(sid(alice, 2), alice));
        assert_eq!(before, [sid(alice, 1)]);
        let after = sids(&mut index.after(sid(alice, 1), alice));
        assert_eq!(after, [sid(alice, 2)]);
    }

    proptest! {
        #[test]
        fn what_is_rolled_back_was_never_there(
            kept in proptest::collection::vec((0_u8..8, any::<bool>()), 0..20),
            lost in proptest::collection::vec((0_u8..8, any::<bool>()), 0..20),
        ) {
            let user = User::new("wx1", "alice");
            let change = |index: &mut Index, (n, add): (u8, bool)| {
                if add {
                    index.push(sid(user, n));
                } else {
                    index.remove(sid(user, n));
                }
            };
            let mut index = Index::default();
            kept.into_iter().for_each(|one| change(&mut index, one));
            index.commit();
            let before = index.places.clone();
            lost.into_iter().for_each(|one| change(&mut index, one));
            index.roll_back();
            prop_assert_eq!(index.places, before);
        }
    }
}
