//! What stands for no credential is none, and a token without its scheme is not passed over.

use menshen_test_support::{Reply, TestGateway};
use reqwest::RequestBuilder;
use serde_json::json;

const EMPTY_BEARERS: [&str; 5] = [
    "Bearer",
    "Bearer ",
    "Bearer undefined",
    "bearer null",
    "Bearer \"\"",
];
const NO_CODES: [&str; 4] = ["", " ", "undefined", "null"];

/// Asserts that a request is a guest's on an optional route, and on a required one gets the answer to one without a token.
async fn is_a_guest(t: &TestGateway, with: impl Fn(RequestBuilder) -> RequestBuilder) {
    let reply = Reply::of(with(t.get("/optional"))).await;
    assert_eq!(reply.status, 200, "{}", reply.text());
    let received = t.upstream.last();
    assert_eq!(received.identity(), TestGateway::nobody());
    assert!(
        received.all("authorization").is_empty(),
        "{}",
        received.head
    );
    let reply = Reply::of(with(t.get("/orders"))).await;
    assert_eq!(reply.refusal(), (401, "token_missing".to_owned()));
}

fn handshake(request: RequestBuilder) -> RequestBuilder {
    request
        .header("Connection", "Upgrade")
        .header("Upgrade", "websocket")
        .header("Sec-WebSocket-Version", "13")
        .header("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ==")
}

#[tokio::test]
async fn an_empty_credential_is_none() {
    let t = TestGateway::start().await;
    for value in EMPTY_BEARERS {
        is_a_guest(&t, |request| request.header("Authorization", value)).await;
        let session = t.get("/_auth/session").header("Authorization", value);
        assert_eq!(Reply::of(session).await.json(), json!({"logged_in": false}));
    }
    for code in NO_CODES {
        is_a_guest(&t, |request| request.header("X-WX-Code", code)).await;
        let both = |request: RequestBuilder| request.header("X-WX-Code", code).bearer_auth(code);
        is_a_guest(&t, both).await;
    }
    assert_eq!(t.redeemed().await, 0);
}

#[tokio::test]
async fn an_empty_credential_beside_a_token_is_no_second_one() {
    let t = TestGateway::start().await;
    let token = t.log_in("alice").await.token;
    for code in NO_CODES {
        let reply = Reply::of(
            t.get("/orders")
                .bearer_auth(&token)
                .header("X-WX-Code", code),
        )
        .await;
        assert_eq!(reply.status, 200, "{code:?}: {}", reply.text());
    }
    for empty in EMPTY_BEARERS {
        let offered = "menshen.bearer., menshen.bearer.undefined, menshen.bearer.\"\"";
        let offered = format!("{offered}, menshen.bearer.{token}");
        let request = t.get("/orders").header("Authorization", empty);
        let request = handshake(request).header("Sec-WebSocket-Protocol", offered);
        let reply = Reply::of(request).await;
        assert_eq!(reply.status, 101, "{empty:?}");
        let received = t.upstream.last();
        assert!(received.only("x-wx-openid").is_some());
        assert!(
            !received.head.contains("menshen.bearer"),
            "{}",
            received.head
        );
    }
}

#[tokio::test]
async fn an_empty_bearer_beside_another_authorization_goes_no_further() {
    let forwarding = "[[route]]\npath = \"/kept\"\nupstream = \"api\"\nforward_token = true\n";
    let t = TestGateway::start().await;
    let token = t.log_in("alice").await.token;
    let kept = TestGateway::builder().routes(forwarding).start().await;
    let (bearer, kept_bearer) = (
        format!("Bearer {token}"),
        format!("Bearer {}", kept.log_in("alice").await.token),
    );
    for empty in EMPTY_BEARERS {
        for (t, path, other, passed) in [
            (&t, "/orders", &*bearer, None),
            (&t, "/optional", &*bearer, None),
            (&t, "/public", &*bearer, None),
            (&kept, "/kept", &*kept_bearer, Some(&*kept_bearer)),
            (&t, "/public", "Basic eA==", Some("Basic eA==")),
            (&t, "/optional", "Basic eA==", Some("Basic eA==")),
            (&t, "/public", empty, None),
        ] {
            for (first, second) in [(empty, other), (other, empty)] {
                let request = t.get(path).header("Authorization", first);
                let reply = Reply::of(request.header("Authorization", second)).await;
                assert_eq!(
                    reply.status,
                    200,
                    "{path} {first} {second}: {}",
                    reply.text()
                );
                let received = t.upstream.last();
                let authorization = received.all("authorization");
                let expected: Vec<&str> = passed.into_iter().collect();
                assert_eq!(authorization, expected, "{path} {first} {second}");
                let is_known = received.only("x-wx-openid").is_some();
                let is_token = other.starts_with("Bearer eyJ");
                assert_eq!(is_known, is_token && path != "/public", "{path} {other}");
            }
        }
    }
}

