//! `menshen backup` and `menshen restore`: the signing keys and the embedded store as a folder, also while a process serves them.

use std::path::Path;

use serde::Deserialize;

use super::private_call::{CallError, post};
use super::{Outcome, complain, say, warn};
use crate::app::{Backup, BackupError, Contents, restore as put_back};
use crate::config::{Config, Problems, Store, load};
use crate::session::OpenError;

/// Stands for a secret that is in nobody's environment: what a backup is made of needs none. It can be any secret, a seal key
/// too, and is none that opens anything.
const STAND_IN: &str = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";

/// Why there is no backup.
#[derive(Debug, thiserror::Error)]
enum NoBackup {
    /// A file could not be read or written.
    #[error(transparent)]
    Files(#[from] BackupError),
    /// A process has the sessions, and could not be asked for a copy.
    #[error("a process serves these sessions, and its private listener gives no copy: {0}")]
    Call(#[from] CallError),
    /// The same, and it has none.
    #[error(
        "a process serves these sessions; without a private listener (control.listen) it must be stopped first"
    )]
    Unreachable,
}

/// What the private listener answers.
#[derive(Deserialize)]
struct Copied {
    sessions: Option<u64>,
}

/// Makes a backup.
pub(super) fn run(file: &Path, to: &Path) -> Outcome {
    let config = match config(file) {
        Ok(config) => config,
        Err(problems) => return complain(&problems),
    };
    match back_up(&config, to) {
        Ok((contents, sessions)) => {
            report(to, contents, sessions, &config);
            Outcome::Done
        }
        Err(error) => {
            warn(&error);
            Outcome::Failed
        }
    }
}

/// Puts one back.
pub(super) fn restore(file: &Path, from: &Path) -> Outcome {
    let config = match config(file) {
        Ok(config) => config,
        Err(problems) => return complain(&problems),
    };
    match put_back(from, &config) {
        Ok(contents) => {
            report(from, contents, None, &config);
            Outcome::Done
        }
        Err(error) => {
            warn(&error);
            Outcome::Failed
        }
    }
}

fn config(file: &Path) -> Result<Config, Problems> {
    let given = |name: &str| std::env::var(name).ok();
    let stood_in = load(file, &|name| {
        let given = given(name).filter(|given| !given.is_empty());
        Some(given.unwrap_or_else(|| STAND_IN.to_owned()))
    });
    // What is wrong is said of what there is, and not of what stands in.
    stood_in.or_else(|_| load(file, &given))
}

fn back_up(config: &Config, to: &Path) -> Result<(Contents, Option<u64>), NoBackup> {
    let backup = Backup::begin(to)?;
    let mut sessions = None;
    if let Store::Embedded(dir) = &config.session.store {
        sessions = match backup.copy_sessions(dir) {
            Err(BackupError::Store(OpenError::InUse(_))) => {
                let sessions = ask(config)?;
                backup.take_sessions(dir)?;
                sessions
            }
            copied => copied?,
        };
    }
    Ok((backup.finish(config)?, sessions))
}

/// Has the process that serves the sessions copy them; where the copy is, nobody has to be believed.
fn ask(config: &Config) -> Result<Option<u64>, NoBackup> {
    let address = config
        .control
        .listen
        .as_ref()
        .ok_or(NoBackup::Unreachable)?;
    let secret = config.control.secret.as_ref();
    let copied: Copied = post(address, "/v1/backup", secret)?;
    Ok(copied.sessions)
}

fn report(folder: &Path, contents: Contents, sessions: Option<u64>, config: &Config) {
    let Contents {
        keys,
        sessions: has,
    } = contents;
    let stored = match (sessions, has, &config.session.store) {
        (Some(count), ..) => format!("{count} sessions"),
        (None, true, _) => "the sessions".to_owned(),
        (None, false, Store::Redis(_)) => "no sessions, which are Redis's to keep".to_owned(),
        (None, false, Store::Embedded(_)) => "no sessions, as there are none".to_owned(),
    };
    let keys = match keys {
        1 => "1 signing key".to_owned(),
        keys => format!("{keys} signing keys"),
    };
    say(&format_args!("{}: {keys}, {stored}", folder.display()));
    if config.session.seal_key.is_some() {
        warn(&"the configured seal key is not in it; keep it as well");
    }
}
