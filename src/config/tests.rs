//! What a configuration is refused for, with the words used.

use std::path::Path;
use std::time::Duration;

use super::*;

const SECRET: &str = "hunter2hunter2";

const SERVER: &str = "[server]\nlisten = [\"127.0.0.1:0\"]\n";
const APP: &str =
    "[[app]]\nname = \"shop\"\nkind = \"mini_program\"\nappid = \"wx1\"\nsecret_env = \"SECRET\"\n";
const UPSTREAM: &str = "[[upstream]]\nname = \"api\"\nservers = [\"127.0.0.1:3000\"]\n";
const ROUTE: &str = "[[route]]\nupstream = \"api\"\n";

fn env(name: &str) -> Option<String> {
    match name {
        "SECRET" => Some(format!("{SECRET}\n")),
        "SPACED" => Some("a secret with spaces in it".to_owned()),
        "EMPTY" => Some("\n".to_owned()),
        "SEAL_KEY" => Some("AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n".to_owned()),
        _ => None,
    }
}

fn read(text: &str) -> Result<Config, Problems> {
    parse(text, "menshen.toml", &env)
}

/// Returns a good file with more keys in one of its sections, or with one more section.
fn with(section: &str, lines: &str) -> String {
    let below = |name: &str, text: &str| match section {
        section if section == name => format!("{text}{lines}\n"),
        _ => text.to_owned(),
    };
    let mut text = [
        below("server", SERVER),
        below("app", APP),
        below("upstream", UPSTREAM),
        below("route", ROUTE),
    ]
    .concat();
    if !["server", "app", "upstream", "route"].contains(&section) {
        text.push_str(&format!("{section}\n{lines}\n"));
    }
    text
}

/// Returns a good file with one of its lines replaced.
fn instead(old: &str, new: &str) -> String {
    let text = with("", "");
    assert!(text.contains(old), "{old}");
    text.replace(old, new)
}

fn problems(text: &str) -> Vec<String> {
    match read(text) {
        Ok(_) => Vec::new(),
        Err(problems) => problems.problems.iter().map(Problem::to_string).collect(),
    }
}

