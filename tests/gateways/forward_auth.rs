//! Another gateway that asks first gets the same decision as a client that comes directly, and the same headers.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

use menshen_test_support::{Builder, Grant, Reply, TestGateway, folded, raw, raw_request, status};

const NOTHING: [(&str, &str); 0] = [];

const ROUTES: &str = "[[route]]\npath = \"/\"\nupstream = \"api\"\n\
     [[route]]\npath = \"/public\"\nupstream = \"api\"\nauth = \"public\"\n\
     [[route]]\npath = \"/optional\"\nupstream = \"api\"\nauth = \"optional\"\n\
     [[route]]\npath = \"/open-to-read\"\nmethods = [\"GET\"]\nupstream = \"api\"\nauth = \"public\"\n\
     [[route]]\npath = \"/open-to-read\"\nmethods = [\"POST\"]\nupstream = \"api\"\n\
     [[route]]\nhost = \"docs.example\"\npath = \"/\"\nupstream = \"api\"\nauth = \"public\"\n\
     [[route]]\npath = \"/admin\"\nupstream = \"api\"\napps = [\"staff\"]\n";

fn builder() -> Builder {
    TestGateway::builder()
        .apps(&["shop", "staff"])
        .routes(ROUTES)
}

/// A gateway that believes its neighbour.
async fn trusting() -> TestGateway {
    let trusted = "trusted_proxies = [\"127.0.0.1/32\"]";
    builder().section("server", trusted).start().await
}

/// Asks about a request as Traefik and Caddy do.
async fn ask(t: &TestGateway, method: &str, uri: &str, host: &str, grant: Option<&Grant>) -> Reply {
    let mut request = t
        .get("/_auth/verify")
        .header("X-Forwarded-Method", method)
        .header("X-Forwarded-Uri", uri)
        .header("X-Forwarded-Host", host);
    if let Some(grant) = grant {
        request = request.bearer_auth(&grant.token);
    }
    Reply::of(request).await
}

/// Returns the headers of an answer that a gateway may copy, sorted.
fn identity_headers(reply: &Reply) -> Vec<(String, String)> {
    let mut told: Vec<_> = reply
        .headers
        .iter()
        .map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned()))
        .filter(|(name, _)| name.starts_with("x-wx-") || name.starts_with("x-menshen-"))
        .collect();
    told.sort();
    told
}

/// Returns what a backend would learn about a user, but for the address.
async fn about(t: &TestGateway, grant: &Grant) -> Vec<(String, String)> {
    let mut lines = t.identity(grant).await;
    lines.retain(|(name, _)| name != "x-original-forwarded-for");
    lines
}

#[tokio::test]
async fn a_valid_token_brings_the_users_headers_and_no_body() {
    let t = builder().start().await;
    let alice = t.log_in("alice").await;
    let own = about(&t, &alice).await;
    for path in ["/_auth/verify", "/_auth/verify/orders?page=1"] {
        let reply = t.get_as(path, &alice.token).await;
        assert_eq!((reply.status, reply.text().as_str()), (200, ""), "{path}");
        assert_eq!(identity_headers(&reply), own, "{path}");
        assert_eq!(reply.header("cache-control"), "no-store");
        assert_eq!(reply.header("content-length"), "0");
    }
    for method in ["HEAD", "POST", "DELETE", "PATCH", "OPTIONS"] {
        let request = t.request(method, "/_auth/verify/orders");
        let reply = Reply::of(request.bearer_auth(&alice.token)).await;
        assert_eq!(
            (reply.status, identity_headers(&reply)),
            (200, own.clone()),
            "{method}"
        );
    }
    assert_eq!(t.upstream.requests(), 0);
}

#[tokio::test]
async fn without_a_description_a_valid_token_is_required() {
    let t = trusting().await;
    let alice = t.log_in("alice").await;
    let reply = Reply::of(t.get("/_auth/verify")).await;
    reply.refused(401, "token_missing");
    assert!(identity_headers(&reply).is_empty());
    let reply = t.get_as("/_auth/verify", "not-a-token").await;
    reply.refused(401, "token_invalid");
    // Proxies that describe nothing else add a host all the same.
    let request = t
        .get("/_auth/verify")
        .header("X-Forwarded-Host", "docs.example");
    Reply::of(request).await.refused(401, "token_missing");
    assert_eq!(t.get_as("/_auth/verify", &alice.token).await.status, 200);
    let reply = Reply::of(t.request("POST", "/_auth/verify")).await;
    reply.refused(405, "method_not_allowed");
}

