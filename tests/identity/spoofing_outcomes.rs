//! A forged identity is removed whatever becomes of the request: public, anonymous, upgraded, refused or failed.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

use futures::{SinkExt as _, StreamExt as _};
use menshen_test_support::{
    Builder, Grant, Received, Reply, TestGateway, Upstream, forge_identity, forged, make_lines,
    raw_request, status,
};
use serde_json::json;
use tokio_tungstenite::connect_async;
use tokio_tungstenite::tungstenite::Error;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::handshake::client::Request;
use tokio_tungstenite::tungstenite::http::{HeaderName, HeaderValue};

fn gateway() -> Builder {
    let route = |path: &str, more: &str| {
        format!("[[route]]\npath = \"{path}\"\nupstream = \"api\"\n{more}\n")
    };
    let routes = [
        route("/", ""),
        route("/public", "auth = \"public\""),
        route("/optional", "auth = \"optional\""),
        route("/cut", "strip_prefix = true"),
        route("/read", "methods = [\"GET\"]"),
        route("/desk", "apps = [\"desk\"]"),
        route("/dead", "auth = \"public\"").replace("\"api\"", "\"dead\""),
    ];
    TestGateway::builder()
        .apps(&["shop", "desk"])
        // Nothing listens on port 1.
        .upstreams("[[upstream]]\nname = \"dead\"\nservers = [\"127.0.0.1:1\"]\n")
        .routes(&routes.concat())
}

#[tokio::test]
async fn every_method_on_a_required_route_brings_the_tokens_user() {
    let t = gateway().start().await;
    let alice = t.log_in("alice").await;
    let own = t.identity(&alice).await;
    for method in [
        "GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE", "PROPFIND",
    ] {
        let reply =
            Reply::of(forge_identity(t.request(method, "/orders")).bearer_auth(&alice.token)).await;
        assert_eq!(reply.status, 200, "{method}");
        let received = t.upstream.last();
        assert_eq!(
            (received.method.as_str(), received.identity()),
            (method, own.clone())
        );
    }
}

#[tokio::test]
async fn a_public_route_tells_the_backend_nobody() {
    let t = gateway().start().await;
    for method in ["GET", "HEAD", "OPTIONS", "POST"] {
        let reply = Reply::of(forge_identity(t.request(method, "/public/x"))).await;
        assert_eq!(reply.status, 200, "{method}");
        assert_eq!(
            t.upstream.last().identity(),
            TestGateway::nobody(),
            "{method}"
        );
    }
}

#[tokio::test]
async fn a_public_route_tells_the_backend_nobody_even_with_a_token() {
    let t = gateway().start().await;
    let alice = t.log_in("alice").await;
    Reply::of(forge_identity(t.get("/public/x")).bearer_auth(&alice.token)).await;
    assert_eq!(t.upstream.last().identity(), TestGateway::nobody());
}

#[tokio::test]
async fn a_code_on_a_public_route_is_neither_used_nor_forwarded() {
    let t = gateway().start().await;
    let code = t.code("alice").await;
    let reply = Reply::of(forge_identity(t.get("/public/x")).header("x-wx-code", &code)).await;
    assert_eq!((reply.status, reply.header("menshen-token")), (200, ""));
    assert_eq!(t.upstream.last().identity(), TestGateway::nobody());
    assert_eq!(t.redeemed().await, 0);
}

#[tokio::test]
async fn an_optional_route_tells_the_backend_nobody_without_a_token() {
    let t = gateway().start().await;
    let reply = Reply::of(forge_identity(t.get("/optional"))).await;
    assert_eq!(reply.status, 200);
    assert_eq!(t.upstream.last().identity(), TestGateway::nobody());
}

#[tokio::test]
async fn an_optional_route_tells_the_backend_the_tokens_user() {
    let t = gateway().start().await;
    let alice = t.log_in("alice").await;
    Reply::of(forge_identity(t.get("/optional")).bearer_auth(&alice.token)).await;
    assert_eq!(t.upstream.last().identity(), t.identity(&alice).await);
}

