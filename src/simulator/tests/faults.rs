//! Planned faults, each as it looks on the wire.

use std::io;
use std::time::Duration;

use reqwest::StatusCode;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use super::{APPID, PATH, SECRET, TestWeChat, json_of};
use crate::clock::Clock;
use crate::simulator::Simulator;

#[tokio::test]
async fn an_errcode_is_answered_and_the_code_stays_good() {
    let wechat = TestWeChat::with_fault(json!({ "fault": "errcode", "errcode": -1 })).await;
    let code = wechat.code().await;
    let body = json_of(wechat.redeem(&code).await.unwrap()).await;
    let errmsg = body["errmsg"].as_str().unwrap();
    assert!(errmsg.starts_with("system error rid: "), "{errmsg}");
    assert_eq!(wechat.errcode(&code).await, Value::Null);
}

#[tokio::test]
async fn an_errcode_that_spends_leaves_a_used_code() {
    let plan = json!({ "fault": "errcode", "errcode": -1, "spend": true });
    let wechat = TestWeChat::with_fault(plan).await;
    let code = wechat.code().await;
    assert_eq!(wechat.errcode(&code).await, -1);
    assert_eq!(wechat.errcode(&code).await, 40163);
}

#[tokio::test]
async fn an_errcode_string_is_a_string() {
    let plan = json!({ "fault": "errcode_string", "errcode": 40029 });
    let wechat = TestWeChat::with_fault(plan).await;
    assert_eq!(wechat.errcode("0made-up").await, "40029");
}

#[tokio::test]
async fn a_status_comes_with_a_page() {
    let wechat = TestWeChat::with_fault(json!({ "fault": "status", "status": 502 })).await;
    let reply = wechat.redeem_new().await;
    assert_eq!(reply.status(), StatusCode::BAD_GATEWAY);
    assert_eq!(reply.headers()["content-type"], "text/html");
}

#[tokio::test]
async fn html_comes_with_status_200() {
    let wechat = TestWeChat::with_fault(json!({ "fault": "html" })).await;
    let reply = wechat.redeem_new().await;
    assert_eq!(reply.status(), StatusCode::OK);
    assert!(reply.text().await.unwrap().starts_with("<html>"));
}

#[tokio::test]
async fn a_redirect_names_another_host() {
    let wechat = TestWeChat::with_fault(json!({ "fault": "redirect" })).await;
    let reply = wechat.redeem_new().await;
    assert_eq!(reply.status(), StatusCode::FOUND);
    assert_eq!(reply.headers()["location"], "https://elsewhere.invalid/");
}

#[tokio::test]
async fn closing_before_sends_nothing_at_all() {
    let wechat = TestWeChat::with_fault(json!({ "fault": "close_before" })).await;
    let mut wire = TcpStream::connect(&wechat.address).await.unwrap();
    let request = format!("GET {PATH} HTTP/1.1\r\nHost: wechat\r\n\r\n");
    wire.write_all(request.as_bytes()).await.unwrap();
    let mut received = Vec::new();
    let _ = wire.read_to_end(&mut received).await;
    assert_eq!(received, b"");
}

#[tokio::test]
async fn closing_before_leaves_the_code_good() {
    let wechat = TestWeChat::with_fault(json!({ "fault": "close_before" })).await;
    let code = wechat.code().await;
    assert!(wechat.redeem(&code).await.is_err());
    assert_eq!(wechat.errcode(&code).await, Value::Null);
}

#[tokio::test]
async fn closing_after_leaves_a_used_code() {
    let wechat = TestWeChat::with_fault(json!({ "fault": "close_after" })).await;
    let code = wechat.code().await;
    assert!(wechat.redeem(&code).await.is_err());
    assert_eq!(wechat.errcode(&code).await, 40163);
}

#[tokio::test]
async fn a_router_on_another_server_can_still_drop_the_connection() {
    let wechat = TestWeChat::start().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let app = format!("{APPID}:{SECRET}").parse().unwrap();
    let router = Simulator::new(vec![app], Clock::system()).router();
    let other = TestWeChat {
        address,
        server: tokio::spawn(async move { axum::serve(listener, router).await }),
        ..wechat
    };
    other.plan(json!({ "fault": "close_before" })).await;
    assert!(other.redeem("0made-up").await.is_err());
}

#[tokio::test]
async fn a_delay_answers_later_as_usual() {
    let wechat = TestWeChat::with_fault(json!({ "fault": "delay", "by": "50ms" })).await;
    let code = wechat.code().await;
    let start = std::time::Instant::now();
    assert_eq!(wechat.errcode(&code).await, Value::Null);
    assert!(start.elapsed() >= Duration::from_millis(50));
}

