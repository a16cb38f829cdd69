//! The tables of the embedded store, and the look-ups that readers and the writer share.

use redb::{
    ReadableTable, StorageError, Table, TableDefinition, TableError, Value, WriteTransaction,
};

use super::row::Row;
use crate::session::SessionId;
use crate::session::encoding::Damaged;
use crate::session::user::User;

pub(super) type Bytes = &'static [u8];
/// A session id. It begins with eight bytes of its user and four of its time: a user's sessions are side by side, oldest first.
pub(super) type Sid = &'static [u8; 16];
/// Seconds since the Unix epoch, and what they are about: see [`time_key`].
pub(super) type TimeKey = &'static [u8; 24];

/// Each session, as a [`Row`].
pub(super) const SESSIONS: TableDefinition<'_, Sid, Bytes> = TableDefinition::new("sessions");
/// When each session expires; what is due comes first.
pub(super) const EXPIRIES: TableDefinition<'_, TimeKey, ()> = TableDefinition::new("expiries");
/// The sessions whose tokens are refused, and until when.
pub(super) const REVOKED: TableDefinition<'_, TimeKey, ()> = TableDefinition::new("revoked");
/// What was used and must not be used again, until when, and what the use brought, as in [`Memo`](crate::session::claim::Memo);
/// nothing where that is kept elsewhere or no longer.
pub(super) const USED: TableDefinition<'_, TimeKey, Bytes> = TableDefinition::new("used");
pub(super) const META: TableDefinition<'_, &str, Bytes> = TableDefinition::new("meta");
/// The key in [`META`] of the check of the seal key.
pub(super) const SEAL_CHECK: &str = "seal_check";
/// The key in [`META`] of the value that is written to test the disk.
pub(super) const TRIED_OUT: &str = "tried_out";
/// The key in [`META`] of the layout's number.
pub(super) const LAYOUT: &str = "layout";
/// Increased with every change of tables or rows that older versions would misread.
pub(super) const LAYOUT_NUMBER: &[u8] = b"2";

/// How many entries of a table one batch purges, so that a crowd of them never holds up a login.
pub(super) const PURGE_STEP: usize = 64;

/// Creates the tables that do not exist yet, since reading needs all of them.
pub(super) fn create_all(transaction: &WriteTransaction) -> Result<(), TableError> {
    transaction.open_table(SESSIONS)?;
    transaction.open_table(EXPIRIES)?;
    transaction.open_table(REVOKED)?;
    transaction.open_table(USED)?;
    Ok(())
}

/// Makes a key that is ordered by its time.
pub(super) fn time_key(time: u64, of: &[u8; 16]) -> [u8; 24] {
    let mut out = [0; 24];
    for (to, from) in out.iter_mut().zip(time.to_be_bytes().iter().chain(of)) {
        *to = *from;
    }
    out
}

/// The inverse of [`time_key`].
pub(super) fn of_time_key(key: &[u8; 24]) -> (u64, [u8; 16]) {
    let [a, b, c, d, e, f, g, h, of @ ..] = *key;
    (u64::from_be_bytes([a, b, c, d, e, f, g, h]), of)
}

/// Removes the keys of times before `end`, a few at most, and returns what they are about.
pub(super) fn take_until<V: Value>(
    table: &mut Table<'_, TimeKey, V>,
    end: u64,
) -> Result<Vec<[u8; 16]>, StorageError> {
    let end = time_key(end, &[0; 16]);
    let over = table.extract_from_if::<&[u8; 24], _>(..&end, |_, _| true)?;
    let over = over.take(PURGE_STEP);
    over.map(|entry| Ok(of_time_key(entry?.0.value()).1))
        .collect()
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

/// A session as far as it can be read.
pub(super) type Stored = (SessionId, Result<Row, Damaged>);

/// Reads a session; it may have expired.
pub(super) fn row(
    sessions: &impl ReadableTable<Sid, Bytes>,
    sid: SessionId,
) -> Result<Option<Result<Row, Damaged>>, StorageError> {
    let stored = sessions.get(sid.as_bytes())?;
    Ok(stored.map(|bytes| Row::from_bytes(sid, bytes.value())))
}

/// Reads a user's sessions, oldest first, expired ones included. One that cannot be read may be another user's.
pub(super) fn rows_of(
    sessions: &impl ReadableTable<Sid, Bytes>,
    user: User,
) -> Result<impl DoubleEndedIterator<Item = Result<Stored, StorageError>>, StorageError> {
    let (least, greatest) = SessionId::range_of(user);
    let range = sessions.range::<&[u8; 16]>(least.as_bytes()..=greatest.as_bytes())?;
    let rows = range.map(|stored| {
        let (key, bytes) = stored?;
        let sid = SessionId::from_bytes(*key.value());
        Ok((sid, Row::from_bytes(sid, bytes.value())))
    });
    let is_theirs = move |row: &Row| row.record.identity.user() == user;
    Ok(rows.filter(move |stored| match stored {
        Ok((_, Ok(row))) => is_theirs(row),
        Ok((_, Err(Damaged))) | Err(_) => true,
    }))
}

/// Reads the newest session of a user, in which their session_keys and their unionid are. One that cannot be read is skipped, so
/// that it keeps nobody from logging in or out.
pub(super) fn newest(
    sessions: &impl ReadableTable<Sid, Bytes>,
    user: User,
) -> Result<Option<(SessionId, Row)>, StorageError> {
    for stored in rows_of(sessions, user)?.rev() {
        if let (sid, Ok(row)) = stored? {
            return Ok(Some((sid, row)));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_order_the_keys() {
        let (first, second) = (time_key(255, &[9; 16]), time_key(256, &[0; 16]));
        assert!(first < second);
        assert_eq!(of_time_key(&first), (255, [9; 16]));
    }
}
