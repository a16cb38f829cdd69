//! A route may have its own word about web pages of other origins, and each answer goes by the route that it is for.

use menshen_test_support::{Reply, TestGateway};

const SHOP: &str = "https://shop.example";
const ADMIN: &str = "https://admin.example";

const ROUTES: &str = r#"
    [[route]]
    path = "/"
    upstream = "api"
    auth = "public"

    [[route]]
    path = "/admin"
    upstream = "api"
    cors.allow_origins = ["https://admin.example"]
    cors.allow_headers = ["X-Admin"]
    cors.allow_credentials = true

    [[route]]
    path = "/inside"
    upstream = "api"
    auth = "public"
    cors.allow_origins = []

    [[route]]
    path = "/things"
    methods = ["GET", "OPTIONS"]
    upstream = "api"
    auth = "public"

    [[route]]
    path = "/things"
    methods = ["PUT"]
    upstream = "api"
    auth = "public"
    cors = { allow_origins = ["https://admin.example"], max_age = "1m" }

    [[route]]
    host = "open.example"
    path = "/"
    upstream = "api"
    auth = "public"
    cors.allow_origins = ["*"]
"#;

async fn gateway(cors: &str) -> TestGateway {
    let builder = TestGateway::builder().section("cors", cors);
    builder.routes(ROUTES).start().await
}

async fn preflight(t: &TestGateway, host: &str, path: &str, method: &str, origin: &str) -> Reply {
    let request = t.request("OPTIONS", path).header("host", host);
    let request = request.header("access-control-request-method", method);
    Reply::of(request.header("origin", origin)).await
}

fn allowed(reply: &Reply) -> &str {
    reply.header("access-control-allow-origin")
}

#[tokio::test]
async fn a_preflight_goes_by_the_host_path_and_method_of_what_will_be_asked_for() {
    let t = gateway("allow_origins = [\"https://shop.example\"]").await;
    for (host, path, method, origin, told) in [
        ("h", "/x", "GET", SHOP, SHOP),
        ("h", "/x", "GET", ADMIN, ""),
        ("h", "/admin/x", "GET", SHOP, ""),
        ("h", "/admin/x", "GET", ADMIN, ADMIN),
        ("h", "/things", "GET", SHOP, SHOP),
        ("h", "/things", "GET", ADMIN, ""),
        ("h", "/things", "PUT", SHOP, ""),
        ("h", "/things", "PUT", ADMIN, ADMIN),
        // No route would take it, so what is for all is said.
        ("h", "/things", "DELETE", SHOP, SHOP),
        ("open.example", "/x", "GET", "https://any.example", "*"),
        ("h", "/_auth/login", "POST", SHOP, SHOP),
        ("open.example", "/_auth/login", "POST", ADMIN, ""),
    ] {
        let reply = preflight(&t, host, path, method, origin).await;
        assert_eq!(reply.status, 204, "{host}{path} {method} {origin}");
        assert_eq!(allowed(&reply), told, "{host}{path} {method} {origin}");
    }
    assert_eq!(t.upstream.requests(), 0);
}

#[tokio::test]
async fn what_a_route_does_not_say_is_what_is_said_for_all() {
    let t = gateway("allow_origins = [\"https://shop.example\"]\nmax_age = \"5m\"").await;
    let reply = preflight(&t, "h", "/admin", "GET", ADMIN).await;
    assert_eq!(reply.header("access-control-allow-headers"), "x-admin");
    assert_eq!(reply.header("access-control-allow-credentials"), "true");
    assert_eq!(reply.header("access-control-max-age"), "300");
    let reply = preflight(&t, "h", "/things", "PUT", ADMIN).await;
    assert_eq!(reply.header("access-control-max-age"), "60");
    let headers = reply.header("access-control-allow-headers");
    assert!(headers.contains("authorization"), "{headers}");
    assert_eq!(reply.header("access-control-allow-credentials"), "");
}

#[tokio::test]
async fn answers_and_refusals_go_by_their_route() {
    let t = gateway("allow_origins = [\"https://shop.example\"]").await;
    for (path, status, origin, told) in [
        ("/x", 200, SHOP, SHOP),
        ("/x", 200, ADMIN, ""),
        ("/admin", 401, ADMIN, ADMIN),
        ("/admin", 401, SHOP, ""),
        ("/things", 200, ADMIN, ""),
        ("/_auth/jwks.json", 200, SHOP, SHOP),
        ("/_auth/jwks.json", 200, ADMIN, ""),
        ("/a%2fb", 400, SHOP, SHOP),
    ] {
        let reply = Reply::of(t.get(path).header("origin", origin)).await;
        assert_eq!(reply.status, status, "{path}");
        assert_eq!(allowed(&reply), told, "{path} {origin}");
        assert_eq!(reply.header("vary"), "Origin", "{path}");
    }
    let put = t.request("PUT", "/things").header("origin", ADMIN);
    assert_eq!(allowed(&Reply::of(put).await), ADMIN);
}

#[tokio::test]
async fn a_route_without_a_word_leaves_it_to_its_backend() {
    let t = gateway("allow_origins = [\"https://shop.example\"]").await;
    let reply = preflight(&t, "h", "/inside", "GET", SHOP).await;
    assert_eq!((reply.status, allowed(&reply)), (200, ""));
    assert_eq!(reply.header("vary"), "");
    assert_eq!(t.upstream.last().method, "OPTIONS");
    let reply = Reply::of(t.get("/inside").header("origin", SHOP)).await;
    assert_eq!((reply.status, allowed(&reply)), (200, ""));
    assert_eq!(reply.header("vary"), "");
}

#[tokio::test]
async fn a_route_may_speak_where_nobody_else_does() {
    let t = gateway("").await;
    let reply = preflight(&t, "h", "/admin", "GET", ADMIN).await;
    assert_eq!((reply.status, allowed(&reply)), (204, ADMIN));
    let reply = preflight(&t, "h", "/x", "GET", ADMIN).await;
    assert_eq!((reply.status, allowed(&reply)), (200, ""));
}

#[tokio::test]
async fn a_gateway_that_asks_about_a_preflight_is_still_not_told_that_it_may_pass() {
    let t = gateway("allow_origins = [\"https://shop.example\"]").await;
    for path in ["/_auth/verify", "/_auth/verify/admin"] {
        let reply = preflight(&t, "h", path, "PUT", ADMIN).await;
        assert_ne!(reply.status / 100, 2, "{path}");
    }
}
