//! `menshen keys`: makes, lists and retires signing keys.

use std::path::Path;
use std::time::{Duration, UNIX_EPOCH};

use clap::Subcommand;

use super::{Outcome, complain, say, warn};
use crate::clock::Clock;
use crate::config::{Token, load_token};
use crate::token::{KeyFile, KeyFileError, Signs, list, make, retire, signing};

/// The end of the year 9999, after which a time has no RFC 3339 form.
const LATEST_MS: u64 = 253_402_300_799_999;

#[derive(Debug, Subcommand)]
pub(super) enum Action {
    /// Make a key of the configured algorithm; reload every node before it signs, after ten minutes.
    New {
        /// Sign with it as soon as it is known; a node that is not reloaded yet refuses those tokens.
        #[arg(long)]
        now: bool,
    },
    /// List the keys by age, and what each does: verify, sign, or sign from a time on.
    List,
    /// Take a key out of use: tokens signed with it are no longer accepted.
    Retire {
        /// The key's id.
        kid: String,
    },
}

/// Works on the keys of a configuration.
pub(super) fn run(file: &Path, action: &Action) -> Outcome {
    let token = match load_token(file) {
        Ok(token) => token,
        Err(problems) => return complain(&problems),
    };
    let done = match action {
        Action::New { now } => {
            let signs = if *now { Signs::AtOnce } else { Signs::Later };
            make_one(&token, signs)
        }
        Action::List => print_list(&token),
        Action::Retire { kid } => retire_one(&token, kid),
    };
    match done {
        Ok(()) => Outcome::Done,
        Err(error @ (KeyFileError::Unknown(_) | KeyFileError::Last(_))) => complain(&error),
        Err(error) => {
            warn(&error);
            Outcome::Failed
        }
    }
}

/// Makes a key, and prints its id alone to standard output, where scripts read it.
fn make_one(token: &Token, signs: Signs) -> Result<(), KeyFileError> {
    let kid = make(&token.keys_dir, token.algorithm, signs, &Clock::system())?;
    say(&kid);
    let now_ms = Clock::system().unix_ms();
    let keys = list(&token.keys_dir)?;
    if let Some(key) = keys.iter().find(|key| key.kid == kid) {
        let does = does(key, signing(&keys, now_ms), now_ms);
        warn(&format_args!("{}: {does}", key.path().display()));
    }
    Ok(())
}

/// Says what a key does once every node has read it.
fn does(key: &KeyFile, signer: Option<&KeyFile>, now_ms: u64) -> String {
    let from_ms = key.signs_from_ms();
    if signer.is_some_and(|signer| signer.kid == key.kid) {
        "signs".to_owned()
    } else if from_ms > now_ms {
        format!("signs from {}", time(from_ms))
    } else {
        "verifies".to_owned()
    }
}

fn print_list(token: &Token) -> Result<(), KeyFileError> {
    let now_ms = Clock::system().unix_ms();
    let keys = list(&token.keys_dir)?;
    let signer = signing(&keys, now_ms);
    for key in &keys {
        let does = does(key, signer, now_ms);
        say(&format_args!("{} {} {does}", key.kid, key.algorithm.name()));
    }
    Ok(())
}

fn retire_one(token: &Token, kid: &str) -> Result<(), KeyFileError> {
    retire(&token.keys_dir, kid)?;
    let now_ms = Clock::system().unix_ms();
    let left = list(&token.keys_dir)?;
    if let Some(KeyFile { kid, .. }) =
        signing(&left, now_ms).filter(|key| key.signs_from_ms() > now_ms)
    {
        warn(&format_args!(
            "{kid} signs already, as no older key is left; reload every node, which refuses its tokens until then"
        ));
    }
    Ok(())
}

fn time(unix_ms: u64) -> humantime::Rfc3339Timestamp {
    let shown = Duration::from_millis(unix_ms.min(LATEST_MS));
    humantime::format_rfc3339_seconds(UNIX_EPOCH + shown)
}
