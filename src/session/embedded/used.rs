//! What was used once and nobody but Menshen knows of, so that a process that starts anew refuses it too: the states of logins in
//! browsers, and tickets.

use std::collections::HashMap;
use std::sync::{PoisonError, RwLock};
use std::time::Duration;

use redb::{
    Database, ReadableDatabase as _, ReadableTable as _, StorageError, Table, TableError,
    WriteTransaction,
};

use super::tables::{Bytes, TimeKey, USED, of_time_key, take_until, time_key};
use crate::session::CodeMark;
use crate::session::claim::{Held, Memo};

/// The most that is known of what was used before the file was opened; the latest ones are.
const MOST: usize = 200_000;

/// The table during a write transaction.
pub(super) struct Used<'txn>(Table<'txn, TimeKey, Bytes>);

impl<'txn> Used<'txn> {
    pub(super) fn open(transaction: &'txn WriteTransaction) -> Result<Self, TableError> {
        transaction.open_table(USED).map(Self)
    }

    /// Enters what a new session's code spends.
    pub(super) fn put(&mut self, memo: &Memo, now: u64) -> Result<(), StorageError> {
        let Some((spent, lasts)) = memo.spends else {
            return Ok(());
        };
        let until = |time: Duration| now.saturating_add(time.as_secs());
        if spent != memo.code {
            self.0
                .insert(&time_key(until(lasts), spent.as_bytes()), &b""[..])?;
        }
        let keep = match spent == memo.code {
            true => memo.keep.max(lasts),
            false => memo.keep,
        };
        let brought = memo.sealed.as_slice();
        self.0
            .insert(&time_key(until(keep), memo.code.as_bytes()), brought)?;
        Ok(())
    }

    /// Forgets some of what is over, and returns how many.
    pub(super) fn purge(&mut self, now: u64) -> Result<usize, StorageError> {
        Ok(take_until(&mut self.0, now.saturating_add(1))?.len())
    }
}

/// What was used before the file was opened; what is used later, the process knows by itself.
#[derive(Debug, Default)]
pub(super) struct Earlier(RwLock<HashMap<CodeMark, u64>>);

impl Earlier {
    /// Reads the file.
    pub(super) fn load(&self, database: &Database) -> Result<(), redb::Error> {
        let mut found = HashMap::new();
        let table = database.begin_read()?.open_table(USED)?;
        for entry in table.iter()?.rev().take(MOST) {
            let (until, mark) = of_time_key(entry?.0.value());
            found.insert(CodeMark::from_bytes(mark), until);
        }
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = found;
        Ok(())
    }

    /// Returns until when something is known to be used.
    pub(super) fn until(&self, code: CodeMark, now: u64) -> Option<u64> {
        let known = self.0.read().unwrap_or_else(PoisonError::into_inner);
        known.get(&code).copied().filter(|until| now < *until)
    }
}

/// Reads what is kept of something that is known to be used.
pub(super) fn held(
    database: &Database,
    (code, until): (CodeMark, u64),
    now: u64,
) -> Result<Held, redb::Error> {
    let table = database.begin_read()?.open_table(USED)?;
    let brought = table.get(&time_key(until, code.as_bytes()))?;
    let brought = brought.map(|brought| brought.value().to_vec());
    let left = Duration::from_secs(until.saturating_sub(now));
    Ok(match brought.filter(|brought| !brought.is_empty()) {
        Some(brought) => Held::Memo(brought, left),
        None => Held::Used,
    })
}
