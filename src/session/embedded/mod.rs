//! The store that needs nothing but a folder: one file, one process.
//!
//! # Modules
//! `writer` takes changes, `batches` gathers them, `disk` makes one transaction of each, `operations` is what can happen inside
//! it, `tables` and `row` what it works on, `unionids` whose a unionid is, `used` what is not good again, `kept` what stands
//! beside the sessions, `copy` copies all of it while it is used, `files` whose the files are.
//!
//! # Layout
//! The file is a redb database, each table a B-tree. A reader has a snapshot, the last commit, and waits for none.
//!
//! ```text
//! sessions   session id           the record, and its user's session_keys
//! expiries   time, session id     one for each session; the first ones are purged
//! revoked    time, session id     whose tokens are refused until then; read at the start
//! used       time, code           what is not good again until then, and what it brought; read at the start
//! unionids   unionid, user        where users are looked up by their unionid
//! meta       name                 layout, check of the seal key, and what is kept beside the sessions
//! ```
//!
//! A session id begins with its user and its time, so that one key finds a session by its id, and those of a user in the order
//! of their logins. The newest session of a user has their session_keys and the latest unionid; the one before it inherits them.

use std::fs::{self, DirBuilder, OpenOptions};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use async_trait::async_trait;
use aws_lc_rs::error::Unspecified;
use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;
use tokio::time::timeout;

use self::copy::NoCopy;
use self::disk::{Disk, Rows};
use self::files::{ours, seal_key_for, seal_key_in};
use self::row::Row;
use self::tables::{Fault, row, rows_of};
use self::writer::Writer;
use super::claim::{CodeMark, Held, Holder};
use super::kept::{Budget, Sealed, SharedSlot};
use super::record::Record;
use super::seal::Keys;
use super::store::{KeySwap, MOST_AT_ONCE, NewLogin, Refresh, Renewal, SealedKeys, Store};
use super::user::User;
use super::{Identity, OpenError, RevokedSessions, SessionId, SessionRules, StoreError};
use crate::clock::Clock;
use crate::secret::Secret;

mod batches;
mod copy;
mod disk;
mod files;
mod kept;
mod operations;
mod row;
mod tables;
mod unionids;
mod used;
mod writer;

/// The file with the sessions.
pub const FILE: &str = "sessions.redb";
/// The file with the seal key, where none is configured.
pub const SEAL_KEY_FILE: &str = "seal.key";
/// Where a running process copies its sessions to.
pub const COPY: &str = "backup.redb";
/// How long anybody waits for an answer: a disk that hangs must hold neither logins nor vault services for ever.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);
/// How many read at once: a disk that hangs must not take all threads that others wait on as well.
const READERS: usize = 64;

/// Sessions in one file.
pub(super) struct Embedded {
    // First, so that the thread has ended before the rest is dropped.
    writer: Arc<Writer>,
    disk: Arc<Disk>,
    revoked: RevokedSessions,
    clock: Clock,
    readers: Arc<Semaphore>,
    copy: PathBuf,
    copying: Arc<Semaphore>,
}

impl Embedded {
    /// Opens the store in a folder, which is made when it is missing, as are the files in it.
    ///
    /// Without a `seal_key` the store uses the one in its folder, and makes it the first time.
    pub(super) fn open(
        dir: &Path,
        seal_key: Option<Secret>,
        rules: SessionRules,
        clock: Clock,
    ) -> Result<(Self, Keys), OpenError> {
        let unreadable = |source| OpenError::unreadable(dir, source);
        let mut builder = DirBuilder::new();
        builder.recursive(true).mode(0o700);
        builder.create(dir).map_err(unreadable)?;
        let path = dir.join(FILE);
        let exists = ours(dir, &path)?;
        let keys = seal_key_for(dir, seal_key, exists)?
            .derive()
            .map_err(|Unspecified| OpenError::Cryptography)?;
        if !exists {
            disk::create(dir, &path, &keys.check)?;
        }
        let disk = Disk::open(disk::opener(path.clone()), rules)
            .map_err(|error| disk::open_error(&path, error))?;
        let damaged = |error| disk::damaged(&path, error);
        if !disk.with(disk::has_our_layout).map_err(damaged)? {
            return Err(OpenError::LayoutDiffers(path));
        }
        let same_key = disk.with(|database| disk::was_sealed_with(database, &keys.check));
        if !same_key.map_err(damaged)? {
            return Err(OpenError::SealKeyDiffers(path.display().to_string()));
        }
        disk.load().map_err(damaged)?;
        let revoked = RevokedSessions::default();
        revoked.add(disk.revocations().map_err(damaged)?);
        let disk = Arc::new(disk);
        let writer = Writer::start(Arc::clone(&disk), revoked.clone(), clock.clone());
        let writer = writer.map_err(unreadable)?;
        Ok((
            Self::over(writer, disk, revoked, clock, dir.join(COPY)),
            keys,
        ))
    }

