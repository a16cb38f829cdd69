//! What was used once and is not good again: the states of logins, and tickets.

use moka::sync::Cache;

use super::flow::LONGEST_FLOW;
use crate::session::CodeMark;

const MOST: u64 = 200_000;

/// What was used, for as long as it would be good otherwise; a store that nodes share knows the same of all of them.
#[derive(Debug)]
pub(in crate::login) struct Spent(Cache<CodeMark, ()>);

impl Default for Spent {
    fn default() -> Self {
        Self(
            Cache::builder()
                .max_capacity(MOST)
                // Who fills it can only have made what it forgets.
                .eviction_policy(moka::policy::EvictionPolicy::lru())
                .time_to_live(LONGEST_FLOW)
                .build(),
        )
    }
}

impl Spent {
    /// Takes something; `false` says that it was taken before.
    pub(in crate::login) fn take(&self, mark: CodeMark) -> bool {
        self.0.entry(mark).or_insert(()).is_fresh()
    }
}
