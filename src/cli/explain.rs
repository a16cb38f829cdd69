//! `menshen check --explain`: prints which route would take a request and why, or why it would be refused.

use std::path::Path;

use super::{Outcome, complain, config, say};
use crate::request::{Explanation, Question};

/// Explains what happens to a request; only the file is read.
pub(super) fn run(file: &Path, method: &str, url: &str) -> Outcome {
    let question = match Question::parse(method, url) {
        Ok(question) => question,
        Err(error) => return complain(&error),
    };
    match config(file) {
        Ok(config) => {
            say(&Explanation::of(&question, &config));
            Outcome::Done
        }
        Err(problems) => complain(&problems),
    }
}