    fn over(
        writer: Writer,
        disk: Arc<Disk>,
        revoked: RevokedSessions,
        clock: Clock,
        copy: PathBuf,
    ) -> Self {
        Self {
            writer: Arc::new(writer),
            disk,
            revoked,
            clock,
            readers: Arc::new(Semaphore::new(READERS)),
            copy,
            copying: Arc::new(Semaphore::new(1)),
        }
    }

    /// Looks at what [`Self::open`] would use, without making, locking or changing anything.
    ///
    /// It does not read the sessions, so that it can be asked while a process serves them.
    pub(super) fn check(dir: &Path, seal_key: Option<Secret>) -> Result<(), OpenError> {
        if !dir
            .try_exists()
            .map_err(|source| OpenError::unreadable(dir, source))?
        {
            return Ok(());
        }
        fs::read_dir(dir).map_err(|source| OpenError::unreadable(dir, source))?;
        let path = dir.join(FILE);
        ours(dir, &path)?;
        let file = OpenOptions::new().read(true).write(true).open(&path);
        let exists = match file {
            Ok(_) => true,
            Err(error) if error.kind() == io::ErrorKind::NotFound => false,
            Err(error) => return Err(OpenError::unreadable(&path, error)),
        };
        seal_key_in(dir, seal_key, exists).map(drop)
    }

    /// Copies the sessions of a folder that no process serves; `None` where there are none yet.
    pub(super) fn copy(dir: &Path, to: &Path) -> Result<Option<u64>, OpenError> {
        let path = dir.join(FILE);
        if !path.exists() || !ours(dir, &path)? {
            return Ok(None);
        }
        let opened = disk::opener(path.clone())();
        let database = opened.map_err(|error| disk::open_error(&path, error))?;
        let damaged = |error| disk::damaged(&path, error);
        if !disk::has_our_layout(&database).map_err(damaged)? {
            return Err(OpenError::LayoutDiffers(path));
        }
        match copy::copy(&database, to, &AtomicBool::new(false)) {
            Ok(sessions) => Ok(Some(sessions)),
            Err(NoCopy::Storage(error)) => Err(disk::damaged(&path, error)),
            Err(NoCopy::File(source)) => Err(OpenError::unreadable(to, source)),
        }
    }

    async fn read<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Rows) -> Result<T, Fault> + Send + 'static,
    ) -> Result<T, StoreError> {
        self.ask(move |disk| disk.read(work)).await
    }

    /// Asks the disk, which may take its time.
    async fn ask<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Disk) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let reading = async {
            let permit = Arc::clone(&self.readers).acquire_owned().await;
            let (disk, permit) = (Arc::clone(&self.disk), permit.ok()?);
            let reading = spawn_blocking(move || {
                // Until it has read, whoever still waits for it.
                let _permit = permit;
                work(&disk)
            });
            reading.await.ok()
        };
        let answer = timeout(ANSWER_TIMEOUT, reading).await;
        answer
            .ok()
            .flatten()
            .unwrap_or(Err(StoreError::Unavailable))
    }

    /// Reads the newest session of a user, if one of theirs has not ended.
    async fn newest(&self, user: User) -> Result<Option<Row>, StoreError> {
        let now = self.clock.unix_secs();
        self.read(move |rows| {
            let mut newest = None;
            for stored in rows_of(rows, user)?.rev() {
                let (_, row) = stored?;
                let row = row?;
                let live = row.is_live(now);
                newest.get_or_insert(row);
                if live {
                    return Ok(newest);
                }
            }
            Ok(None)
        })
        .await
    }
}

#[async_trait]
impl Store for Embedded {
    async fn claim(
        &self,
        code: CodeMark,
        _holder: Holder,
        _lease: Duration,
    ) -> Result<Held, StoreError> {
        let now = self.clock.unix_secs();
        match self.disk.earlier().until(code, now) {
            Some(until) => self.ask(move |disk| disk.held((code, until), now)).await,
            None => Ok(Held::Yours),
        }
    }