#[tokio::test]
async fn a_stripped_prefix_strips_no_protection() {
    let t = gateway().start().await;
    let alice = t.log_in("alice").await;
    Reply::of(forge_identity(t.get("/cut/orders?x=1")).bearer_auth(&alice.token)).await;
    let received = t.upstream.last();
    assert_eq!(received.target, "/orders?x=1");
    assert_eq!(received.identity(), t.identity(&alice).await);
}

#[tokio::test]
async fn refused_requests_never_touch_the_upstream() {
    let t = gateway().start().await;
    let alice = t.log_in("alice").await;
    let mut ended = t.claims("victim");
    ended["exp"] = json!(t.clock.unix_secs() - 1);
    let expired = t.sign(&ended);
    let valid = alice.token.as_str();
    for (method, path, token, refusal) in [
        ("GET", "/orders", "", (401, "token_missing")),
        ("HEAD", "/orders", "", (401, "")),
        ("POST", "/orders", "", (401, "token_missing")),
        ("GET", "/orders", "made-up", (401, "token_invalid")),
        ("GET", "/optional", "made-up", (401, "token_invalid")),
        ("GET", "/orders", &expired, (401, "token_expired")),
        ("GET", "/optional", &expired, (401, "token_expired")),
        ("GET", "/desk", valid, (403, "app_not_allowed")),
        ("POST", "/read", valid, (405, "method_not_allowed")),
        ("TRACE", "/public", valid, (405, "method_not_allowed")),
        ("GET", "/_auth/unknown", valid, (404, "route_unknown")),
        (
            "GET",
            "/public/%2e%2e/orders",
            valid,
            (400, "path_ambiguous"),
        ),
    ] {
        let mut lines = [make_lines(&[("Connection", "close")]), forged("victim")].concat();
        if !token.is_empty() {
            lines.push(("Authorization".to_owned(), format!("Bearer {token}")));
        }
        let answer = raw_request(t.address, &format!("{method} {path}"), &lines).await;
        assert_eq!(status(&answer), refusal.0, "{method} {path}: {answer}");
        assert!(answer.contains(refusal.1), "{method} {path}: {answer}");
        assert!(!answer.contains("victim"), "{method} {path}: {answer}");
    }
    assert_eq!(t.upstream.connections(), 0);
}

#[tokio::test]
async fn an_unknown_route_is_refused_without_touching_the_upstream() {
    let t = TestGateway::builder()
        .routes("[[route]]\npath = \"/known\"\nupstream = \"api\"\n")
        .start()
        .await;
    let reply = Reply::of(forge_identity(t.get("/unknown"))).await;
    assert_eq!(reply.refusal(), (404, "route_unknown".to_owned()));
    assert_eq!(t.upstream.connections(), 0);
}

// A browser's question before a request; Envoy answered it before it removed anything (envoy#46586).
#[tokio::test]
async fn a_cors_preflight_is_no_way_around_the_token() {
    let t = gateway().start().await;
    let preflight = [
        make_lines(&[
            ("Origin", "https://evil.example"),
            ("Access-Control-Request-Method", "POST"),
            ("Access-Control-Request-Headers", "x-wx-openid"),
        ]),
        forged("victim"),
    ]
    .concat();
    let answer = raw_request(t.address, "OPTIONS /orders", &preflight).await;
    assert_eq!(status(&answer), 401, "{answer}");
    assert_eq!(t.upstream.connections(), 0);

    let answer = raw_request(t.address, "OPTIONS /public", &preflight).await;
    assert_eq!(status(&answer), 200, "{answer}");
    assert_eq!(t.upstream.last().identity(), TestGateway::nobody());
}

#[tokio::test]
async fn own_endpoints_know_only_the_token() {
    let t = gateway().start().await;
    let alice = t.log_in("alice").await;
    let stranger = Reply::of(forge_identity(t.get("/_auth/session"))).await;
    assert_eq!(stranger.json(), json!({"logged_in": false}));
    let known = Reply::of(forge_identity(t.get("/_auth/session")).bearer_auth(&alice.token)).await;
    assert!(known.json()["openid"].as_str().unwrap().starts_with('o'));
    assert!(!known.text().contains("victim"));
}

