//! `menshen schema`: prints the JSON Schema of the configuration.

use super::{Outcome, say};
use crate::config::schema;

/// Prints the schema, for editors and other programs.
pub(super) fn run() -> Outcome {
    say(&format_args!("{:#}", schema()));
    Outcome::Done
}
