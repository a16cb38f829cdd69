//! Which route a request takes, and what its path looks like to the backend.

use menshen_test_support::{Grant, Reply, TestGateway, Upstream, raw, raw_request, status};
use serde_json::json;

/// `/` is public, `/admin` is for users.
const GUARDED: &str = r#"
[[route]]
path = "/"
upstream = "api"
auth = "public"
[[route]]
path = "/admin"
upstream = "api"
"#;

/// A public route to `upstream`, with more lines.
fn public(path: &str, upstream: &str, more: &str) -> String {
    format!("[[route]]\npath = \"{path}\"\nupstream = \"{upstream}\"\nauth = \"public\"\n{more}\n")
}

/// Starts a gateway with these routes and a second upstream, `other`.
async fn with_other(routes: &[String]) -> (TestGateway, Upstream) {
    let other = Upstream::start().await;
    let servers = format!(
        "[[upstream]]\nname = \"other\"\nservers = [\"{}\"]",
        other.address
    );
    let builder = TestGateway::builder().upstreams(&servers);
    (builder.routes(&routes.concat()).start().await, other)
}

async fn guarded() -> TestGateway {
    TestGateway::builder().routes(GUARDED).start().await
}

/// Sends a GET whose target no client library would send.
async fn get_raw(t: &TestGateway, target: &[u8]) -> String {
    let end = b" HTTP/1.1\r\nHost: shop.example\r\nConnection: close\r\n\r\n";
    raw(t.address, &[b"GET ", target, end].concat()).await
}

/// Asks for `path` at `host` and says which upstream got it, and no other.
async fn taken_by<'a>(t: &'a TestGateway, other: &Upstream, host: &str, path: &str) -> &'a str {
    let before = (t.upstream.requests(), other.requests());
    let reply = Reply::of(t.get(path).header("host", host)).await;
    assert_eq!(reply.status, 200, "{host}{path}: {}", reply.text());
    let (api, other) = (
        t.upstream.requests() - before.0,
        other.requests() - before.1,
    );
    assert_eq!(api + other, 1, "{host}{path}");
    if api == 1 { "api" } else { "other" }
}

#[tokio::test]
async fn the_longest_prefix_of_whole_segments_wins() {
    let routes = [
        public("/", "api", ""),
        public("/a", "other", ""),
        public("/a/b", "api", ""),
    ];
    let (t, other) = with_other(&routes).await;
    for (path, upstream) in [
        ("/", "api"),
        ("/a", "other"),
        ("/a/", "other"),
        ("/a?x=/a/b", "other"),
        ("/ab", "api"),
        ("/a/bc", "other"),
        ("/a/b", "api"),
        ("/a/b/c/d", "api"),
        ("/B", "api"),
    ] {
        let taken = taken_by(&t, &other, "shop.example", path).await;
        assert_eq!(taken, upstream, "{path}");
    }
    // A backend that passes over case would take these for another route's.
    for path in ["/A", "/a/B", "/A/x"] {
        let request = t.get(path).header("host", "shop.example");
        Reply::of(request).await.refused(400, "path_ambiguous");
    }
}

#[tokio::test]
async fn a_more_specific_host_goes_before_a_longer_path() {
    let routes = [
        public("/deep/er", "api", ""),
        public("/", "other", "host = \"shop.example\""),
        public("/", "api", "host = \"*.example\""),
        public("/deep", "other", "host = \"*.b.example\""),
        public("/", "api", "host = \"*.b.example\""),
    ];
    let (t, other) = with_other(&routes).await;
    for (host, path, upstream) in [
        ("shop.example", "/deep/er", "other"),
        ("SHOP.Example:8443", "/deep/er", "other"),
        ("shop.example.", "/deep/er", "other"),
        ("elsewhere", "/deep/er", "api"),
        ("x.example", "/deep", "api"),
        ("a.b.example", "/deep", "other"),
        ("b.example", "/deep", "api"),
    ] {
        assert_eq!(taken_by(&t, &other, host, path).await, upstream, "{host}");
    }
}

