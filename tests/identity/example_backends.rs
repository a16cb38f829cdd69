//! The examples' backends, called directly: they read identity as a backend of WeChat Cloud Run does.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

use menshen_test_support::{Backend, make_client};
use reqwest::RequestBuilder;
use serde_json::{Value, json};

#[tokio::test]
async fn express_takes_the_user_from_the_injected_headers() {
    takes_the_user_from_the_injected_headers(&Backend::express().await).await;
}

#[tokio::test]
async fn flask_under_gunicorn_takes_the_user_from_the_injected_headers() {
    takes_the_user_from_the_injected_headers(&Backend::gunicorn().await).await;
}

#[tokio::test]
async fn flask_under_uwsgi_takes_the_user_from_the_injected_headers() {
    takes_the_user_from_the_injected_headers(&Backend::uwsgi().await).await;
}

#[tokio::test]
async fn django_takes_the_user_from_the_injected_headers() {
    takes_the_user_from_the_injected_headers(&Backend::django().await).await;
}

#[tokio::test]
async fn go_takes_the_user_from_the_injected_headers() {
    takes_the_user_from_the_injected_headers(&Backend::go().await).await;
}

#[tokio::test]
async fn php_takes_the_user_from_the_injected_headers() {
    takes_the_user_from_the_injected_headers(&Backend::php().await).await;
}

#[tokio::test]
async fn express_has_no_user_without_a_source() {
    has_no_user_without_a_source(&Backend::express().await).await;
}

#[tokio::test]
async fn flask_under_gunicorn_has_no_user_without_a_source() {
    has_no_user_without_a_source(&Backend::gunicorn().await).await;
}

#[tokio::test]
async fn flask_under_uwsgi_has_no_user_without_a_source() {
    has_no_user_without_a_source(&Backend::uwsgi().await).await;
}

#[tokio::test]
async fn django_has_no_user_without_a_source() {
    has_no_user_without_a_source(&Backend::django().await).await;
}

#[tokio::test]
async fn go_has_no_user_without_a_source() {
    has_no_user_without_a_source(&Backend::go().await).await;
}

#[tokio::test]
async fn php_has_no_user_without_a_source() {
    has_no_user_without_a_source(&Backend::php().await).await;
}

#[tokio::test]
async fn express_shows_each_header_as_it_was_spelled() {
    let backend = Backend::express().await;
    let headers = answer(misspelled(&backend)).await;
    let pairs = headers.as_array().unwrap();
    assert!(pairs.contains(&json!(["x_wx_openid", "eve"])), "{headers}");
}

#[tokio::test]
async fn go_takes_an_underscored_header_for_another() {
    let backend = Backend::go().await;
    let headers = answer(misspelled(&backend)).await;
    let pairs = headers.as_array().unwrap();
    assert!(pairs.contains(&json!(["X_wx_openid", "eve"])), "{headers}");
}

#[tokio::test]
async fn gunicorn_drops_an_underscored_header() {
    let backend = Backend::gunicorn().await;
    assert_eq!(
        answer(misspelled(&backend)).await.get("HTTP_X_WX_OPENID"),
        None
    );
}

// These two are why they are here: whatever lets an underscore through is seen in them.
#[tokio::test]
async fn uwsgi_reads_an_underscored_header_as_the_dashed_one() {
    let backend = Backend::uwsgi().await;
    assert_eq!(
        answer(misspelled(&backend)).await.get("HTTP_X_WX_OPENID"),
        Some(&json!("eve"))
    );
}

#[tokio::test]
async fn php_reads_an_underscored_header_as_the_dashed_one() {
    let backend = Backend::php().await;
    assert_eq!(
        answer(misspelled(&backend)).await.get("HTTP_X_WX_OPENID"),
        Some(&json!("eve"))
    );
}

async fn takes_the_user_from_the_injected_headers(backend: &Backend) {
    let url = format!("http://{}/orders", backend.addr);
    let injected = |request: RequestBuilder| {
        request
            .header("x-wx-source", "wx_client")
            .header("x-wx-openid", "oAda")
            .header("x-menshen-app", "shop")
    };
    assert_eq!(
        answer(injected(make_client().get(&url))).await,
        json!({"user": "oAda", "app": "shop"})
    );
    assert_eq!(
        answer(injected(make_client().post(&url).json(&json!({"item": 7})))).await,
        json!({"user": "oAda", "app": "shop", "order": {"item": 7}})
    );
}

async fn has_no_user_without_a_source(backend: &Backend) {
    let url = format!("http://{}/orders", backend.addr);
    let request = make_client().get(&url).header("x-wx-openid", "oAda");
    assert_eq!(answer(request).await, json!({"user": null, "app": null}));
}

fn misspelled(backend: &Backend) -> RequestBuilder {
    make_client()
        .get(format!("http://{}/headers", backend.addr))
        .header("x_wx_openid", "eve")
}

async fn answer(request: RequestBuilder) -> Value {
    let reply = request.send().await.unwrap();
    reply.error_for_status().unwrap().json().await.unwrap()
}
