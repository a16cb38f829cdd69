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

use super::tables::{EXPIRIES, META, REVOKED, SESSIONS, USED};

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
}

/// Copies what the last commit left, and returns how many sessions that were; gives up soon once `closing` is set, as if the
/// sessions were closed already. The copy gets its name when it is complete.
pub(super) fn copy(database: &Database, to: &Path, closing: &AtomicBool) -> Result<u64, NoCopy> {
    let folder = to.parent().unwrap_or(Path::new("."));
    let file = NamedTempFile::new_in(folder)?;
    let sessions = fill(database, file.reopen()?, closing)?;
    file.persist(to).map_err(|error| error.error)?;
    File::open(folder)?.sync_all()?;
    Ok(sessions)
}

fn fill(database: &Database, file: File, closing: &AtomicBool) -> Result<u64, redb::Error> {
    let mut builder = Database::builder();
    builder.set_cache_size(CACHE_BYTES);
    let copy = builder.create_with_backend(FileBackend::new(file)?)?;
    let read = database.begin_read()?;
    let write = copy.begin_write()?;
    let sessions = rows(&read, &write, SESSIONS, closing)?;
    rows(&read, &write, EXPIRIES, closing)?;
    rows(&read, &write, REVOKED, closing)?;
    rows(&read, &write, USED, closing)?;
    rows(&read, &write, META, closing)?;
    write.commit()?;
    copy.close()?;
    Ok(sessions)
}

/// Copies a table, and returns how many rows it has.
fn rows<K: Key + 'static, V: Value + 'static>(
    read: &ReadTransaction,
    write: &WriteTransaction,
    table: TableDefinition<'static, K, V>,
    closing: &AtomicBool,
) -> Result<u64, redb::Error> {
    let mut to = write.open_table(table)?;
    let mut count = 0;
    for row in read.open_table(table)?.iter()? {
        if closing.load(Ordering::Relaxed) {
            return Err(redb::Error::DatabaseClosed);
        }
        let (key, value) = row?;
        to.insert(key.value(), value.value())?;
        count += 1;
    }
    Ok(count)
}
