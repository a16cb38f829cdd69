//! The tables of the embedded store, their keys, and the look-ups that reading and writing share.

use redb::{ReadableTable, StorageError, TableDefinition, TableError, WriteTransaction};

use crate::session::SessionId;
use crate::session::encoding::Damaged;
use crate::session::record::Record;
use crate::session::user::User;

/// The eight bytes that all of a user's begins with, which kind it is, and the other eight of its id. So what a user has lies side
/// by side, and a login writes it on one page.
pub(super) type Place = &'static [u8; 17];
/// Seconds since the Unix epoch and a session; a table with this key is ordered by time.
pub(super) type TimeAndSid = &'static [u8; 24];
pub(super) type Bytes = &'static [u8];

/// Sessions, and the session_keys of each user before theirs.
pub(super) const USERS: TableDefinition<'_, Place, Bytes> = TableDefinition::new("users");
pub(super) const EXPIRIES: TableDefinition<'_, TimeAndSid, ()> = TableDefinition::new("expiries");
pub(super) const REVOKED: TableDefinition<'_, TimeAndSid, ()> = TableDefinition::new("revoked");
pub(super) const META: TableDefinition<'_, &str, Bytes> = TableDefinition::new("meta");
/// The place in [`META`] of the value that tells which seal key belongs to the data.
pub(super) const SEAL_CHECK: &str = "seal_check";

const KEYS: u8 = 0;
const SESSION: u8 = 1;

/// Makes the tables that do not exist yet; reading needs every one of them.
pub(super) fn create_all(transaction: &WriteTransaction) -> Result<(), TableError> {
    transaction.open_table(USERS)?;
    transaction.open_table(EXPIRIES)?;
    transaction.open_table(REVOKED)?;
    Ok(())
}

pub(super) fn place_of(sid: SessionId) -> [u8; 17] {
    place(sid.as_bytes(), SESSION)
}

pub(super) fn place_of_keys(user: User) -> [u8; 17] {
    place(user.as_bytes(), KEYS)
}

fn place([a, b, c, d, e, f, g, h, rest @ ..]: &[u8; 16], kind: u8) -> [u8; 17] {
    let [i, j, k, l, m, n, o, p] = *rest;
    [*a, *b, *c, *d, *e, *f, *g, *h, kind, i, j, k, l, m, n, o, p]
}

fn sid_at([a, b, c, d, e, f, g, h, _, rest @ ..]: &[u8; 17]) -> SessionId {
    let [i, j, k, l, m, n, o, p] = *rest;
    SessionId::from_bytes([*a, *b, *c, *d, *e, *f, *g, *h, i, j, k, l, m, n, o, p])
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
    users: &impl ReadableTable<Place, Bytes>,
    sid: SessionId,
) -> Result<Option<Record>, Fault> {
    match users.get(&place_of(sid))? {
        Some(bytes) => Ok(Some(Record::from_bytes(bytes.value())?)),
        None => Ok(None),
    }
}

/// Reads the sessions of a user that have not expired, or so many of them.
pub(super) fn live_sessions(
    users: &impl ReadableTable<Place, Bytes>,
    user: User,
    now: u64,
    most: usize,
) -> Result<Vec<(SessionId, Record)>, Fault> {
    sessions_of(users, user)?
        .filter(|entry| match entry {
            Ok((_, record)) => now < record.expires,
            Err(_) => true,
        })
        .take(most)
        .collect()
}

/// Walks the sessions of a user, expired ones included.
pub(super) fn sessions_of(
    users: &impl ReadableTable<Place, Bytes>,
    user: User,
) -> Result<impl Iterator<Item = Result<(SessionId, Record), Fault>>, StorageError> {
    let (least, greatest) = SessionId::range_of(user);
    let range = users.range::<&[u8; 17]>(&place_of(least)..=&place_of(greatest))?;
    let read = range.map(|entry| {
        let (key, bytes) = entry?;
        let record = Record::from_bytes(bytes.value())?;
        Ok((sid_at(key.value()), record))
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
    fn what_a_user_has_lies_side_by_side() {
        let (alice, bob) = (User::new("wx1", "alice"), User::new("wx1", "bob"));
        let session = |user| place_of(SessionId::random(user).unwrap());
        let mut places = [
            session(bob),
            session(alice),
            place_of_keys(alice),
            place_of_keys(bob),
        ];
        places.sort();
        assert_eq!(places[0][..8], places[1][..8]);
        assert_eq!(places[2][..8], places[3][..8]);
        let sid = SessionId::random(bob).unwrap();
        assert_eq!(sid_at(&place_of(sid)), sid);
    }

    #[test]
    fn times_order_the_keys() {
        let first = time_and_sid(255, SessionId::from_bytes([9; 16]));
        let second = time_and_sid(256, SessionId::from_bytes([0; 16]));
        assert!(first < second);
        assert_eq!(time_of(&first), Some((255, SessionId::from_bytes([9; 16]))));
    }
}
