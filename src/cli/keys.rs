//! `menshen keys`: makes, lists and retires signing keys.

use std::path::Path;

use clap::Subcommand;

use super::{Outcome, complain, config, say, warn};
use crate::clock::Clock;
use crate::token::{KeyFileError, list, make, retire};

#[derive(Debug, Subcommand)]
pub(super) enum Action {
    /// Make a key of the configured algorithm; it signs after the next reload or restart.
    New,
    /// List the keys, the signing one last.
    List,
    /// Take a key out of use: tokens signed with it are no longer accepted.
    Retire {
        /// The key's id.
        kid: String,
    },
}

/// Works on the keys of a configuration.
pub(super) fn run(file: &Path, action: &Action) -> Outcome {
    let token = match config(file) {
        Ok(config) => config.token,
        Err(problems) => return complain(&problems),
    };
    let done = match action {
        Action::New => {
            make(&token.keys_dir, token.algorithm, &Clock::system()).map(|kid| say(&kid))
        }
        Action::List => list(&token.keys_dir).map(|keys| {
            for key in keys {
                say(&format_args!("{} {}", key.kid, key.algorithm.name()));
            }
        }),
        Action::Retire { kid } => retire(&token.keys_dir, kid),
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
