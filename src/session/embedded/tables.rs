//! The tables of the embedded store, their keys, and the look-ups that reading and writing share.

use redb::{ReadableTable, StorageError, TableDefinition, TableError, WriteTransaction};

use crate::session::SessionId;
use crate::session::encoding::Damaged;
use crate::session::record::Record;
use crate::session::user::User;

pub(super) type Sid = &'static [u8; 16];
pub(super) type UserId = &'static [u8; 16];
/// Seconds since the Unix epoch and a session; a table with this key is ordered by time.
pub(super) type TimeAndSid = &'static [u8; 24];
pub(super) type Bytes = &'static [u8];

pub(super) const SESSIONS: TableDefinition<'_, Sid, Bytes> = TableDefinition::new("sessions");
pub(super) const EXPIRIES: TableDefinition<'_, TimeAndSid, ()> = TableDefinition::new("expiries");
pub(super) const SESSION_KEYS: TableDefinition<'_, UserId, Bytes> =
    TableDefinition::new("session_keys");
pub(super) const REVOKED: TableDefinition<'_, TimeAndSid, ()> = TableDefinition::new("revoked");
pub(super) const META: TableDefinition<'_, &str, Bytes> = TableDefinition::new("meta");
/// The place in [`META`] of the value that tells which seal key belongs to the data.
pub(super) const SEAL_CHECK: &str = "seal_check";

/// Makes the tables that do not exist yet; reading needs every one of them.
pub(super) fn create_all(transaction: &WriteTransaction) -> Result<(), TableError> {
    transaction.open_table(SESSIONS)?;
    transaction.open_table(EXPIRIES)?;
    transaction.open_table(SESSION_KEYS)?;
    transaction.open_table(REVOKED)?;
    Ok(())
}

pub(super) fn time_and_sid(time: u64, sid: SessionId) -> [u8; 24] {
    let mut out = [0; 24];
    for (to, from) in out
        .iter_mut()
        .zip(time.to_be_bytes().iter().chain(sid.as_bytes()))
    {
        *to = *from;
    }
    out
}

/// Takes the key of a table that is ordered by time apart.
pub(super) fn time_of(key: &[u8; 24]) -> Option<(u64, SessionId)> {
    let (time, sid) = key.split_first_chunk()?;
    let sid = SessionId::from_bytes(*sid.first_chunk()?);
    Some((u64::from_be_bytes(*time), sid))
}

/// Why an operation on the tables failed.
#[derive(Debug)]
pub(super) enum Fault {
    /// It met a record that it cannot read, and has changed nothing.
    Damaged,
    /// The file failed; the transaction cannot go on.
    Storage(StorageError),
}

impl From<Damaged> for Fault {
    fn from(_: Damaged) -> Self {
        Self::Damaged
    }
}

impl From<StorageError> for Fault {
    fn from(error: StorageError) -> Self {
        Self::Storage(error)
    }
}

/// Reads one session, which may have expired.
pub(super) fn session(
    sessions: &impl ReadableTable<Sid, Bytes>,
    sid: SessionId,
) -> Result<Option<Record>, Fault> {
    match sessions.get(sid.as_bytes())? {
        Some(bytes) => Ok(Some(Record::from_bytes(bytes.value())?)),
        None => Ok(None),
    }
}

/// Reads the sessions of a user that have not expired, or so many of them.
pub(super) fn live_sessions(
    sessions: &impl ReadableTable<Sid, Bytes>,
    user: User,
    now: u64,
    most: usize,
) -> Result<Vec<(SessionId, Record)>, Fault> {
    sessions_of(sessions, user)?
        .filter(|entry| match entry {
            Ok((_, record)) => now < record.expires,
            Err(_) => true,
        })
        .take(most)
        .collect()
}

/// Walks the sessions of a user, expired ones included.
pub(super) fn sessions_of(
    sessions: &impl ReadableTable<Sid, Bytes>,
    user: User,
) -> Result<impl Iterator<Item = Result<(SessionId, Record), Fault>>, StorageError> {
    let (least, greatest) = SessionId::range_of(user);
    let range = sessions.range::<&[u8; 16]>(least.as_bytes()..=greatest.as_bytes())?;
    let read = range.map(|entry| {
        let (key, bytes) = entry?;
        let record = Record::from_bytes(bytes.value())?;
        Ok((SessionId::from_bytes(*key.value()), record))
    });
    Ok(read.filter(move |entry| match entry {
        Ok((_, record)) => record.identity.user() == user,
        Err(_) => true,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_order_the_keys() {
        let first = time_and_sid(255, SessionId::from_bytes([9; 16]));
        let second = time_and_sid(256, SessionId::from_bytes([0; 16]));
        assert!(first < second);
        assert_eq!(time_of(&first), Some((255, SessionId::from_bytes([9; 16]))));
    }
}
