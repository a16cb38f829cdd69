//! Signing keys: every algorithm from configuration to backend, what is published, and rotation.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test may panic"
)]

use std::fs;
use std::path::{Path, PathBuf};

use menshen::config::Algorithm;
use menshen::token::{self, Signs, VERIFIES_FIRST};
use menshen_test_support::{Grant, Reply, TestGateway, read_kid};
use serde_json::Value;

async fn published(t: &TestGateway) -> Vec<Value> {
    let reply = Reply::of(t.get("/_auth/jwks.json")).await;
    assert_eq!(reply.header("content-type"), "application/json");
    reply.json()["keys"].as_array().unwrap().clone()
}

/// A gateway that was stopped after a login, with what that brought, and where its keys are.
async fn stopped() -> (TestGateway, Grant, PathBuf) {
    let mut t = TestGateway::builder().start().await;
    let grant = t.log_in("alice").await;
    t.stop().await;
    let keys = t.folder.path().join("keys");
    (t, grant, keys)
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        fs::copy(&path, to.join(path.file_name().unwrap())).unwrap();
    }
}

fn algorithm(name: &str) -> menshen_test_support::Builder {
    TestGateway::builder().section("token", &format!("algorithm = \"{name}\""))
}

async fn logs_in_and_out(name: &str) {
    let t = algorithm(name).start().await;
    let grant = t.log_in("alice").await;
    let header = jsonwebtoken::decode_header(&grant.token).unwrap();
    assert_eq!(format!("{:?}", header.alg), name);
    assert_eq!(header.kid, Some(t.key_file().1));
    assert_eq!(t.get_as("/orders", &grant.token).await.status, 200);
    assert_eq!(t.upstream.requests(), 1);
}

async fn publishes_what_verifies(name: &str, members: &[&str]) {
    let t = algorithm(name).start().await;
    let grant = t.log_in("alice").await;
    let appid = TestGateway::appid("shop");
    let (_, claims) = t.verified(&grant.token, &appid).await;
    assert_eq!(claims["app"], "shop");
    let keys = published(&t).await;
    assert_eq!(keys.len(), 1);
    let mut found: Vec<_> = keys[0].as_object().unwrap().keys().cloned().collect();
    found.sort();
    // A private member would be one more.
    assert_eq!(found, members);
}

#[tokio::test]
async fn es256_works_from_login_to_backend() {
    logs_in_and_out("ES256").await;
}

#[tokio::test]
async fn eddsa_works_from_login_to_backend() {
    logs_in_and_out("EdDSA").await;
}

#[tokio::test]
async fn rs256_works_from_login_to_backend() {
    logs_in_and_out("RS256").await;
}

#[tokio::test]
async fn hs256_works_from_login_to_backend() {
    logs_in_and_out("HS256").await;
}

#[tokio::test]
async fn the_public_half_of_es256_is_published() {
    publishes_what_verifies("ES256", &["alg", "crv", "kid", "kty", "use", "x", "y"]).await;
}

#[tokio::test]
async fn the_public_half_of_eddsa_is_published() {
    publishes_what_verifies("EdDSA", &["alg", "crv", "kid", "kty", "use", "x"]).await;
}

#[tokio::test]
async fn the_public_half_of_rs256_is_published() {
    publishes_what_verifies("RS256", &["alg", "e", "kid", "kty", "n", "use"]).await;
}