#[tokio::test]
async fn a_failing_backend_was_told_the_right_user_and_no_forged_line_comes_back() {
    let t = gateway().start().await;
    let alice = t.log_in("alice").await;
    let own = t.identity(&alice).await;
    for (path, code) in [("/status/500", 500), ("/close", 502), ("/garbage", 502)] {
        let reply = Reply::of(forge_identity(t.get(path)).bearer_auth(&alice.token)).await;
        assert_eq!(reply.status, code, "{path}");
        assert_eq!(t.upstream.last().identity(), own, "{path}");
        let said = format!("{:?}{}", reply.headers, reply.text());
        assert!(!said.contains("victim"), "{path}: {said}");
    }
    let reply = Reply::of(forge_identity(t.get("/dead"))).await;
    assert_eq!(reply.refusal(), (502, "upstream_unreachable".to_owned()));
}

#[tokio::test]
async fn a_login_on_the_first_request_brings_the_codes_user() {
    let t = gateway().start().await;
    let alice = t.log_in("alice").await;
    let code = t.code("alice").await;
    // These two are how a client says which app the code is for, and no more than that.
    let mut lines = forged("victim");
    lines.retain(|(name, _)| name != "X-Menshen-App");
    let told = [
        ("X-WX-Code", &*code),
        ("X_WX_Code", "other"),
        ("x-menshen-app", "shop"),
    ];
    lines.extend(told.map(|(name, value)| (name.to_owned(), value.to_owned())));
    let answer = raw_request(t.address, "GET /orders", &lines).await;
    assert_eq!(status(&answer), 200, "{answer}");
    let received = t.upstream.last();
    // This login's session is another one of the same user.
    let without = |mut lines: Vec<(String, String)>| {
        lines.retain(|(name, _)| name != "x-menshen-session");
        lines
    };
    assert_eq!(
        without(received.identity()),
        without(t.identity(&alice).await)
    );
    assert_eq!(received.aliases("x-menshen-session").len(), 1);
    assert!(!received.head.contains(&code));
    assert!(!answer.contains("victim"));
}

#[tokio::test]
async fn an_alias_of_the_code_header_logs_nobody_in() {
    let t = gateway().start().await;
    let code = t.code("alice").await;
    for name in ["X_WX_Code", "X.WX.Code", "x-wx_code"] {
        let answer = raw_request(t.address, "GET /orders", &[(name, &code)]).await;
        assert_eq!(status(&answer), 401, "{answer}");
    }
    assert_eq!((t.upstream.connections(), t.redeemed().await), (0, 0));
}

fn handshake(t: &TestGateway, path: &str, grant: Option<&Grant>) -> Request {
    let mut request = format!("ws://{}{path}", t.address)
        .into_client_request()
        .unwrap();
    let headers = request.headers_mut();
    for (name, value) in forged("victim") {
        let name = HeaderName::from_bytes(name.as_bytes()).unwrap();
        headers.append(name, HeaderValue::from_str(&value).unwrap());
    }
    if let Some(grant) = grant {
        let bearer = format!("Bearer {}", grant.token);
        headers.insert("authorization", HeaderValue::from_str(&bearer).unwrap());
    }
    let named = "Upgrade, X-WX-OPENID, x-wx-source";
    headers.insert("connection", HeaderValue::from_static(named));
    request
}

#[tokio::test]
async fn a_websocket_handshake_brings_the_tokens_user() {
    let t = gateway().start().await;
    let alice = t.log_in("alice").await;
    let (mut socket, _) = connect_async(handshake(&t, "/chat", Some(&alice)))
        .await
        .unwrap();
    let received = t.upstream.last();
    assert_eq!(received.identity(), t.identity(&alice).await);
    assert_eq!(received.only("connection"), Some("Upgrade"));
    socket.send("hello".into()).await.unwrap();
    assert_eq!(
        socket.next().await.unwrap().unwrap().into_text().unwrap(),
        "hello"
    );
}

