//! Reads `[cache]`, the memory of verified tokens.

use super::kind::{Kind, number};
use super::model::Cache;
use super::reader::Table;

const COUNT: Kind<u64> = Kind {
    expected: "a whole number of at least 1",
    read: |value| number(value).filter(|count| *count >= 1),
};

/// Reads the section.
pub(super) fn read(table: &mut Table<'_, '_>) -> Option<Cache> {
    let max_tokens = table.or("max_tokens", "1000000", &COUNT);
    Some(Cache {
        max_tokens: max_tokens?,
    })
}
