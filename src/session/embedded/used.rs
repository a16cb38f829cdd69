//! What was used once and nobody but Menshen knows of, so that a process that starts anew refuses it too: the states of logins in
//! browsers, and tickets.

use std::collections::HashMap;
use std::sync::{PoisonError, RwLock};
use std::time::Duration;

use redb::{
    Database, ReadTransaction, ReadableDatabase as _, ReadableTable as _, StorageError, Table,
    TableDefinition, TableError, TableHandle as _, WriteTransaction,
};

use super::tables::Bytes;
use crate::session::CodeMark;
use crate::session::claim::{Held, Memo};

/// When it is forgotten, in seconds since the Unix epoch, and what was used.
type TimeAndMark = &'static [u8; 24];

/// What a use brought, as in [`Memo`]; empty where that is kept elsewhere or no longer.
pub(super) const USED: TableDefinition<'_, TimeAndMark, Bytes> = TableDefinition::new("used");

/// The most that is known of what was used before the file was opened; the latest ones are.
const MOST: usize = 200_000;

/// The table during a write transaction.
pub(super) struct Used<'txn>(Table<'txn, TimeAndMark, Bytes>);

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
            self.0.insert(&key(until(lasts), spent), &b""[..])?;
        }
        let keep = match spent == memo.code {
            true => memo.keep.max(lasts),
            false => memo.keep,
        };
        let brought = memo.sealed.as_slice();
        self.0.insert(&key(until(keep), memo.code), brought)?;
        Ok(())
    }

    /// Forgets some of what is over, and returns how many.
    pub(super) fn purge(&mut self, now: u64, most: usize) -> Result<usize, StorageError> {
        let end = key(now.saturating_add(1), CodeMark::of_nothing());
        let over = self.0.range::<&[u8; 24]>(..&end)?.take(most);
        let over = over.map(|entry| entry.map(|(key, _)| *key.value()));
        let over = over.collect::<Result<Vec<_>, _>>()?;
        for key in &over {
            self.0.remove(key)?;
        }
        Ok(over.len())
    }
}

/// What was used before the file was opened; what is used later, the process knows by itself.
#[derive(Debug, Default)]
pub(super) struct Earlier(RwLock<HashMap<CodeMark, u64>>);

impl Earlier {
    /// Reads the file.
    pub(super) fn load(&self, database: &Database) -> Result<(), redb::Error> {
        let mut found = HashMap::new();
        let transaction = database.begin_read()?;
        if exists(&transaction)? {
            for entry in transaction.open_table(USED)?.iter()?.rev().take(MOST) {
                let (key, _) = entry?;
                found.extend(mark_of(key.value()));
            }
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
    let brought = table.get(&key(until, code))?;
    let brought = brought.map(|brought| brought.value().to_vec());
    let left = Duration::from_secs(until.saturating_sub(now));
    Ok(match brought.filter(|brought| !brought.is_empty()) {
        Some(brought) => Held::Memo(brought, left),
        None => Held::Used,
    })
}

/// Returns whether the table is there: a file of before has none until something is written.
pub(super) fn exists(transaction: &ReadTransaction) -> Result<bool, StorageError> {
    let mut tables = transaction.list_tables()?;
    Ok(tables.any(|table| table.name() == USED.name()))
}

fn key(until: u64, code: CodeMark) -> [u8; 24] {
    let mut out = [0; 24];
    let bytes = until.to_be_bytes();
    for (to, from) in out.iter_mut().zip(bytes.iter().chain(code.as_bytes())) {
        *to = *from;
    }
    out
}

/// The inverse of [`key`].
fn mark_of(key: &[u8; 24]) -> Option<(CodeMark, u64)> {
    let (until, code) = key.split_first_chunk()?;
    let code = CodeMark::from_bytes(*code.first_chunk()?);
    Some((code, u64::from_be_bytes(*until)))
}
