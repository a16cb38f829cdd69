//! Login on the first request: a code in place of a token, and the tokens in the response's headers.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

use menshen_test_support::{Received, Reply, TestGateway, raw};
use reqwest::RequestBuilder;
use serde_json::json;
use tokio::net::TcpSocket;

async fn with_code(t: &TestGateway, request: RequestBuilder, user: &str) -> Reply {
    Reply::of(request.header("X-WX-Code", t.code(user).await)).await
}

/// Returns who the upstream was told the request is from.
fn openid(received: &Received) -> String {
    received.only("x-wx-openid").unwrap().to_owned()
}

/// Uses both tokens of a response's headers, and returns the openid that the token stands for.
async fn granted(t: &TestGateway, reply: &Reply) -> String {
    assert_eq!(reply.header("menshen-token-expires-in"), "7200");
    assert!(reply.header("cache-control").contains("no-store"));
    let openid = t.openid(reply.header("menshen-token")).await;
    let refresh = json!({"refresh_token": reply.header("menshen-refresh-token")});
    assert_eq!(t.post("/_auth/refresh", refresh).await.status, 200);
    openid
}

fn grants_nothing(reply: &Reply) {
    let granted: Vec<_> = reply
        .headers
        .keys()
        .filter(|name| name.as_str().starts_with("menshen-"))
        .collect();
    assert!(granted.is_empty(), "{granted:?}");
}

#[tokio::test]
async fn a_code_opens_a_required_route_and_brings_tokens() {
    let t = TestGateway::start().await;
    let reply = with_code(&t, t.get("/orders?id=1"), "alice").await;
    assert_eq!((reply.status, reply.text()), (200, "ok".to_owned()));
    let received = t.upstream.last();
    assert_eq!(received.target, "/orders?id=1");
    assert_eq!(received.only("x-wx-source"), Some("wx_client"));
    assert_eq!(granted(&t, &reply).await, openid(&received));
    let known = t.log_in("alice").await;
    t.get_as("/orders", &known.token).await;
    assert_eq!(openid(&t.upstream.last()), openid(&received));
}

#[tokio::test]
async fn a_code_opens_an_optional_route_as_that_user() {
    let t = TestGateway::start().await;
    let reply = with_code(&t, t.get("/optional/x"), "alice").await;
    assert_eq!(reply.status, 200);
    assert_eq!(granted(&t, &reply).await, openid(&t.upstream.last()));
}

#[tokio::test]
async fn the_body_of_the_first_request_arrives_whole() {
    let t = TestGateway::start().await;
    let body: Vec<u8> = (0..200_000_u32).map(|n| n.to_le_bytes()[0]).collect();
    let reply = with_code(&t, t.request("POST", "/orders").body(body.clone()), "alice").await;
    assert_eq!(reply.status, 200);
    let received = t.upstream.last();
    assert_eq!(received.method, "POST");
    assert!(received.body == body, "the body should be the same");
    assert_eq!(granted(&t, &reply).await, openid(&received));
}

#[tokio::test]
async fn the_upstream_never_sees_a_code() {
    let t = TestGateway::start().await;
    let code = t.code("alice").await;
    for path in ["/orders", "/optional", "/public"] {
        let request = t
            .get(path)
            .header("X-WX-Code", &code)
            .header("X_WX_Code", &code)
            .header("X.WX-Code", &code)
            .header("X-Menshen-App", "shop");
        Reply::of(request).await;
    }
    assert!(t.upstream.requests() >= 2);
    for received in t.upstream.received() {
        assert!(!received.head.contains(&code), "{}", received.head);
    }
}

#[tokio::test]
async fn a_public_route_neither_spends_a_code_nor_grants_anything() {
    let t = TestGateway::start().await;
    let code = t.code("alice").await;
    let reply = Reply::of(t.get("/public").header("X-WX-Code", &code)).await;
    assert_eq!(reply.status, 200);
    grants_nothing(&reply);
    assert!(t.upstream.last().all("x-wx-openid").is_empty());
    assert_eq!(t.redeemed().await, 0);
    let login = t.redeem(&code).await;
    assert_eq!(login.status, 200);
}

