//! What the private listener is refused for.

use super::{instead, read, refused, with};
use crate::config::{Call, PrivateAddress};

#[test]
fn mistakes_about_the_private_listener_are_refused_with_their_key_and_a_reason() {
    refused([
        (
            with("[control]", "listen = \"localhost:9090\""),
            "control.listen (line 14): must be an address such as \"127.0.0.1:9090\", or \"\"",
        ),
        (
            with("[control]", "listen = \"0.0.0.0:9090\""),
            "control.secret_file (line 13): is required, or secret_env instead of it",
        ),
        (
            with("[control]", "listen = \"[::ffff:10.0.0.1]:9090\""),
            "control.secret_file (line 13): is required",
        ),
        (
            with(
                "[control]",
                "listen = \"10.0.0.1:9090\"\nsecret_env = \"NONE\"",
            ),
            "control.secret_env (line 15): must name an environment variable that is set",
        ),
        (
            with("[control]", "secret_env = \"SECRET\""),
            "control.secret_env (line 14): must lead to at least 16 characters",
        ),
        (
            with("[control]", "secret_env = \"SPACED\""),
            "control.secret_env (line 14): must lead to at least 16 characters",
        ),
        (
            with(
                "[control]",
                "secret_env = \"SEAL_KEY\"\nsecret_file = \"x\"",
            ),
            "control.secret_file (line 15): cannot be given together with secret_env",
        ),
        (
            instead(":0\"", ":9090\""),
            "control.listen: must not be a public address",
        ),
        (
            with(
                "server",
                "redirect_http = [\"0.0.0.0:9090\"]\npublic_url = \"https://a.example\"",
            ),
            "control.listen: must not be a public address",
        ),
    ]);
}

/// Returns a section of a caller, with more lines.
fn caller(name: &str, secret: &str, lines: &str) -> String {
    let secret = format!("secret_env = \"{secret}\"");
    format!("[[control.caller]]\nname = \"{name}\"\n{secret}\n{lines}\n")
}

#[test]
fn callers_that_nobody_could_tell_apart_and_what_there_is_not_are_refused() {
    let metrics = "calls = [\"metrics\"]";
    let two = |first: (&str, &str), second: (&str, &str)| {
        let callers = [first, second].map(|(name, secret)| caller(name, secret, metrics));
        with("[control]", &callers.concat())
    };
    refused([
        (
            two(("a", "WHOLE_SECRET"), ("a", "SEAL_KEY")),
            "control.caller[2].name (line 19): must be unique, not \"a\", which control.caller[1] has already",
        ),
        (
            two(("a", "WHOLE_SECRET"), ("b", "WHOLE_SECRET")),
            "control.caller[2].secret_env (line 20): must lead to a secret of its own, not to that of control.caller[1]",
        ),
        (
            with(
                "[control]",
                &format!(
                    "secret_env = \"SEAL_KEY\"\n{}",
                    caller("a", "SEAL_KEY", metrics)
                ),
            ),
            "control.caller[1].secret_env (line 17): must lead to a secret of its own, not to that of [control]",
        ),
        (
            with("[control]", &caller("a", "SPACED", metrics)),
            "control.caller[1].secret_env (line 16): must lead to at least 16 characters",
        ),
        (
            with(
                "[control]",
                &format!("[[control.caller]]\nname = \"a\"\n{metrics}"),
            ),
            "control.caller[1].secret_file (line 14): is required, or secret_env instead of it",
        ),
        (
            with(
                "[control]",
                &caller("a", "SEAL_KEY", "calls = [\"metrics\", \"everything\"]"),
            ),
            "control.caller[1].calls (line 17): must be a list of calls among \"metrics\", \"list_sessions\"",
        ),
        (
            with("[control]", &caller("a", "SEAL_KEY", "")),
            "control.caller[1].calls (line 14): is required",
        ),
        (
            with("[control]", &caller("a", "SEAL_KEY", "calls = []")),
            "control.caller[1].calls (line 17): must be a list of calls",
        ),
        (
            with(
                "[control]",
                &caller("a", "SEAL_KEY", &format!("{metrics}\napps = [\"club\"]")),
            ),
            "control.caller[1].apps (line 18): must name one of \"shop\", not \"club\"",
        ),
        (
            with(
                "[control]",
                &caller("a", "SEAL_KEY", &format!("{metrics}\napps = []")),
            ),
            "control.caller[1].apps (line 18): must name an app",
        ),
        (
            with("[control]", &caller("A b", "SEAL_KEY", metrics)),
            "control.caller[1].name (line 15): must be a name",
        ),
    ]);
}

#[test]
fn callers_with_secrets_are_enough_where_other_machines_reach_the_address() {
    let caller = caller("a", "SEAL_KEY", "calls = [\"end_sessions\"]");
    let lines = format!("listen = \"0.0.0.0:9090\"\n{caller}");
    let config = read(&with("[control]", &lines)).unwrap();
    let caller = config.control.callers.first().unwrap();
    assert_eq!((&*caller.name, &caller.apps), ("a", &None));
    assert_eq!(caller.calls, [Call::EndSessions]);
}

#[test]
fn a_socket_is_found_from_anywhere_and_is_no_backend() {
    let config = read(&with("[control]", "listen = \"unix:run/c.sock\"")).unwrap();
    let path = std::env::current_dir().unwrap().join("run/c.sock");
    assert_eq!(config.control.listen, Some(PrivateAddress::Unix(path)));
    let backend = with("[control]", "listen = \"unix:/run/c.sock\"");
    let long = format!("listen = \"unix:/{}\"", "c".repeat(107));
    refused([
        (
            backend.replace("127.0.0.1:3000", "unix:/run/c.sock"),
            "upstream[1].servers (line 10): names unix:/run/c.sock, which is Menshen itself (unix:/run/c.sock of control.listen)",
        ),
        (
            with("[control]", "listen = \"unix:\""),
            "control.listen (line 14): must be an address such as",
        ),
        (
            with("[control]", &long),
            "control.listen (line 14): must name a socket whose path has up to 107 bytes",
        ),
        (
            with("server", "upgrade_socket = \"/run/c.sock\"")
                + "[control]\nlisten = \"unix:/run/c.sock\"\n",
            "control.listen (line 15): must not be server.upgrade_socket",
        ),
        (
            with("[control]", "socket_mode = \"0777\""),
            "control.socket_mode (line 14): must be \"0600\" (its owner)",
        ),
    ]);
}

#[test]
fn the_private_listener_can_be_left_out() {
    let config = read(&with("[control]", "listen = \"\"")).unwrap();
    assert_eq!(config.control.listen, None);
}