#[tokio::test]
async fn where_no_route_is_nothing_is_forwarded() {
    let routes = public("/only", "api", "host = \"shop.example\"");
    let t = TestGateway::builder().routes(&routes).start().await;
    for (host, path) in [("shop.example", "/onlyx"), ("other.example", "/only")] {
        let reply = Reply::of(t.get(path).header("host", host)).await;
        assert_eq!(reply.refusal(), (404, "route_unknown".to_owned()), "{path}");
    }
    assert_eq!(t.upstream.requests(), 0);
}

#[tokio::test]
async fn a_method_that_no_route_has_is_told_which_ones_are_allowed() {
    let routes = [
        public("/x", "api", "methods = [\"GET\", \"POST\"]"),
        public("/x", "other", "methods = [\"PUT\"]"),
    ];
    let (t, other) = with_other(&routes).await;
    for method in ["DELETE", "HEAD", "get"] {
        let reply = Reply::of(t.request(method, "/x")).await;
        assert_eq!(reply.status, 405, "{method}");
        assert_eq!(reply.header("allow"), "GET, POST, PUT");
    }
    assert_eq!((t.upstream.requests(), other.requests()), (0, 0));
    assert_eq!(Reply::of(t.request("PUT", "/x")).await.status, 200);
    assert_eq!((t.upstream.requests(), other.requests()), (0, 1));
}

#[tokio::test]
async fn a_prefix_is_taken_off_where_the_route_says_so() {
    let routes = public("/shop", "api", "strip_prefix = true");
    let t = TestGateway::builder().routes(&routes).start().await;
    for (path, forwarded) in [
        ("/shop", "/"),
        ("/shop/", "/"),
        ("/shop?a=/shop", "/?a=/shop"),
        ("/shop/orders/1?a=b", "/orders/1?a=b"),
        ("/%73hop/shop/x", "/shop/x"),
    ] {
        Reply::of(t.get(path)).await;
        assert_eq!(t.upstream.last().target, forwarded, "{path}");
    }
}

#[tokio::test]
async fn a_query_is_forwarded_byte_for_byte() {
    let t = guarded().await;
    for query in [
        "?",
        "?a=b&a=b",
        "?a=%61%2e%2E%2f+%00",
        "?x=/../admin?y//z;w",
        "?f[a]={\"b\"}|^`\\'~!*()",
        "?%zz%",
        "?redirect=http://x/",
    ] {
        // A quote is the one of these that no parser of URIs takes as it is.
        let query = query.replace('"', "%22");
        let target = format!("/x{query}");
        get_raw(&t, target.as_bytes()).await;
        assert_eq!(t.upstream.last().target, target);
    }
}

#[tokio::test]
async fn the_path_is_forwarded_in_the_form_it_was_decided_on() {
    let t = guarded().await;
    for (sent, forwarded) in [
        ("/%61bc", "/abc"),
        ("/%7Euser/%2dx", "/~user/-x"),
        ("/a%20b", "/a%20b"),
        ("/%e4%bd%a0", "/%E4%BD%A0"),
        ("/100%25", "/100%25"),
        ("/a;b=c/d", "/a;b=c/d"),
        ("/a//b", "/a//b"),
    ] {
        get_raw(&t, sent.as_bytes()).await;
        assert_eq!(t.upstream.last().target, forwarded);
    }
}

#[tokio::test]
async fn an_escaped_letter_does_not_lead_around_a_route() {
    let t = guarded().await;
    for target in ["/%61dmin", "/%61%64%6d%69%6e/x", "/admi%6E?x"] {
        let answer = get_raw(&t, target.as_bytes()).await;
        assert_eq!(status(&answer), 401, "{target}: {answer}");
    }
    assert_eq!(t.upstream.requests(), 0);
}

