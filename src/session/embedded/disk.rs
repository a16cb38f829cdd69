//! The file of the embedded store: created, opened, and opened again after the disk failed.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock, RwLockWriteGuard};

use redb::backends::FileBackend;
use redb::{
    Database, DatabaseError, Durability, ReadOnlyTable, ReadableDatabase, ReadableTable,
    StorageError,
};
use tempfile::NamedTempFile;

use super::copy::{NoCopy, copy};
use super::index::Index;
use super::operations::{Effects, Tables};
use super::row::sid_of;
use super::tables::{
    Bytes, Fault, LAYOUT, LAYOUT_NUMBER, META, REVOKED, SEAL_CHECK, SESSIONS, TRIED_OUT,
    create_all, time_of,
};
use super::unionids;
use super::used::{self, Earlier};
use crate::session::claim::{CodeMark, Held};
use crate::session::store::MOST_AT_ONCE;
use crate::session::user::User;
use crate::session::{OpenError, SessionId, SessionRules, StoreError};

/// Pages kept in memory; the working set of a batch is a few hundred of them.
const CACHE_BYTES: usize = 64 * 1024 * 1024;

/// Opens the file; tests replace it by a failing disk.
pub(super) type Opener = Box<dyn Fn() -> Result<Database, DatabaseError> + Send + Sync>;

/// The open file.
pub(super) struct Disk {
    opener: Opener,
    rules: SessionRules,
    /// `None` after it was closed, or while it cannot be reopened.
    database: RwLock<Option<Database>>,
    index: RwLock<Index>,
    earlier: Earlier,
    /// Nobody who reads for long may hold up who closes the file.
    closing: AtomicBool,
}

/// The sessions as the last commit left them.
pub(super) type Rows = ReadOnlyTable<u64, Bytes>;

impl Disk {
    pub(super) fn open(opener: Opener, rules: SessionRules) -> Result<Self, DatabaseError> {
        let database = RwLock::new(Some(opener()?));
        Ok(Self {
            opener,
            rules,
            database,
            index: RwLock::default(),
            earlier: Earlier::default(),
            closing: AtomicBool::new(false),
        })
    }

    /// Reads the index, without which no session is found, and what was used before.
    pub(super) fn load(&self) -> Result<(), redb::Error> {
        let guard = self.database.read().unwrap_or_else(PoisonError::into_inner);
        let database = guard.as_ref().ok_or(redb::Error::DatabaseClosed)?;
        let index = index_of(database)?;
        unionids::prepare(database, &index, self.rules.unionid_lookup)?;
        self.earlier.load(database)?;
        *self.index_mut() = index;
        Ok(())
    }

