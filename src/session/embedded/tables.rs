//! The tables of the embedded store, and the look-ups that readers and the writer share.

use redb::{ReadableTable, StorageError, TableDefinition, TableError, WriteTransaction};

use super::index::Entry;
use super::row::Row;
use crate::session::SessionId;
use crate::session::encoding::Damaged;
use crate::session::user::User;

pub(super) type Bytes = &'static [u8];
/// Seconds since the Unix epoch and a place among the sessions.
pub(super) type TimeAndPlace = (u64, u64);
/// Seconds since the Unix epoch and a session.
pub(super) type TimeAndSid = &'static [u8; 24];

/// Sessions in the order of their logins. New ones fill the last page: many logins share one, and full pages are left alone.
pub(super) const SESSIONS: TableDefinition<'_, u64, Bytes> = TableDefinition::new("sessions");
pub(super) const EXPIRIES: TableDefinition<'_, TimeAndPlace, ()> = TableDefinition::new("expiries");
pub(super) const REVOKED: TableDefinition<'_, TimeAndSid, ()> = TableDefinition::new("revoked");
pub(super) const META: TableDefinition<'_, &str, Bytes> = TableDefinition::new("meta");
/// The key in [`META`] of the check of the seal key.
pub(super) const SEAL_CHECK: &str = "seal_check";
/// The key in [`META`] of the value that is written to test the disk.
pub(super) const TRIED_OUT: &str = "tried_out";
/// The key in [`META`] of the layout's number.
pub(super) const LAYOUT: &str = "layout";
/// Increased with every change of tables or rows that older versions would misread.
pub(super) const LAYOUT_NUMBER: &[u8] = b"1";

/// Creates the tables that do not exist yet, since reading needs all of them.
pub(super) fn create_all(transaction: &WriteTransaction) -> Result<(), TableError> {
    transaction.open_table(SESSIONS)?;
    transaction.open_table(EXPIRIES)?;
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

/// The inverse of [`time_and_sid`].
pub(super) fn time_of(key: &[u8; 24]) -> Option<(u64, SessionId)> {
    let (time, sid) = key.split_first_chunk()?;
    let sid = SessionId::from_bytes(*sid.first_chunk()?);
    Some((u64::from_be_bytes(*time), sid))
}

/// Why an operation on the tables failed.
#[derive(Debug)]
pub(super) enum Fault {
    /// A record cannot be read; nothing was changed.
    Damaged,
    /// The file failed, and with it the transaction.
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

/// Reads the session at a place; it may have expired.
pub(super) fn row(
    sessions: &impl ReadableTable<u64, Bytes>,
    (sid, place): Entry,
) -> Result<Option<Row>, Fault> {
    let stored = row_at(sessions, place)?;
    Ok(stored.filter(|row| row.sid == sid))
}

/// Reads the session at a place, whoever's it is.
pub(super) fn row_at(
    sessions: &impl ReadableTable<u64, Bytes>,
    place: u64,
) -> Result<Option<Row>, Fault> {
    match sessions.get(place)? {
        Some(bytes) => Ok(Some(Row::from_bytes(bytes.value())?)),
        None => Ok(None),
    }
}

/// Reads a user's sessions among these, expired ones included.
pub(super) fn rows_of(
    sessions: &impl ReadableTable<u64, Bytes>,
    user: User,
    entries: impl Iterator<Item = Entry>,
) -> impl Iterator<Item = Result<(u64, Row), Fault>> {
    entries.filter_map(move |entry| match row(sessions, entry) {
        Ok(Some(row)) if row.record.identity.user() == user => Some(Ok((entry.1, row))),
        Ok(_) => None,
        Err(fault) => Some(Err(fault)),
    })
}

/// Skips rows that cannot be read, so that they keep nobody from logging in or out.
pub(super) fn readable<T>(entry: Result<T, Fault>) -> Option<Result<T, StorageError>> {
    match entry {
        Ok(entry) => Some(Ok(entry)),
        Err(Fault::Damaged) => None,
        Err(Fault::Storage(error)) => Some(Err(error)),
    }
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