#[tokio::test]
async fn an_endpoint_of_menshens_own_spends_no_code() {
    let t = TestGateway::start().await;
    for path in ["/_auth/session", "/_auth/jwks.json", "/_auth/unknown"] {
        grants_nothing(&with_code(&t, t.get(path), "alice").await);
    }
    assert_eq!(t.redeemed().await, 0);
}

#[tokio::test]
async fn a_code_that_names_an_unknown_route_is_not_spent() {
    let t = TestGateway::builder()
        .routes("[[route]]\npath = \"/api\"\nmethods = [\"GET\"]\nupstream = \"api\"\n")
        .start()
        .await;
    for (method, path, status) in [("GET", "/other", 404), ("POST", "/api", 405)] {
        let reply = with_code(&t, t.request(method, path), "alice").await;
        assert_eq!(reply.status, status);
    }
    assert_eq!((t.redeemed().await, t.upstream.requests()), (0, 0));
}

#[tokio::test]
async fn a_code_beside_another_credential_is_not_spent() {
    let t = TestGateway::start().await;
    let token = t.log_in("alice").await.token;
    let spent = t.redeemed().await;
    let code = t.code("alice").await;
    let requests = [
        t.get("/orders").bearer_auth(&token),
        t.get("/optional").bearer_auth(&token),
        t.get("/orders").bearer_auth("rubbish"),
        t.get("/orders").header("X-WX-Code", &code),
        t.get("/orders")
            .header("X-Menshen-App", "shop")
            .header("X-Menshen-App", "shop"),
    ];
    for request in requests {
        let reply = Reply::of(request.header("X-WX-Code", &code)).await;
        assert_eq!(reply.refusal(), (400, "token_ambiguous".to_owned()));
        grants_nothing(&reply);
    }
    assert_eq!((t.redeemed().await, t.upstream.requests()), (spent, 0));
}

#[tokio::test]
async fn another_scheme_of_authorization_is_the_backends_business() {
    let t = TestGateway::start().await;
    let reply = with_code(&t, t.get("/orders").basic_auth("u", Some("p")), "alice").await;
    assert_eq!(reply.status, 200);
    assert_eq!(t.upstream.last().only("authorization"), Some("Basic dTpw"));
    // But not when it holds a token of ours.
    let grant = t.log_in("bob").await;
    let misspelled = format!("Token {}", grant.token);
    let request = t.get("/orders").header("Authorization", misspelled);
    let reply = with_code(&t, request, "alice").await;
    assert_eq!(reply.status, 200);
    assert!(!t.upstream.last().head.contains(&grant.token));
}

#[tokio::test]
async fn a_code_that_wechat_refuses_never_reaches_the_upstream() {
    let t = TestGateway::start().await;
    for path in ["/orders", "/optional"] {
        let reply = Reply::of(t.get(path).header("X-WX-Code", "0made0up")).await;
        assert_eq!(reply.refusal(), (401, "code_invalid".to_owned()));
        assert_eq!(reply.json()["errcode"], 40029);
        grants_nothing(&reply);
    }
    assert_eq!(t.upstream.requests(), 0);
}

#[tokio::test]
async fn what_cannot_be_a_code_is_refused_without_asking_wechat() {
    let t = TestGateway::start().await;
    let long = "0".repeat(10_000);
    for (code, error) in [
        ("a&appid=wx1", "bad_request"),
        ("a#b", "bad_request"),
        ("a\"b", "bad_request"),
        ("a b", "bad_request"),
        ("a%26", "bad_request"),
        (long.as_str(), "bad_request"),
    ] {
        for path in ["/orders", "/optional"] {
            let reply = Reply::of(t.get(path).header("X-WX-Code", code)).await;
            assert_eq!(reply.refusal(), (400, error.to_owned()), "{code}");
        }
    }
    let bytes = reqwest::header::HeaderValue::from_bytes(b"\xe9\xff").unwrap();
    let reply = Reply::of(t.get("/orders").header("X-WX-Code", bytes)).await;
    assert_eq!(reply.refusal(), (400, "bad_request".to_owned()));
    assert_eq!((t.redeemed().await, t.upstream.requests()), (0, 0));
}

