//! What benchmarks share: what they were asked to run, and which build.

use std::env;

/// Returns whether a part of a benchmark is wanted: the words after `--` name some, and none names all.
pub fn runs(part: &str) -> bool {
    // Cargo adds words of its own.
    let mut words = env::args().skip(1).filter(|word| !word.starts_with('-'));
    match words.next() {
        None => true,
        Some(first) => part.contains(&first) || words.any(|word| part.contains(&word)),
    }
}

/// Returns the program to measure: another build than the benchmark's own, where `MENSHEN` names one.
pub fn program(own: &str) -> String {
    // It runs in another folder.
    let path = env::var("MENSHEN").unwrap_or_else(|_| own.to_owned());
    let path = std::path::absolute(path).expect("a path");
    path.into_os_string().into_string().expect("is UTF-8")
}