#[tokio::test]
async fn a_hanging_exchange_ends_with_the_simulator() {
    let wechat = TestWeChat::with_fault(json!({ "fault": "hang" })).await;
    let mut wire = TcpStream::connect(&wechat.address).await.unwrap();
    let request = format!("GET {PATH} HTTP/1.1\r\nHost: wechat\r\n\r\n");
    wire.write_all(request.as_bytes()).await.unwrap();
    while wechat.calls().await[PATH]["outcomes"]["fault:hang"].is_null() {
        tokio::task::yield_now().await;
    }
    wechat.stop.cancel();
    wechat.server.await.unwrap().unwrap();
    let mut received = Vec::new();
    let _ = wire.read_to_end(&mut received).await;
    assert_eq!(received, b"");
}

#[tokio::test]
async fn a_truncated_body_is_as_long_as_it_says_and_no_json() {
    let wechat = TestWeChat::with_fault(json!({ "fault": "truncate" })).await;
    let reply = wechat.redeem_new().await;
    let length = reply.content_length().unwrap();
    let body = reply.bytes().await.unwrap();
    assert_eq!(length, body.len() as u64);
    assert!(serde_json::from_slice::<Value>(&body).is_err());
}

#[tokio::test]
async fn an_errcode_of_zero_stands_beside_an_identity() {
    let wechat = TestWeChat::with_fault(json!({ "fault": "errcode_zero" })).await;
    let body = json_of(wechat.redeem_new().await).await;
    assert_eq!(
        (&body["errcode"], &body["errmsg"]),
        (&json!(0), &json!("ok"))
    );
    assert!(body["openid"].is_string());
}

#[tokio::test]
async fn the_content_type_can_be_another() {
    let plan = json!({ "fault": "content_type", "content_type": "image/jpeg" });
    let wechat = TestWeChat::with_fault(plan).await;
    let reply = wechat.redeem_new().await;
    assert_eq!(reply.headers()["content-type"], "image/jpeg");
    assert!(json_of(reply).await["openid"].is_string());
}

#[tokio::test]
async fn an_openid_can_be_empty() {
    let wechat = TestWeChat::with_fault(json!({ "fault": "empty_openid" })).await;
    let body = json_of(wechat.redeem_new().await).await;
    assert_eq!(body["openid"], "");
}

#[tokio::test]
async fn an_openid_can_be_missing() {
    let wechat = TestWeChat::with_fault(json!({ "fault": "missing_openid" })).await;
    let body = json_of(wechat.redeem_new().await).await;
    assert!(body["openid"].is_null() && body["session_key"].is_string());
}

#[tokio::test]
async fn a_session_key_can_be_missing() {
    let wechat = TestWeChat::with_fault(json!({ "fault": "missing_session_key" })).await;
    let body = json_of(wechat.redeem_new().await).await;
    assert!(body["session_key"].is_null() && body["openid"].is_string());
}

#[tokio::test]
async fn a_raw_control_character_stands_in_a_success() {
    let wechat = TestWeChat::with_fault(json!({ "fault": "raw_control" })).await;
    let body = wechat.redeem_new().await.text().await.unwrap();
    assert!(body.contains('\u{1}') && body.contains("\"openid\""));
}

#[tokio::test]
async fn a_byte_order_mark_stands_before_the_body() {
    let wechat = TestWeChat::with_fault(json!({ "fault": "bom" })).await;
    let body = wechat.redeem_new().await.bytes().await.unwrap();
    assert!(body.starts_with(b"\xef\xbb\xbf{"));
}

#[tokio::test]
async fn a_huge_body_is_valid_json_beyond_a_mebibyte() {
    let wechat = TestWeChat::with_fault(json!({ "fault": "huge" })).await;
    let body = wechat.redeem_new().await.bytes().await.unwrap();
    assert!(body.len() > 1024 * 1024);
    assert!(serde_json::from_slice::<Value>(&body).is_ok());
}

#[tokio::test]
async fn a_chunked_request_can_be_refused() {
    let wechat = TestWeChat::with_fault(json!({ "fault": "chunked_412" })).await;
    let pieces = futures::stream::iter([Ok::<_, io::Error>("appid=wx")]);
    let call = wechat.client.post(wechat.url(PATH));
    let reply = call.body(reqwest::Body::wrap_stream(pieces)).send().await;
    assert_eq!(reply.unwrap().status(), StatusCode::PRECONDITION_FAILED);
}