#[tokio::test]
async fn a_session_that_has_ended_is_refused() {
    let t = builder().start().await;
    let alice = t.log_in("alice").await;
    let out = t.request("POST", "/_auth/logout").bearer_auth(&alice.token);
    assert_eq!(Reply::of(out).await.status, 204);
    for path in ["/_auth/verify", "/_auth/verify/optional"] {
        let reply = t.get_as(path, &alice.token).await;
        reply.refused(401, "session_ended");
    }
}

#[tokio::test]
async fn the_original_requests_route_decides() {
    let t = trusting().await;
    let alice = t.log_in("alice").await;
    let staff = t.log_in_to("staff", "alice").await;
    for (method, uri, host, by, expected) in [
        ("GET", "/orders", "shop.example", None, "token_missing"),
        ("GET", "/orders", "shop.example", Some(&alice), ""),
        ("GET", "/public/a?b=c", "shop.example", None, ""),
        ("GET", "/optional", "shop.example", None, ""),
        ("GET", "/open-to-read", "shop.example", None, ""),
        (
            "POST",
            "/open-to-read",
            "shop.example",
            None,
            "token_missing",
        ),
        (
            "PUT",
            "/open-to-read",
            "shop.example",
            Some(&alice),
            "method_not_allowed",
        ),
        (
            "TRACE",
            "/public",
            "shop.example",
            None,
            "method_not_allowed",
        ),
        ("GET", "/orders", "docs.example:8443", None, ""),
        ("GET", "/orders", "DOCS.example", None, ""),
        (
            "GET",
            "/admin",
            "shop.example",
            Some(&alice),
            "app_not_allowed",
        ),
        ("GET", "/admin", "shop.example", Some(&staff), ""),
        (
            "GET",
            "/private?path=/public",
            "shop.example",
            None,
            "token_missing",
        ),
        (
            "GET",
            "/public/../orders",
            "shop.example",
            None,
            "path_ambiguous",
        ),
        (
            "GET",
            "/public/%2e%2e/orders",
            "shop.example",
            None,
            "path_ambiguous",
        ),
        (
            "GET",
            "/public%2f..%2forders",
            "shop.example",
            None,
            "path_ambiguous",
        ),
        (
            "GET",
            "/public;x/../orders",
            "shop.example",
            None,
            "path_ambiguous",
        ),
        ("GET", "//public", "shop.example", None, "path_ambiguous"),
        ("GET", "/%70ublic", "shop.example", None, ""),
        ("GET", "orders", "shop.example", None, "path_ambiguous"),
        (
            "GET",
            "http://docs.example/orders",
            "shop.example",
            None,
            "path_ambiguous",
        ),
        (
            "GET",
            "/orders",
            "docs.example, shop.example",
            None,
            "bad_request",
        ),
        ("GET", "/orders", "user@docs.example", None, "bad_request"),
        ("GE T", "/public", "shop.example", None, "bad_request"),
        (
            "GET",
            "/_auth/login",
            "shop.example",
            None,
            "method_not_allowed",
        ),
        // Own endpoints are not asked about: a gateway that does would forward them to the backend.
        (
            "POST",
            "/_auth/login",
            "shop.example",
            None,
            "route_unknown",
        ),
        (
            "GET",
            "/_auth/session",
            "shop.example",
            Some(&alice),
            "route_unknown",
        ),
        (
            "GET",
            "/_auth/verify/orders",
            "shop.example",
            Some(&alice),
            "route_unknown",
        ),
    ] {
        let reply = ask(&t, method, uri, host, by).await;
        assert_eq!(reply.error(), expected, "{method} {uri} {host}");
        assert_eq!(reply.status == 200, expected.is_empty(), "{method} {uri}");
        assert_eq!(
            identity_headers(&reply).is_empty(),
            by.is_none() || reply.status != 200
        );
        let host = host.split(':').next().unwrap_or("");
        if !uri.starts_with('/') || expected == "bad_request" {
            continue;
        }
        // The same request below the endpoint, as Envoy asks.
        let bearer = by.map(|by| format!("Authorization: Bearer {}\r\n", by.token));
        let below = format!(
            "{method} /_auth/verify{uri} HTTP/1.1\r\nHost: {host}\r\n{}Connection: close\r\n\r\n",
            bearer.unwrap_or_default()
        );
        let answer = raw(t.address, below.as_bytes()).await;
        let found = if expected.is_empty() {
            answer.starts_with("HTTP/1.1 200 ")
        } else {
            answer.contains(&format!("\"{expected}\""))
        };
        assert!(found, "{below}{answer}");
    }
}

