//! What routes are refused for, and what they take over.

use super::{ROUTE, instead, problems, read, refused, with};

#[test]
fn mistakes_about_routes_are_refused_with_their_key_and_a_reason() {
    refused([
        (
            with("route", "auth = \"public\"\napps = [\"shop\"]"),
            "route[1].apps (line 14): keeps nobody out where auth is \"public\"",
        ),
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
            with("route", "auth = \"signed\""),
            "route[1].auth (line 13): must be \"required\", \"optional\", \"public\" or \"signed_url\", not \"signed\"",
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
            with("route", "on_missing = \"redirect\""),
            "route[1].on_missing (line 13): needs an [[app]] of the kind",
        ),
        (
            with("route", "path = \"/_auth/x\""),
            "route[1].path (line 13): must not be under server.auth_path",
        ),
        (
            with("route", "path = \"/api/*\""),
            "route[1].path (line 13): must be a path without \"*\": \"/api\" is for itself and everything below it",
        ),
        (
            with("route", "path = \"/api/.*\""),
            "route[1].path (line 13): must be a path without \"*\": \"/api\" is for itself and everything below it",
        ),
        (
            with("route", "path = \"/*\""),
            "route[1].path (line 13): must be a path without \"*\": \"/\" is for itself and everything below it",
        ),
        (
            with("route", ROUTE),
            "route[2].path (line 13): must differ from route[1], which has the same host, path and methods",
        ),
    ]);
}

#[test]
fn a_parameter_in_a_path_is_doubted() {
    for (path, told) in [
        ("/orders/:id", Some("\"/orders\" is for itself")),
        ("/:shop/orders", Some("\"/\" is for itself")),
        ("/v1/shops:list", None),
        ("/orders", None),
    ] {
        let lines = format!("path = \"{path}\"");
        // What else is doubted of this file is its appid and secret.
        let warnings = read(&with("route", &lines)).unwrap().warnings();
        let warnings: Vec<_> = warnings
            .iter()
            .filter(|warning| warning.starts_with("route[1]: "))
            .collect();
        assert_eq!(
            warnings.len(),
            usize::from(told.is_some()),
            "{path}: {warnings:?}"
        );
        assert!(
            warnings
                .iter()
                .all(|warning| warning.contains(told.unwrap())),
            "{path}: {warnings:?}"
        );
    }
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
fn strangers_are_sent_away_only_where_they_would_be_refused_and_could_log_in() {
    let site = "kind = \"website\"\nappid = \"wx2\"\nname = \"site\"\nsecret_env = \"SECRET\"\n";
    let with_site = |lines: &str| format!("{}\n[[app]]\n{site}", with("route", lines));
    assert!(read(&with_site("on_missing = \"redirect\"")).is_ok());
    let refused = |text: &str| problems(text).join("\n");
    let alone = refused(&with("route", "on_missing = \"redirect\""));
    assert!(alone.contains("route[1].on_missing"), "{alone}");
    for auth in ["optional", "public"] {
        let lines = format!("auth = \"{auth}\"\non_missing = \"redirect\"");
        let open = refused(&with_site(&lines));
        assert!(open.contains("has nobody to send away"), "{open}");
    }
    let odd = refused(&with_site("on_missing = \"ask\""));
    assert!(odd.contains("\"reject\" or \"redirect\""), "{odd}");
}
