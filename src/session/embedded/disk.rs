//! The file of the embedded store: created, opened, and opened again after the disk failed.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use redb::backends::FileBackend;
use redb::{
    Database, DatabaseError, Durability, ReadOnlyTable, ReadableDatabase as _, ReadableTable as _,
    ReadableTableMetadata as _, StorageError,
};
use tempfile::NamedTempFile;

use super::copy::{NoCopy, copy};
use super::operations::{Effects, Tables};
use super::tables::{
    Bytes, Fault, LAYOUT, LAYOUT_NUMBER, META, REVOKED, SEAL_CHECK, SESSIONS, Sid, TRIED_OUT,
    create_all, of_time_key,
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
    /// How many sessions the last commit left; to ask the file would wait for whoever reopens it.
    stored: AtomicU64,
    earlier: Earlier,
    /// Nobody who reads for long may hold up who closes the file.
    closing: AtomicBool,
}

/// The sessions as the last commit left them.
pub(super) type Rows = ReadOnlyTable<Sid, Bytes>;

impl Disk {
    pub(super) fn open(opener: Opener, rules: SessionRules) -> Result<Self, DatabaseError> {
        let database = RwLock::new(Some(opener()?));
        Ok(Self {
            opener,
            rules,
            database,
            stored: AtomicU64::new(0),
            earlier: Earlier::default(),
            closing: AtomicBool::new(false),
        })
    }

    /// Does something with the open file.
    pub(super) fn with<T, E: From<redb::Error>>(
        &self,
        work: impl FnOnce(&Database) -> Result<T, E>,
    ) -> Result<T, E> {
        let guard = self.database.read().unwrap_or_else(PoisonError::into_inner);
        work(guard.as_ref().ok_or(redb::Error::DatabaseClosed)?)
    }

    /// Reads what is kept in memory, and makes what the configuration asks for, before anything else is done with the file.
    pub(super) fn load(&self) -> Result<(), redb::Error> {
        self.with(|database| self.prepare(database))
    }

    fn prepare(&self, database: &Database) -> Result<(), redb::Error> {
        unionids::prepare(database, self.rules.unionid_lookup)?;
        self.earlier.load(database)?;
        self.stored.store(rows(database)?.len()?, Ordering::Relaxed);
        Ok(())
    }

    /// Runs one transaction: all of `work` is durable when this returns `Ok`.
    pub(super) fn write(
        &self,
        now: u64,
        work: impl FnOnce(&mut Tables<'_>) -> Result<(), StorageError>,
    ) -> Result<Effects, redb::Error> {
        self.with(|database| {
            let mut transaction = database.begin_write()?;
            transaction.set_durability(Durability::Immediate)?;
            let mut tables = Tables::open(&transaction, self.rules, now)?;
            work(&mut tables)?;
            let effects = tables.into_effects()?;
            if effects.changed {
                transaction.commit()?;
                self.stored.store(effects.stored, Ordering::Relaxed);
            } else {
                transaction.abort()?;
            }
            Ok(effects)
        })
    }

    /// Reads the last commit; may wait for the disk.
    pub(super) fn read<T>(
        &self,
        work: impl FnOnce(&Rows) -> Result<T, Fault>,
    ) -> Result<T, StoreError> {
        self.with(|database| Ok(work(&rows(database)?)?))
    }

    /// Returns users who had a unionid at the last commit, whether or not they have a live session.
    pub(super) fn users_of(&self, unionid: &str) -> Result<Vec<User>, StoreError> {
        self.with(|database| Ok(unionids::users_of(database, unionid, MOST_AT_ONCE)?))
    }

    /// What was used before the file was opened.
    pub(super) fn earlier(&self) -> &Earlier {
        &self.earlier
    }

    /// Reads what is kept of something that was used until a time.
    pub(super) fn held(&self, used: (CodeMark, u64), now: u64) -> Result<Held, StoreError> {
        self.with(|database| Ok(used::held(database, used, now)?))
    }

    /// Reads every revocation, in no useful order.
    pub(super) fn revocations(&self) -> Result<Vec<(SessionId, u64)>, redb::Error> {
        self.with(|database| {
            let revoked = database.begin_read()?.open_table(REVOKED)?;
            let entries = revoked.iter()?.map(|entry| {
                let (until, sid) = of_time_key(entry?.0.value());
                Ok((SessionId::from_bytes(sid), until))
            });
            entries.collect()
        })
    }

    /// Returns how many sessions there are.
    pub(super) fn stored(&self) -> u64 {
        self.stored.load(Ordering::Relaxed)
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
        let opened = (self.opener)()?;
        self.prepare(&opened)?;
        *database = Some(opened);
        self.closing.store(false, Ordering::Relaxed);
        Ok(())
    }

    /// Writes a value without meaning, since a file that can be opened may be on a full disk.
    pub(super) fn try_out(&self) -> Result<(), redb::Error> {
        let written = self.write(0, |tables| {
            tables.meta_mut().insert(TRIED_OUT, &b""[..])?;
            Ok(())
        });
        written.map(drop)
    }

    /// Copies the last commit to another file; may wait for the disk, and nobody for it but who closes the file.
    pub(super) fn copy(&self, to: &Path) -> Result<u64, StoreError> {
        let copied = self.with(|database| copy(database, to, &self.closing));
        copied.map_err(|error| match error {
            NoCopy::Storage(error) => error.into(),
            error @ NoCopy::File(_) => StoreError::Storage(Arc::new(error)),
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

fn rows(database: &Database) -> Result<Rows, redb::Error> {
    Ok(database.begin_read()?.open_table(SESSIONS)?)
}

/// Returns whether the tables have this program's layout.
pub(super) fn has_our_layout(database: &Database) -> Result<bool, redb::Error> {
    is_in_meta(database, LAYOUT, LAYOUT_NUMBER)
}

/// Returns whether the data was written with the seal key that this value was derived from.
pub(super) fn was_sealed_with(database: &Database, check: &[u8]) -> Result<bool, redb::Error> {
    is_in_meta(database, SEAL_CHECK, check)
}

fn is_in_meta(database: &Database, name: &str, expected: &[u8]) -> Result<bool, redb::Error> {
    let value = database.begin_read()?.open_table(META)?.get(name)?;
    Ok(value.is_some_and(|value| value.value() == expected))
}

impl From<redb::Error> for StoreError {
    fn from(error: redb::Error) -> Self {
        if matches!(error, redb::Error::DatabaseClosed) {
            Self::Unavailable
        } else {
            Self::Storage(Arc::new(error))
        }
    }
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