/// Returns the status of an answer and the code of its refusal.
fn refusal(answer: &str) -> (u16, &str) {
    let code = answer.split_once("{\"error\":\"");
    let code = code.and_then(|(_, rest)| rest.split_once('"'));
    (status(answer), code.map_or("", |(code, _)| code))
}

#[tokio::test]
async fn every_path_is_decided_on_as_if_it_had_come_directly() {
    const PIECES: [&str; 14] = [
        "/",
        "/public",
        "/orders",
        "/open-to-read",
        "/admin",
        "/..",
        "/.",
        "/%2e%2e",
        "%2f",
        "%70",
        ";x",
        "?/../a",
        "%00",
        "\\",
    ];
    let t = trusting().await;
    let triples = PIECES.iter().flat_map(|one| {
        let pairs = PIECES
            .iter()
            .flat_map(|two| PIECES.map(|three| (*two, three)));
        pairs.map(move |(two, three)| format!("/{one}{two}{three}"))
    });
    // Every piece stands in every place, with every other before or behind it.
    for path in triples.step_by(5) {
        let path = path.replacen("//", "/", 1);
        let directly = raw_request(t.address, &format!("GET {path}"), &NOTHING).await;
        let below = format!("GET /_auth/verify{path}");
        let below = raw_request(t.address, &below, &NOTHING).await;
        let lines = [
            ("X-Forwarded-Method", "GET"),
            ("X-Forwarded-Uri", &path),
            ("X-Forwarded-Host", "shop.example"),
        ];
        let described = raw_request(t.address, "GET /_auth/verify", &lines).await;
        assert_eq!(refusal(&below), refusal(&directly), "{path}");
        assert_eq!(refusal(&described), refusal(&directly), "{path}");
    }
}

#[tokio::test]
async fn a_public_route_tells_nothing_about_a_user() {
    let t = trusting().await;
    let alice = t.log_in("alice").await;
    let reply = ask(&t, "GET", "/public", "h", Some(&alice)).await;
    assert_eq!((reply.status, identity_headers(&reply)), (200, vec![]));
    let reply = ask(&t, "GET", "/optional", "h", Some(&alice)).await;
    assert_eq!(
        (reply.status, identity_headers(&reply)),
        (200, about(&t, &alice).await)
    );
}

// oauth2-proxy's CVE-2026-40575: whoever could reach it chose the path that was decided on. And a gateway whose address
// was forgotten must not be told that a token of any app will do.
#[tokio::test]
async fn nobody_describes_a_request_by_default() {
    let t = builder().start().await;
    let alice = t.log_in("alice").await;
    for uri in ["/public", "/optional", "/_auth/jwks.json", "/admin"] {
        for by in [None, Some(&alice)] {
            let reply = ask(&t, "GET", uri, "docs.example", by).await;
            reply.refused(400, "bad_request");
            assert!(identity_headers(&reply).is_empty());
        }
    }
    for name in ["X-Forwarded-Method", "X-Forwarded-Uri"] {
        let request = t.get("/_auth/verify").bearer_auth(&alice.token);
        let reply = Reply::of(request.header(name, "/orders")).await;
        reply.refused(400, "bad_request");
    }
    // Any proxy between says a host, which describes nothing.
    let request = t.get("/_auth/verify").bearer_auth(&alice.token);
    let reply = Reply::of(request.header("X-Forwarded-Host", "h")).await;
    assert_eq!(reply.status, 200);
}

#[tokio::test]
async fn a_peer_outside_the_trusted_networks_describes_nothing() {
    let trusted = "trusted_proxies = [\"10.0.0.0/8\"]";
    let t = builder().section("server", trusted).start().await;
    let alice = t.log_in("alice").await;
    for by in [None, Some(&alice)] {
        let reply = ask(&t, "GET", "/admin", "docs.example", by).await;
        reply.refused(400, "bad_request");
    }
}