#[test]
fn each_mistake_is_refused_with_its_key_and_a_reason() {
    let long_name = format!("name = \"{}\"", "x".repeat(33));
    let cases = [
        // The file as a whole.
        (with("[wechat]", "timeout = 5s"), "line 14: must be TOML: "),
        (with("[server]", ""), "line 13: must be TOML: duplicate key"),
        (
            with("[contol]", "a = 1"),
            "contol (line 13): is not a known section",
        ),
        (
            with("[sever]", "a = 1"),
            "sever (line 13): is not a known section; did you mean server?",
        ),
        (
            format!("listen = 1\n{}", with("", "")),
            "listen (line 1): is not a known key",
        ),
        (
            format!("token = 5\n{}", with("", "")),
            "token (line 1): must be a section, not 5",
        ),
        (
            [APP, UPSTREAM, ROUTE].concat(),
            "server.listen: is required",
        ),
        (
            [SERVER, UPSTREAM, ROUTE].concat(),
            "app: is required: at least one [[app]]",
        ),
        (
            [SERVER, APP, ROUTE].concat(),
            "upstream: is required: at least one [[upstream]]",
        ),
        (
            [SERVER, APP, UPSTREAM].concat(),
            "route: is required: at least one [[route]]",
        ),
        (
            ["route = []\n", SERVER, APP, UPSTREAM].concat(),
            "route (line 1): must be a list of sections, each under [[route]], not a list",
        ),
        (
            instead("[[app]]", "[app]"),
            "app (line 3): must be a list of sections, each under [[app]], not a table",
        ),
        // The private listener.
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
        // CORS.
        (
            with("[cors]", "allow_origins = [\"shop.example\"]"),
            "cors.allow_origins (line 14): must be a list of origins",
        ),
        (
            with("[cors]", "allow_origins = [\"*\", \"https://a.example\"]"),
            "cors.allow_origins (line 14): must be \"*\" alone",
        ),
        (
            with(
                "[cors]",
                "allow_origins = [\"*\"]\nallow_credentials = true",
            ),
            "cors.allow_credentials (line 15): must be false where allow_origins is \"*\"",
        ),
        (
            with("[cors]", "allow_headers = [\"a b\"]"),
            "cors.allow_headers (line 14): must be a list of names of headers",
        ),
        (
            with("[cors]", "max_age = 600"),
            "cors.max_age (line 14): must be a duration",
        ),
        (
            with("route", "cors.allow_origins = [\"shop.example\"]"),
            "route[1].cors.allow_origins (line 13): must be a list of origins",
        ),
        (
            with("route", "cors = false"),
            "route[1].cors (line 13): must be a section, not false",
        ),
        (
            with(
                "route",
                "cors.allow_origins = [\"*\"]\ncors.allow_credentials = true",
            ),
            "route[1].cors.allow_credentials (line 14): must be false where allow_origins is \"*\"",
        ),
        (
            [
                with("route", "cors.allow_origins = [\"*\"]"),
                "[cors]\nallow_origins = [\"https://a.example\"]\n".to_owned(),
                "allow_credentials = true\n".to_owned(),
            ]
            .concat(),
            "route[1].cors.allow_credentials (line 13): must be false where allow_origins is \"*\"",
        ),
        // Server.
        (
            instead(
                "[\"127.0.0.1:0\"]",
                "[\"127.0.0.1:81\", \"[::1]:81\", \"127.0.0.1:81\"]",
            ),
            "server.listen (line 2): names 127.0.0.1:81 twice",
        ),
        (
            instead(
                "[\"127.0.0.1:3000\"]",
                "[\"a:3000\", \"b:3000\", \"a:3000\"]",
            ),
            "upstream[1].servers (line 10): names a:3000 twice",
        ),
        (
            instead("[\"127.0.0.1:0\"]", "[\"nowhere\"]"),
            "server.listen (line 2): must be a list of addresses such as [\"127.0.0.1:8080\"], not \"nowhere\"",
        ),
        (
            instead("[\"127.0.0.1:0\"]", "\"127.0.0.1:0\""),
            "server.listen (line 2): must be a list of addresses",
        ),
        (
            instead("[\"127.0.0.1:0\"]", "[]"),
            "server.listen (line 2): must be a list of addresses such as [\"127.0.0.1:8080\"], not empty",
        ),
        (
            instead("listen", "lisen"),
            "server.lisen (line 2): is not a known key; did you mean listen?",
        ),
        (
            with("server", "public_url = \"https://a.example/shop\""),
            "server.public_url (line 3): must be an origin",
        ),
        (
            with("server", "redirect_http = [\"127.0.0.1\"]"),
            "server.redirect_http (line 3): must be a list of addresses",
        ),
        (
            with("server", "redirect_http = [\"127.0.0.1:0\"]"),
            "server.redirect_http (line 3): is of no use without a certificate",
        ),
        (
            with(
                "server",
                "redirect_http = [\"127.0.0.1:0\"]\npublic_url = \"http://a.example\"",
            ),
            "server.redirect_http (line 3): is of no use without a certificate",
        ),
        (
            with("server", "trusted_proxies = [\"10.1.2.3/8\"]"),
            "server.trusted_proxies (line 3): must be a list of networks",
        ),
        (
            with("server", "trusted_proxies = [\"::ffff:10.0.0.0/104\"]"),
            "server.trusted_proxies (line 3): must be a list of networks",
        ),
        (
            with(
                "server",
                "redirect_http = [\"127.0.0.1:81\", \"127.0.0.1:81\"]\npublic_url = \"https://a.example\"",
            ),
            "server.redirect_http (line 3): names 127.0.0.1:81 twice",
        ),
        (
            with("route", "auth = \"public\"\napps = [\"shop\"]"),
            "route[1].apps (line 14): keeps nobody out where auth is \"public\"",
        ),
        (
            with("server", "trusted_proxies = [\"10.0.0.0/99\"]"),
            "server.trusted_proxies (line 3): must be a list of networks",
        ),
        (
            with("server", "auth_path = \"_auth\""),
            "server.auth_path (line 3): must be a path other than \"/\"",
        ),
        (
            with("server", "auth_path = \"/\""),
            "server.auth_path (line 3): must be a path other than \"/\"",
        ),
        (
            with("server", "threads = -1"),
            "server.threads (line 3): must be a whole number from 0 to 1024, not -1",
        ),
        (
            with(
                "[headers]",
                "assertion = true\n[token]\nalgorithm = \"HS256\"",
            ),
            "headers.assertion (line 14): must be false with HS256",
        ),
        (
            with("server", "max_header = 65536"),
            "server.max_header (line 3): must be a size with a unit, such as \"64KiB\", from 1KiB, not 65536",
        ),
        (
            with("server", "max_body = \"100\""),
            "server.max_body (line 3): must be a size with a unit, such as \"1MiB\", not \"100\"",
        ),
        (
            with("server", "client_timeout = 60"),
            "server.client_timeout (line 3): must be a duration with a unit, such as \"5s\", from 1ms to 365d, not 60",
        ),
        (
            with("server", "client_timeout = \"0s\""),
            "server.client_timeout (line 3): must be a duration",
        ),
        (
            with("server", "head_timeout = \"0s\""),
            "server.head_timeout (line 3): must be a duration",
        ),
        (
            with("server", "proxy_protocol = \"v2\""),
            "server.proxy_protocol (line 3): must be true or false",
        ),
        (
            with("server", "proxy_protocol = [\"nowhere\"]"),
            "server.proxy_protocol (line 3): must be true or false, or a list of addresses",
        ),
        (
            with(
                "server",
                "trusted_proxies = [\"10.0.0.0/8\"]\nproxy_protocol = [\"127.0.0.1:1\"]",
            ),
            "server.proxy_protocol (line 4): names 127.0.0.1:1, which is not in listen",
        ),
        (
            with("server", "proxy_protocol = [\"127.0.0.1:0\"]"),
            "server.proxy_protocol (line 3): lets nobody connect without trusted_proxies",
        ),
        (
            with("server", "proxy_protocol = true"),
            "server.proxy_protocol (line 3): lets nobody connect without trusted_proxies",
        ),
        (
            with("server", "max_connections = -1"),
            "server.max_connections (line 3): must be a whole number from 0 to 10000000, not -1",
        ),
        (
            with("server", "max_connections_per_address = \"many\""),
            "server.max_connections_per_address (line 3): must be a whole number",
        ),
        (
            with("server", "requests_per_minute = 99999999"),
            "server.requests_per_minute (line 3): must be a whole number",
        ),
        (
            with("server", "request_burst = 5"),
            "server.request_burst (line 3): is of no use without requests_per_minute",
        ),
        (
            with("server", "keepalive = \"60\""),
            "server.keepalive (line 3): must be a duration",
        ),
        (
            with("server", "upgrade_socket = \"\""),
            "server.upgrade_socket (line 3): must be the path of a socket",
        ),
        (
            with("server", "drain = \"soon\""),
            "server.drain (line 3): must be a duration",
        ),
        (
            with("server", "tls = \"cert.pem\""),
            "server.tls (line 3): must be a section",
        ),
        (
            with("server", "tls.cert_file = \"/none/c.pem\""),
            "server.tls.key_file (line 3): is required where cert_file is given",
        ),
        (
            with("server", "tls.key_file = \"/none/k.pem\""),
            "server.tls.key_file (line 3): cannot be read: no such file",
        ),
        (
            with("server", "certificate = [{}]"),
            "server.certificate[1].cert_file (line 3): is required, with key_file",
        ),
        (
            with("server", "certificate = [{ cert_file = \"/none/c.pem\" }]"),
            "server.certificate[1].key_file (line 3): is required where cert_file is given",
        ),
        (
            with("server", "certificate = 1"),
            "server.certificate (line 3): must be a list of sections",
        ),
        (
            with("server", "tls.key = \"k.pem\""),
            "server.tls.key (line 3): is not a known key",
        ),
        // WeChat.
        (
            with("[wechat]", "api_base = \"https://a.example/api\""),
            "wechat.api_base (line 14): must be an origin",
        ),
        (
            with("[wechat]", "api_base = \"http://a.example\""),
            "wechat.api_base (line 14): must be https",
        ),
        (
            with("[wechat]", "allow_plain_http = \"yes\""),
            "wechat.allow_plain_http (line 14): must be true or false, not \"yes\"",
        ),
        (
            with("[wechat]", "open_base = \"https://a.example\""),
            "wechat.open_base (line 14): is not a known key",
        ),
        (
            with("[wechat]", "connect_timeout = 1.5"),
            "wechat.connect_timeout (line 14): must be a duration",
        ),
        (
            with("[wechat]", "timeout = 1979-05-27"),
            "wechat.timeout (line 14): must be a duration",
        ),
        // Apps.
        (
            instead("name = \"shop\"\n", ""),
            "app[1].name (line 3): is required and must be a name of 1 to 32",
        ),
        (
            instead("\"shop\"", "\"Shop\""),
            "app[1].name (line 4): must be a name of 1 to 32",
        ),
        (
            instead("name = \"shop\"", &long_name),
            "app[1].name (line 4): must be a name of 1 to 32",
        ),
        (
            instead("\"mini_program\"", "\"website\""),
            "app[1].kind (line 5): must be \"mini_program\", not \"website\"",
        ),
        (
            instead("\"wx1\"", "\"wx 1\""),
            "app[1].appid (line 6): must be an appid",
        ),
        (
            instead("\"wx1\"", "\"\""),
            "app[1].appid (line 6): must be an appid",
        ),
        (
            instead("secret_env = \"SECRET\"\n", ""),
            "app[1].secret_file (line 3): is required, or secret_env instead of it",
        ),
        (
            instead("\"SECRET\"", "\"UNSET\""),
            "app[1].secret_env (line 7): must name an environment variable that is set",
        ),
        (
            instead("\"SECRET\"", "\"EMPTY\""),
            "app[1].secret_env (line 7): must lead to a secret, but what it names is empty",
        ),
        (
            instead("secret_env = \"SECRET\"", "secret_file = \"/none/secret\""),
            "app[1].secret_file (line 7): cannot be read: no such file",
        ),
        (
            with("app", "secret_file = \"/none/secret\""),
            "app[1].secret_file (line 8): cannot be given together with secret_env",
        ),
        (
            with("app", "secret = \"abc\""),
            "app[1].secret (line 8): is not a known key; secrets come from secret_file or secret_env",
        ),
        (
            with("app", "previous_secret_env = \"X\""),
            "app[1].previous_secret_env (line 8): is not a known key",
        ),
        (
            [SERVER, APP, &APP.replace("wx1", "wx2"), UPSTREAM, ROUTE].concat(),
            "app[2].name (line 9): must be unique, not \"shop\", which app[1] has already",
        ),
        (
            [SERVER, APP, &APP.replace("shop", "club"), UPSTREAM, ROUTE].concat(),
            "app[2].appid (line 11): must be unique, not \"wx1\", which app[1] has already",
        ),
        // Tokens, sessions, the cache.
        (
            with("[token]", "algorithm = \"none\""),
            "token.algorithm (line 14): must be \"ES256\", \"EdDSA\", \"RS256\" or \"HS256\", not \"none\"",
        ),
        (
            with("[token]", "ttl = \"8d\""),
            "token.ttl (line 14): must be a duration with a unit, such as \"2h\", from 1s to 7d, not \"8d\"",
        ),
        (
            with("[token]", "ttl = \"0s\""),
            "token.ttl (line 14): must be a duration",
        ),
        (
            with("[token]", "issuer = \"\""),
            "token.issuer (line 14): must be a string that is not empty, not \"\"",
        ),
        (
            with("[token]", "keys_dir = []"),
            "token.keys_dir (line 14): must be a string that is not empty, not a list",
        ),
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
        (
            with("[cache]", "max_tokens = 0"),
            "cache.max_tokens (line 14): must be a whole number of at least 1, not 0",
        ),
        // Headers.
        (
            with("[headers]", "env = \"\""),
            "headers.env (line 14): must be a header value",
        ),
        (
            with("[headers]", "assertion = 1"),
            "headers.assertion (line 14): must be true or false, not 1",
        ),
        (
            with("[headers.rename]", "openid = \"X User\""),
            "headers.rename.openid (line 14): must be the name of a header",
        ),
        (
            with("[headers.rename]", "openid = \"Content_Type\""),
            "headers.rename.openid (line 14): must be the name of a header",
        ),
        (
            with("[headers.rename]", "openid = \"Proxy-User\""),
            "headers.rename.openid (line 14): must be the name of a header",
        ),
        (
            with("[headers.rename]", "openid = \"X-Forwarded-User\""),
            "headers.rename.openid (line 14): must be the name of a header",
        ),
        (
            with("[headers.rename]", "openid = \"x_wx_appid\""),
            "headers.rename.openid (line 14): must differ from the name of appid",
        ),
        (
            with("[headers.rename]", "appid = \"x_wx_openid\""),
            "headers.rename.appid (line 14): must differ from the name of openid",
        ),
        (
            with("[headers.rename]", "user = \"X-User\""),
            "headers.rename.user (line 14): is not a known key",
        ),
        // Upstreams.
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
        // Routes.
        (
            with("route", "host = \"a.example:80\""),
            "route[1].host (line 13): must be a host without port",
        ),
        (
            with("route", "host = \"*\""),
            "route[1].host (line 13): must be a host without port",
        ),
        (
            with("route", "methods = [\"get\"]"),
            "route[1].methods (line 13): must be a list of methods in capitals, such as [\"GET\", \"POST\"], not \"get\"",
        ),
        (
            instead("upstream = \"api\"", "auth = \"public\""),
            "route[1].upstream (line 11): is required",
        ),
        (
            instead("upstream = \"api\"", "upstream = \"web\""),
            "route[1].upstream (line 12): must name one of \"api\", not \"web\"",
        ),
        (
            with("route", "auth = \"signed_url\""),
            "route[1].auth (line 13): must be \"required\", \"optional\" or \"public\", not \"signed_url\"",
        ),
        (
            with("route", "apps = [\"club\"]"),
            "route[1].apps (line 13): must name one of \"shop\", not \"club\"",
        ),
        (
            with("route", "apps = [1]"),
            "route[1].apps (line 13): must be a list of the names of apps, not 1",
        ),
        (
            with("route", "strip_prefix = 0"),
            "route[1].strip_prefix (line 13): must be true or false, not 0",
        ),
        (
            with("route", "max_body = 1"),
            "route[1].max_body (line 13): must be a size",
        ),
        (
            with("route", "forward_token = \"no\""),
            "route[1].forward_token (line 13): must be true or false",
        ),
        (
            with("server", "upstream_pool = 0"),
            "server.upstream_pool (line 3): must be a whole number from 1 to 1000000, not 0",
        ),
        (
            with("route", "connect_timeout = \"0s\""),
            "route[1].connect_timeout (line 13): must be a duration",
        ),
        (
            with("route", "read_timeout = \"0s\""),
            "route[1].read_timeout (line 13): must be a duration",
        ),
        (
            with("route", "write_timeout = \"0s\""),
            "route[1].write_timeout (line 13): must be a duration",
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
        (
            with("route", "on_missing = \"redirect\""),
            "route[1].on_missing (line 13): is not a known key",
        ),
        (
            with("route", "path = \"/_auth/x\""),
            "route[1].path (line 13): must not be under server.auth_path",
        ),
        (
            with("route", ROUTE),
            "route[2].path (line 13): must differ from route[1], which has the same host, path and methods",
        ),
        (
            with("[log]", "format = \"xml\""),
            "log.format (line 14): must be \"text\" or \"json\", not \"xml\"",
        ),
        (
            with("[log]", "level = \"loud\""),
            "log.level (line 14): must be \"error\"",
        ),
    ];
    let missed: Vec<_> = cases
        .into_iter()
        .map(|(text, expected)| (expected, problems(&text)))
        .filter(|(expected, problems)| {
            !problems.iter().any(|problem| problem.starts_with(expected))
        })
        .collect();
    assert!(missed.is_empty(), "{missed:#?}");
}

#[test]
fn paths_that_a_request_could_not_have_are_refused() {
    for path in [
        "orders",
        "",
        "//",
        "/a//b",
        "/a/./b",
        "/a/..",
        "/a%2fb",
        "/a?b",
        "/a#b",
        "/a;b",
        "/a\\\\b",
        "/a b",
        "/a\\u0000",
        "/订单",
    ] {
        let text = with("route", &format!("path = \"{path}\""));
        let problems = problems(&text);
        assert!(
            problems
                .iter()
                .any(|problem| problem.starts_with("route[1].path (line 13): must be a path")),
            "{path}: {problems:?}"
        );
    }
}

#[test]
fn five_mistakes_are_five_problems_at_their_lines() {
    let text = r#"
[server]
listen = ["127.0.0.1:8080", "nowhere"]
threads = "many"

[[app]]
name = "shop"
kind = "mini_program"
appid = "wx1"
secret = "hunter2"
secret_env = "SECRET"

[[upstream]]
name = "api"
servers = [
  "127.0.0.1:3000",
  "http://127.0.0.1:3001",
]

[[route]]
upstream = "ap"
"#;
    let found = read(text).unwrap_err();
    let places: Vec<(&str, Option<usize>)> = found
        .problems
        .iter()
        .map(|problem| (problem.key.as_str(), problem.line))
        .collect();
    assert_eq!(
        places,
        [
            ("server.listen", Some(3)),
            ("server.threads", Some(4)),
            ("app[1].secret", Some(10)),
            ("upstream[1].servers", Some(17)),
            ("route[1].upstream", Some(21)),
        ],
        "{found}"
    );
}

#[test]
fn several_syntax_errors_are_reported_together() {
    let found = problems("[server]\nlisten = nowhere\n[wechat]\ntimeout = 5s\n");
    let lines: Vec<bool> = ["line 2: ", "line 4: "]
        .iter()
        .map(|line| found.iter().any(|problem| problem.starts_with(line)))
        .collect();
    assert_eq!(lines, [true, true], "{found:?}");
}

#[test]
fn a_secret_is_in_no_problem() {
    for text in [
        with("app", &format!("secret = \"{SECRET}\"")),
        with("app", &format!("app_secret = \"{SECRET}\"")),
        with("app", &format!("secret = {SECRET}")),
        with("app", &format!("secret = \"{SECRET}")),
        with("app", &format!("secret_env = \"{SECRET}\"")),
        instead("\"SECRET\"", &format!("\"{SECRET}\"")),
        instead("\"SECRET\"", &format!("[\"{SECRET}\"]")),
        instead("\"SECRET\"", &format!("\"{SECRET}\\n\"")),
        instead(
            "secret_env = \"SECRET\"",
            &format!("secret_file = \"{SECRET}\""),
        ),
        with("[session]", &format!("seal_key = \"{SECRET}\"")),
        with("[session]", &format!("seal_key_file = \"{SECRET}\"")),
        with("[session]", "seal_key_env = \"SECRET\""),
        with("[control]", &format!("secret = \"{SECRET}\"")),
        with("[control]", "secret_env = \"SECRET\""),
        with(
            "[wechat]",
            &format!("api_base = \"https://me:{SECRET}@a.example\""),
        ),
        with(&format!("secret = \"{SECRET}\""), ""),
    ] {
        let problems = read(&text).unwrap_err();
        assert!(
            !format!("{problems} {problems:?}").contains(SECRET),
            "{problems}"
        );
    }
}

#[test]
fn a_secret_is_not_in_the_debug_form_of_a_configuration() {
    let config = read(&with("[session]", "seal_key_env = \"SEAL_KEY\"")).unwrap();
    assert_eq!(config.apps[0].secret.expose(), SECRET);
    let debug = format!("{config:?}");
    assert!(
        !debug.contains(SECRET) && !debug.contains("AAAA"),
        "{debug}"
    );
}

#[test]
fn a_secret_may_come_from_a_file() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("secret");
    std::fs::write(&file, "from-a-file\n").unwrap();
    let lines = format!("secret_file = {file:?}");
    let config = read(&instead("secret_env = \"SECRET\"", &lines)).unwrap();
    assert_eq!(config.apps[0].secret.expose(), "from-a-file");
}

