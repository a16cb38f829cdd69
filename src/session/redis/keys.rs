//! The names of the keys; braces mark the part by which a Cluster chooses the slot.

use std::sync::Arc;

use crc16::{State, XMODEM};

use crate::config::RedisMode;
use crate::session::SessionId;
use crate::session::claim::CodeMark;
use crate::session::kept::Slot;
use crate::session::user::User;

const SLOTS: u16 = 16384;
/// In how many slots of a Cluster, evenly spread, it is written which seal key belongs to the data.
const WITNESSES: u16 = 8;

/// Makes the names that begin with the configured prefix.
#[derive(Clone, Debug)]
pub(super) struct Names {
    prefix: String,
    buckets: Buckets,
}

/// Where the ends of sessions are noted: in few keys, since each of them costs memory.
#[derive(Clone, Debug)]
enum Buckets {
    /// By the first bits of an id.
    OfBits,
    /// One for each slot: a script of a Cluster works in one slot. The first tag of each slot, by slot.
    OfSlots(Arc<Vec<Option<u16>>>),
}

impl Names {
    pub(super) fn new(prefix: &str, mode: &RedisMode) -> Self {
        let buckets = match mode {
            RedisMode::Single | RedisMode::Sentinel { .. } => Buckets::OfBits,
            RedisMode::Cluster => Buckets::OfSlots(Arc::new(first_tags())),
        };
        Self {
            prefix: prefix.to_owned(),
            buckets,
        }
    }

    /// Returns the names of what is tried at the start, which are nobody else's.
    pub(super) fn rehearsed(&self) -> Self {
        Self {
            prefix: format!("{}rehearsal:", self.prefix),
            buckets: self.buckets.clone(),
        }
    }

    /// A hash: one session.
    pub(super) fn session(&self, id: SessionId) -> String {
        self.name('s', id.as_bytes())
    }

    /// A sorted set: a user's sessions by their ends.
    pub(super) fn user(&self, user: User) -> String {
        self.name('u', user.as_bytes())
    }

    /// A hash: a user's session_keys, sealed.
    pub(super) fn session_keys(&self, user: User) -> String {
        self.name('k', user.as_bytes())
    }

    /// A set: the sessions of a bucket that were removed and are yet to be revoked. The id may be a user's or a session's.
    pub(super) fn ending(&self, id: &[u8; 16]) -> String {
        self.of_bucket('e', &self.bucket(id, 8))
    }

    /// A string: the tombstones of a bucket. A refresh looks through the whole of it, so that there are more of them.
    pub(super) fn tombstones(&self, id: &[u8; 16]) -> String {
        self.of_bucket('t', &self.bucket(id, 10))
    }

    /// Returns the names that [`Self::ending`] can have.
    pub(super) fn all_ending(&self) -> Vec<String> {
        let buckets: Vec<String> = match &self.buckets {
            Buckets::OfBits => (0..=u8::MAX).map(|byte| format!("{byte:02x}")).collect(),
            Buckets::OfSlots(tags) => tags.iter().flatten().map(|tag| hex(*tag)).collect(),
        };
        let buckets = buckets.iter();
        buckets.map(|bucket| self.of_bucket('e', bucket)).collect()
    }

    /// A string: who redeems a code, or what it brought, sealed.
    pub(super) fn code(&self, code: CodeMark) -> String {
        self.name('c', code.as_bytes())
    }

    /// A hash: something that nodes keep together, whose turn it is to replace it, and how often that was forced.
    pub(super) fn kept(&self, slot: Slot) -> String {
        self.name('a', slot.as_bytes())
    }

    /// A stream: the revocations.
    pub(super) fn revoked(&self) -> String {
        format!("{}revoked", self.prefix)
    }

    /// A hash in the slot of the stream: what is counted of it.
    pub(super) fn revoked_state(&self) -> String {
        format!("{0}{{{0}revoked}}:state", self.prefix)
    }

    /// A set in the slot of the stream: the revocations that were added again a moment ago.
    pub(super) fn revoked_again(&self) -> String {
        format!("{0}{{{0}revoked}}:again", self.prefix)
    }