#[tokio::test]
async fn a_path_that_two_parties_could_read_differently_is_refused() {
    let t = guarded().await;
    for target in [
        &b"/public/../admin"[..],
        b"/public/..",
        b"/..",
        b"/./admin",
        b"/public/%2e%2e/admin",
        b"/public/.%2E/admin",
        b"/public/%2e/admin",
        b"/public%2f..%2fadmin",
        b"/public%2Fadmin",
        b"/public%5c..%5cadmin",
        b"/public\\..\\admin",
        b"/public/..;/admin",
        b"/public/..;a=b/admin",
        b"/public/.;/admin",
        b"/public/%2e%2e;/admin",
        b"//admin",
        b"/admin;x",
        b"/;/admin",
        b"/;x/admin/y",
        b"/x%00/admin",
        b"/admin%00",
        b"/x\0y",
        b"/%c0%af",
        b"/%c0%ae%c0%ae/admin",
        b"/%e0%80%af",
        b"/%ff",
        b"/admin%0d%0a",
        b"/x%",
        b"/x%4",
        b"/x%u002e",
        b"/admin\t",
    ] {
        let shown = String::from_utf8_lossy(target);
        let answer = get_raw(&t, target).await;
        assert_eq!(status(&answer), 400, "{shown}: {answer}");
        assert!(
            answer.contains("\"error\":\"path_ambiguous\""),
            "{shown}: {answer}"
        );
    }
    assert_eq!(t.upstream.requests(), 0);
}

#[tokio::test]
async fn what_leads_elsewhere_when_it_is_decoded_again_never_reaches_a_backend() {
    let t = guarded().await;
    for target in [
        "/public/%252e%252e/admin",
        "/public/%25252e%25252e/admin",
        "/public%252f..%252fadmin",
        "/public/%255c",
        "/%2561dmin",
        "/public/x%2500",
    ] {
        let answer = get_raw(&t, target.as_bytes()).await;
        assert_eq!(status(&answer), 400, "{target}: {answer}");
        assert!(answer.contains("\"error\":\"path_ambiguous\""), "{answer}");
    }
    assert_eq!(t.upstream.requests(), 0);
    let harmless = "/public/50%2525%2520off";
    let answer = get_raw(&t, harmless.as_bytes()).await;
    assert_eq!(status(&answer), 200, "{answer}");
    assert_eq!(t.upstream.last().target, harmless);
}

#[tokio::test]
async fn what_looks_like_ascii_leads_around_no_route() {
    let t = guarded().await;
    for target in [
        "/adm%C4%B1n",
        "/%EF%BC%A1dmin/x",
        "/admin%EF%BC%8Fx",
        "/public/%EF%BC%8E%EF%BC%8E/admin",
        "/_auth%EF%BC%8Flogin",
        "/_%EF%BD%81uth/login",
        "/%255fauth/login",
    ] {
        let answer = get_raw(&t, target.as_bytes()).await;
        assert_eq!(status(&answer), 400, "{target}: {answer}");
        assert!(answer.contains("\"error\":\"path_ambiguous\""), "{answer}");
    }
    assert_eq!(t.upstream.requests(), 0);
    let chinese = "/public/%E6%96%87%E4%BB%B6%EF%BC%9A2024%EF%BC%8F05%E3%80%82";
    let answer = get_raw(&t, chinese.as_bytes()).await;
    assert_eq!(status(&answer), 200, "{answer}");
    assert_eq!(t.upstream.last().target, chinese);
}

#[tokio::test]
async fn a_query_never_decides() {
    let t = guarded().await;
    for target in [
        "/admin?/public",
        "/admin?path=/public/status",
        "/admin/?x=/../public",
        "/admin??",
    ] {
        let answer = get_raw(&t, target.as_bytes()).await;
        assert_eq!(status(&answer), 401, "{target}");
    }
    assert_eq!(t.upstream.requests(), 0);
}

