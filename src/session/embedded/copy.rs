//! Copies the sessions of one moment into a file of their own, while they are read and written.

use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use redb::backends::FileBackend;
use redb::{
    Database, Key, ReadTransaction, ReadableDatabase as _, ReadableTable as _, TableDefinition,
    Value, WriteTransaction,
};
use tempfile::NamedTempFile;

use super::disk::opener;
use super::tables::{EXPIRIES, META, REVOKED, SESSIONS};
use super::used::{self, USED};

/// Pages of the copy that are kept in memory.
const CACHE_BYTES: usize = 16 * 1024 * 1024;

/// Why there is no copy.
#[derive(Debug, thiserror::Error)]
pub(in crate::session) enum NoCopy {
    /// The sessions could not be read, or not be written.
    #[error(transparent)]
    Storage(#[from] redb::Error),
    /// The copy's file could not be made.
    #[error(transparent)]
    File(#[from] io::Error),
    /// The sessions are wanted elsewhere.
    #[error("the copy was given up, as the sessions are closed")]
    GivenUp,
}

/// Copies a file that no process has open.
pub(super) fn copy_closed(from: &Path, to: &Path) -> Result<u64, NoCopy> {
    let database = opener(from.to_owned())().map_err(redb::Error::from)?;
    copy(&database, to, &AtomicBool::new(false))
}

/// Copies what the last commit left, and returns how many sessions that were; gives up soon once `closing` is set. The copy gets
/// its name when it is complete.
pub(super) fn copy(database: &Database, to: &Path, closing: &AtomicBool) -> Result<u64, NoCopy> {
    let folder = to.parent().unwrap_or(Path::new("."));
    let file = NamedTempFile::new_in(folder)?;
    let sessions = fill(database, file.reopen()?, closing)?;
    file.persist(to).map_err(|error| error.error)?;
    File::open(folder)?.sync_all()?;
    Ok(sessions)
}

fn fill(database: &Database, file: File, closing: &AtomicBool) -> Result<u64, NoCopy> {
    let copy = created(file)?;
    let read = database.begin_read().map_err(redb::Error::from)?;
    let write = copy.begin_write().map_err(redb::Error::from)?;
    let counts = [
        rows(&read, &write, SESSIONS, closing)?,
        rows(&read, &write, EXPIRIES, closing)?,
        rows(&read, &write, REVOKED, closing)?,
        rows(&read, &write, META, closing)?,
    ];
    let [Some(sessions), Some(_), Some(_), Some(_)] = counts else {
        return Err(NoCopy::GivenUp);
    };
    if used::exists(&read).map_err(redb::Error::from)? {
        rows(&read, &write, USED, closing)?.ok_or(NoCopy::GivenUp)?;
    }
    write.commit().map_err(redb::Error::from)?;
    copy.close().map_err(redb::Error::from)?;
    Ok(sessions)
}

fn created(file: File) -> Result<Database, redb::Error> {
    let mut builder = Database::builder();
    builder.set_cache_size(CACHE_BYTES);
    Ok(builder.create_with_backend(FileBackend::new(file)?)?)
}

/// Copies a table, and returns how many rows it has; `None` where it was given up.
fn rows<K: Key + 'static, V: Value + 'static>(
    read: &ReadTransaction,
    write: &WriteTransaction,
    table: TableDefinition<'static, K, V>,
    closing: &AtomicBool,
) -> Result<Option<u64>, redb::Error> {
    let mut to = write.open_table(table)?;
    let mut count = 0;
    for row in read.open_table(table)?.iter()? {
        if closing.load(Ordering::Relaxed) {
            return Ok(None);
        }
        let (key, value) = row?;
        to.insert(key.value(), value.value())?;
        count += 1;
    }
    Ok(Some(count))
}
