//! How often each path was called, by outcome.

use std::collections::BTreeMap;

use serde::Serialize;

/// Paths beyond this many are counted together, so that made-up ones cannot fill the memory.
const MAX_PATHS: usize = 256;
const OTHER_PATHS: &str = "other";

/// The counts, by path.
#[derive(Default, Serialize)]
#[serde(transparent)]
pub(super) struct Calls(BTreeMap<String, Count>);

#[derive(Default, Serialize)]
struct Count {
    calls: u64,
    outcomes: BTreeMap<String, u64>,
}

impl Calls {
    /// Counts one exchange; `outcome` is `ok`, an errcode or `fault:NAME`.
    pub(super) fn count(&mut self, path: &str, outcome: String) {
        let known = self.0.contains_key(path) || self.0.len() < MAX_PATHS;
        let path = if known { path } else { OTHER_PATHS };
        let count = self.0.entry(path.to_owned()).or_default();
        count.calls += 1;
        *count.outcomes.entry(outcome).or_default() += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outcomes_are_counted_apart() {
        let mut calls = Calls::default();
        for outcome in ["ok", "40029", "ok"] {
            calls.count("/p", outcome.to_owned());
        }
        assert_eq!(
            serde_json::to_string(&calls).unwrap(),
            r#"{"/p":{"calls":3,"outcomes":{"40029":1,"ok":2}}}"#
        );
    }

    #[test]
    fn made_up_paths_do_not_grow_the_counts_without_end() {
        let mut calls = Calls::default();
        for n in 0..2 * MAX_PATHS {
            calls.count(&format!("/{n}"), "ok".to_owned());
        }
        assert_eq!(calls.0.len(), MAX_PATHS + 1);
    }
}
