//! The simulator and its faults over real sockets.

use std::time::Duration;

use reqwest::redirect::Policy;
use reqwest::{Client, Response, StatusCode};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::*;

const PATH: &str = "/sns/jscode2session";
const APPID: &str = "wx0123456789abcdef";
const SECRET: &str = "s3cret";

struct TestWeChat {
    address: String,
    client: Client,
    stop: CancellationToken,
    server: JoinHandle<io::Result<()>>,
}

impl TestWeChat {
    async fn start() -> Self {
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let app = format!("{APPID}:{SECRET}").parse().unwrap();
        let simulator = Simulator::new(vec![app], Clock::system());
        let stop = CancellationToken::new();
        let stopped = stop.clone().cancelled_owned();
        Self {
            address,
            client: Client::builder().redirect(Policy::none()).build().unwrap(),
            stop,
            server: tokio::spawn(simulator.serve(listener, stopped)),
        }
    }

    /// Starts one on which the next exchange goes wrong.
    async fn with_fault(plan: Value) -> Self {
        let wechat = Self::start().await;
        wechat.plan(plan).await;
        wechat
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    async fn control(&self, path: &str, body: Value) -> Response {
        let call = self.client.post(self.url(path)).body(body.to_string());
        call.send().await.unwrap()
    }

    async fn plan(&self, mut plan: Value) {
        plan["path"] = json!(PATH);
        plan["times"] = json!(1);
        let reply = self.control("/_sim/faults", plan).await;
        assert_eq!(reply.status(), StatusCode::OK);
    }

    async fn code(&self) -> String {
        let user = json!({ "appid": APPID, "user": "alice" });
        let reply: Value = json_of(self.control("/_sim/login", user).await).await;
        reply["code"].as_str().unwrap().to_owned()
    }

    async fn redeem(&self, code: &str) -> reqwest::Result<Response> {
        let call = self.client.get(self.url(PATH)).query(&params(code));
        call.send().await
    }

    async fn redeem_new(&self) -> Response {
        self.redeem(&self.code().await).await.unwrap()
    }

    async fn errcode(&self, code: &str) -> Value {
        json_of(self.redeem(code).await.unwrap()).await["errcode"].take()
    }

    async fn calls(&self) -> Value {
        let reply = self.client.get(self.url("/_sim/calls")).send().await;
        json_of(reply.unwrap()).await
    }
}

fn params(code: &str) -> [(&str, &str); 4] {
    [
        ("appid", APPID),
        ("secret", SECRET),
        ("js_code", code),
        ("grant_type", "authorization_code"),
    ]
}

async fn json_of(reply: Response) -> Value {
    reply.json().await.unwrap()
}

#[tokio::test]
async fn a_success_is_json_called_plain_text_without_an_errcode() {
    let wechat = TestWeChat::start().await;
    let reply = wechat.redeem_new().await;
    assert_eq!(reply.headers()["content-type"], "text/plain");
    let body = json_of(reply).await;
    let mut names: Vec<_> = body.as_object().unwrap().keys().collect();
    names.sort();
    assert_eq!(names, ["openid", "session_key", "unionid"]);
}

#[tokio::test]
async fn a_form_is_read() {
    let wechat = TestWeChat::start().await;
    let code = wechat.code().await;
    let call = wechat.client.post(wechat.url(PATH)).form(&params(&code));
    let body = json_of(call.send().await.unwrap()).await;
    assert!(body["openid"].is_string());
}

#[tokio::test]
async fn a_json_body_is_not_seen() {
    let wechat = TestWeChat::start().await;
    let call = wechat.client.post(wechat.url(PATH));
    let call = call.json(&json!({ "appid": APPID, "secret": SECRET }));
    let body = json_of(call.send().await.unwrap()).await;
    assert_eq!(body["errcode"], 41002);
}

#[tokio::test]
async fn an_unknown_path_is_refused_in_the_way_of_wechat() {
    let wechat = TestWeChat::start().await;
    let reply = wechat.client.get(wechat.url("/cgi-bin/nothing")).send();
    assert_eq!(json_of(reply.await.unwrap()).await["errcode"], 40066);
}

#[tokio::test]
async fn a_blocked_user_is_refused_naturally() {
    let wechat = TestWeChat::start().await;
    let user = json!({ "appid": APPID, "user": "mallory", "blocked": true });
    let code = json_of(wechat.control("/_sim/login", user).await).await["code"].take();
    assert_eq!(wechat.errcode(code.as_str().unwrap()).await, 40226);
}

#[tokio::test]
async fn a_login_in_an_unknown_app_is_a_bad_request() {
    let wechat = TestWeChat::start().await;
    let user = json!({ "appid": "wx9", "user": "alice" });
    let reply = wechat.control("/_sim/login", user).await;
    assert_eq!(reply.status(), StatusCode::BAD_REQUEST);
    assert!(json_of(reply).await["error"].is_string());
}

#[tokio::test]
async fn moving_the_clock_lets_codes_expire() {
    let wechat = TestWeChat::start().await;
    let code = wechat.code().await;
    let moved = wechat.control("/_sim/clock", json!({ "advance": "6m" }));
    assert_eq!(moved.await.status(), StatusCode::OK);
    assert_eq!(wechat.errcode(&code).await, 40029);
}

#[tokio::test]
async fn the_clock_does_not_move_by_more_than_ten_years() {
    let wechat = TestWeChat::start().await;
    let moved = wechat.control("/_sim/clock", json!({ "advance": "11y" }));
    assert_eq!(moved.await.status(), StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn a_bad_plan_is_a_bad_request() {
    let wechat = TestWeChat::start().await;
    let plan = json!({ "path": PATH, "fault": "hang", "tmies": 1 });
    let reply = wechat.control("/_sim/faults", plan).await;
    assert_eq!(reply.status(), StatusCode::BAD_REQUEST);
    let error = json_of(reply).await["error"].take();
    assert!(error.as_str().unwrap().contains("tmies"));
}

#[tokio::test]
async fn forgotten_plans_have_no_effect() {
    let wechat = TestWeChat::with_fault(json!({ "fault": "html" })).await;
    let forget = wechat
        .client
        .delete(wechat.url("/_sim/faults?path=/sns/jscode2session"));
    assert_eq!(json_of(forget.send().await.unwrap()).await["removed"], 1);
    let reply = wechat.redeem_new().await;
    assert_eq!(reply.headers()["content-type"], "text/plain");
}

#[tokio::test]
async fn calls_are_counted_by_path_and_outcome() {
    let wechat = TestWeChat::with_fault(json!({ "fault": "bom" })).await;
    wechat.redeem("0made-up").await.unwrap();
    wechat.redeem_new().await;
    wechat.redeem("0made-up").await.unwrap();
    let outcomes = json!({ "ok": 1, "40029": 1, "fault:bom": 1 });
    let expected = json!({ PATH: { "calls": 3, "outcomes": outcomes } });
    assert_eq!(wechat.calls().await, expected);
}

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
