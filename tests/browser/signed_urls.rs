//! Signed URLs: what cannot send a header asks as its user, for one URL and for a time.

use std::time::Duration;

use menshen_test_support::{Grant, Reply, TestGateway, Visitor};
use serde_json::{Value, json};

use crate::{builder, started};

async fn sign(t: &TestGateway, token: &str, body: Value) -> Reply {
    let request = t.http.post(t.url("/_auth/sign")).bearer_auth(token);
    Reply::of(request.json(&body)).await
}

async fn signed(t: &TestGateway, grant: &Grant, path: &str) -> String {
    let reply = sign(t, &grant.token, json!({"path": path})).await;
    assert_eq!(reply.status, 200, "{}", reply.text());
    reply.json()["url"].as_str().unwrap().to_owned()
}

async fn get(t: &TestGateway, url: &str) -> Reply {
    Reply::of(t.http.get(url)).await
}

#[tokio::test]
async fn a_signed_url_is_asked_for_as_its_user() {
    let t = started(builder()).await;
    let grant = t.log_in("alice").await;
    for (path, target) in [
        ("/files/a.jpg", "/files/a.jpg"),
        ("/files/a.jpg?w=100&h=2", "/files/a.jpg?w=100&h=2"),
        ("/files/%E5%9B%BE.jpg", "/files/%E5%9B%BE.jpg"),
        ("/files/b?", "/files/b"),
    ] {
        let url = signed(&t, &grant, path).await;
        assert!(url.starts_with(&t.url("/files/")), "{url}");
        assert_eq!(get(&t, &url).await.text(), "ok", "{path}");
        let received = t.upstream.last();
        assert_eq!(received.target, target);
        assert_eq!(received.identity(), t.identity(&grant).await);
        assert_eq!(Reply::of(t.http.head(&url)).await.status, 200);
        // Parts of a video, as a player asks for them.
        let part = t.http.get(&url).header("range", "bytes=0-99");
        assert_eq!(Reply::of(part).await.status, 200);
        assert_eq!(t.upstream.last().only("range"), Some("bytes=0-99"));
        assert!(!t.upstream.last().head.contains("menshen_signature"));
    }
    // The route takes tokens as well.
    assert_eq!(t.get_as("/files/a.jpg", &grant.token).await.status, 200);
}

#[tokio::test]
async fn a_signature_is_good_for_its_url_alone() {
    let t = started(builder()).await;
    let grant = t.log_in("alice").await;
    let url = signed(&t, &grant, "/files/a.jpg?w=1").await;
    let (_, signature) = url.split_once("menshen_signature=").unwrap();
    let with = |path: &str, separator: &str| {
        t.url(&format!("{path}{separator}menshen_signature={signature}"))
    };
    let forged = format!("{}x{}", &signature[..20], &signature[21..]);
    for other in [
        with("/files/b.jpg?w=1", "&"),
        with("/files/a.jpg", "?"),
        with("/files/a.jpg?w=2", "&"),
        with("/files/a.jpg?w=1&x=1", "&"),
        with("/files/A.jpg?w=1", "&"),
        format!("{url}&x=1"),
        format!("{url}&menshen_signature={signature}"),
        url.replace(signature, &forged),
        url.replace(signature, ""),
        url.replace(signature, &grant.token),
        url.replace(signature, &"a".repeat(6000)),
    ] {
        let reply = get(&t, &other).await;
        reply.refused(403, "signature_invalid");
    }
    let post = Reply::of(t.http.post(&url)).await;
    post.refused(403, "signature_invalid");
    let host = t.http.get(&url).header("host", "other.example");
    Reply::of(host).await.refused(403, "signature_invalid");
    assert_eq!(t.upstream.requests(), 0);
    // It is no token either.
    t.get_as("/files/a.jpg", signature)
        .await
        .refused(401, "token_invalid");
    let elsewhere = with("/api/x?w=1", "&");
    get(&t, &elsewhere).await.refused(401, "token_missing");
}