#[test]
fn tls_files_are_looked_into() {
    let folder = tempfile::tempdir().unwrap();
    let (cert, key) = (folder.path().join("c.pem"), folder.path().join("k.pem"));
    let made = rcgen::generate_simple_self_signed(["a.example".to_owned()]).unwrap();
    std::fs::write(&cert, made.cert.pem()).unwrap();
    std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
    let tls = |cert: &Path, key: &Path| {
        with(
            "server",
            &format!("tls.cert_file = {cert:?}\ntls.key_file = {key:?}"),
        )
    };
    assert!(read(&tls(&cert, &key)).unwrap().server.tls.len() == 1);
    assert_eq!(
        problems(&tls(&key, &cert)),
        [
            "server.tls.cert_file (line 3): must name a PEM file with a certificate in it",
            "server.tls.key_file (line 4): must name a PEM file with a private key in it",
        ]
    );
}

#[test]
fn a_mistake_in_a_name_is_not_repeated_at_the_routes_that_use_it() {
    let text = with("", "").replace("\"api\"", "\"API\"");
    assert_eq!(problems(&text).len(), 1);
}

#[test]
fn a_route_takes_over_what_it_does_not_say() {
    let text = with("server", "max_body = \"1KiB\"")
        + &format!(
            "{ROUTE}path = \"/upload/\"\nmax_body = \"2KiB\"\napps = [\"shop\"]\nhost = \"*.Example.COM\"\n"
        );
    let routes = read(&text).unwrap().routes;
    assert_eq!(
        (routes[0].max_body_bytes, routes[1].max_body_bytes),
        (1024, 2048)
    );
    assert_eq!(
        (routes[0].apps.as_slice(), routes[1].apps.as_slice()),
        (&[0][..], &[0][..])
    );
    assert_eq!(routes[1].path, "/upload");
    assert_eq!(routes[1].host.as_deref(), Some("*.example.com"));
}