// With it a client could go to the backend by itself; its openid, /_auth/session tells it as well.
#[tokio::test]
async fn only_trusted_proxies_get_the_backends_assertion() {
    let assertions = ("headers", "assertion = true");
    let trusted = ("server", "trusted_proxies = [\"127.0.0.1/32\"]");
    let t = builder().section(assertions.0, assertions.1).start().await;
    let alice = t.log_in("alice").await;
    let reply = t.get_as("/_auth/verify/orders", &alice.token).await;
    assert_eq!(
        (reply.status, identity_headers(&reply)),
        (200, about(&t, &alice).await)
    );
    let t = builder().section(assertions.0, assertions.1);
    let t = t.section(trusted.0, trusted.1).start().await;
    let alice = t.log_in("alice").await;
    let reply = t.get_as("/_auth/verify/orders", &alice.token).await;
    assert_ne!(reply.header("x-menshen-assertion"), "");
}

#[tokio::test]
async fn an_endpoint_is_found_only_as_it_is_written() {
    let t = trusting().await;
    let alice = t.log_in("alice").await;
    for path in [
        "/_auth/%76erify",
        "/_auth/%76erify/orders",
        "/%5fauth/verify/orders",
        "/_auth/sessio%6e",
        "/%5Fauth/session",
    ] {
        let line = ("Authorization", format!("Bearer {}", alice.token));
        let answer = raw_request(t.address, &format!("GET {path}"), &[line]).await;
        assert_eq!(refusal(&answer), (400, "path_ambiguous"), "{path}");
    }
    let line = ("Authorization", format!("Bearer {}", alice.token));
    let reply = ask(&t, "GET", "/%5fauth/verify/orders", "h", Some(&alice)).await;
    reply.refused(400, "path_ambiguous");
    let below = "GET /_auth/verify/%6frders";
    assert_eq!(status(&raw_request(t.address, below, &[line]).await), 200);
}

// nginx's auth_request drops bodies.
#[tokio::test]
async fn a_refusal_is_repeated_in_the_header_for_whom_it_is_asked() {
    let t = trusting().await;
    let asked = t.get("/_auth/verify").header("X-Menshen-Refusal", "header");
    let reply = Reply::of(asked).await;
    reply.refused(401, "token_missing");
    assert_eq!(reply.header("menshen-refusal"), reply.text());
    let reply = Reply::of(t.get("/_auth/verify")).await;
    assert_eq!(reply.header("menshen-refusal"), "");
}

#[tokio::test]
async fn a_description_of_another_request_does_not_count_below_the_endpoint() {
    let t = trusting().await;
    for path in ["/_auth/verify/orders", "/_auth/verify/"] {
        let request = t
            .get(path)
            .header("X-Forwarded-Method", "GET")
            .header("X-Forwarded-Uri", "/public")
            .header("X-Forwarded-Host", "docs.example");
        Reply::of(request).await.refused(401, "token_missing");
    }
}

#[tokio::test]
async fn a_description_that_is_partial_or_said_twice_is_refused() {
    let t = trusting().await;
    let alice = t.log_in("alice").await;
    let (method, uri, host) = (
        ("X-Forwarded-Method", "GET"),
        ("X-Forwarded-Uri", "/public"),
        ("X-Forwarded-Host", "h"),
    );
    for lines in [
        &[uri][..],
        &[method],
        &[uri, host],
        &[method, host],
        &[method, uri],
        &[method, uri, host, uri],
        &[method, uri, host, method],
        &[method, uri, host, host],
    ] {
        let mut request = t.get("/_auth/verify").bearer_auth(&alice.token);
        for (name, value) in lines {
            request = request.header(*name, *value);
        }
        Reply::of(request).await.refused(400, "bad_request");
    }
    // Other spellings are a client's, and no gateway's.
    let request = t.get("/_auth/verify").header("X_Forwarded_Uri", "/public");
    Reply::of(request).await.refused(401, "token_missing");
}

#[tokio::test]
async fn a_code_is_not_spent_where_its_token_would_get_lost() {
    let t = trusting().await;
    let code = t.code("alice").await;
    for path in ["/_auth/verify", "/_auth/verify/orders"] {
        let request = t.get(path).header("X-WX-Code", &code);
        Reply::of(request).await.refused(401, "token_missing");
    }
    assert_eq!(t.redeemed().await, 0);
}

