//! The names of the keys; braces mark the hash tag, by which a Cluster chooses the slot.

use std::sync::LazyLock;

use crc16::{State, XMODEM};

use crate::config::RedisMode;
use crate::session::SessionId;
use crate::session::claim::CodeMark;
use crate::session::kept::SharedSlot;
use crate::session::user::{UnionidDigest, User};

/// The slots of a Cluster.
const SLOTS: usize = 16384;
/// Users are divided into this many buckets, each with a hash tag of its own, so that one script may touch all keys of a user. Few
/// of them, since every bucket has a key of tombstones, whose overhead its tombstones share, and a set of unfinished ends that
/// every node reads every few seconds.
const BUCKETS: usize = 1024;
/// In how many buckets of a Cluster, evenly spread, the digest of the seal key is stored.
const SEAL_CHECKS: usize = 8;

/// The hash tag of each bucket: bucket `n` is in one of the slots `16 n` to `16 n + 15`, so that masters with equally many slots have
/// equally many users.
static TAGS: LazyLock<Vec<String>> = LazyLock::new(|| {
    let mut tags = vec![String::new(); BUCKETS];
    for tag in (0..=u16::MAX).rev().map(|tag| format!("{tag:04x}")) {
        if let Some(of_bucket) = tags.get_mut(slot(&tag) / (SLOTS / BUCKETS)) {
            *of_bucket = tag;
        }
    }
    tags
});

/// What one pipeline may name, since it is all on one server.
#[derive(Debug)]
pub(super) struct Page<T> {
    /// Its slot, in a Cluster.
    pub(super) slot: u16,
    pub(super) of: Vec<T>,
}

impl<T> Page<T> {
    fn anywhere(of: Vec<T>) -> Self {
        Self { slot: 0, of }
    }
}

/// Makes the names that begin with the configured prefix.
#[derive(Clone, Debug)]
pub(super) struct Names {
    prefix: String,
    is_cluster: bool,
}

impl Names {
    pub(super) fn new(prefix: &str, mode: &RedisMode) -> Self {
        Self {
            prefix: prefix.to_owned(),
            is_cluster: matches!(mode, RedisMode::Cluster),
        }
    }

    /// Returns the names that the rehearsal at the start uses, which no session has.
    pub(super) fn rehearsed(&self) -> Self {
        Self {
            prefix: format!("{}rehearsal:", self.prefix),
            is_cluster: self.is_cluster,
        }
    }

    /// A hash: one session.
    pub(super) fn session(&self, id: SessionId) -> String {
        self.name('s', id.as_bytes())
    }

    /// A sorted set: a user's sessions by their expiry.
    pub(super) fn user(&self, user: User) -> String {
        self.name('u', user.as_bytes())
    }

    /// A sorted set: the users who have a unionid, by when their sessions end at the latest.
    pub(super) fn unionid(&self, unionid: UnionidDigest) -> String {
        self.name('n', unionid.as_bytes())
    }

    /// A hash: a user's session_keys, sealed.
    pub(super) fn session_keys(&self, user: User) -> String {
        self.name('k', user.as_bytes())
    }

    /// A set: the sessions of a bucket that were removed and are not revoked yet. The id may be a user's or a session's.
    pub(super) fn ending(&self, id: &[u8; 16]) -> String {
        self.of_bucket('e', tag(id))
    }

    /// A string: the tombstones of a bucket.
    pub(super) fn tombstones(&self, id: &[u8; 16]) -> String {
        self.of_bucket('t', tag(id))
    }

    /// Returns every name that [`Self::ending`] can return.
    pub(super) fn all_ending(&self) -> Vec<Page<String>> {
        let buckets = TAGS.iter().map(|tag| (tag, self.of_bucket('e', tag)));
        if !self.is_cluster {
            return vec![Page::anywhere(buckets.map(|(_, name)| name).collect())];
        }
        let pages = buckets.map(|(tag, name)| Page {
            slot: slot(tag) as u16,
            of: vec![name],
        });
        pages.collect()
    }

