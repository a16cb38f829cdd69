//! `menshen simulate` is a WeChat that a developer can use with nothing but curl, as a process of its own.
#![expect(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "a test may panic"
)]

use std::net::{SocketAddr, TcpListener};

use menshen_test_support::{Program, address_in, raw};
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;

const MENSHEN: &str = env!("CARGO_BIN_EXE_menshen");
const REDEEM: &str = "/sns/jscode2session";
const APP: (&str, &str) = ("wx0000000000000001", "f1rst");
const OTHER_APP: (&str, &str) = ("wx0000000000000002", "sec:ond");

/// A running simulator that knows two apps.
struct WeChat {
    program: Program,
    address: SocketAddr,
}

impl WeChat {
    async fn start() -> Self {
        let apps = [APP, OTHER_APP].map(|(appid, secret)| format!("--app={appid}:{secret}"));
        let listen = ["simulate", "--listen=127.0.0.1:0"];
        let arguments = listen.into_iter().chain(apps.iter().map(String::as_str));
        let arguments: Vec<&str> = arguments.collect();
        let program = Program::start(Program::command(MENSHEN, &arguments));
        let address = address_in(&program.prints("http://").await);
        Self { program, address }
    }

    /// Sends what curl sends: a body under a content type that is not its own.
    async fn curl(&self, call: &str, body: &str) -> Value {
        let length = body.len();
        let request = format!(
            "{call} HTTP/1.1\r\nHost: here\r\nConnection: close\r\nContent-Length: {length}\r\n\
             Content-Type: application/x-www-form-urlencoded\r\n\r\n{body}"
        );
        let answer = raw(self.address, request.as_bytes()).await;
        let (_, body) = answer.split_once("\r\n\r\n").unwrap_or(("", ""));
        serde_json::from_str(body).unwrap_or(Value::Null)
    }

    async fn code(&self, app: (&str, &str), user: &str) -> String {
        let body = json!({"appid": app.0, "user": user}).to_string();
        let answer = self.curl("POST /_sim/login", &body).await;
        answer["code"].as_str().unwrap().to_owned()
    }

    async fn redeem(&self, app: (&str, &str), code: &str) -> Value {
        let (appid, secret) = app;
        let query =
            format!("appid={appid}&secret={secret}&js_code={code}&grant_type=authorization_code");
        self.curl(&format!("GET {REDEEM}?{query}"), "").await
    }

    async fn log_in(&self, app: (&str, &str), user: &str) -> Value {
        self.redeem(app, &self.code(app, user).await).await
    }

    async fn plan(&self, mut plan: Value) {
        plan["path"] = json!(REDEEM);
        let planned = self.curl("POST /_sim/faults", &plan.to_string()).await;
        assert!(planned["planned"].is_object(), "{planned}");
    }

    async fn ends(self) -> Option<i32> {
        self.program.ended().await.code
    }
}

#[tokio::test]
async fn a_user_is_the_same_in_every_run() {
    let (first, second) = (WeChat::start().await, WeChat::start().await);
    let (before, after) = (
        first.log_in(APP, "alice").await,
        second.log_in(APP, "alice").await,
    );
    assert_eq!(before["openid"].as_str().unwrap().len(), 28);
    assert_eq!(before["openid"], after["openid"]);
    assert_eq!(before["unionid"], after["unionid"]);
    assert_ne!(before["session_key"], after["session_key"]);
}

#[tokio::test]
async fn a_user_of_two_apps_has_two_openids_and_one_unionid() {
    let wechat = WeChat::start().await;
    let one = wechat.log_in(APP, "alice").await;
    let other = wechat.log_in(OTHER_APP, "alice").await;
    assert_ne!(one["openid"], other["openid"]);
    assert!(one["unionid"].is_string());
    assert_eq!(one["unionid"], other["unionid"]);
}

#[tokio::test]
async fn a_code_of_one_app_is_no_code_of_another() {
    let wechat = WeChat::start().await;
    let code = wechat.code(APP, "alice").await;
    assert_eq!(wechat.redeem(OTHER_APP, &code).await["errcode"], 40029);
}