    /// Strings that tell which seal key belongs to the data, the one that decides first. A Cluster loses a slot or a server and
    /// keeps the others.
    pub(super) fn seal_checks(&self) -> Vec<String> {
        let first = format!("{}seal-check", self.prefix);
        let tags = match &self.buckets {
            Buckets::OfBits => Vec::new(),
            Buckets::OfSlots(tags) => {
                let slots = (0..WITNESSES).map(|at| (2 * at + 1) * (SLOTS / WITNESSES / 2));
                slots
                    .filter_map(|slot| *tags.get(usize::from(slot))?)
                    .collect()
            }
        };
        let others = tags.into_iter().map(hex);
        let others = others.map(|tag| format!("{}{{{tag}}}:seal-check", self.prefix));
        std::iter::once(first).chain(others).collect()
    }

    /// Returns the slot of everything of an id.
    #[cfg(test)]
    pub(super) fn slot(&self, id: &[u8; 16]) -> u16 {
        slot(tag(id))
    }

    /// Returns the pattern of every name that [`Self::session`] makes.
    pub(super) fn sessions(&self) -> String {
        let special = |c: char| matches!(c, '*' | '?' | '[' | ']' | '\\' | '^' | '-');
        let escaped = self.prefix.chars().flat_map(|c| {
            let escape = special(c).then_some('\\');
            escape.into_iter().chain([c])
        });
        format!("{}{{????}}:s:*", escaped.collect::<String>())
    }

    /// The first two bytes are the same in a user's id and in those of their sessions.
    fn name(&self, kind: char, id: &[u8; 16]) -> String {
        let tag = hex(tag(id));
        let id = u128::from_be_bytes(*id);
        format!("{}{{{tag}}}:{kind}:{id:032x}", self.prefix)
    }

    fn of_bucket(&self, kind: char, bucket: &str) -> String {
        format!("{}{{{bucket}}}:{kind}", self.prefix)
    }

    /// Returns the bucket of an id, by its first `bits` where a slot is of no account.
    fn bucket(&self, id: &[u8; 16], bits: u32) -> String {
        let own = tag(id);
        match &self.buckets {
            Buckets::OfBits => format!("{:02x}", own >> (u16::BITS - bits)),
            Buckets::OfSlots(tags) => {
                let first = tags.get(usize::from(slot(own))).copied().flatten();
                hex(first.unwrap_or(own))
            }
        }
    }
}

fn tag(id: &[u8; 16]) -> u16 {
    let [first, second, ..] = *id;
    u16::from_be_bytes([first, second])
}

fn hex(tag: u16) -> String {
    format!("{tag:04x}")
}

/// Returns the slot of every key with this tag.
fn slot(tag: u16) -> u16 {
    State::<XMODEM>::calculate(hex(tag).as_bytes()) % SLOTS
}

fn first_tags() -> Vec<Option<u16>> {
    let mut first = vec![None; usize::from(SLOTS)];
    for tag in (0..=u16::MAX).rev() {
        if let Some(first) = first.get_mut(usize::from(slot(tag))) {
            *first = Some(tag);
        }
    }
    first
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn all_of_a_user_is_in_one_slot() {
        let names = Names::new("menshen:", &RedisMode::Cluster);
        let slot_of = |name: &str| {
            let tag = name.split(['{', '}']).nth(1).unwrap().to_owned();
            State::<XMODEM>::calculate(tag.as_bytes()) % SLOTS
        };
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
    fn whichever_half_of_a_cluster_is_lost_the_other_tells_the_seal_key() {
        let names = Names::new("menshen:", &RedisMode::Cluster);
        let checks = names.seal_checks();
        let slots: Vec<u16> = checks
            .iter()
            .filter_map(|name| name.split(['{', '}']).nth(1))
            .map(|tag| State::<XMODEM>::calculate(tag.as_bytes()) % SLOTS)
            .collect();
        for lost in (0..SLOTS).step_by(512) {
            let is_lost = |slot: &u16| slot.wrapping_sub(lost) % SLOTS < SLOTS / 2;
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
    fn every_place_where_ends_are_noted_is_listed() {
        for (mode, most) in [(RedisMode::Single, 256), (RedisMode::Cluster, 16384)] {
            let names = Names::new("menshen:", &mode);
            let all: HashSet<String> = names.all_ending().into_iter().collect();
            assert!(all.len() <= most);
            for n in 0..1000 {
                let user = User::new("wx1", &n.to_string());
                assert!(all.contains(&names.ending(user.as_bytes())));
            }
        }
    }
}