#[tokio::test]
async fn a_body_over_the_limit_costs_no_code() {
    let t = TestGateway::builder()
        .routes("[[route]]\npath = \"/\"\nupstream = \"api\"\nmax_body = \"1KiB\"\n")
        .start()
        .await;
    let request = t.request("POST", "/orders").body(vec![0; 1025]);
    let reply = with_code(&t, request, "alice").await;
    assert_eq!(reply.refusal(), (413, "body_too_large".to_owned()));
    grants_nothing(&reply);
    assert_eq!((t.redeemed().await, t.upstream.requests()), (0, 0));
}

#[tokio::test]
async fn a_body_that_turns_out_too_long_still_brings_the_tokens() {
    let t = TestGateway::builder()
        .routes("[[route]]\npath = \"/\"\nupstream = \"api\"\nmax_body = \"1KiB\"\n")
        .start()
        .await;
    let code = t.code("alice").await;
    let body = "0".repeat(2000);
    let request = format!(
        "POST /orders HTTP/1.1\r\nHost: h\r\nConnection: close\r\nX-WX-Code: {code}\r\n\
         Transfer-Encoding: chunked\r\n\r\n7d0\r\n{body}\r\n0\r\n\r\n"
    );
    let answer = raw(t.address, request.as_bytes()).await.to_lowercase();
    assert!(answer.starts_with("http/1.1 413"), "{answer}");
    assert!(answer.contains("\r\nmenshen-token: "), "{answer}");
    assert_eq!(t.upstream.requests(), 0);
}

#[tokio::test]
async fn the_tokens_arrive_whatever_the_upstream_answers() {
    let t = TestGateway::builder()
        .section("upstream", "read_timeout = \"100ms\"")
        .start()
        .await;
    for (path, status) in [
        ("/status/500", 500),
        ("/status/404", 404),
        ("/status/302", 302),
        ("/close", 502),
        ("/garbage", 502),
        ("/hang", 504),
    ] {
        let reply = with_code(&t, t.get(path), "alice").await;
        assert_eq!(reply.status, status, "{path}");
        granted(&t, &reply).await;
    }
}

#[tokio::test]
async fn the_tokens_arrive_although_the_upstream_is_down() {
    // Bound and not listening: connections are refused, and nobody else gets the port.
    let nobody = TcpSocket::new_v4().unwrap();
    nobody.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let down = nobody.local_addr().unwrap();
    let t = TestGateway::builder()
        .upstreams(&format!(
            "[[upstream]]\nname = \"down\"\nservers = [\"{down}\"]\n"
        ))
        .routes("[[route]]\npath = \"/\"\nupstream = \"down\"\n")
        .start()
        .await;
    let reply = with_code(&t, t.get("/orders"), "alice").await;
    assert_eq!(reply.refusal(), (502, "upstream_unreachable".to_owned()));
    granted(&t, &reply).await;
}

#[tokio::test]
async fn a_backends_own_grant_never_reaches_the_client() {
    let t = TestGateway::start().await;
    let token = t.log_in("alice").await.token;
    grants_nothing(&t.get_as("/grants", &token).await);
    grants_nothing(&Reply::of(t.get("/public/grants")).await);
    grants_nothing(&Reply::of(t.get("/optional/grants")).await);
}

#[tokio::test]
async fn a_backends_own_grant_does_not_replace_a_logins() {
    let t = TestGateway::start().await;
    let reply = with_code(&t, t.get("/grants"), "alice").await;
    for name in ["menshen-token", "menshen-refresh-token"] {
        assert_eq!(reply.headers.get_all(name).iter().count(), 1);
    }
    assert_eq!(granted(&t, &reply).await, openid(&t.upstream.last()));
}

#[tokio::test]
async fn a_token_brings_no_further_tokens() {
    let t = TestGateway::start().await;
    let token = t.log_in("alice").await.token;
    let reply = t.get_as("/orders", &token).await;
    assert_eq!(reply.status, 200);
    grants_nothing(&reply);
}

#[tokio::test]
async fn first_requests_of_one_user_at_once_all_succeed_and_none_ends_another() {
    let t = TestGateway::start().await;
    let requests = (0..10).map(|_| with_code(&t, t.get("/orders"), "alice"));
    let replies = futures::future::join_all(requests).await;
    for reply in &replies {
        assert_eq!(reply.status, 200);
        granted(&t, reply).await;
    }
}