    async fn add(&self, login: NewLogin) -> Result<Record, StoreError> {
        self.writer.submit(move |tables| tables.add(login)).await
    }

    async fn refresh(&self, refresh: Refresh) -> Result<Renewal, StoreError> {
        self.writer
            .submit(move |tables| tables.refresh(refresh))
            .await
    }

    async fn end(&self, id: SessionId) -> Result<bool, StoreError> {
        self.writer.submit(move |tables| tables.end(id)).await
    }

    async fn end_some(&self, user: User) -> Result<Vec<SessionId>, StoreError> {
        self.writer
            .submit(move |tables| tables.end_some(user))
            .await
    }

    async fn session(&self, id: SessionId) -> Result<Option<Record>, StoreError> {
        let now = self.clock.unix_secs();
        let found = self
            .read(move |rows| Ok(row(rows, id)?.transpose()?))
            .await?;
        let live = found.filter(|row| row.is_live(now));
        Ok(live.map(|row| row.record))
    }

    async fn sessions_of(&self, user: User) -> Result<Vec<(SessionId, Record)>, StoreError> {
        let now = self.clock.unix_secs();
        self.read(move |rows| {
            let mut live = Vec::new();
            for stored in rows_of(rows, user)? {
                // One that cannot be read is skipped.
                if let (sid, Ok(row)) = stored?
                    && row.is_live(now)
                {
                    live.push((sid, row.record));
                }
                if live.len() == MOST_AT_ONCE {
                    break;
                }
            }
            Ok(live)
        })
        .await
    }

    async fn users_of(&self, unionid: &str) -> Result<Vec<Identity>, StoreError> {
        let wanted = unionid.to_owned();
        let users = self.ask(move |disk| disk.users_of(&wanted)).await?;
        let mut found = Vec::with_capacity(users.len());
        for user in users {
            let newest = self.newest(user).await?.map(|row| row.record.identity);
            found.extend(newest.filter(|who| who.unionid.as_deref() == Some(unionid)));
        }
        Ok(found)
    }

    async fn replace_session_key(&self, swap: KeySwap) -> Result<bool, StoreError> {
        self.writer
            .submit(move |tables| tables.replace_session_key(swap))
            .await
    }

    async fn session_keys(&self, user: User) -> Result<Option<SealedKeys>, StoreError> {
        Ok(self.newest(user).await?.map(|newest| newest.keys))
    }

    async fn keep_newer(
        &self,
        slot: SharedSlot,
        mine: Option<Sealed>,
        _turn: Option<Holder>,
    ) -> Result<Option<Sealed>, StoreError> {
        self.writer
            .submit(move |tables| tables.keep_newer(slot, mine))
            .await
    }

    async fn spend(&self, slot: SharedSlot, budget: Budget) -> Result<bool, StoreError> {
        self.writer
            .submit(move |tables| tables.spend(slot, budget))
            .await
    }

    fn revoked(&self) -> &RevokedSessions {
        &self.revoked
    }

    fn is_available(&self) -> bool {
        self.writer.is_available()
    }

    fn operations(&self) -> u64 {
        self.writer.accepted()
    }

    fn stored(&self) -> Option<usize> {
        usize::try_from(self.disk.stored()).ok()
    }

    async fn back_up(&self) -> Result<Option<u64>, StoreError> {
        let permit = Arc::clone(&self.copying).try_acquire_owned();
        let permit = permit.map_err(|_| StoreError::Busy)?;
        let (disk, file) = (Arc::clone(&self.disk), self.copy.clone());
        // It is as long as the sessions are many, and not given up when its caller leaves.
        let copying = spawn_blocking(move || {
            let _permit = permit;
            disk.copy(&file).map(Some)
        });
        copying.await.unwrap_or(Err(StoreError::Unavailable))
    }

    async fn release(&self) {
        self.writer.release().await;
    }

    async fn resume(&self) {
        self.writer.resume().await;
    }

    async fn close(&self) {
        let writer = Arc::clone(&self.writer);
        // It can only fail by a panic of the writing thread, which has been reported by then.
        let _ = tokio::task::spawn_blocking(move || writer.stop()).await;
    }
}

#[cfg(test)]
mod model;
#[cfg(test)]
mod tests;
