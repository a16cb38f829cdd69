//! Runs programs that have to succeed.

use std::process::{Command, Output};

/// Runs a command, and returns what it said.
pub(super) fn done(command: &mut Command) -> String {
    let Output {
        status,
        stdout,
        stderr,
    } = command
        .output()
        .unwrap_or_else(|error| unreachable!("{command:?} is not installed: {error}"));
    let said = [stdout, stderr].map(|said| String::from_utf8_lossy(&said).into_owned());
    assert!(status.success(), "{command:?}: {}", said.concat());
    said.concat()
}