#[tokio::test]
async fn a_websocket_handshake_of_a_stranger_is_refused_or_brings_nobody() {
    let t = gateway().start().await;
    let refused = connect_async(handshake(&t, "/chat", None))
        .await
        .unwrap_err();
    assert!(
        matches!(&refused, Error::Http(answer) if answer.status() == 401),
        "{refused}"
    );
    assert_eq!(t.upstream.connections(), 0);
    for path in ["/public/chat", "/optional/chat"] {
        let _socket = connect_async(handshake(&t, path, None)).await.unwrap();
        assert_eq!(
            t.upstream.last().identity(),
            TestGateway::nobody(),
            "{path}"
        );
    }
}

// Any `Upgrade` at all was let in without a token by pingap (pingap#215).
#[tokio::test]
async fn an_upgrade_to_something_else_needs_the_token_all_the_same() {
    let t = gateway().start().await;
    let alice = t.log_in("alice").await;
    let own = t.identity(&alice).await;
    let bearer = format!("Bearer {}", alice.token);
    for (upgrade, more) in [
        ("x", ("A", "b")),
        ("h2c", ("HTTP2-Settings", "AAMAAABkAAQAAP__")),
        ("h2c, websocket", ("HTTP2-Settings", "AAMAAABkAAQAAP__")),
        ("TLS/1.0", ("A", "b")),
        ("websocket", ("A", "b")),
    ] {
        let before = t.upstream.requests();
        let mut lines = [
            make_lines(&[
                ("Connection", "Upgrade, HTTP2-Settings, close"),
                ("Upgrade", upgrade),
                more,
            ]),
            forged("victim"),
        ]
        .concat();
        let answer = raw_request(t.address, "GET /orders", &lines).await;
        assert_eq!(status(&answer), 401, "{upgrade}: {answer}");
        assert_eq!(t.upstream.requests(), before, "{upgrade}");

        lines.push(("Authorization".to_owned(), bearer.clone()));
        let answer = raw_request(t.address, "GET /orders", &lines).await;
        assert_eq!(status(&answer), 200, "{upgrade}: {answer}");
        let received = t.upstream.last();
        assert_eq!(received.identity(), own, "{upgrade}");
        assert!(received.all("http2-settings").is_empty(), "{upgrade}");
        assert!(
            upgrade == "websocket" || received.all("upgrade").is_empty(),
            "{upgrade}"
        );
    }
}

// What is sent again is edited again, from what the client sent.
#[tokio::test]
async fn a_request_that_is_sent_again_brings_the_same_user_both_times() {
    let t = gateway().start().await;
    let alice = t.log_in("alice").await;
    let own = t.identity(&alice).await;
    t.get_as("/orders", &alice.token).await;
    // The backend closes the connection that was kept open, and then the new one.
    let reply = Reply::of(forge_identity(t.get("/close")).bearer_auth(&alice.token)).await;
    assert_eq!(reply.status, 502);
    let received = t.upstream.received();
    let identities: Vec<_> = received.iter().map(Received::identity).collect();
    assert_eq!(identities, [own.clone(), own.clone(), own]);
}

#[tokio::test]
async fn a_server_that_is_asked_instead_of_a_dead_one_is_told_the_same_user() {
    let living = Upstream::start().await;
    let pair = format!("servers = [\"127.0.0.1:1\", \"{}\"]", living.address);
    let t = TestGateway::builder()
        .upstreams(&format!("[[upstream]]\nname = \"pair\"\n{pair}\n"))
        .routes("[[route]]\npath = \"/\"\nupstream = \"pair\"\n")
        .start()
        .await;
    let alice = t.log_in("alice").await;
    let own = t.identity(&alice).await;
    for _ in 0..2 {
        let reply = Reply::of(forge_identity(t.get("/orders")).bearer_auth(&alice.token)).await;
        assert_eq!(reply.status, 200);
        assert_eq!(living.last().identity(), own);
    }
}