#[tokio::test]
async fn an_empty_credential_beside_a_code_logs_in() {
    let t = TestGateway::start().await;
    for empty in EMPTY_BEARERS {
        let request = t.get("/optional").header("Authorization", empty);
        let request = request.header("X-Menshen-App", "undefined");
        let request = request.header("X-WX-Code", t.code("alice").await);
        let reply = Reply::of(request).await;
        assert_eq!(reply.status, 200, "{empty:?}: {}", reply.text());
        assert!(reply.headers.contains_key("menshen-token"));
        let received = t.upstream.last();
        assert!(received.only("x-wx-openid").is_some());
        assert!(
            received.all("authorization").is_empty(),
            "{}",
            received.head
        );
    }
}

#[tokio::test]
async fn a_login_without_a_code_never_reaches_wechat() {
    let t = TestGateway::start().await;
    for code in NO_CODES {
        let reply = t.post("/_auth/login", json!({"code": code})).await;
        assert_eq!(
            reply.refusal(),
            (400, "code_missing".to_owned()),
            "{code:?}"
        );
    }
    assert_eq!(t.redeemed().await, 0);
    let body = json!({"code": t.code("alice").await, "app": null});
    assert_eq!(t.post("/_auth/login", body).await.status, 200);
}

#[tokio::test]
async fn what_a_public_route_forwards_is_the_backends_own() {
    let t = TestGateway::start().await;
    for value in ["Bearer undefined", "Bearer null", "eyJh.eyJp.c2ln"] {
        let reply = Reply::of(t.get("/public").header("Authorization", value)).await;
        assert_eq!(reply.status, 200);
        assert_eq!(t.upstream.last().only("authorization"), Some(value));
    }
}

#[tokio::test]
async fn a_token_without_its_scheme_is_told_what_lacks() {
    let t = TestGateway::start().await;
    let token = t.log_in("alice").await.token;
    let ours =
        ["", "Token ", "JWT ", "Bearer:", "Bearer=\""].map(|before| format!("{before}{token}"));
    for path in ["/optional", "/orders"] {
        for value in ours.iter().map(String::as_str).chain(["eyJh.eyJp.c2ln"]) {
            let reply = Reply::of(t.get(path).header("Authorization", value)).await;
            assert_eq!(
                reply.refusal(),
                (401, "token_missing".to_owned()),
                "{value}"
            );
            assert!(
                reply.text().contains("Authorization: Bearer TOKEN"),
                "{}",
                reply.text()
            );
        }
    }
    let code = t.code("alice").await;
    let request = t
        .get("/optional")
        .header("X-WX-Code", code)
        .header("Authorization", &token);
    Reply::of(request).await.refused(401, "token_missing");
    assert_eq!((t.redeemed().await, t.upstream.requests()), (1, 0));
}

#[tokio::test]
async fn a_token_without_the_space_behind_its_scheme_is_told_what_lacks() {
    let t = TestGateway::start().await;
    let token = t.log_in("alice").await.token;
    for before in [
        "Bearer",
        "Bearer%20",
        "Bearer_",
        "Token",
        "Bearer+",
        "Bearer.",
    ] {
        // Tokens of others look the same, and are sent by the same mistake.
        for token in [&token, "eyJh.eyJp.c2ln"] {
            let value = format!("{before}{token}");
            for path in ["/optional", "/orders"] {
                let request = t.get(path).header("Authorization", &value);
                let reply = Reply::of(request).await;
                reply.refused(401, "token_missing");
                let told = reply.text().contains("Authorization: Bearer TOKEN");
                assert!(told, "{path} {value}: {}", reply.text());
            }
        }
    }
    assert_eq!(t.upstream.requests(), 0);
}

#[tokio::test]
async fn a_gateway_that_asks_gets_the_same_answers() {
    let t = TestGateway::start().await;
    let ask = |path: &str, value: &str| {
        let request = t.get(&format!("/_auth/verify{path}"));
        Reply::of(request.header("Authorization", value))
    };
    for value in EMPTY_BEARERS {
        assert_eq!(ask("/optional", value).await.status, 200, "{value:?}");
        ask("/orders", value).await.refused(401, "token_missing");
    }
    let token = t.log_in("alice").await.token;
    let reply = ask("/optional", &token).await;
    reply.refused(401, "token_missing");
    assert!(
        reply.text().contains("Authorization: Bearer TOKEN"),
        "{}",
        reply.text()
    );
}
