//! What the private listener is refused for.

use super::{instead, read, refused, with};

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

#[test]
fn the_private_listener_can_be_left_out() {
    let config = read(&with("[control]", "listen = \"\"")).unwrap();
    assert_eq!(config.control.listen, None);
}
