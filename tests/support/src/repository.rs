//! Files of the repository, and what `make test` has installed for tests.

use std::fs;
use std::path::{Path, PathBuf};

/// Returns the folder of the repository.
pub fn find_repository() -> &'static Path {
    let own = Path::new(env!("CARGO_MANIFEST_DIR"));
    own.ancestors().nth(2).expect("it is in the repository")
}

/// Reads a text of the repository.
#[track_caller]
pub fn read_from_repository(path: &str) -> String {
    let file = find_repository().join(path);
    fs::read_to_string(file).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Finds a file of `target/test-backends`, where `make test` installs what `name` says.
#[track_caller]
pub fn find_installed(path: &str, name: &str) -> PathBuf {
    let path = find_repository().join("target/test-backends").join(path);
    if path.exists() {
        path
    } else {
        fail_without(name)
    }
}

/// Fails the test, since a program that it needs is not installed.
#[track_caller]
pub(crate) fn fail_without(name: &str) -> ! {
    panic!("{name} is not installed: run `make test`")
}
