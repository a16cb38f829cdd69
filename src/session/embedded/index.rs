//! The index of sessions by id, in memory.
//!
//! On the disk sessions are in the order of their logins, so that a login costs the same however many there are. This finds them by
//! id and by user: 24 bytes a session and their share of a tree, read from the file at start-up.
//!
//! The writer updates the index before it commits. Readers see the last commit through the undo log, which holds the previous
//! places of all that the batch has changed until it is committed or rolled back.

use std::collections::BTreeMap;
use std::ops::Bound;

use crate::session::SessionId;
use crate::session::user::User;

/// A session and its place in the order of logins.
pub(super) type Entry = (SessionId, u64);

/// The place of each session.
#[derive(Debug, Default)]
pub(super) struct Index {
    places: BTreeMap<SessionId, u64>,
    /// The sessions that the batch has changed, oldest first, each with its previous place.
    undo_log: Vec<(SessionId, Option<u64>)>,
    next: u64,
}

impl Index {
    /// Makes an index of sessions in any order. Places from `next` on are free.
    pub(super) fn new(places: impl IntoIterator<Item = Entry>, next: u64) -> Self {
        Self {
            places: places.into_iter().collect(),
            undo_log: Vec::new(),
            next,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.places.len()
    }

    pub(super) fn get(&self, sid: SessionId) -> Option<u64> {
        self.places.get(&sid).copied()
    }

    /// Iterates over the sessions that may be a user's, oldest first. Another user may have the same eight bytes.
    pub(super) fn of_user(&self, user: User) -> impl DoubleEndedIterator<Item = Entry> + '_ {
        let (least, greatest) = SessionId::range_of(user);
        let range = self.places.range(least..=greatest);
        range.map(|(sid, place)| (*sid, *place))
    }

