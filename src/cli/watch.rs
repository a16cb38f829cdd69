//! `server.watch`: reloads when the configuration file or the keys have changed.
//!
//! It looks at them instead of asking the system to tell: so it sees a file that an editor puts in the place of another, a
//! symbolic link that Kubernetes turns to another folder, and a file system of another machine, all alike.

use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::task::spawn_blocking;
use tokio::time::sleep;

use super::serve::reload;
use crate::app::Reloader;
use crate::server::FileState;

/// How often they are looked at.
const POLL_INTERVAL: Duration = Duration::from_millis(500);
/// After so many looks without another change they are taken for written, since half of a file may be a configuration too.
const UNCHANGED_POLLS: u32 = 4;

/// The file and the keys.
#[derive(Clone, PartialEq, Eq)]
struct Watched {
    file: FileState,
    keys: FileState,
}

/// Looks at the file; do it before it is read, so that a change in between is seen.
pub(super) fn state_of(file: &Path) -> FileState {
    FileState::of([file])
}

/// Reloads after each change, for as long as the configuration that runs asks for it; `read` is how the file was when that
/// was read.
pub(super) async fn watch(file: PathBuf, read: FileState, reloader: Reloader) {
    let (mut read, mut taken_over) = (Some(read), None);
    let (mut latest, mut looks) = (None, 0);
    loop {
        let state = look(&file, &reloader).await;
        sleep(POLL_INTERVAL).await;
        let Some(state) = state else {
            continue;
        };
        let known = taken_over.get_or_insert_with(|| Watched {
            file: read.take().unwrap_or_else(|| state.file.clone()),
            keys: state.keys.clone(),
        });
        if state == *known {
            latest = None;
            continue;
        }
        looks = if latest.as_ref() == Some(&state) {
            looks + 1
        } else {
            0
        };
        if looks < UNCHANGED_POLLS {
            latest = Some(state);
            continue;
        }
        tracing::info!(file = %file.display(), "the configuration has changed");
        // A mistake is reported once, and what corrects it is another change.
        *known = state;
        latest = None;
        reload(&reloader, "server.watch").await;
    }
}

/// Looks at the file and the keys; `None` where nobody asks for that, and while the file is not there, as between two steps of
/// whoever replaces it.
async fn look(file: &Path, reloader: &Reloader) -> Option<Watched> {
    let (keys, file) = (reloader.watched().await?, file.to_owned());
    let looked = spawn_blocking(move || {
        let exists = file.try_exists().unwrap_or(false);
        exists.then(|| Watched {
            file: state_of(&file),
            keys: FileState::of([keys.as_path()]),
        })
    });
    looked.await.ok().flatten()
}
