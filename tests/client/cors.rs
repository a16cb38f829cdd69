//! Web pages of other origins: their preflights are answered before any login, and the browser is told who may read.

use menshen_test_support::{Reply, TestGateway};

const ORIGIN: &str = "https://shop.example";

async fn gateway(lines: &str) -> TestGateway {
    TestGateway::builder().section("cors", lines).start().await
}

async fn preflight(t: &TestGateway, path: &str, origin: &str) -> Reply {
    let request = t.request("OPTIONS", path).header("origin", origin);
    let request = request.header("access-control-request-method", "PUT");
    Reply::of(request.header("access-control-request-headers", "authorization")).await
}

async fn get(t: &TestGateway, path: &str, origin: &str) -> Reply {
    Reply::of(t.get(path).header("origin", origin)).await
}

/// Returns the names of the headers that CORS is made of.
fn cors_headers(reply: &Reply) -> Vec<&str> {
    let names = reply.headers.keys().map(|name| name.as_str());
    names
        .filter(|name| name.starts_with("access-control-"))
        .collect()
}

#[tokio::test]
async fn a_preflight_is_answered_without_a_token_and_without_the_backend() {
    let t = gateway("allow_origins = [\"https://other.example\", \"https://Shop.example\"]").await;
    for path in ["/private", "/public", "/_auth/login", "/nowhere"] {
        let reply = preflight(&t, path, ORIGIN).await;
        assert_eq!(reply.status, 204, "{path}");
        assert_eq!(reply.header("access-control-allow-origin"), ORIGIN);
        assert!(reply.header("access-control-allow-methods").contains("PUT"));
        let headers = reply.header("access-control-allow-headers");
        assert_eq!(
            headers,
            "authorization, content-type, x-wx-code, x-menshen-nonce, x-menshen-app"
        );
        assert_eq!(reply.header("access-control-max-age"), "600");
        assert_eq!(reply.header("vary"), "Origin");
        assert_eq!(reply.header("access-control-allow-credentials"), "");
    }
    assert_eq!(t.upstream.requests(), 0);
}

#[tokio::test]
async fn answers_say_who_may_read_them_and_so_do_refusals() {
    let t = gateway("allow_origins = [\"https://shop.example\"]").await;
    for (path, status) in [
        ("/public", 200),
        ("/private", 401),
        ("/_auth/jwks.json", 200),
        ("/a/../b%2f", 400),
    ] {
        let reply = get(&t, path, ORIGIN).await;
        assert_eq!(reply.status, status, "{path}");
        assert_eq!(reply.header("access-control-allow-origin"), ORIGIN);
        let exposed = reply.header("access-control-expose-headers");
        assert!(exposed.contains("Menshen-Token"), "{exposed}");
        assert_eq!(reply.header("vary"), "Origin");
    }
}

#[tokio::test]
async fn another_origin_is_told_nothing() {
    let t = gateway("allow_origins = [\"https://shop.example\"]\nallow_credentials = true").await;
    for origin in [
        "https://evil.example",
        "http://shop.example",
        "https://shop.example:8443",
        "https://shop.example.evil.example",
        "https://a.shop.example",
        "https://shop.example, https://evil.example",
        "null",
        "*",
        "",
    ] {
        for reply in [
            preflight(&t, "/private", origin).await,
            get(&t, "/public", origin).await,
        ] {
            assert!(
                cors_headers(&reply).is_empty(),
                "{origin}: {:?}",
                reply.headers
            );
            assert_eq!(reply.header("vary"), "Origin");
        }
    }
    let twice = t
        .get("/public")
        .header("origin", ORIGIN)
        .header("origin", ORIGIN);
    assert!(cors_headers(&Reply::of(twice).await).is_empty());
    let none = Reply::of(t.get("/public")).await;
    assert!(cors_headers(&none).is_empty());
    // A cache must not give this answer to a page.
    assert_eq!(none.header("vary"), "Origin");
}

#[tokio::test]
async fn cookies_are_allowed_only_to_origins_that_are_named() {
    let t = gateway("allow_origins = [\"https://shop.example\"]\nallow_credentials = true").await;
    let reply = preflight(&t, "/private", ORIGIN).await;
    assert_eq!(reply.header("access-control-allow-credentials"), "true");
    let t = gateway("allow_origins = [\"*\"]").await;
    for reply in [
        preflight(&t, "/private", "https://anybody.example").await,
        get(&t, "/public", "https://anybody.example").await,
    ] {
        assert_eq!(reply.header("access-control-allow-origin"), "*");
        assert_eq!(reply.header("access-control-allow-credentials"), "");
        assert_eq!(reply.header("vary"), "");
    }
}

#[tokio::test]
async fn without_a_word_in_the_configuration_nothing_is_said_and_preflights_are_requests() {
    let t = TestGateway::start().await;
    assert_eq!(preflight(&t, "/private", ORIGIN).await.status, 401);
    assert_eq!(preflight(&t, "/public", ORIGIN).await.status, 200);
    let reply = get(&t, "/public", ORIGIN).await;
    assert!(cors_headers(&reply).is_empty());
    assert_eq!(reply.header("vary"), "");
}

#[tokio::test]
async fn an_options_request_that_is_no_preflight_needs_a_token() {
    let t = gateway("allow_origins = [\"https://shop.example\"]").await;
    let request = t.request("OPTIONS", "/private").header("origin", ORIGIN);
    assert_eq!(Reply::of(request).await.status, 401);
    let request = t.request("OPTIONS", "/private");
    let request = request.header("access-control-request-method", "GET");
    assert_eq!(Reply::of(request).await.status, 401);
}

#[tokio::test]
async fn a_gateway_that_asks_about_a_preflight_is_not_told_that_it_may_pass() {
    let t = gateway("allow_origins = [\"https://shop.example\"]").await;
    for path in ["/_auth/verify/private", "/_auth/verify/public"] {
        let reply = preflight(&t, path, ORIGIN).await;
        let status = if path.ends_with("public") { 200 } else { 401 };
        assert_eq!(reply.status, status, "{path}");
    }
}