    /// Iterates over those of [`Self::of_user`] before one of them, newest first.
    pub(super) fn before(&self, sid: SessionId, user: User) -> impl Iterator<Item = Entry> + '_ {
        let (least, _) = SessionId::range_of(user);
        let range = self.places.range(least..sid.max(least));
        range.rev().map(|(sid, place)| (*sid, *place))
    }

    /// Iterates over those of [`Self::of_user`] after one of them.
    pub(super) fn after(&self, sid: SessionId, user: User) -> impl Iterator<Item = Entry> + '_ {
        let (_, greatest) = SessionId::range_of(user);
        let range = (
            Bound::Excluded(sid.min(greatest)),
            Bound::Included(greatest),
        );
        self.places.range(range).map(|(sid, place)| (*sid, *place))
    }

    /// Adds a new session, after all others, and returns its place.
    pub(super) fn push(&mut self, sid: SessionId) -> u64 {
        let place = self.next;
        self.next = self.next.saturating_add(1);
        let before = self.places.insert(sid, place);
        self.undo_log.push((sid, before));
        place
    }

    /// Removes a session, if it is at this place.
    pub(super) fn remove(&mut self, sid: SessionId, place: u64) {
        if self.get(sid) == Some(place) {
            self.places.remove(&sid);
            self.undo_log.push((sid, Some(place)));
        }
    }

    /// Forgets the undo log.
    pub(super) fn commit(&mut self) {
        self.undo_log.clear();
    }

    /// Undoes the changes since the last commit.
    pub(super) fn roll_back(&mut self) {
        while let Some((sid, before)) = self.undo_log.pop() {
            match before {
                Some(place) => self.places.insert(sid, place),
                None => self.places.remove(&sid),
            };
        }
    }

    /// Returns the place of a session in a snapshot of the file; `is_stored` looks at a place in it.
    pub(super) fn get_at_snapshot<E>(
        &self,
        sid: SessionId,
        is_stored: impl Fn(u64) -> Result<bool, E>,
    ) -> Result<Option<u64>, E> {
        let mut changes = self.undo_log.iter();
        Ok(match changes.find(|(changed, _)| *changed == sid) {
            Some((_, before)) if !self.is_committed(is_stored)? => *before,
            Some(_) | None => self.get(sid),
        })
    }

    /// Returns the sessions that may be a user's in a snapshot of the file, oldest first; `is_stored` looks at a place in it.
    pub(super) fn of_user_at_snapshot<E>(
        &self,
        user: User,
        is_stored: impl Fn(u64) -> Result<bool, E>,
    ) -> Result<Vec<Entry>, E> {
        let (least, greatest) = SessionId::range_of(user);
        let changes = self.undo_log.iter();
        let mut changes = changes.filter(|(sid, _)| (least..=greatest).contains(sid));
        if changes.clone().next().is_none() || self.is_committed(is_stored)? {
            return Ok(self.of_user(user).collect());
        }
        let mut before: BTreeMap<_, _> = self.of_user(user).collect();
        while let Some((sid, place)) = changes.next_back() {
            match place {
                Some(place) => before.insert(*sid, *place),
                None => before.remove(sid),
            };
        }
        Ok(before.into_iter().collect())
    }

    /// Returns whether a snapshot of the file was taken after the batch's commit.
    fn is_committed<E>(&self, is_stored: impl Fn(u64) -> Result<bool, E>) -> Result<bool, E> {
        for (at, (sid, before)) in self.undo_log.iter().enumerate() {
            // Of several changes of a session the first has the committed place.
            let mut earlier = self.undo_log.iter().take(at);
            if earlier.any(|(changed, _)| changed == sid) {
                continue;
            }
            match (before, self.get(*sid)) {
                (_, Some(now)) if *before != Some(now) => return is_stored(now),
                (Some(before), None) => return Ok(!is_stored(*before)?),
                _ => {}
            }
        }
        // The batch changed nothing after all.
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::convert::Infallible;

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
        let sids = |walk: &mut dyn Iterator<Item = Entry>| -> Vec<SessionId> {
            walk.map(|(sid, _)| sid).collect()
        };
        let before = sids(&mut index.before(sid(alice, 2), alice));
        assert_eq!(before, [sid(alice, 1)]);
        let after = sids(&mut index.after(sid(alice, 1), alice));
        assert_eq!(after, [sid(alice, 2)]);
    }

    #[test]
    fn around_a_session_of_somebody_else_there_is_nothing_to_walk() {
        let [alice, bob] = ["alice", "bob"].map(|name| User::new("wx1", name));
        let index = Index::new([(sid(alice, 1), 0), (sid(bob, 1), 1)], 2);
        for (user, other) in [(alice, bob), (bob, alice)] {
            let around = index
                .before(sid(other, 1), user)
                .chain(index.after(sid(other, 1), user));
            assert!(around.count() <= 1);
        }
    }

    #[test]
    fn a_session_that_has_another_place_by_now_is_not_removed() {
        let alice = User::new("wx1", "alice");
        let mut index = Index::default();
        let first = index.push(sid(alice, 1));
        let second = index.push(sid(alice, 1));
        index.remove(sid(alice, 1), first);
        assert_eq!(index.get(sid(alice, 1)), Some(second));
    }

    type Change = (u8, u8, bool);

    fn changes() -> impl Strategy<Value = Vec<Change>> {
        proptest::collection::vec((0_u8..2, 0_u8..6, any::<bool>()), 0..20)
    }

    fn change(index: &mut Index, (user, n, add): Change) {
        let user = User::from_bytes([user; 16]);
        let sid = sid(user, n);
        if add {
            index.push(sid);
        } else if let Some(place) = index.get(sid) {
            index.remove(sid, place);
        }
    }

    proptest! {
        #[test]
        fn what_is_rolled_back_was_never_there(kept in changes(), lost in changes()) {
            let mut index = Index::default();
            kept.into_iter().for_each(|one| change(&mut index, one));
            index.commit();
            let before = index.places.clone();
            lost.into_iter().for_each(|one| change(&mut index, one));
            index.roll_back();
            prop_assert_eq!(index.places, before);
        }

        #[test]
        fn a_reader_finds_what_its_view_of_the_file_has(kept in changes(), batch in changes()) {
            let mut index = Index::default();
            kept.into_iter().for_each(|one| change(&mut index, one));
            index.commit();
            let before = index.places.clone();
            batch.into_iter().for_each(|one| change(&mut index, one));
            let after = index.places.clone();
            for view in [before, after] {
                let stored: BTreeSet<u64> = view.values().copied().collect();
                let is_stored = |place: u64| Ok::<_, Infallible>(stored.contains(&place));
                for user in [0_u8, 1].map(|user| User::from_bytes([user; 16])) {
                    let (least, greatest) = SessionId::range_of(user);
                    let expected: Vec<_> =
                        view.range(least..=greatest).map(|(sid, at)| (*sid, *at)).collect();
                    prop_assert_eq!(index.of_user_at_snapshot(user, is_stored), Ok(expected));
                    for n in 0..6 {
                        let expected = view.get(&sid(user, n)).copied();
                        prop_assert_eq!(index.get_at_snapshot(sid(user, n), is_stored), Ok(expected));
                    }
                }
            }
        }
    }
}
