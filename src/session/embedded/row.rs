//! The bytes of a session in the embedded store: its id, what every store keeps of it, and its user's session_keys.

use super::sealed_keys;
use crate::session::SessionId;
use crate::session::encoding::{Damaged, Rest, put_number};
use crate::session::record::Record;
use crate::session::store::SealedKeys;

/// Spare bytes of a row: how much longer a session may become before its row does. A row that grows would get half a page of its
/// own. The first refresh adds as many bytes, later ones hardly any.
const SLACK: usize = 6;
/// How much space of a record that became shorter stays free.
const MOST_FREE: usize = 32;

/// A session as it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Row {
    pub(super) sid: SessionId,
    pub(super) record: Record,
    /// The session_keys at the login. Those of the user's newest session count.
    pub(super) keys: SealedKeys,
    /// How many bytes the record may take before the row becomes longer.
    pub(super) room: usize,
}

impl Row {
    pub(super) fn new(sid: SessionId, record: Record, keys: SealedKeys) -> Self {
        let room = record.to_bytes().len().saturating_add(SLACK);
        Self {
            sid,
            record,
            keys,
            room,
        }
    }

    pub(super) fn to_bytes(&self) -> Vec<u8> {
        let record = self.record.to_bytes();
        let free = self.room.checked_sub(record.len()).unwrap_or(SLACK);
        let free = free.min(MOST_FREE);
        let mut out = Vec::with_capacity(256);
        out.extend_from_slice(self.sid.as_bytes());
        put_number(&mut out, record.len() as u64);
        out.extend_from_slice(&record);
        put_number(&mut out, free as u64);
        out.extend(std::iter::repeat_n(0, free));
        out.extend_from_slice(&sealed_keys::to_bytes(&self.keys));
        out
    }

    pub(super) fn from_bytes(bytes: &[u8]) -> Result<Self, Damaged> {
        let mut rest = Rest(bytes);
        let sid = SessionId::from_bytes(*rest.take()?);
        let length = rest.number()?;
        let bytes = rest.bytes(length)?;
        let free = rest.number()?;
        let free = rest.bytes(free)?;
        let record = Record::from_bytes(bytes)?;
        if !sid.is_of(record.identity.user()) {
            return Err(Damaged);
        }
        Ok(Self {
            sid,
            record,
            keys: sealed_keys::from_bytes(rest.0)?,
            room: bytes.len().saturating_add(free.len()),
        })
    }
}

/// Reads the session id of a row, even if the rest cannot be read.
pub(super) fn sid_of(bytes: &[u8]) -> Option<SessionId> {
    bytes
        .first_chunk()
        .map(|bytes| SessionId::from_bytes(*bytes))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::session::contract::identity;
    use crate::session::rotation::{Presented, Rotation};

    fn row(name: &str, keys: SealedKeys) -> Row {
        let record = Record {
            identity: identity(name),
            created: 1_700_000_000,
            expires: 1_702_592_000,
            rotation: Rotation::first([7; 16]),
        };
        let sid = SessionId::draw(record.identity.user(), record.created).unwrap();
        Row::new(sid, record, keys)
    }

    proptest! {
        #[test]
        fn a_row_survives_its_bytes(
            name in "[a-z]{1,40}",
            latest: Vec<u8>,
            previous in proptest::option::of(any::<(Vec<u8>, u64)>()),
            replaced in proptest::collection::vec(any::<u64>(), 0..40),
        ) {
            let mut row = row(&name, SealedKeys { latest, previous });
            row.record.rotation.replaced = replaced;
            let read = Row::from_bytes(&row.to_bytes()).unwrap();
            prop_assert_eq!(&read.record, &row.record);
            prop_assert_eq!(&read.keys, &row.keys);
            prop_assert_eq!(read.sid, row.sid);
            prop_assert_eq!(read.to_bytes(), row.to_bytes());
        }

        #[test]
        fn a_row_of_somebody_elses_id_is_damaged(name in "[a-z]{1,40}") {
            let keys = SealedKeys { latest: vec![1], previous: None };
            let mut row = row(&name, keys);
            row.sid = SessionId::draw(identity(&format!("{name}-")).user(), 0).unwrap();
            prop_assert_eq!(Row::from_bytes(&row.to_bytes()), Err(Damaged));
        }

        #[test]
        fn no_bytes_make_the_decoder_panic(bytes: Vec<u8>) {
            let _ = Row::from_bytes(&bytes);
            let _ = sid_of(&bytes);
        }
    }

    #[test]
    fn room_that_was_needed_for_a_while_is_given_back() {
        let keys = SealedKeys {
            latest: vec![1],
            previous: None,
        };
        let mut row = row("alice", keys);
        let length = row.to_bytes().len();
        row.record.rotation.replaced = vec![row.record.created + 9999; 64];
        row = Row::from_bytes(&row.to_bytes()).unwrap();
        row.record.rotation.replaced.clear();
        assert!(row.to_bytes().len() <= length + MOST_FREE);
    }

    #[test]
    fn refreshes_leave_the_row_as_long_as_it_was() {
        let keys = SealedKeys {
            latest: vec![1; 33],
            previous: None,
        };
        let mut row = row("alice", keys);
        let length = row.to_bytes().len();
        let mut now = row.record.created;
        for generation in 0..300 {
            now += 7200;
            let successor = [generation as u8; 16];
            let current = row.record.rotation.current;
            let rotation = &row.record.rotation;
            let presented = rotation.present(generation, &[current], successor, now, 30);
            let Presented::Current(next) = presented else {
                panic!("{presented:?}");
            };
            row.record.rotation = next;
            row.record.expires = now + 2_592_000;
            row = Row::from_bytes(&row.to_bytes()).unwrap();
            assert_eq!(row.to_bytes().len(), length, "after {generation}");
        }
    }
}