#[test]
fn routes_that_differ_in_host_or_methods_may_share_a_path() {
    let text = with("route", "methods = [\"GET\"]")
        + &format!("{ROUTE}methods = [\"POST\"]\n{ROUTE}host = \"a.example\"\n");
    assert_eq!(problems(&text), Vec::<String>::new());
}

#[test]
fn plain_http_to_wechat_needs_permission_unless_it_stays_here() {
    for lines in [
        "api_base = \"http://127.0.0.1:8600\"",
        "api_base = \"http://sim.internal\"\nallow_plain_http = true",
    ] {
        assert_eq!(problems(&with("[wechat]", lines)), Vec::<String>::new());
    }
}

#[test]
fn what_is_not_written_is_at_its_default() {
    let config = read(&with("", "")).unwrap();
    assert_eq!(config.token.ttl, Duration::from_secs(7200));
    assert_eq!(config.session.ttl, Duration::from_secs(30 * 24 * 3600));
    assert_eq!(config.headers.names.openid, "x-wx-openid");
    assert_eq!(config.server.max_body_bytes, 100 << 20);
    assert_eq!(config.routes[0].auth, Auth::Required);
    assert_eq!(config.control.listen, "127.0.0.1:9090".parse().ok());
    assert_eq!(config.control.secret, None);
}

