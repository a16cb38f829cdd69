//! The files of the embedded store, looked at before they are used: whose they are, and which seal key belongs to them.

use std::path::Path;
use std::{fs, io};

use super::SEAL_KEY_FILE;
use crate::owner::only_ours;
use crate::secret::Secret;
use crate::session::OpenError;
use crate::session::seal::SealKey;

/// Refuses a folder or a file of sessions that another user may write to, and says whether there is a file.
pub(super) fn ours(dir: &Path, file: &Path) -> Result<bool, OpenError> {
    let found = fs::metadata(dir).map_err(|source| OpenError::unreadable(dir, source))?;
    only_ours(dir, &found)?;
    match fs::metadata(file) {
        Ok(found) => Ok(only_ours(file, &found).map(|()| true)?),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(OpenError::unreadable(file, error)),
    }
}

pub(super) fn seal_key_for(
    dir: &Path,
    configured: Option<Secret>,
    store_exists: bool,
) -> Result<SealKey, OpenError> {
    match seal_key_in(dir, configured, store_exists)? {
        Some(key) => Ok(key),
        None => SealKey::create(dir, &dir.join(SEAL_KEY_FILE)),
    }
}

/// Returns the seal key that there is; `None` when the first start has yet to make one.
pub(super) fn seal_key_in(
    dir: &Path,
    configured: Option<Secret>,
    store_exists: bool,
) -> Result<Option<SealKey>, OpenError> {
    if let Some(text) = configured {
        let key = SealKey::parse(&text).ok_or(OpenError::ConfiguredSealKeyMalformed)?;
        return Ok(Some(key));
    }
    let path = dir.join(SEAL_KEY_FILE);
    match SealKey::read(&path)? {
        None if store_exists => Err(OpenError::SealKeyMissing(path)),
        found => Ok(found),
    }
}
