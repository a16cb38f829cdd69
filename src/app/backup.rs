//! The files of a backup: the signing keys, and the embedded store with its seal key.
//!
//! ```text
//! FOLDER/keys/KID.ALGORITHM.pem   as in token.keys_dir
//! FOLDER/data/sessions.redb       the sessions of one moment
//! FOLDER/data/seal.key            where the store made its own
//! ```

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use crate::config::{Config, Store};
use crate::session::{OpenError, SEAL_KEY_FILE, SESSIONS_COPY, SESSIONS_FILE, Sessions};
use crate::token::{KeyFileError, list, verify_files};

const KEYS: &str = "keys";
const DATA: &str = "data";

/// Why there is no backup, or nothing was restored.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// What is there already is kept.
    #[error("{} is there already, and is kept as it is", .0.display())]
    Occupied(PathBuf),
    /// A part of the backup is missing.
    #[error("{} is missing, and the rest is of no use without it", .0.display())]
    Missing(PathBuf),
    /// The keys cannot be used.
    #[error(transparent)]
    Keys(#[from] KeyFileError),
    /// The sessions cannot be used.
    #[error(transparent)]
    Store(#[from] OpenError),
    /// A file or a folder could not be read or written.
    #[error("{}: {cause}", path.display())]
    File {
        /// Which one.
        path: PathBuf,
        /// What the system said.
        #[source]
        cause: io::Error,
    },
}

/// A backup that is being written, which is gone if it is not finished.
pub struct Backup {
    to: PathBuf,
    unfinished: tempfile::TempDir,
}

/// What a backup holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Contents {
    /// How many keys.
    pub keys: usize,
    /// Whether there are sessions.
    pub sessions: bool,
}

impl Backup {
    /// Begins one that will be a folder of this name.
    pub fn begin(to: &Path) -> Result<Self, BackupError> {
        if to.symlink_metadata().is_ok() {
            return Err(BackupError::Occupied(to.to_owned()));
        }
        let beside = match to.parent() {
            Some(folder) if folder != Path::new("") => folder,
            _ => Path::new("."),
        };
        // Only this user may enter it, which it stays.
        let unfinished = tempfile::Builder::new()
            .prefix(".menshen-backup-")
            .permissions(Permissions::from_mode(0o700))
            .tempdir_in(beside);
        let unfinished = unfinished.map_err(|cause| at(beside, cause))?;
        make_folder(&unfinished.path().join(DATA))?;
        Ok(Self {
            to: to.to_owned(),
            unfinished,
        })
    }

    /// Returns where the sessions belong.
    pub fn sessions(&self) -> PathBuf {
        self.unfinished.path().join(DATA).join(SESSIONS_FILE)
    }

    /// Copies the sessions themselves where no process serves them, and says how many there are; `None` where there are none yet.
    pub fn copy_sessions(&self, from: &Path) -> Result<Option<u64>, BackupError> {
        Ok(Sessions::copy_embedded(from, &self.sessions())?)
    }

    /// Takes the sessions that the process has copied which serves them, and the copy away.
    pub fn take_sessions(&self, dir: &Path) -> Result<(), BackupError> {
        let copy = dir.join(SESSIONS_COPY);
        copy_file(&copy, &self.sessions())?;
        fs::remove_file(&copy).map_err(|cause| at(&copy, cause))
    }

    /// Adds everything else, after the sessions: no token of theirs is then signed with a key that is not here.
    pub fn finish(self, config: &Config) -> Result<Contents, BackupError> {
        let folder = self.unfinished.path();
        let sessions = self.sessions().exists();
        if let (Store::Embedded(dir), None, true) =
            (&config.session.store, &config.session.seal_key, sessions)
        {
            let key = dir.join(SEAL_KEY_FILE);
            copy_file(&key, &folder.join(DATA).join(SEAL_KEY_FILE))?;
        }
        let keys = list(&config.token.keys_dir)?;
        make_folder(&folder.join(KEYS))?;
        for key in &keys {
            let name = key.path().file_name().unwrap_or_default();
            copy_file(key.path(), &folder.join(KEYS).join(name))?;
        }
        sync(&folder.join(KEYS))?;
        sync(&folder.join(DATA))?;
        sync(folder)?;
        let folder = self.unfinished.keep();
        fs::rename(&folder, &self.to).map_err(|cause| at(&self.to, cause))?;
        Ok(Contents {
            keys: keys.len(),
            sessions,
        })
    }
}

/// Puts a backup where the configuration says, unless something is there.
pub fn restore(from: &Path, config: &Config) -> Result<Contents, BackupError> {
    let (keys_dir, kept) = (&config.token.keys_dir, from.join(KEYS));
    verify_files(&kept)?;
    let keys = list(&kept)?;
    if keys.is_empty() {
        return Err(BackupError::Missing(kept));
    }
    if keys_dir.exists() && !list(keys_dir)?.is_empty() {
        return Err(BackupError::Occupied(keys_dir.clone()));
    }
    let sessions = from.join(DATA).join(SESSIONS_FILE);
    let seal_key = from.join(DATA).join(SEAL_KEY_FILE);
    let store = match &config.session.store {
        Store::Embedded(dir) if sessions.exists() => Some(dir),
        Store::Embedded(_) | Store::Redis(_) => None,
    };
    if let Some(dir) = store {
        if config.session.seal_key.is_none() && !seal_key.exists() {
            return Err(BackupError::Missing(seal_key));
        }
        let there = [SESSIONS_FILE, SEAL_KEY_FILE].map(|name| dir.join(name));
        if let Some(there) = there.into_iter().find(|path| path.exists()) {
            return Err(BackupError::Occupied(there));
        }
        make_folder(dir)?;
        if config.session.seal_key.is_none() {
            copy_file(&seal_key, &dir.join(SEAL_KEY_FILE))?;
        }
        copy_file(&sessions, &dir.join(SESSIONS_FILE))?;
        sync(dir)?;
        Sessions::check_embedded(dir, config.session.seal_key.clone())?;
    }
    make_folder(keys_dir)?;
    for key in &keys {
        let name = key.path().file_name().unwrap_or_default();
        copy_file(key.path(), &keys_dir.join(name))?;
    }
    sync(keys_dir)?;
    verify_files(keys_dir)?;
    Ok(Contents {
        keys: keys.len(),
        sessions: store.is_some(),
    })
}

fn make_folder(folder: &Path) -> Result<(), BackupError> {
    let mut builder = DirBuilder::new();
    let made = builder.recursive(true).mode(0o700).create(folder);
    made.map_err(|cause| at(folder, cause))
}

/// Copies a file under its name at once, so that a crash leaves no half of it.
fn copy_file(from: &Path, to: &Path) -> Result<(), BackupError> {
    let copied = File::open(from).map_err(|cause| at(from, cause))?;
    let partial = to.with_extension("partial");
    let copy = |mut from: File| {
        let mut options = OpenOptions::new();
        let mut file = options
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&partial)?;
        io::copy(&mut from, &mut file)?;
        file.sync_all()?;
        fs::rename(&partial, to)
    };
    copy(copied).map_err(|cause| at(to, cause))
}

fn sync(folder: &Path) -> Result<(), BackupError> {
    let opened = File::open(folder);
    opened
        .and_then(|folder| folder.sync_all())
        .map_err(|cause| at(folder, cause))
}

fn at(path: &Path, cause: io::Error) -> BackupError {
    BackupError::File {
        path: path.to_owned(),
        cause,
    }
}