#[test]
fn the_private_listener_can_be_left_out() {
    let config = read(&with("[control]", "listen = \"\"")).unwrap();
    assert_eq!(config.control.listen, None);
}

#[test]
fn a_file_that_cannot_be_read_is_a_problem_without_a_line() {
    let problems = load(Path::new("/none/menshen.toml"), &env).unwrap_err();
    assert_eq!(
        problems.to_string(),
        "/none/menshen.toml: 1 problem\n  cannot be read: no such file"
    );
}

#[test]
fn a_file_that_is_not_text_is_refused_at_its_line() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("menshen.toml");
    std::fs::write(&file, b"[server]\n# \xff\n").unwrap();
    let problems = load(&file, &env).unwrap_err();
    assert_eq!(problems.problems[0].to_string(), "line 2: must be UTF-8");
}

#[test]
fn every_default_is_what_its_own_key_takes() {
    let mut sections: Vec<String> = Vec::new();
    let keys = known_keys();
    assert!(keys.contains(&("route.auth".to_owned(), Some("\"required\"".to_owned()))));
    assert!(keys.contains(&("app.secret_file".to_owned(), None)));
    for (key, default) in keys {
        let (section, key) = key.rsplit_once('.').unwrap();
        let Some(default) = default else { continue };
        let line = format!("{key} = {default}");
        sections.push(match section {
            "server" | "route" | "upstream" | "app" => with(section, &line),
            section => with(&format!("[{section}]"), &line),
        });
    }
    for text in sections {
        assert_eq!(problems(&text), Vec::<String>::new(), "{text}");
    }
}
