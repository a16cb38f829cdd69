//! The examples' backends behind the gateway: each serves the token's user, whatever its server makes of a header's name.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test may panic"
)]

use menshen_test_support::{Backend, Reply, TestGateway, folded, forge_identity};
use reqwest::RequestBuilder;
use serde_json::{Value, json};

/// A gateway in front of `backend`: the same paths, and below `/optional` also for strangers.
async fn in_front_of(backend: &Backend) -> TestGateway {
    TestGateway::builder()
        .upstreams(&format!(
            "[[upstream]]\nname = \"backend\"\nservers = [\"{}\"]\n",
            backend.addr
        ))
        .routes(
            "[[route]]\npath = \"/\"\nupstream = \"backend\"\n\
             [[route]]\npath = \"/optional\"\nupstream = \"backend\"\nauth = \"optional\"\nstrip_prefix = true\n",
        )
        .start()
        .await
}

/// Returns every header that the backend knows of and that names somebody, as its code would look it up.
async fn seen(request: RequestBuilder) -> Vec<(String, String)> {
    let reply = Reply::of(request).await;
    assert_eq!(reply.status, 200, "{}", reply.text());
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let json = reply.json();
    // Express and Go show pairs, the others show variables.
    let all: Vec<(String, String)> = match json.as_array() {
        Some(pairs) => pairs
            .iter()
            .map(|pair| (text(&pair[0]), text(&pair[1])))
            .collect(),
        None => json
            .as_object()
            .unwrap()
            .iter()
            .map(|(name, value)| (name.clone(), text(value)))
            .collect(),
    };
    let mut seen: Vec<_> = all
        .into_iter()
        .map(|(name, value)| (folded(name.strip_prefix("HTTP_").unwrap_or(&name)), value))
        .filter(|(name, value)| {
            let ours = ["x-wx-", "x-menshen-", "x-original-"];
            ours.iter().any(|family| name.starts_with(family)) || value.contains("victim")
        })
        .collect();
    seen.sort();
    seen
}

async fn serves_the_tokens_user(backend: Backend) {
    let t = in_front_of(&backend).await;
    let alice = t.log_in("alice").await;
    let openid = t.openid(&alice.token).await;
    let orders = t.get_as("/orders?page=1", &alice.token).await;
    assert_eq!(
        (orders.status, orders.json()),
        (200, json!({"user": openid, "app": "shop"}))
    );
    let order = json!({"item": 7, "note": "x".repeat(100_000)});
    let posted = t
        .request("POST", "/orders")
        .bearer_auth(&alice.token)
        .json(&order);
    let posted = Reply::of(posted).await;
    assert_eq!(posted.status, 200);
    assert_eq!(
        posted.json(),
        json!({"user": openid, "app": "shop", "order": order})
    );
}

async fn sees_only_the_tokens_user(backend: Backend) {
    let t = in_front_of(&backend).await;
    let alice = t.log_in("alice").await;
    let request = forge_identity(t.get("/headers")).bearer_auth(&alice.token);
    assert_eq!(seen(request).await, t.identity(&alice).await);
    let orders = forge_identity(t.get("/orders")).bearer_auth(&alice.token);
    assert_eq!(
        Reply::of(orders).await.json()["user"],
        t.openid(&alice.token).await
    );
}

async fn sees_nobody_without_a_token(backend: Backend) {
    let t = in_front_of(&backend).await;
    let request = forge_identity(t.get("/optional/headers"));
    assert_eq!(seen(request).await, TestGateway::nobody());
    let orders = Reply::of(forge_identity(t.get("/optional/orders"))).await;
    assert_eq!(orders.json(), json!({"user": null, "app": null}));
}

async fn never_sees_a_token_under_another_name(backend: Backend) {
    let t = in_front_of(&backend).await;
    let alice = t.log_in("alice").await;
    let ours = format!("chat, menshen.bearer.{}", alice.token);
    for name in [
        "Sec_WebSocket_Protocol",
        "Sec-WebSocket_Protocol",
        "sec_websocket-protocol",
        "SEC.WEBSOCKET.PROTOCOL",
    ] {
        let request = t.get("/optional/headers").header(name, &ours);
        let reply = Reply::of(request).await;
        assert!(!reply.text().contains(&alice.token), "{}", reply.text());
        reply.refused(400, "bad_request");
    }
    // Under its own name it is taken out, and the others are left.
    let request = t.get("/optional/headers");
    let request = request.header("Sec-WebSocket-Protocol", &ours);
    let reply = Reply::of(request).await;
    assert_eq!(reply.status, 200);
    assert!(!reply.text().contains(&alice.token), "{}", reply.text());
    assert!(reply.text().contains("\"chat\""), "{}", reply.text());
}

