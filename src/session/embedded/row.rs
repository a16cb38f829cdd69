//! The bytes of a session in the embedded store: what every store keeps of it, and its user's session_keys.

use crate::session::SessionId;
use crate::session::encoding::{Damaged, Rest, put_number};
use crate::session::record::Record;
use crate::session::store::SealedKeys;

/// A session as it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Row {
    pub(super) record: Record,
    /// The session_keys at the login. Those of the user's newest session count.
    pub(super) keys: SealedKeys,
}

impl Row {
    pub(super) fn to_bytes(&self) -> Vec<u8> {
        let record = self.record.to_bytes();
        let SealedKeys { latest, previous } = &self.keys;
        let mut out = Vec::with_capacity(256);
        put_number(&mut out, record.len() as u64);
        out.extend_from_slice(&record);
        put_number(&mut out, latest.len() as u64);
        out.extend_from_slice(latest);
        if let Some((previous, replaced)) = previous {
            put_number(&mut out, *replaced);
            out.extend_from_slice(previous);
        }
        out
    }

    pub(super) fn from_bytes(sid: SessionId, bytes: &[u8]) -> Result<Self, Damaged> {
        let mut rest = Rest(bytes);
        let length = rest.number()?;
        let record = Record::from_bytes(rest.bytes(length)?)?;
        if !sid.is_of(record.identity.user()) {
            return Err(Damaged);
        }
        let length = rest.number()?;
        let latest = rest.bytes(length)?.to_vec();
        let previous = if rest.0.is_empty() {
            None
        } else {
            let replaced = rest.number()?;
            Some((rest.0.to_vec(), replaced))
        };
        let keys = SealedKeys { latest, previous };
        Ok(Self { record, keys })
    }

    pub(super) fn is_live(&self, now: u64) -> bool {
        now < self.record.expires
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::session::contract::identity;
    use crate::session::rotation::Rotation;

    fn row(name: &str, keys: SealedKeys) -> (SessionId, Row) {
        let record = Record {
            identity: identity(name),
            created: 1_700_000_000,
            expires: 1_702_592_000,
            rotation: Rotation::first([7; 16]),
        };
        let sid = SessionId::draw(record.identity.user(), record.created).unwrap();
        (sid, Row { record, keys })
    }

    proptest! {
        #[test]
        fn a_row_survives_its_bytes(
            name in "[a-z]{1,40}",
            latest: Vec<u8>,
            previous in proptest::option::of(any::<(Vec<u8>, u64)>()),
            replaced in proptest::collection::vec(any::<u64>(), 0..40),
        ) {
            let (sid, mut row) = row(&name, SealedKeys { latest, previous });
            row.record.rotation.replaced = replaced;
            let read = Row::from_bytes(sid, &row.to_bytes()).unwrap();
            prop_assert_eq!(&read.record, &row.record);
            prop_assert_eq!(&read.keys, &row.keys);
            prop_assert_eq!(read.to_bytes(), row.to_bytes());
        }

        #[test]
        fn a_row_of_somebody_elses_id_is_damaged(name in "[a-z]{1,40}") {
            let keys = SealedKeys { latest: vec![1], previous: None };
            let (_, row) = row(&name, keys);
            let sid = SessionId::draw(identity(&format!("{name}-")).user(), 0).unwrap();
            prop_assert_eq!(Row::from_bytes(sid, &row.to_bytes()), Err(Damaged));
        }

        #[test]
        fn no_bytes_make_the_decoder_panic(bytes: Vec<u8>, name in "[a-z]{1,8}", cut in 0_usize..300) {
            let sid = SessionId::from_bytes([7; 16]);
            let _ = Row::from_bytes(sid, &bytes);
            let keys = SealedKeys { latest: bytes.clone(), previous: Some((bytes, 1)) };
            let (sid, row) = row(&name, keys);
            let whole = row.to_bytes();
            let _ = Row::from_bytes(sid, whole.get(..cut).unwrap_or(&whole));
        }
    }
}
