//! Which users have a unionid: an index over the sessions, which exists where users are looked up by it.

use redb::{
    Database, ReadableDatabase as _, ReadableTable as _, StorageError, Table, TableDefinition,
    TableError, TableHandle as _, WriteTransaction,
};

use super::row::Row;
use super::tables::{SESSIONS, newest};
use crate::session::SessionId;
use crate::session::user::{UnionidDigest, User};

/// The digest of a unionid, and a user who has it.
type DigestAndUser = &'static [u8; 32];

const UNIONIDS: TableDefinition<'_, DigestAndUser, ()> = TableDefinition::new("unionids");

/// The index during a write transaction; empty where nobody is looked up.
pub(super) struct Unionids<'txn>(Option<Table<'txn, DigestAndUser, ()>>);

impl<'txn> Unionids<'txn> {
    pub(super) fn open(
        transaction: &'txn WriteTransaction,
        wanted: bool,
    ) -> Result<Self, TableError> {
        let table = wanted.then(|| transaction.open_table(UNIONIDS));
        Ok(Self(table.transpose()?))
    }

    /// Replaces the unionid under which a user is found.
    pub(super) fn replace(
        &mut self,
        user: User,
        old: Option<&str>,
        new: Option<&str>,
    ) -> Result<(), StorageError> {
        let Some(table) = self.0.as_mut() else {
            return Ok(());
        };
        if let Some(old) = old.filter(|_| old != new) {
            table.remove(&key(UnionidDigest::new(old), user))?;
        }
        // Also where it is the same: a version that keeps no index may have written sessions meanwhile.
        if let Some(new) = new {
            table.insert(&key(UnionidDigest::new(new), user), ())?;
        }
        Ok(())
    }
}

/// Makes the index where it is wanted and missing, and removes it where it would no longer be kept.
pub(super) fn prepare(database: &Database, wanted: bool) -> Result<(), redb::Error> {
    let transaction = database.begin_write()?;
    let exists = transaction
        .list_tables()?
        .any(|table| table.name() == UNIONIDS.name());
    match (exists, wanted) {
        (false, true) => fill(&transaction)?,
        (true, false) => drop(transaction.delete_table(UNIONIDS)?),
        (true, true) | (false, false) => return Ok(transaction.abort()?),
    }
    Ok(transaction.commit()?)
}

/// Enters each user by the unionid of their newest session, which is the latest that WeChat gave.
fn fill(transaction: &WriteTransaction) -> Result<(), redb::Error> {
    let sessions = transaction.open_table(SESSIONS)?;
    let mut unionids = Unionids::open(transaction, true)?;
    for stored in sessions.iter()? {
        let (key, bytes) = stored?;
        let sid = SessionId::from_bytes(*key.value());
        // One that cannot be read is found by nothing.
        let Ok(Row { record, .. }) = Row::from_bytes(sid, bytes.value()) else {
            continue;
        };
        let user = record.identity.user();
        if newest(&sessions, user)?.is_some_and(|(newest, _)| newest == sid) {
            unionids.replace(user, None, record.identity.unionid.as_deref())?;
        }
    }
    Ok(())
}

/// Returns users who had a unionid in their newest session at the last commit, up to a limit.
pub(super) fn users_of(
    database: &Database,
    unionid: &str,
    most: usize,
) -> Result<Vec<User>, redb::Error> {
    let table = database.begin_read()?.open_table(UNIONIDS)?;
    let digest = UnionidDigest::new(unionid);
    let bounds = [[0; 16], [u8::MAX; 16]].map(|user| key(digest, User::from_bytes(user)));
    let [least, greatest] = &bounds;
    let mut users = Vec::new();
    for entry in table.range::<&[u8; 32]>(least..=greatest)?.take(most) {
        let (key, _) = entry?;
        if let Some(user) = key.value().last_chunk() {
            users.push(User::from_bytes(*user));
        }
    }
    Ok(users)
}

fn key(unionid: UnionidDigest, user: User) -> [u8; 32] {
    let mut out = [0; 32];
    let bytes = unionid.as_bytes().iter().chain(user.as_bytes());
    for (to, from) in out.iter_mut().zip(bytes) {
        *to = *from;
    }
    out
}
