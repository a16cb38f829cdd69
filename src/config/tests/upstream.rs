//! What upstreams are refused for.

use super::{APP, ROUTE, SERVER, UPSTREAM, instead, read, refused, with};

#[test]
fn mistakes_about_upstreams_are_refused_with_their_key_and_a_reason() {
    refused([
        (
            instead(
                "[\"127.0.0.1:3000\"]",
                "[\"a:3000\", \"b:3000\", \"a:3000\"]",
            ),
            "upstream[1].servers (line 10): names a:3000 twice",
        ),
        (
            instead("name = \"api\"", "name = \"API\""),
            "upstream[1].name (line 9): must be a name of 1 to 64",
        ),
        (
            instead("[\"127.0.0.1:3000\"]", "[]"),
            "upstream[1].servers (line 10): must be a list of servers",
        ),
        (
            instead("[\"127.0.0.1:3000\"]", "[\"127.0.0.1\"]"),
            "upstream[1].servers (line 10): must be a list of servers",
        ),
        (
            instead("servers", "server"),
            "upstream[1].servers (line 8): is required",
        ),
        (
            with("upstream", "connect_timeout = true"),
            "upstream[1].connect_timeout (line 11): must be a duration",
        ),
        (
            with("upstream", "read_timeout = \"1\""),
            "upstream[1].read_timeout (line 11): must be a duration",
        ),
        (
            with("upstream", "write_timeout = \"0s\""),
            "upstream[1].write_timeout (line 11): must be a duration",
        ),
        (
            with("upstream", "keepalive = \"400d\""),
            "upstream[1].keepalive (line 11): must be a duration",
        ),
        (
            [SERVER, APP, UPSTREAM, UPSTREAM, ROUTE].concat(),
            "upstream[2].name (line 12): must be unique, not \"api\", which upstream[1] has already",
        ),
        (
            with("upstream", "balance = \"random\""),
            "upstream[1].balance (line 11): must be \"round_robin\", \"least_connections\" or \"hash\", not \"random\"",
        ),
        (
            with("upstream", "protocol = \"h2c\""),
            "upstream[1].protocol (line 11): must be \"http1\", \"http2\" or \"auto\", not \"h2c\"",
        ),
        (
            with("upstream", "max_fails = -1"),
            "upstream[1].max_fails (line 11): must be a whole number from 0 to 1000, not -1",
        ),
        (
            with("upstream", "fail_timeout = \"0s\""),
            "upstream[1].fail_timeout (line 11): must be a duration",
        ),
        (
            with("upstream", "tls.enabled = \"yes\""),
            "upstream[1].tls.enabled (line 11): must be true or false, not \"yes\"",
        ),
        (
            with("upstream", "tls.enabled = true\ntls.server_name = \"a:1\""),
            "upstream[1].tls.server_name (line 12): must be a host name without port",
        ),
        (
            with("upstream", "tls.server_name = \"a\""),
            "upstream[1].tls.server_name (line 11): needs tls.enabled = true",
        ),
        (
            with("upstream", "tls.enabled = true\ntls.ca_file = \"/nowhere\""),
            "upstream[1].tls.ca_file (line 12): cannot be read: no such file",
        ),
        (
            with(
                "upstream",
                "tls.enabled = true\ntls.cert_file = \"/nowhere\"",
            ),
            "upstream[1].tls.key_file (line 11): is required where cert_file is given",
        ),
        (
            with(
                "upstream",
                "tls.enabled = true\ntls.key_file = \"/nowhere\"",
            ),
            "upstream[1].tls.key_file (line 12): cannot be read: no such file",
        ),
        (
            instead("[\"127.0.0.1:3000\"]", "[\"http://a\", \"https://b\"]"),
            "upstream[1].servers (line 10): must all be http:// or all https://",
        ),
        (
            instead("[\"127.0.0.1:3000\"]", "[\"http://a:80\", \"a:80\"]"),
            "upstream[1].servers (line 10): names a:80 twice",
        ),
        (
            instead(
                "[\"127.0.0.1:3000\"]",
                "[\"https://a\"]\ntls.enabled = false",
            ),
            "upstream[1].tls.enabled (line 11): must be true or left out, since servers say https://",
        ),
        (
            instead("[\"127.0.0.1:3000\"]", "[\"http://a\"]\ntls.enabled = true"),
            "upstream[1].tls.enabled (line 11): must be false or left out, since servers say http://",
        ),
        (
            with("upstream", "tls.danger_skip_verify = 1"),
            "upstream[1].tls.danger_skip_verify (line 11): must be true or false, not 1",
        ),
        (
            with("upstream", "tls.skip_verify = true"),
            "upstream[1].tls.skip_verify (line 11): is not a known key",
        ),
        (
            with("upstream", "health.path = \"healthz\""),
            "upstream[1].health.path (line 11): must be a path",
        ),
        (
            with("upstream", "health.interval = \"0s\""),
            "upstream[1].health.interval (line 11): must be a duration",
        ),
        (
            with("upstream", "health.timeout = 2"),
            "upstream[1].health.timeout (line 11): must be a duration",
        ),
        (
            with("upstream", "health.healthy_after = 0"),
            "upstream[1].health.healthy_after (line 11): must be a whole number from 1 to 1000, not 0",
        ),
        (
            with("upstream", "health.unhealthy_after = 0"),
            "upstream[1].health.unhealthy_after (line 11): must be a whole number from 1 to 1000, not 0",
        ),
        (
            instead(
                "[\"127.0.0.1:3000\"]",
                "[\"unix:/run/api.sock\"]\ntls.enabled = true",
            ),
            "upstream[1].tls.server_name (line 11): is required where a server is a Unix socket",
        ),
    ]);
}

#[test]
fn https_in_servers_turns_tls_on_and_http_leaves_it_off() {
    for (servers, tls, first) in [
        ("[\"https://api.internal\"]", true, "api.internal:443"),
        (
            "[\"https://a:8443\", \"b:8443\"]\ntls.enabled = true",
            true,
            "a:8443",
        ),
        ("[\"http://127.0.0.1:3000\"]", false, "127.0.0.1:3000"),
        ("[\"http://api\"]\ntls.enabled = false", false, "api:80"),
    ] {
        let config = read(&instead("[\"127.0.0.1:3000\"]", servers)).unwrap();
        let upstream = &config.upstreams[0];
        assert_eq!(upstream.tls.is_some(), tls, "{servers}");
        assert_eq!(upstream.servers[0].to_string(), first, "{servers}");
    }
}