// Express routes without regard to case unless it is told otherwise.
#[tokio::test]
async fn express_serves_no_stranger_who_asks_in_capitals() {
    let backend = Backend::express().await;
    let t = TestGateway::builder()
        .upstreams(&format!(
            "[[upstream]]\nname = \"backend\"\nservers = [\"{}\"]\n",
            backend.addr
        ))
        .routes(
            "[[route]]\npath = \"/\"\nupstream = \"backend\"\nauth = \"public\"\n\
             [[route]]\npath = \"/orders\"\nupstream = \"backend\"\n",
        )
        .start()
        .await;
    let directly = t.http.get(format!("http://{}/ORDERS", backend.addr));
    assert_eq!(Reply::of(directly).await.status, 200);
    for path in ["/ORDERS", "/Orders", "/order%53", "/ORDERS/;x", "//ORDERS"] {
        Reply::of(t.get(path)).await.refused(400, "path_ambiguous");
    }
    Reply::of(t.get("/orders"))
        .await
        .refused(401, "token_missing");
    assert_eq!(Reply::of(t.get("/Nowhere")).await.status, 404);
    assert_eq!(Reply::of(t.get("/HEADERS")).await.status, 200);
}

#[tokio::test]
async fn express_serves_the_tokens_user() {
    serves_the_tokens_user(Backend::express().await).await;
}

#[tokio::test]
async fn flask_under_gunicorn_serves_the_tokens_user() {
    serves_the_tokens_user(Backend::gunicorn().await).await;
}

#[tokio::test]
async fn flask_under_uwsgi_serves_the_tokens_user() {
    serves_the_tokens_user(Backend::uwsgi().await).await;
}

#[tokio::test]
async fn django_serves_the_tokens_user() {
    serves_the_tokens_user(Backend::django().await).await;
}

#[tokio::test]
async fn go_serves_the_tokens_user() {
    serves_the_tokens_user(Backend::go().await).await;
}

#[tokio::test]
async fn php_serves_the_tokens_user() {
    serves_the_tokens_user(Backend::php().await).await;
}

#[tokio::test]
async fn express_sees_only_the_tokens_user() {
    sees_only_the_tokens_user(Backend::express().await).await;
}

#[tokio::test]
async fn flask_under_gunicorn_sees_only_the_tokens_user() {
    sees_only_the_tokens_user(Backend::gunicorn().await).await;
}

#[tokio::test]
async fn flask_under_uwsgi_sees_only_the_tokens_user() {
    sees_only_the_tokens_user(Backend::uwsgi().await).await;
}

#[tokio::test]
async fn django_sees_only_the_tokens_user() {
    sees_only_the_tokens_user(Backend::django().await).await;
}

#[tokio::test]
async fn go_sees_only_the_tokens_user() {
    sees_only_the_tokens_user(Backend::go().await).await;
}

#[tokio::test]
async fn php_sees_only_the_tokens_user() {
    sees_only_the_tokens_user(Backend::php().await).await;
}

#[tokio::test]
async fn express_sees_nobody_without_a_token() {
    sees_nobody_without_a_token(Backend::express().await).await;
}

#[tokio::test]
async fn flask_under_gunicorn_sees_nobody_without_a_token() {
    sees_nobody_without_a_token(Backend::gunicorn().await).await;
}

#[tokio::test]
async fn flask_under_uwsgi_sees_nobody_without_a_token() {
    sees_nobody_without_a_token(Backend::uwsgi().await).await;
}

#[tokio::test]
async fn django_sees_nobody_without_a_token() {
    sees_nobody_without_a_token(Backend::django().await).await;
}

#[tokio::test]
async fn go_sees_nobody_without_a_token() {
    sees_nobody_without_a_token(Backend::go().await).await;
}

#[tokio::test]
async fn php_sees_nobody_without_a_token() {
    sees_nobody_without_a_token(Backend::php().await).await;
}

#[tokio::test]
async fn express_never_sees_a_token_under_another_name() {
    never_sees_a_token_under_another_name(Backend::express().await).await;
}

#[tokio::test]
async fn flask_under_gunicorn_never_sees_a_token_under_another_name() {
    never_sees_a_token_under_another_name(Backend::gunicorn().await).await;
}

#[tokio::test]
async fn flask_under_uwsgi_never_sees_a_token_under_another_name() {
    never_sees_a_token_under_another_name(Backend::uwsgi().await).await;
}

#[tokio::test]
async fn django_never_sees_a_token_under_another_name() {
    never_sees_a_token_under_another_name(Backend::django().await).await;
}

#[tokio::test]
async fn go_never_sees_a_token_under_another_name() {
    never_sees_a_token_under_another_name(Backend::go().await).await;
}

#[tokio::test]
async fn php_never_sees_a_token_under_another_name() {
    never_sees_a_token_under_another_name(Backend::php().await).await;
}