    /// Divides sessions into pages of at most `length`.
    pub(super) fn pages(
        &self,
        mut sessions: Vec<SessionId>,
        length: usize,
    ) -> Vec<Page<SessionId>> {
        if !self.is_cluster {
            let pages = sessions.chunks(length);
            return pages.map(|page| Page::anywhere(page.to_vec())).collect();
        }
        sessions.sort_unstable_by_key(|id| bucket(id.as_bytes()));
        let same =
            |one: &SessionId, other: &SessionId| bucket(one.as_bytes()) == bucket(other.as_bytes());
        let buckets = sessions.chunk_by(same);
        let pages = buckets.flat_map(|bucket| bucket.chunks(length));
        let of_slot = |page: &[SessionId]| Page {
            slot: page.first().map_or(0, |id| slot(tag(id.as_bytes())) as u16),
            of: page.to_vec(),
        };
        pages.map(of_slot).collect()
    }

    /// A string: who redeems a code, or what it brought, sealed.
    pub(super) fn code(&self, code: CodeMark) -> String {
        self.name('c', code.as_bytes())
    }

    /// A hash: a value that nodes share, who may replace it now, and how often that was forced.
    pub(super) fn kept(&self, slot: SharedSlot) -> String {
        self.name('a', slot.as_bytes())
    }

    /// A stream: the revocations.
    pub(super) fn revoked(&self) -> String {
        format!("{}revoked", self.prefix)
    }

    /// A hash in the slot of the stream: its generation and its counts.
    pub(super) fn revoked_state(&self) -> String {
        format!("{0}{{{0}revoked}}:state", self.prefix)
    }

    /// A set in the slot of the stream: the revocations that were added again a short time ago.
    pub(super) fn revoked_again(&self) -> String {
        format!("{0}{{{0}revoked}}:again", self.prefix)
    }

    /// A string in the slot of the stream that exists while nodes add again what Redis lost.
    pub(super) fn revoked_repair(&self) -> String {
        format!("{0}{{{0}revoked}}:repair", self.prefix)
    }

    /// Strings: the digest of the seal key, the one that decides first. There are several in a Cluster, which may lose a slot or a
    /// server and keep the others.
    pub(super) fn seal_checks(&self) -> Vec<String> {
        let first = format!("{}seal-check", self.prefix);
        let more = if self.is_cluster { SEAL_CHECKS } else { 0 };
        let buckets = (0..more).map(|at| (2 * at + 1) * (BUCKETS / SEAL_CHECKS / 2));
        let tags = buckets.filter_map(|bucket| TAGS.get(bucket));
        let others = tags.map(|tag| format!("{}{{{tag}}}:seal-check", self.prefix));
        std::iter::once(first).chain(others).collect()
    }

    /// Returns the pattern of every name that [`Self::session`] can return.
    pub(super) fn sessions(&self) -> String {
        let special = |c: char| matches!(c, '*' | '?' | '[' | ']' | '\\' | '^' | '-');
        let escaped = self.prefix.chars().flat_map(|c| {
            let escape = special(c).then_some('\\');
            escape.into_iter().chain([c])
        });
        format!("{}{{????}}:s:*", escaped.collect::<String>())
    }

    fn name(&self, kind: char, id: &[u8; 16]) -> String {
        let tag = tag(id);
        let id = u128::from_be_bytes(*id);
        format!("{}{{{tag}}}:{kind}:{id:032x}", self.prefix)
    }

    fn of_bucket(&self, kind: char, tag: &str) -> String {
        format!("{}{{{tag}}}:{kind}", self.prefix)
    }
}

/// Returns the bucket of an id. The first two bytes of a user's id and of those of their sessions are the same.
pub(super) fn bucket(id: &[u8; 16]) -> usize {
    let [first, second, ..] = *id;
    usize::from(u16::from_be_bytes([first, second])) * BUCKETS / (1 << u16::BITS)
}

fn tag(id: &[u8; 16]) -> &'static str {
    TAGS.get(bucket(id)).map_or("", String::as_str)
}