/// Headers by which other proxies were talked into another decision.
const PERSUASION: [(&str, &str); 17] = [
    ("X-Forwarded-Uri", "/public"),
    ("X-Forwarded-Path", "/public"),
    ("X-Forwarded-Prefix", "/public"),
    ("X-Forwarded-Method", "OPTIONS"),
    ("X-Forwarded-Host", "public.example"),
    ("X-Forwarded-Proto", "https"),
    ("X-Original-URL", "/public"),
    ("X-Original-URI", "/public"),
    ("X-Rewrite-URL", "/public"),
    ("X-HTTP-Method-Override", "OPTIONS"),
    ("X-Method-Override", "OPTIONS"),
    ("X-Host", "public.example"),
    ("Forwarded", "for=127.0.0.1;host=public.example;proto=https"),
    ("User-Agent", "kube-probe/1.31"),
    ("User-Agent", "ELB-HealthChecker/2.0"),
    ("User-Agent", "GoogleHC/1.0"),
    ("Sec-Purpose", "prefetch"),
];

async fn nothing_persuades(t: &TestGateway) {
    for (name, value) in PERSUASION {
        let answer = raw_request(t.address, "GET /admin", &[(name, value)]).await;
        assert_eq!(status(&answer), 401, "{name}: {value}");
    }
    assert_eq!(t.upstream.requests(), 0);
}

#[tokio::test]
async fn no_header_talks_a_decision_over() {
    let routes = format!(
        "{GUARDED}{}",
        public("/", "api", "host = \"public.example\"")
    );
    let t = TestGateway::builder().routes(&routes).start().await;
    nothing_persuades(&t).await;
}

#[tokio::test]
async fn no_header_of_a_trusted_proxy_talks_a_decision_over() {
    let routes = format!(
        "{GUARDED}{}",
        public("/", "api", "host = \"public.example\"")
    );
    let builder = TestGateway::builder().trust_local_proxies();
    nothing_persuades(&builder.routes(&routes).start().await).await;
}

#[tokio::test]
async fn a_method_in_a_header_is_not_the_method() {
    let routes = public("/", "api", "methods = [\"GET\"]");
    let t = TestGateway::builder().routes(&routes).start().await;
    for name in [
        "X-HTTP-Method-Override",
        "X-HTTP-Method",
        "X-Method-Override",
    ] {
        let answer = raw_request(t.address, "POST /x", &[(name, "GET")]).await;
        assert_eq!(status(&answer), 405, "{name}");
    }
    assert_eq!(t.upstream.requests(), 0);
}

#[tokio::test]
async fn the_gateways_own_endpoints_move_with_auth_path() {
    let t = TestGateway::builder()
        .section("server", "auth_path = \"/gate/keeper\"")
        .routes(GUARDED)
        .start()
        .await;
    let login = json!({"code": t.code("alice").await});
    let reply = t.post("/gate/keeper/login", login.clone()).await;
    let grant = Grant::of(reply.json());
    let shown = t.get_as("/gate/keeper/session", &grant.token).await.json();
    assert_eq!(shown["logged_in"], true);
    assert_eq!(t.upstream.requests(), 0);
    t.post("/_auth/login", login).await;
    assert_eq!(t.upstream.last().target, "/_auth/login");
}

#[tokio::test]
async fn nothing_under_auth_path_is_forwarded() {
    let t = guarded().await;
    for (target, expected) in [
        ("/_auth", 404),
        ("/_auth/", 404),
        ("/_auth/nothing", 404),
        ("/%5fauth/nothing", 404),
        ("/_auth/login", 405),
        ("/_auth;x/login", 400),
        ("//_auth/login", 400),
        ("/_auth//login", 400),
    ] {
        let answer = get_raw(&t, target.as_bytes()).await;
        assert_eq!(status(&answer), expected, "{target}: {answer}");
    }
    assert_eq!(t.upstream.requests(), 0);
    get_raw(&t, b"/_authors").await;
    assert_eq!(t.upstream.last().target, "/_authors");
}

#[tokio::test]
async fn what_menshen_dev_adds_is_a_path_like_any_other() {
    let t = TestGateway::builder().make_public().start().await;
    for path in ["/_dev", "/_dev/websocket", "/_sim/login", "/_sim/calls"] {
        assert_eq!(Reply::of(t.get(path)).await.text(), "ok", "{path}");
        assert_eq!(t.upstream.last().target, path);
        let private = Reply::of(t.control("GET", path)).await;
        private.refused(404, "route_unknown");
    }
}
