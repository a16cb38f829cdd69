//! The relay reaches WeChat as logins do: through a proxy, by an authority of one's own, below a path; and says so where it cannot.

use menshen_test_support::{Certificate, ForwardProxy, Reply, TestGateway, tls_front};
use serde_json::json;
use tempfile::TempDir;

const AUTH: &str = "me:a-pass:w0rd";
const SEND: &str = "/wechat/shop/cgi-bin/message/subscribe/send";
const CODE: &str = "/wechat/shop/wxa/getwxacodeunlimit";

async fn sends(t: &TestGateway) -> Reply {
    let message = json!({"touser": "o1", "template_id": "t1", "data": {}});
    Reply::of(t.control("POST", SEND).json(&message)).await
}

/// Makes calls of both kinds, more than once over the same connection.
async fn works(t: &TestGateway) {
    for _ in 0..3 {
        let reply = sends(t).await;
        assert_eq!(reply.json()["errcode"], 0, "{}", reply.text());
        let picture = t.control("POST", CODE).json(&json!({"scene": "a=1"}));
        assert!(Reply::of(picture).await.body.starts_with(b"\x89PNG"));
    }
}

fn proxy_auth() -> (TempDir, String) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("auth");
    std::fs::write(&file, AUTH).unwrap();
    let line = format!("proxy_auth_file = '{}'", file.display());
    (folder, line)
}

#[tokio::test]
async fn a_proxy_connects_to_a_wechat_whose_authority_is_ones_own() {
    let builder = TestGateway::builder();
    let certificate = Certificate::new("wechat.test");
    let front = tls_front(&certificate, builder.simulator().await).await;
    let proxy = ForwardProxy::asking_for(AUTH, front).await;
    let (_folder, auth) = proxy_auth();
    let lines = format!(
        "api_base = \"https://wechat.test\"\nproxy = \"http://{}\"\n{auth}\nca_file = '{}/cert.pem'",
        proxy.address,
        certificate.folder().display()
    );
    let t = builder.section("wechat", &lines).start().await;
    works(&t).await;
    let asked = proxy.asked();
    let connects = |head: &String| head.starts_with("CONNECT wechat.test:443 ");
    assert!(asked.len() >= 2 && asked.iter().all(connects), "{asked:?}");
}

#[tokio::test]
async fn a_proxy_passes_plain_http_on() {
    let builder = TestGateway::builder();
    let proxy = ForwardProxy::asking_for(AUTH, builder.simulator().await).await;
    let (_folder, auth) = proxy_auth();
    let lines = format!(
        "api_base = \"http://wechat.test\"\nallow_plain_http = true\nproxy = \"http://{}\"\n{auth}",
        proxy.address
    );
    let t = builder.section("wechat", &lines).start().await;
    works(&t).await;
    let asked = proxy.asked();
    let first = "POST http://wechat.test/cgi-bin/message/subscribe/send?access_token=";
    assert!(
        asked.iter().any(|head| head.starts_with(first)),
        "{asked:?}"
    );
}

#[tokio::test]
async fn a_wechat_that_cannot_be_reached_is_said_to_be() {
    let builder = TestGateway::builder();
    let simulator = builder.simulator().await;
    let (trusted, shown) = (Certificate::new("localhost"), Certificate::new("localhost"));
    let front = tls_front(&shown, simulator).await;
    let lines = format!(
        "api_base = \"https://localhost:{}\"\nca_file = '{}/cert.pem'",
        front.port(),
        trusted.folder().display()
    );
    let t = builder.section("wechat", &lines).start().await;
    sends(&t).await.refused(503, "wechat_unreachable");
    let ready = Reply::of(t.control("GET", "/readyz")).await.json();
    let degraded = ready["degraded"].as_array().unwrap();
    assert!(degraded.contains(&json!("wechat")), "{ready}");
}

#[tokio::test]
async fn a_connection_that_wechat_has_closed_costs_no_call() {
    let t = TestGateway::start().await;
    works(&t).await;
    // The simulator closes what it has kept, and goes on at the same address.
    let plan = json!({"path": "/wxa/getwxacodeunlimit", "fault": "close_before", "times": 1});
    t.simulate("faults", plan).await;
    let lost = t.control("POST", CODE).json(&json!({"scene": "a=1"}));
    Reply::of(lost).await.refused(504, "wechat_timeout");
    works(&t).await;
}
