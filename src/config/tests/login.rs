//! What logins and their limits are refused for.

use super::{refused, with};

#[test]
fn mistakes_about_logins_are_refused_with_their_key_and_a_reason() {
    refused([
        (
            with("[login]", "quota_per_minute = -1"),
            "login.quota_per_minute (line 14): must be a whole number from 0 to 10000000, not -1",
        ),
        (
            with("[login]", "queue = 100001"),
            "login.queue (line 14): must be a whole number from 0 to 100000, not 100001",
        ),
        (
            with("[login]", "queue_timeout = \"8s\""),
            "login.queue_timeout (line 14): must be shorter than timeout, which leaves the rest for the call to WeChat",
        ),
        (
            with("[login]", "replay = \"6m\""),
            "login.replay (line 14): must be a duration with a unit, such as \"60s\", up to 5m, not \"6m\"",
        ),
        (
            with("[login]", "timeout = \"2m\""),
            "login.timeout (line 14): must be a duration with a unit, such as \"8s\", from 1ms to 1m, not \"2m\"",
        ),
        (
            with("[login]", "refused_per_minute = 1.5"),
            "login.refused_per_minute (line 14): must be a whole number from 0 to 10000000, not 1.5",
        ),
    ]);
}