#[tokio::test]
async fn a_signed_url_ends_with_its_time_and_its_session() {
    let t = started(builder()).await;
    let grant = t.log_in("alice").await;
    for (ttl, lasts) in [
        (json!(null), 300),
        (json!(30), 30),
        (json!("10m"), 600),
        (json!("30d"), 7200),
    ] {
        let told = sign(&t, &grant.token, json!({"path": "/files/a", "ttl": ttl})).await;
        assert_eq!(told.json()["expires_in"], lasts, "{ttl}");
    }
    let url = signed(&t, &grant, "/files/a.jpg").await;
    t.clock.advance(Duration::from_secs(299));
    assert_eq!(get(&t, &url).await.status, 200);
    t.clock.advance(Duration::from_secs(1));
    get(&t, &url).await.refused(403, "signature_invalid");
    let url = signed(&t, &grant, "/files/a.jpg").await;
    let logout = t
        .http
        .post(t.url("/_auth/logout"))
        .bearer_auth(&grant.token);
    assert_eq!(Reply::of(logout).await.status, 204);
    get(&t, &url).await.refused(401, "session_ended");
}

#[tokio::test]
async fn only_urls_of_signed_routes_are_signed() {
    let t = started(builder()).await;
    let token = t.log_in("alice").await.token;
    for (body, error) in [
        (json!({"path": "/api/x"}), "bad_request"),
        (json!({"path": "/public/x"}), "bad_request"),
        (json!({"path": "/_auth/session"}), "bad_request"),
        (json!({"path": ""}), "bad_request"),
        (json!({}), "bad_request"),
        (json!({"path": "files/x"}), "bad_request"),
        (
            json!({"path": "https://evil.example/files/x"}),
            "bad_request",
        ),
        (json!({"path": "//evil.example/files/x"}), "bad_request"),
        (json!({"path": "/files/../api/x"}), "path_ambiguous"),
        (json!({"path": "/files/x\r\nA: b"}), "path_ambiguous"),
        (json!({"path": "/files/x#y"}), "bad_request"),
        (
            json!({"path": "/files/x?menshen_signature=y"}),
            "bad_request",
        ),
        (json!({"path": "/files/x", "method": "G T"}), "bad_request"),
        (json!({"path": "/files/x", "ttl": "soon"}), "bad_request"),
        (json!({"path": "/files/x", "ttl": 0}), "bad_request"),
        (json!({"path": "/files/x", "ttl": -1}), "bad_request"),
    ] {
        let reply = sign(&t, &token, body.clone()).await;
        assert_eq!(reply.refusal(), (400, error.to_owned()), "{body}");
    }
    let stranger = t.post("/_auth/sign", json!({"path": "/files/x"})).await;
    stranger.refused(401, "token_missing");
    let put = json!({"path": "/files/x", "method": "PUT"});
    let url = sign(&t, &token, put).await.json()["url"].clone();
    let url = url.as_str().unwrap();
    assert_eq!(Reply::of(t.http.put(url)).await.status, 200);
    get(&t, url).await.refused(403, "signature_invalid");
}

#[tokio::test]
async fn a_cookie_beside_a_signature_says_nothing_and_a_token_is_one_too_many() {
    let t = started(builder()).await;
    let grant = t.log_in("bob").await;
    let url = signed(&t, &grant, "/files/a.jpg").await;
    // An image on a page of somebody who is logged in: the browser sends the cookie along.
    let mut visitor = Visitor::new(&t);
    visitor.walk(&t.url("/orders")).await;
    let image = t.http.get(&url).header("accept", "image/*");
    assert_eq!(visitor.send(image, &url).await.text(), "ok");
    let received = t.upstream.last();
    assert_eq!(received.identity(), t.identity(&grant).await);
    assert!(received.all("cookie").is_empty());
    let both = Reply::of(t.http.get(&url).bearer_auth(&grant.token)).await;
    both.refused(400, "token_ambiguous");
}