    fn index_mut(&self) -> RwLockWriteGuard<'_, Index> {
        self.index.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs one transaction: all of `work` is durable when this returns `Ok`.
    pub(super) fn write(
        &self,
        now: u64,
        work: impl FnOnce(&mut Tables<'_>) -> Result<(), StorageError>,
    ) -> Result<Effects, redb::Error> {
        let guard = self.database.read().unwrap_or_else(PoisonError::into_inner);
        let database = guard.as_ref().ok_or(redb::Error::DatabaseClosed)?;
        let written = self.transact(database, now, work);
        match &written {
            Ok(effects) if effects.changed => self.index_mut().commit(),
            Ok(_) | Err(_) => self.index_mut().roll_back(),
        }
        written
    }

    fn transact(
        &self,
        database: &Database,
        now: u64,
        work: impl FnOnce(&mut Tables<'_>) -> Result<(), StorageError>,
    ) -> Result<Effects, redb::Error> {
        let mut transaction = database.begin_write()?;
        transaction.set_durability(Durability::Immediate)?;
        let mut tables = Tables::open(&transaction, &self.index, self.rules, now)?;
        work(&mut tables)?;
        let effects = tables.into_effects();
        if effects.changed {
            transaction.commit()?;
        } else {
            transaction.abort()?;
        }
        Ok(effects)
    }

    /// Reads the last commit, of the sessions that `find` finds; may wait for the disk.
    pub(super) fn read<P, T>(
        &self,
        find: impl FnOnce(&Index, &Rows) -> Result<P, StorageError>,
        work: impl FnOnce(&Rows, P) -> Result<T, Fault>,
    ) -> Result<T, StoreError> {
        let guard = self.database.read().unwrap_or_else(PoisonError::into_inner);
        let database = guard.as_ref().ok_or(StoreError::Unavailable)?;
        // The index is locked before the read transaction is opened: a commit in between would show in only one of them.
        let index = self.index.read().unwrap_or_else(PoisonError::into_inner);
        let rows = rows(database).map_err(|error| StoreError::Storage(Arc::new(error)))?;
        let found = find(&index, &rows);
        drop(index);
        let found = found.map_err(Fault::from)?;
        work(&rows, found).map_err(StoreError::from)
    }

    /// Returns users who had a unionid at the last commit, whether or not they have a live session.
    pub(super) fn users_of(&self, unionid: &str) -> Result<Vec<User>, StoreError> {
        let guard = self.database.read().unwrap_or_else(PoisonError::into_inner);
        let database = guard.as_ref().ok_or(StoreError::Unavailable)?;
        unionids::users_of(database, unionid, MOST_AT_ONCE)
            .map_err(|error| StoreError::Storage(Arc::new(error)))
    }

    /// What was used before the file was opened.
    pub(super) fn earlier(&self) -> &Earlier {
        &self.earlier
    }

    /// Reads what is kept of something that was used until a time.
    pub(super) fn held(&self, used: (CodeMark, u64), now: u64) -> Result<Held, StoreError> {
        let guard = self.database.read().unwrap_or_else(PoisonError::into_inner);
        let database = guard.as_ref().ok_or(StoreError::Unavailable)?;
        used::held(database, used, now).map_err(|error| StoreError::Storage(Arc::new(error)))
    }

    /// Reads every revocation, in no useful order.
    pub(super) fn revocations(&self) -> Result<Vec<(SessionId, u64)>, redb::Error> {
        let guard = self.database.read().unwrap_or_else(PoisonError::into_inner);
        let database = guard.as_ref().ok_or(redb::Error::DatabaseClosed)?;
        let mut found = Vec::new();
        for entry in database.begin_read()?.open_table(REVOKED)?.iter()? {
            let (key, _) = entry?;
            found.extend(time_of(key.value()).map(|(until, sid)| (sid, until)));
        }
        Ok(found)
    }

    /// Reads a value of the metadata table.
    fn meta(&self, name: &str) -> Result<Option<Vec<u8>>, redb::Error> {
        let guard = self.database.read().unwrap_or_else(PoisonError::into_inner);
        let database = guard.as_ref().ok_or(redb::Error::DatabaseClosed)?;
        let meta = database.begin_read()?.open_table(META)?;
        let value = meta.get(name)?;
        Ok(value.map(|value| value.value().to_vec()))
    }

    /// Returns whether the tables have this program's layout.
    pub(super) fn has_our_layout(&self) -> Result<bool, redb::Error> {
        Ok(self.meta(LAYOUT)?.as_deref() == Some(LAYOUT_NUMBER))
    }

    /// Returns whether the data was written with the seal key that this value was derived from.
    pub(super) fn was_sealed_with(&self, check: &[u8]) -> Result<bool, redb::Error> {
        Ok(self.meta(SEAL_CHECK)?.as_deref() == Some(check))
    }

    /// Closes the file and opens it again, as redb requires after a failed commit, or after another process had it.
    pub(super) fn reopen(&self) -> Result<(), redb::Error> {
        self.closing.store(true, Ordering::Relaxed);
        let mut database = self
            .database
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        // Dropping the old handle releases the file's lock.
        drop(database.take());
        // The old index is freed first, so that there are never two.
        *self.index_mut() = Index::default();
        let opened = (self.opener)()?;
        let index = index_of(&opened)?;
        unionids::prepare(&opened, &index, self.rules.unionid_lookup)?;
        self.earlier.load(&opened)?;
        *self.index_mut() = index;
        *database = Some(opened);
        self.closing.store(false, Ordering::Relaxed);
        Ok(())
    }

    /// Returns how many sessions there are.
    pub(super) fn stored(&self) -> usize {
        let index = self.index.read();
        index.unwrap_or_else(PoisonError::into_inner).len()
    }

    /// Writes a value without meaning, since a file that can be opened may be on a full disk.
    pub(super) fn try_out(&self) -> Result<(), redb::Error> {
        let guard = self.database.read().unwrap_or_else(PoisonError::into_inner);
        let database = guard.as_ref().ok_or(redb::Error::DatabaseClosed)?;
        let mut transaction = database.begin_write()?;
        transaction.set_durability(Durability::Immediate)?;
        let mut meta = transaction.open_table(META)?;
        meta.insert(TRIED_OUT, &b""[..])?;
        drop(meta);
        Ok(transaction.commit()?)
    }

    /// Copies the last commit to another file; may wait for the disk, and nobody for it but who closes the file.
    pub(super) fn copy(&self, to: &Path) -> Result<u64, StoreError> {
        let guard = self.database.read().unwrap_or_else(PoisonError::into_inner);
        let database = guard.as_ref().ok_or(StoreError::Unavailable)?;
        copy(database, to, &self.closing).map_err(|error| match error {
            NoCopy::GivenUp => StoreError::Unavailable,
            error @ (NoCopy::Storage(_) | NoCopy::File(_)) => StoreError::Storage(Arc::new(error)),
        })
    }

    /// Closes the file for good.
    pub(super) fn close(&self) {
        self.closing.store(true, Ordering::Relaxed);
        let closed = self
            .database
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if let Some(Err(error)) = closed.map(Database::close) {
            tracing::warn!(%error, "the session store was not closed cleanly; its next start takes longer");
        }
    }
}

fn index_of(database: &Database) -> Result<Index, redb::Error> {
    let (mut entries, mut next) = (Vec::new(), 0);
    for stored in database.begin_read()?.open_table(SESSIONS)?.iter()? {
        let (place, bytes) = stored?;
        entries.extend(sid_of(bytes.value()).map(|sid| (sid, place.value())));
        next = place.value().saturating_add(1);
    }
    Ok(Index::new(entries, next))
}

fn rows(database: &Database) -> Result<Rows, redb::Error> {
    Ok(database.begin_read()?.open_table(SESSIONS)?)
}

impl From<Fault> for StoreError {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Damaged => Self::Damaged,
            Fault::Storage(error) => Self::Storage(Arc::new(error)),
        }
    }
}