/// Returns the slot of every key with this hash tag.
fn slot(tag: &str) -> usize {
    usize::from(State::<XMODEM>::calculate(tag.as_bytes())) % SLOTS
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    /// Returns the slot of a key as Redis does.
    fn slot_of(name: &str) -> usize {
        slot(name.split(['{', '}']).nth(1).unwrap())
    }

    #[test]
    fn all_of_a_user_is_in_one_slot() {
        let names = Names::new("menshen:", &RedisMode::Cluster);
        for n in 0..1000 {
            let user = User::new("wx1", &n.to_string());
            let id = SessionId::draw(user, 1_800_000_000).unwrap();
            let session = names.session(id);
            assert!(session.starts_with("menshen:{"), "{session}");
            let others = [
                names.user(user),
                names.session_keys(user),
                names.ending(user.as_bytes()),
                names.tombstones(user.as_bytes()),
            ];
            for other in others {
                assert_eq!(slot_of(&session), slot_of(&other), "{other}");
            }
            assert_eq!(names.ending(user.as_bytes()), names.ending(id.as_bytes()));
        }
    }

    #[test]
    fn all_of_the_stream_is_in_one_slot() {
        let names = Names::new("menshen:", &RedisMode::Cluster);
        let stream = slot(&names.revoked());
        for other in [
            names.revoked_state(),
            names.revoked_again(),
            names.revoked_repair(),
        ] {
            assert_eq!(slot_of(&other), stream, "{other}");
        }
    }

    #[test]
    fn buckets_are_spread_evenly_over_the_slots() {
        for (bucket, tag) in TAGS.iter().enumerate() {
            assert_eq!(slot(tag) / (SLOTS / BUCKETS), bucket, "{tag}");
        }
        assert_eq!(
            (tag(&[0; 16]), tag(&[255; 16])),
            (TAGS[0].as_str(), TAGS[1023].as_str())
        );
    }

    #[test]
    fn whichever_half_of_a_cluster_is_lost_the_other_tells_the_seal_key() {
        let names = Names::new("menshen:", &RedisMode::Cluster);
        let checks = names.seal_checks();
        let slots: Vec<usize> = checks[1..].iter().map(|name| slot_of(name)).collect();
        for lost in (0..SLOTS).step_by(512) {
            let is_lost = |slot: &usize| (slot + SLOTS - lost) % SLOTS < SLOTS / 2;
            assert!(!slots.iter().all(is_lost), "{slots:?}");
        }
        assert_eq!(Names::new("m:", &RedisMode::Single).seal_checks().len(), 1);
    }

    #[test]
    fn a_pattern_means_nothing_but_its_prefix() {
        let names = Names::new("a*b:", &RedisMode::Single);
        assert_eq!(names.sessions(), "a\\*b:{????}:s:*");
    }

    #[test]
    fn every_set_of_unfinished_ends_is_listed() {
        let names = Names::new("menshen:", &RedisMode::Cluster);
        let all: HashSet<String> = names
            .all_ending()
            .into_iter()
            .flat_map(|page| page.of)
            .collect();
        assert_eq!(all.len(), BUCKETS);
        for n in 0..1000 {
            let user = User::new("wx1", &n.to_string());
            assert!(all.contains(&names.ending(user.as_bytes())));
        }
    }

    #[test]
    fn a_page_is_in_one_slot_of_a_cluster() {
        let ids = || (0..3000u32).map(|n| User::new("wx1", &n.to_string()));
        let ids = || ids().map(|user| SessionId::from_bytes(*user.as_bytes()));
        let names = Names::new("menshen:", &RedisMode::Cluster);
        let pages = names.pages(ids().collect(), 2);
        assert_eq!(pages.iter().map(|page| page.of.len()).sum::<usize>(), 3000);
        for page in pages.iter() {
            assert!((1..=2).contains(&page.of.len()));
            for id in &page.of {
                let slot = redis::cluster_routing::Slot::for_key(names.session(*id));
                assert_eq!(redis::cluster_routing::Slot::new(page.slot), Some(slot));
            }
        }
        let names = Names::new("menshen:", &RedisMode::Single);
        let pages = names.pages(ids().collect(), 1000);
        assert_eq!(pages.len(), 3);
    }
}
