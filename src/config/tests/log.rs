//! What the log is refused for.

use super::{refused, with};

#[test]
fn mistakes_about_the_log_are_refused_with_their_key_and_a_reason() {
    refused([
        (
            with("[log]", "format = \"xml\""),
            "log.format (line 14): must be \"text\" or \"json\", not \"xml\"",
        ),
        (
            with("[log]", "level = \"loud\""),
            "log.level (line 14): must be \"error\"",
        ),
        (
            with("[log]", "access = \"off\""),
            "log.access (line 14): must be true or false, not \"off\"",
        ),
    ]);
}
