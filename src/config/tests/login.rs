//! What logins and their limits are refused for.

use std::time::Duration;

use super::{problems, read, refused, with};

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
            with("[login]", "queue_timeout = \"6s\""),
            "login.queue_timeout (line 14): must be at most 5s 500ms: of timeout, a call to WeChat needs 2s 500ms",
        ),
        (
            with("[login]", "replay = \"6m\""),
            "login.replay (line 14): must be a duration with a unit, such as \"60s\", up to 5m, not \"6m\"",
        ),
        (
            with("[login]", "timeout = \"2m\""),
            "login.timeout (line 14): must be a duration with a unit, such as \"8s\", from 1s to 1m, not \"2m\"",
        ),
        (
            with("[login]", "timeout = \"999ms\""),
            "login.timeout (line 14): must be a duration with a unit, such as \"8s\", from 1s to 1m, not \"999ms\"",
        ),
        (
            with("[login]", "refused_per_minute = 1.5"),
            "login.refused_per_minute (line 14): must be a whole number from 0 to 10000000, not 1.5",
        ),
    ]);
}

#[test]
fn a_place_in_line_leaves_time_for_a_call() {
    let login = |login: &str, connect: &str| {
        let text = with("[login]", login);
        format!("{text}[wechat]\nconnect_timeout = \"{connect}\"\n")
    };
    let waits = "queue_timeout = \"5s\"";
    assert_eq!(problems(&login(waits, "2500ms")), Vec::<String>::new());
    // No more than half of it is for the call.
    let half = "queue_timeout = \"4s\"";
    assert_eq!(problems(&login(half, "60s")), Vec::<String>::new());
    refused([
        (
            login(waits, "3s"),
            "login.queue_timeout (line 14): must be at most 4s 500ms: of timeout, a call to WeChat needs 3s 500ms",
        ),
        (
            login("timeout = \"1500ms\"\nqueue_timeout = \"1400ms\"", "2s"),
            "login.queue_timeout (line 15): must be at most 750ms: of timeout, a call to WeChat needs 750ms",
        ),
    ]);
    for (lines, secs) in [("", 5), ("timeout = \"6s\"", 3)] {
        let config = read(&login(lines, "3s")).unwrap();
        let waits = config.login.queue_timeout;
        assert!(waits <= Duration::from_secs(secs), "{waits:?}");
    }
}
