//! While its store is away a node is ready and says what is amiss; calls that need the store are to be tried later.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::fs;
use std::time::Duration;

use menshen_test_support::redis::Redis;
use menshen_test_support::{Reply, TestGateway, raw, status};
use serde_json::{Value, json};
use tempfile::TempDir;

/// Asks until it says this.
async fn becomes_ready_with(t: &TestGateway, degraded: Value) {
    let said = json!({"state": "ready", "degraded": degraded});
    let wait = async {
        loop {
            let ready = Reply::of(t.control("GET", "/readyz")).await;
            assert_eq!(ready.status, 200, "{}", ready.text());
            if ready.json() == said {
                return;
            }
            tokio::task::yield_now().await;
        }
    };
    let waited = tokio::time::timeout(Duration::from_secs(20), wait).await;
    assert!(waited.is_ok(), "it should say {said}");
}

/// Starts a gateway over Redis.
async fn over(redis: &Redis, folder: &TempDir) -> TestGateway {
    let [url, key] = ["url", "key"].map(|name| folder.path().join(name));
    fs::write(&url, redis.url()).unwrap();
    fs::write(&key, "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=").unwrap();
    let lines = format!(
        "store = \"redis\"\nredis_url_file = '{}'\nseal_key_file = '{}'\nredis_timeout = \"1s\"",
        url.display(),
        key.display()
    );
    let builder = TestGateway::builder().section("session", &lines);
    builder.start().await
}

#[tokio::test]
async fn why_the_store_refuses_is_in_the_document_of_the_status_page() {
    let (redis, folder) = (Redis::durable(), tempfile::tempdir().unwrap());
    let t = over(&redis, &folder).await;
    let tells = async |told: fn(&Value) -> bool| {
        let wait = async {
            loop {
                let seen = Reply::of(t.control("GET", "/v1/status")).await.json();
                if told(&seen["store"]["trouble"]) {
                    return;
                }
                tokio::task::yield_now().await;
            }
        };
        let waited = tokio::time::timeout(Duration::from_secs(20), wait).await;
        assert!(waited.is_ok(), "it should be told");
    };
    tells(Value::is_null).await;
    redis.ask(&["CONFIG", "SET", "maxmemory", "1"]);
    tells(|trouble| trouble.as_str().is_some_and(|told| told.contains("OOM"))).await;
    redis.ask(&["CONFIG", "SET", "maxmemory", "0"]);
    tells(Value::is_null).await;
}

#[tokio::test]
async fn a_node_without_its_store_is_ready_and_recovers_by_itself() {
    let (mut redis, folder) = (Redis::start(&[]), tempfile::tempdir().unwrap());
    let t = over(&redis, &folder).await;
    let grant = t.log_in("alice").await;
    let user = t.get_as("/_auth/session", &grant.token).await.json();
    let (openid, session) = (
        user["openid"].as_str().unwrap(),
        user["session"].as_str().unwrap(),
    );
    let all = format!("/v1/apps/shop/users/{openid}/sessions");
    let one = format!("/v1/sessions/{session}");
    let listed = Reply::of(t.control("GET", &all)).await.json();
    assert_eq!(listed["sessions"][0]["session"], session);
    becomes_ready_with(&t, json!([])).await;
    redis.kill();
    for (method, path) in [("GET", &all), ("DELETE", &all), ("DELETE", &one)] {
        let reply = Reply::of(t.control(method, path)).await;
        reply.refused(503, "store_unavailable");
    }
    becomes_ready_with(&t, json!(["session_store"])).await;
    let metrics = t.read_metrics().await;
    for line in [
        "menshen_store_available 0",
        r#"menshen_store_errors_total{operation="end"} 1"#,
        r#"menshen_store_errors_total{operation="add"} 0"#,
    ] {
        assert!(
            metrics.lines().any(|found| found == line),
            "{line}\n{metrics}"
        );
    }
    let seen = Reply::of(t.control("GET", "/v1/status")).await.json();
    assert_eq!(seen["store"]["available"], false, "{seen}");
    assert!(seen["store"]["errors"].as_f64() >= Some(1.0), "{seen}");
    assert_eq!(t.get_as("/orders", &grant.token).await.status, 200);
    // What is refused for itself never was the store's to answer.
    let strange =
        format!("DELETE {one}%00 HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    let strange = raw(t.control.unwrap(), strange.as_bytes()).await;
    assert_eq!(status(&strange), 400, "{strange}");
    redis.restart();
    becomes_ready_with(&t, json!([])).await;
    let ended = Reply::of(t.control("DELETE", &one)).await;
    assert_eq!(ended.status, 204, "{}", ended.text());
    let over = t.get_as("/orders", &grant.token).await;
    assert_eq!(over.refusal(), (401, "session_ended".to_owned()));
}