#[tokio::test]
async fn a_secret_may_hold_a_colon() {
    let wechat = WeChat::start().await;
    let (appid, _) = OTHER_APP;
    let cut_off = wechat.redeem((appid, "sec"), "0abc").await;
    assert_eq!(cut_off["errcode"], 40125);
    assert!(wechat.log_in(OTHER_APP, "alice").await["openid"].is_string());
}

#[tokio::test]
async fn a_moved_clock_lets_codes_expire() {
    let wechat = WeChat::start().await;
    let code = wechat.code(APP, "alice").await;
    wechat.curl("POST /_sim/clock", r#"{"advance":"6m"}"#).await;
    assert_eq!(wechat.redeem(APP, &code).await["errcode"], 40029);
    assert!(wechat.log_in(APP, "alice").await["openid"].is_string());
}

#[tokio::test]
async fn a_fault_lasts_as_often_as_planned_and_is_counted() {
    let wechat = WeChat::start().await;
    wechat
        .plan(json!({"fault": "errcode", "errcode": -1, "times": 2}))
        .await;
    let mut errcodes = Vec::new();
    for _ in 0..3 {
        errcodes.push(wechat.log_in(APP, "alice").await["errcode"].take());
    }
    assert_eq!(errcodes, [json!(-1), json!(-1), Value::Null]);
    let calls = wechat.curl("GET /_sim/calls", "").await;
    let expected = json!({"calls": 3, "outcomes": {"fault:errcode": 2, "ok": 1}});
    assert_eq!(calls[REDEEM], expected);
}

#[tokio::test]
async fn a_fault_without_an_end_can_be_forgotten() {
    let wechat = WeChat::start().await;
    wechat.plan(json!({"fault": "html"})).await;
    for _ in 0..2 {
        assert_eq!(wechat.log_in(APP, "alice").await, Value::Null);
    }
    let forgotten = wechat.curl("DELETE /_sim/faults", "").await;
    assert_eq!(forgotten["removed"], 1);
    assert!(wechat.log_in(APP, "alice").await["openid"].is_string());
}

#[tokio::test]
async fn a_mistake_in_a_call_is_told_and_changes_nothing() {
    let wechat = WeChat::start().await;
    for (call, body) in [
        (
            "POST /_sim/faults",
            r#"{"path":"/sns/jscode2session","fault":"explode"}"#,
        ),
        (
            "POST /_sim/faults",
            r#"{"path":"/sns/jscode2session","fault":"html","more":1}"#,
        ),
        ("POST /_sim/faults", "fault=html"),
        ("POST /_sim/login", r#"{"appid":"wx9","user":"alice"}"#),
        ("POST /_sim/clock", r#"{"advance":"-6m"}"#),
        ("POST /_sim/nowhere", "{}"),
    ] {
        let told = wechat.curl(call, body).await;
        assert!(told["error"].is_string(), "{call}: {told}");
    }
    assert!(wechat.log_in(APP, "alice").await["openid"].is_string());
}

#[tokio::test]
async fn a_signal_ends_it_even_while_an_exchange_hangs() {
    let wechat = WeChat::start().await;
    wechat.plan(json!({"fault": "hang"})).await;
    let mut waiting = TcpStream::connect(wechat.address).await.unwrap();
    let get = format!("GET {REDEEM} HTTP/1.1\r\nHost: here\r\n\r\n");
    waiting.write_all(get.as_bytes()).await.unwrap();
    while wechat.curl("GET /_sim/calls", "").await[REDEEM].is_null() {}
    wechat.program.signal("TERM").await;
    assert_eq!(wechat.ends().await, Some(0));
}

#[tokio::test]
async fn a_port_in_use_is_named() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let arguments = ["simulate", "--app", "wx1:f1rst", "--listen", &address];
    let ended = Program::run(Program::command(MENSHEN, &arguments)).await;
    ended.check_failed(2);
    assert_eq!(ended.stdout, "");
    assert!(ended.stderr.contains(&address), "{}", ended.stderr);
}
