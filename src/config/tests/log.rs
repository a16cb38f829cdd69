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
        (
            with("[log]", "access_fields = [\"path\", \"cookie\"]"),
            "log.access_fields (line 14): must be a list of fields among \"request_id\"",
        ),
        (
            with("[log]", "access_fields = []"),
            "log.access_fields (line 14): must name a field",
        ),
        (
            with("[log]", "access_one_in = 0"),
            "log.access_one_in (line 14): must be a whole number from 1 to 1000000",
        ),
        (
            with("[log]", "openid = \"plain\""),
            "log.openid (line 14): must be \"digest\" or \"full\"",
        ),
    ]);
}