#[tokio::test]
async fn what_the_asking_gateway_copied_from_the_client_is_not_sent_back() {
    let t = builder().without_unionids().start().await;
    let alice = t.log_in("alice").await;
    let mut request = t.get("/_auth/verify/orders").bearer_auth(&alice.token);
    for name in [
        "X-WX-OPENID",
        "X_WX_OPENID",
        "X-WX-UNIONID",
        "X-WX-FROM-OPENID",
    ] {
        request = request.header(name, "victim");
    }
    let reply = Reply::of(request).await;
    assert_eq!(identity_headers(&reply), about(&t, &alice).await);
    let mut names = reply.headers.keys().map(|name| folded(name.as_str()));
    assert!(!names.any(|name| name == "x-wx-unionid"));
}

#[tokio::test]
async fn renamed_headers_environment_and_assertion_are_told_too() {
    let t = builder()
        .section(
            "headers",
            "env = \"prod\"\nassertion = true\n[headers.rename]\nopenid = \"X-User-Id\"",
        )
        .section("server", "trusted_proxies = [\"127.0.0.1/32\"]")
        .start()
        .await;
    let alice = t.log_in("alice").await;
    let reply = t.get_as("/_auth/verify/orders", &alice.token).await;
    let openid = t.get_as("/_auth/session", &alice.token).await.json()["openid"].clone();
    assert_eq!(reply.header("x-user-id"), openid.as_str().unwrap());
    assert_eq!(reply.header("x-wx-env"), "prod");
    let (_, claims) = t.verified(reply.header("x-menshen-assertion"), "api").await;
    assert_eq!(claims["sub"], openid);
    // Without a route there is no upstream that it could be for.
    let reply = t.get_as("/_auth/verify", &alice.token).await;
    assert_eq!(reply.header("x-menshen-assertion"), "");
    let reply = Reply::of(t.get("/_auth/verify/public")).await;
    assert_eq!(
        identity_headers(&reply),
        [("x-wx-env".to_owned(), "prod".to_owned())]
    );
}

// nginx asks with HTTP/1.0 unless told otherwise.
#[tokio::test]
async fn http_1_0_is_understood() {
    let t = builder().start().await;
    let alice = t.log_in("alice").await;
    let request = format!(
        "GET /_auth/verify HTTP/1.0\r\nHost: menshen\r\nConnection: close\r\nAuthorization: Bearer {}\r\n\r\n",
        alice.token
    );
    let answer = raw(t.address, request.as_bytes()).await;
    assert!(answer.contains(" 200 "), "{answer}");
    assert!(
        answer.to_lowercase().contains("\r\nx-wx-openid: "),
        "{answer}"
    );
    assert!(answer.ends_with("\r\n\r\n"), "{answer}");
}

#[tokio::test]
async fn the_answer_has_the_sub_protocols_without_the_token() {
    let t = trusting().await;
    let alice = t.log_in_to("shop", "alice").await;
    let ours = format!("menshen.bearer.{}", alice.token);
    for (lines, left, removed) in [
        (vec![format!("chat, {ours}")], "chat", ""),
        (
            vec!["chat".to_owned(), format!("{ours},v2")],
            "chat, v2",
            "",
        ),
        (vec![ours.clone()], "", "sec-websocket-protocol"),
    ] {
        let mut request = t.get("/_auth/verify/orders");
        for line in &lines {
            request = request.header("Sec-WebSocket-Protocol", line);
        }
        let reply = Reply::of(request).await;
        assert_eq!(reply.status, 200, "{lines:?}");
        assert_eq!(identity_headers(&reply), about(&t, &alice).await);
        assert_eq!(reply.header("sec-websocket-protocol"), left);
        assert_eq!(reply.header("x-envoy-auth-headers-to-remove"), removed);
    }
    let twice = t.get("/_auth/verify/orders").bearer_auth(&alice.token);
    let twice = twice.header("Sec-WebSocket-Protocol", &ours);
    Reply::of(twice).await.refused(400, "token_ambiguous");
    let none = Reply::of(t.get("/_auth/verify/orders").bearer_auth(&alice.token)).await;
    assert_eq!(none.header("sec-websocket-protocol"), "");
    assert_eq!(none.header("x-envoy-auth-headers-to-remove"), "");
}
