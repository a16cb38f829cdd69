//! What sessions and their store are refused for.

use super::{refused, with};

#[test]
fn mistakes_about_sessions_are_refused_with_their_key_and_a_reason() {
    refused([
        (
            with("[session]", "store = \"memory\""),
            "session.store (line 14): must be \"embedded\" or \"redis\", not \"memory\"",
        ),
        (
            with("[session]", "redis_mode = \"ring\""),
            "session.redis_mode (line 14): must be \"single\", \"sentinel\" or \"cluster\", not \"ring\"",
        ),
        (
            with("[session]", "redis_mode = \"sentinel\""),
            "session.redis_master (line 13): is required with redis_mode = \"sentinel\"",
        ),
        (
            with("[session]", "redis_master = \"mymaster\""),
            "session.redis_master (line 14): is for redis_mode = \"sentinel\" only",
        ),
        (
            with("[session]", "redis_prefix = \"{x}\""),
            "session.redis_prefix (line 14): must be up to 64 letters, digits and \":._-\", such as \"menshen:\", not \"{x}\"",
        ),
        (
            with("[session]", "when_cut_off = \"panic\""),
            "session.when_cut_off (line 14): must be \"accept\" or \"refuse\", not \"panic\"",
        ),
        (
            with("[session]", "when_cut_off = \"refuse\""),
            "session.when_cut_off (line 14): can be \"refuse\" with store = \"redis\" only",
        ),
        (
            with("[session]", "cut_off_after = \"1ms\""),
            "session.cut_off_after (line 14): must be a duration with a unit, such as \"10s\", from 1s to 1h, not \"1ms\"",
        ),
        (
            with("[session]", "redis_timeout = \"1ms\""),
            "session.redis_timeout (line 14): must be a duration with a unit, such as \"2s\", from 100ms to 1m, not \"1ms\"",
        ),
        (
            with("[session]", "redis_ca_file = \"/nowhere/ca.pem\""),
            "session.redis_ca_file (line 14): cannot be read: no such file",
        ),
        (
            with("[session]", "path = 7"),
            "session.path (line 14): must be a string that is not empty, not 7",
        ),
        (
            with("[session]", "ttl = \"30\""),
            "session.ttl (line 14): must be a duration",
        ),
        (
            with("[session]", "refresh_grace = \"6m\""),
            "session.refresh_grace (line 14): must be a duration with a unit, such as \"30s\", up to 5m, not \"6m\"",
        ),
        (
            with("[session]", "seal_key = \"abc\""),
            "session.seal_key (line 14): is not a known key; secrets come from seal_key_file or seal_key_env",
        ),
        (
            with("[session]", "seal_key_env = \"SECRET\""),
            "session.seal_key_env (line 14): must lead to 32 bytes in base64",
        ),
    ]);
}