#[tokio::test]
async fn a_shared_secret_is_never_published() {
    let t = algorithm("HS256").start().await;
    let secret = std::fs::read_to_string(t.key_file().0).unwrap();
    let reply = Reply::of(t.get("/_auth/jwks.json")).await;
    assert_eq!(reply.text(), r#"{"keys":[]}"#);
    assert!(!secret.trim().is_empty());
}

#[tokio::test]
async fn a_new_key_verifies_and_is_published_at_once_and_signs_later_without_another_reload() {
    let (t, Grant { token: old, .. }, keys) = stopped().await;
    let made = token::make(&keys, Algorithm::EdDsa, Signs::Later, &t.clock).unwrap();
    let t = TestGateway::builder().start_in(t.folder).await;
    assert_eq!(read_kid(&t.log_in("alice").await.token), read_kid(&old));
    let kids: Vec<_> = published(&t)
        .await
        .iter()
        .map(|key| key["kid"].clone())
        .collect();
    assert_eq!(kids, [read_kid(&old), made.clone()]);
    t.clock.advance(VERIFIES_FIRST);
    let new = t.log_in("alice").await.token;
    assert_eq!(read_kid(&new), made);
    for token in [&old, &new] {
        assert_eq!(t.get_as("/orders", token).await.status, 200);
    }
}

#[tokio::test]
async fn nodes_that_are_reloaded_one_after_the_other_refuse_no_token_of_each_other() {
    let mut first = TestGateway::builder().start().await;
    let keys = first.folder.path().join("keys");
    let late_folder = tempfile::tempdir().unwrap();
    let late_keys = late_folder.path().join("keys");
    copy(&keys, &late_keys);
    // The second node took its keys over before the new one was made, and shares neither clock nor store.
    let second = TestGateway::builder().start_in(late_folder).await;
    token::make(&keys, Algorithm::Es256, Signs::Later, &first.clock).unwrap();
    first.stop().await;
    let reloaded = TestGateway::builder().start_in(first.folder).await;
    let token = reloaded.log_in("alice").await.token;
    assert_eq!(second.get_as("/orders", &token).await.status, 200);
}

#[tokio::test]
async fn where_every_key_that_is_left_is_new_the_oldest_of_them_signs_at_once() {
    let (t, Grant { token: old, .. }, keys) = stopped().await;
    let next = token::make(&keys, Algorithm::Es256, Signs::Later, &t.clock).unwrap();
    token::make(&keys, Algorithm::Es256, Signs::Later, &t.clock).unwrap();
    token::retire(&keys, &read_kid(&old)).unwrap();
    let t = TestGateway::builder().start_in(t.folder).await;
    let new = t.log_in("alice").await.token;
    assert_eq!(read_kid(&new), next);
    assert_eq!(t.get_as("/orders", &new).await.status, 200);
}

#[tokio::test]
async fn a_key_made_to_sign_at_once_does_and_the_older_one_still_verifies() {
    let (t, Grant { token: old, .. }, keys) = stopped().await;
    let made = token::make(&keys, Algorithm::EdDsa, Signs::AtOnce, &t.clock).unwrap();
    let t = TestGateway::builder().start_in(t.folder).await;
    assert_eq!(t.get_as("/orders", &old).await.status, 200);
    let new = t.log_in("alice").await.token;
    assert_eq!(read_kid(&new), made);
    assert_eq!(t.get_as("/orders", &new).await.status, 200);
}

#[tokio::test]
async fn every_key_that_verifies_is_published_and_no_shared_secret() {
    let (t, Grant { token: old, .. }, keys) = stopped().await;
    for algorithm in [Algorithm::Hs256, Algorithm::Rs256] {
        token::make(&keys, algorithm, Signs::AtOnce, &t.clock).unwrap();
    }
    let t = TestGateway::builder().start_in(t.folder).await;
    let appid = TestGateway::appid("shop");
    t.verified(&old, &appid).await;
    t.verified(&t.log_in("bob").await.token, &appid).await;
    assert_eq!(published(&t).await.len(), 2);
}

#[tokio::test]
async fn a_retired_key_verifies_nothing_and_is_not_published() {
    let (t, old, keys) = stopped().await;
    let made = token::make(&keys, Algorithm::Es256, Signs::Later, &t.clock).unwrap();
    token::retire(&keys, &read_kid(&old.token)).unwrap();
    let t = TestGateway::builder().start_in(t.folder).await;
    let reply = t.get_as("/orders", &old.token).await;
    assert_eq!(reply.refusal(), (401, "token_invalid".to_owned()));
    assert_eq!(t.upstream.requests(), 0);
    let kids: Vec<_> = published(&t)
        .await
        .iter()
        .map(|key| key["kid"].clone())
        .collect();
    assert_eq!(kids, [made]);
}

#[tokio::test]
async fn a_refresh_outlives_the_key_of_its_token() {
    let (t, old, keys) = stopped().await;
    let made = token::make(&keys, Algorithm::Es256, Signs::Later, &t.clock).unwrap();
    token::retire(&keys, &read_kid(&old.token)).unwrap();
    let t = TestGateway::builder().start_in(t.folder).await;
    let body = serde_json::json!({"refresh_token": old.refresh_token});
    let reply = t.post("/_auth/refresh", body).await;
    let token = reply.json()["token"].as_str().unwrap().to_owned();
    assert_eq!(read_kid(&token), made);
    assert_eq!(t.get_as("/orders", &token).await.status, 200);
}
