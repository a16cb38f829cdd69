//! What the public listeners and their limits are refused for.

use std::path::Path;

use super::{instead, problems, read, refused, with};

#[test]
fn mistakes_about_the_server_are_refused_with_their_key_and_a_reason() {
    refused([
        (
            instead(
                "[\"127.0.0.1:0\"]",
                "[\"127.0.0.1:81\", \"[::1]:81\", \"127.0.0.1:81\"]",
            ),
            "server.listen (line 2): names 127.0.0.1:81 twice",
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
            "server.max_connections (line 3): must be \"auto\" or a whole number from 0 to 10000000, not -1",
        ),
        (
            with("server", "max_connections_per_address = \"many\""),
            "server.max_connections_per_address (line 3): must be \"auto\" or a whole number",
        ),
        (
            with("server", "max_requests_per_address = -1"),
            "server.max_requests_per_address (line 3): must be a whole number from 0 to 10000000, not -1",
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
        (
            with("server", "upstream_pool = 0"),
            "server.upstream_pool (line 3): must be a whole number from 1 to 1000000, not 0",
        ),
    ]);
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
fn addresses_that_hold_each_others_port_are_refused() {
    let listen = |list: &str| instead("[\"127.0.0.1:0\"]", list);
    refused([
        (
            listen("[\"0.0.0.0:80\", \"127.0.0.1:80\"]"),
            "server.listen (line 2): names 127.0.0.1:80, which cannot be listened on beside 0.0.0.0:80",
        ),
        (
            listen("[\"[::1]:80\", \"[::]:80\"]"),
            "server.listen (line 2): names [::1]:80, which cannot be listened on beside [::]:80",
        ),
        (
            listen(
                "[\"127.0.0.1:80\"]\nredirect_http = [\"0.0.0.0:80\"]\npublic_url = \"https://a\"",
            ),
            "server.redirect_http (line 3): names 0.0.0.0:80, which cannot",
        ),
    ]);
    for list in [
        "[\"0.0.0.0:80\", \"[::]:80\"]",
        "[\"0.0.0.0:80\", \"127.0.0.1:81\"]",
        "[\"127.0.0.1:80\", \"127.0.0.2:80\"]",
        "[\"0.0.0.0:0\", \"127.0.0.1:0\"]",
    ] {
        assert_eq!(problems(&listen(list)), Vec::<String>::new(), "{list}");
    }
}

#[test]
fn a_server_that_is_menshen_itself_is_refused() {
    let with = |listen: &str, server: &str| {
        let text = instead("127.0.0.1:0", listen);
        text.replace("127.0.0.1:3000", server)
    };
    for (listen, server, said) in [
        (
            "127.0.0.1:80",
            "127.0.0.1:80",
            "127.0.0.1:80 of server.listen",
        ),
        ("0.0.0.0:80", "localhost:80", "0.0.0.0:80 of server.listen"),
        ("[::]:80", "[::1]:80", "[::]:80 of server.listen"),
        (
            "127.0.0.1:80",
            "127.0.0.1:9090",
            "127.0.0.1:9090 of control.listen",
        ),
    ] {
        let told = problems(&with(listen, server)).concat();
        assert!(
            told.contains("which is Menshen itself") && told.contains(said),
            "{told}"
        );
    }
    for (listen, server) in [
        ("127.0.0.1:80", "127.0.0.1:81"),
        ("0.0.0.0:80", "api.internal:80"),
        ("0.0.0.0:80", "unix:/a"),
    ] {
        assert_eq!(
            problems(&with(listen, server)),
            Vec::<String>::new(),
            "{listen} {server}"
        );
    }
}

#[test]
fn a_url_that_is_menshen_itself_is_refused() {
    let with = |listen: &str, section: &str, line: &str| {
        with(section, line).replace("127.0.0.1:0", listen)
    };
    for (section, key, url) in [
        ("[wechat]", "api_base", "http://127.0.0.1:80"),
        ("[wechat]", "api_base", "http://localhost/cgi"),
        ("[wechat]", "api_base", "http://[::ffff:127.0.0.1]"),
        ("[wechat]", "api_base", "http://127.0.0.1:9090"),
        ("[wechat]", "proxy", "http://127.0.0.1"),
        ("[traces]", "endpoint", "http://localhost:80/v1/traces"),
    ] {
        let line = format!("{key} = \"{url}\"");
        let told = problems(&with("127.0.0.1:80", section, &line)).concat();
        let key = format!(
            "{}.{key} (line 14): names",
            section.trim_matches(['[', ']'])
        );
        assert!(
            told.contains("which is Menshen itself") && told.contains(&key),
            "{told}"
        );
    }
    for (section, line) in [
        ("[wechat]", "api_base = \"http://127.0.0.1:81\""),
        ("[wechat]", "api_base = \"https://127.0.0.1\""),
        ("[wechat]", "proxy = \"http://proxy.internal\""),
        ("[traces]", "endpoint = \"http://127.0.0.1:4318\""),
    ] {
        let told = problems(&with("127.0.0.1:80", section, line));
        assert_eq!(told, Vec::<String>::new(), "{line}");
    }
}

#[test]
fn an_address_has_half_of_the_connections_where_there_are_many() {
    let of_one = |lines: &str| {
        let config = read(&with("server", lines)).unwrap();
        config
            .server
            .limits
            .max_connections_per_address
            .map(std::num::NonZeroU32::get)
    };
    assert_eq!(of_one("max_connections = 1200"), Some(600));
    assert_eq!(of_one("max_connections = 100"), Some(512));
    assert_eq!(of_one("max_connections_per_address = 3"), Some(3));
    assert_eq!(of_one("max_connections_per_address = 0"), None);
}