/// Returns how the file at a path is opened.
pub(super) fn opener(path: PathBuf) -> Opener {
    Box::new(move || {
        Database::builder()
            .set_cache_size(CACHE_BYTES)
            // Without it redb may panic on a damaged file.
            .set_check_integrity_on_open(true)
            .open(&path)
    })
}

/// Makes an empty file. It gets its name when it is complete, so that a crash never leaves half of one.
pub(super) fn create(folder: &Path, path: &Path, seal_check: &[u8]) -> Result<(), OpenError> {
    let unreadable = |source| OpenError::unreadable(path, source);
    let file = NamedTempFile::new_in(folder).map_err(unreadable)?;
    let backend = FileBackend::new(file.reopen().map_err(unreadable)?);
    let database = backend
        .and_then(|backend| Database::builder().create_with_backend(backend))
        .map_err(|error| open_error(path, error))?;
    let filled = fill(&database, seal_check);
    filled
        .and_then(|()| Ok(database.close()?))
        .map_err(|error| damaged(path, error))?;
    match file.persist_noclobber(path) {
        Ok(_) => {}
        // Another process was faster; opening the file shows whether it is still there.
        Err(error) if error.error.kind() == io::ErrorKind::AlreadyExists => {}
        Err(error) => return Err(unreadable(error.error)),
    }
    File::open(folder)
        .and_then(|folder| folder.sync_all())
        .map_err(unreadable)
}

pub(super) fn fill(database: &Database, seal_check: &[u8]) -> Result<(), redb::Error> {
    let transaction = database.begin_write()?;
    let mut meta = transaction.open_table(META)?;
    meta.insert(LAYOUT, LAYOUT_NUMBER)?;
    meta.insert(SEAL_CHECK, seal_check)?;
    drop(meta);
    create_all(&transaction)?;
    transaction.commit()?;
    Ok(())
}

/// Translates an error of opening the file for the operator.
pub(super) fn open_error(path: &Path, error: DatabaseError) -> OpenError {
    if let DatabaseError::DatabaseAlreadyOpen | DatabaseError::LockProtocolMismatch = error {
        return OpenError::InUse(path.to_owned());
    }
    if let DatabaseError::Storage(StorageError::Io(source)) = error {
        return if speaks_of_content(&source) {
            damaged(path, source)
        } else {
            OpenError::unreadable(path, source)
        };
    }
    damaged(path, error)
}

pub(super) fn damaged(
    path: &Path,
    error: impl std::error::Error + Send + Sync + 'static,
) -> OpenError {
    OpenError::Damaged {
        path: path.to_owned(),
        source: Arc::new(error),
    }
}

fn speaks_of_content(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof
    )
}
