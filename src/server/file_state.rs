//! The state of files as the file system tells it, so that a change is seen without reading them.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::time::{Duration, SystemTime};

/// How often files are looked at.
pub(super) const POLL_INTERVAL: Duration = Duration::from_secs(2);

/// When some files were written, how long they are, and whether they are still the same ones.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileState(Vec<Option<(SystemTime, u64, u64)>>);

impl FileState {
    /// Looks at files; do it before reading them, so that a change in between is seen.
    pub fn of<'p>(paths: impl IntoIterator<Item = &'p Path>) -> Self {
        let state = |path: &Path| {
            let file = fs::metadata(path).ok()?;
            Some((file.modified().ok()?, file.len(), file.ino()))
        };
        Self(paths.into_iter().map(state).collect())
    }
}
