//! The relay to WeChat's API: the token is put in, what callers may not say is taken out, and what comes back is WeChat's or is refused.

use std::time::Duration;

use menshen_test_support::{Builder, CONTROL_SECRET, Relay, Reply, TestGateway, raw, status};
use reqwest::multipart::{Form, Part};
use serde_json::{Value, json};

const STABLE: &str = "/cgi-bin/stable_token";
const SEND: &str = "/cgi-bin/message/subscribe/send";
const CODE: &str = "/wxa/getwxacodeunlimit";
const CHECK: &str = "/wxa/img_sec_check";
const PNG: &[u8] = b"\x89PNG\r\n\x1a\n";

/// A gateway, and the wire from it to WeChat.
struct Bench {
    t: TestGateway,
    wire: Relay,
}

impl Bench {
    async fn start() -> Self {
        Self::with(TestGateway::builder()).await
    }

    async fn with(builder: Builder) -> Self {
        let (wire, simulator) = (Relay::start().await, builder.simulator().await);
        wire.lead_to(simulator);
        let lines = format!("api_base = \"http://{}\"\ntimeout = \"1s\"", wire.address);
        let mut t = builder.section("wechat", &lines).start().await;
        t.simulator = simulator;
        Self { t, wire }
    }

    fn call(&self, method: &str, path: &str) -> reqwest::RequestBuilder {
        self.t.control(method, &format!("/wechat/shop{path}"))
    }

    async fn post(&self, path: &str, body: Value) -> Reply {
        Reply::of(self.call("POST", path).json(&body)).await
    }

    /// Sends a message, which must go well.
    async fn sends(&self) {
        let reply = self.post(SEND, message()).await;
        assert_eq!(
            (reply.status, &reply.json()["errcode"]),
            (200, &json!(0)),
            "{}",
            reply.text()
        );
    }

    async fn token(&self) -> String {
        let reply = Reply::of(self.t.control("GET", "/v1/apps/shop/access-token")).await;
        reply.json()["access_token"].as_str().unwrap().to_owned()
    }
}

fn message() -> Value {
    json!({"touser": "o1", "template_id": "t1", "data": {"thing1": {"value": "门神"}}})
}

fn picture_form(bytes: Vec<u8>) -> Form {
    Form::new().part("media", Part::bytes(bytes).file_name("a.png"))
}

#[tokio::test]
async fn a_call_needs_no_token_and_brings_wechats_answer() {
    let bench = Bench::start().await;
    bench.sends().await;
    bench.post(SEND, json!({"touser": "o1"})).await;
    let refused = bench.post(SEND, json!({"touser": "o1"})).await;
    // WeChat's own refusal is WeChat's answer.
    assert_eq!(
        (refused.status, &refused.json()["errcode"]),
        (200, &json!(40037))
    );
    assert!(!refused.header("x-request-id").is_empty());
    assert_eq!(bench.t.calls(STABLE).await, 1);
}

#[tokio::test]
async fn a_picture_comes_back_to_the_byte() {
    let bench = Bench::start().await;
    let picture = bench
        .post(CODE, json!({"scene": "a=1", "width": 1280}))
        .await;
    assert_eq!(picture.header("content-type"), "image/png");
    assert!(picture.body.len() > 1_600_000 && picture.body.starts_with(PNG));
    let length = picture.body.len().to_string();
    assert_eq!(picture.header("content-length"), length);
    let error = bench.post(CODE, json!({"scene": ""})).await;
    assert_eq!(error.json()["errcode"], 40159);
}

#[tokio::test]
async fn a_picture_is_uploaded_with_its_length_whatever_its_size() {
    let bench = Bench::start().await;
    for size in [10, 20_000, 900_000] {
        let bytes = [PNG, &vec![7; size]].concat();
        let upload = bench
            .call("POST", CHECK)
            .multipart(picture_form(bytes.clone()));
        assert_eq!(Reply::of(upload).await.json()["errcode"], 0, "{size}");
        let path = "/cgi-bin/media/upload?type=image";
        let upload = bench
            .call("POST", path)
            .multipart(picture_form(bytes.clone()));
        let id = Reply::of(upload).await.json()["media_id"].take();
        let path = format!("/cgi-bin/media/get?media_id={}", id.as_str().unwrap());
        assert_eq!(
            Reply::of(bench.call("GET", &path)).await.body,
            bytes,
            "{size}"
        );
    }
}

#[tokio::test]
async fn what_is_the_relays_to_say_does_not_reach_wechat() {
    let bench = Bench::start().await;
    bench.sends().await;
    bench.wire.requests();
    let own = ["access_token", "secret", "appid", "cloudbase_access_token"];
    let forged = |name: &str| format!("f0rged-{name}");
    let mut body = message();
    for name in own {
        body[name] = json!(forged(name));
    }
    let query: Vec<_> = own[..3].iter().map(|name| (*name, forged(name))).collect();
    let reply = Reply::of(bench.call("POST", SEND).query(&query).json(&body)).await;
    assert_eq!(reply.json()["errcode"], 0, "{}", reply.text());
    // A large one is not held.
    body["data"]["more"] = json!("x".repeat(200_000));
    let reply = Reply::of(bench.call("POST", SEND).query(&query).json(&body)).await;
    assert_eq!(reply.json()["errcode"], 0, "{}", reply.text());
    let form: Vec<_> = own.iter().map(|name| (*name, forged(name))).collect();
    Reply::of(bench.call("POST", SEND).form(&form)).await;
    let escaped = r#"{"acc\u0065ss_token":"f0rged","touser":"o1","template_id":"t","data":{}}"#;
    let escaped = bench
        .call("POST", &format!("{SEND}?%61ccess_token=f0rged"))
        .body(escaped);
    assert_eq!(Reply::of(escaped).await.json()["errcode"], 0);
    let headers = bench.call("POST", SEND).json(&message());
    let headers = headers.bearer_auth("f0rged").header("x-secret", "f0rged");
    assert_eq!(Reply::of(headers).await.json()["errcode"], 0);
    let asked = bench.wire.requests().concat();
    assert!(asked.matches("POST ").count() >= 5, "{asked}");
    assert!(!asked.contains("f0rged"), "{asked}");
    assert!(
        !asked.to_lowercase().contains("transfer-encoding"),
        "{asked}"
    );
}

#[tokio::test]
async fn a_part_that_is_the_relays_to_send_loses_its_name_and_content() {
    let bench = Bench::start().await;
    bench.sends().await;
    for size in [10, 900_000] {
        bench.wire.requests();
        let bytes = [PNG, b"name=\"secret\"", &vec![7; size]].concat();
        let form = Form::new()
            .text("access_token", "f0rged")
            .part("media", Part::bytes(bytes.clone()).file_name("secret"))
            .text("Secret", "f0rged");
        let upload = bench
            .call("POST", "/cgi-bin/media/upload?type=image")
            .multipart(form);
        let id = Reply::of(upload).await.json()["media_id"].take();
        let asked = bench.wire.requests().concat();
        assert!(
            asked.contains("name=\"media\"") && !asked.contains("f0rged"),
            "{asked:.2000}"
        );
        let path = format!("/cgi-bin/media/get?media_id={}", id.as_str().unwrap());
        let got = Reply::of(bench.call("GET", &path)).await.body;
        assert_eq!(got, bytes, "{size}");
    }
    bench.wire.requests();
    let part = "--b\r\nContent-Disposition: form-data; name=\"media\"; name=\"secret\"\r\n\r\nf0rged\r\n--b--\r\n";
    for (kind, body) in [
        ("multipart/form-data; boundary=b", part.to_owned()),
        ("multipart/form-data", part.to_owned()),
        (
            "multipart/form-data; boundary=b; boundary=c",
            part.to_owned(),
        ),
        ("Multipart/Mixed; boundary=b", part.replace("--b--", "--b")),
    ] {
        let call = bench.call("POST", CHECK).header("content-type", kind);
        let reply = Reply::of(call.body(body)).await;
        reply.refused(400, "bad_request");
    }
    assert!(!bench.wire.requests().concat().contains("f0rged"));
}

#[tokio::test]
async fn a_form_is_read_as_one_whatever_it_says_it_is() {
    let bench = Bench::start().await;
    bench.sends().await;
    bench.wire.requests();
    let form = "touser=o1&%20secret=f0rged;a=1;appid=f0rged&b=2&access_token[]=f0rged";
    let kinds = [
        None,
        Some("text/plain; charset=utf-8"),
        Some("Application/X-WWW-Form-Urlencoded"),
    ];
    for kind in kinds {
        let call = bench.call("POST", &format!("{SEND}?x=1;secret=f0rged&y=2"));
        let call = match kind {
            Some(kind) => call.header("content-type", kind),
            None => call,
        };
        assert_eq!(Reply::of(call.body(form)).await.status, 200, "{kind:?}");
    }
    let asked = bench.wire.requests().concat();
    assert_eq!(asked.matches("b=2").count(), kinds.len(), "{asked}");
    assert_eq!(asked.matches("x=1&y=2").count(), kinds.len(), "{asked}");
    assert!(!asked.contains("f0rged"), "{asked}");
}

#[tokio::test]
async fn where_wechat_wants_an_appid_it_is_this_apps() {
    let bench = Bench::start().await;
    for body in [
        json!({"openid": "o1", "scene": 0}),
        json!({"appid": "wxforged", "openid": "o1", "scene": 0}),
    ] {
        let reply = bench.post("/wxa/getuserriskrank", body).await;
        assert_eq!(reply.json()["errcode"], 0, "{}", reply.text());
    }
}

#[tokio::test]
async fn a_spent_token_is_renewed_and_the_call_made_once_more() {
    let bench = Bench::start().await;
    bench.sends().await;
    let before = bench.token().await;
    bench.t.force_access_token().await;
    bench.sends().await;
    assert_ne!(bench.token().await, before);
    assert_eq!(bench.t.calls(SEND).await, 3);
    // What is an error is told by its bytes, whatever it is called.
    bench.t.force_access_token().await;
    let named = json!({"fault": "content_type", "content_type": "image/jpeg", "times": 1});
    bench.t.fault_at(CODE, named).await;
    let picture = bench.post(CODE, json!({"scene": "a=1"})).await;
    assert!(picture.body.starts_with(PNG));
    for errcode in [40001, 40014, 42001] {
        let once = json!({"fault": "errcode", "errcode": errcode, "times": 1});
        bench.t.fault_at(SEND, once).await;
        let reply = bench.post(SEND, message()).await;
        // The token is good: WeChat's answer goes on.
        assert_eq!(reply.json()["errcode"], errcode);
        bench.t.clock.advance(Duration::from_secs(60));
    }
}

#[tokio::test]
async fn a_body_that_cannot_be_sent_again_leads_to_another_token_all_the_same() {
    let bench = Bench::start().await;
    bench.sends().await;
    bench.t.force_access_token().await;
    let bytes = [PNG, &vec![7; 500_000]].concat();
    let upload = || {
        bench
            .call("POST", CHECK)
            .multipart(picture_form(bytes.clone()))
    };
    let codes = [
        Reply::of(upload()).await.json()["errcode"].take(),
        Reply::of(upload()).await.json()["errcode"].take(),
    ];
    assert_eq!(codes, [json!(40001), json!(0)]);
}

#[tokio::test]
async fn a_call_that_always_says_stale_burns_no_force() {
    let bench = Bench::start().await;
    bench.sends().await;
    let before = bench.token().await;
    for path in [SEND, CODE] {
        bench
            .t
            .fault_at(path, json!({"fault": "errcode", "errcode": 40001}))
            .await;
    }
    for _ in 0..50 {
        bench.post(SEND, message()).await;
        bench.post(CODE, json!({"scene": "a=1"})).await;
        bench.t.clock.advance(Duration::from_secs(31));
    }
    assert_eq!(bench.token().await, before);
    assert!(bench.t.calls(SEND).await <= 51);
}

#[tokio::test]
async fn what_is_closed_is_refused_and_never_asked() {
    let bench = Bench::start().await;
    for path in [
        "/sns/jscode2session",
        "/sns/oauth2/access_token",
        "/cgi-bin/component/api_component_token",
        "/wxa/resetusersessionkey",
        "/wxa/checksession",
        "/wxa/business/getuserencryptkey",
        "/cgi-bin/ticket/getticket",
        "/cgi-bin/menu/create",
        "/cgi-bin/tokens",
    ] {
        let reply = bench.post(path, json!({})).await;
        reply.refused(403, "path_not_allowed");
    }
    assert_eq!(bench.wire.requests().len(), 0);
    let opened = TestGateway::builder().section("relay", "allow = [\"/cgi-bin/menu/create\"]");
    let bench = Bench::with(opened).await;
    let reply = bench.post("/cgi-bin/menu/create", json!({})).await;
    assert_eq!(reply.json()["errcode"], 40066);
    bench
        .post(SEND, message())
        .await
        .refused(403, "path_not_allowed");
}

#[tokio::test]
async fn a_path_with_two_readings_or_a_host_of_its_own_is_refused() {
    let bench = Bench::start().await;
    let address = bench.t.control.unwrap();
    for (target, expected) in [
        ("/wechat/shop/wxa/../sns/jscode2session", 400),
        ("/wechat/shop/wxa/%2e%2e/sns/jscode2session", 400),
        ("/wechat/shop/wxa%2fgetwxacode", 400),
        ("/wechat/shop//evil.example/x", 400),
        ("/wechat/shop/@evil.example/x", 400),
        ("/wechat/nobody/wxa/getwxacode", 404),
        ("http://evil.example/wxa/getwxacode", 400),
        ("http://evil.example/wechat/shop/wxa/getwxacode", 400),
    ] {
        let request = format!(
            "POST {target} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{{}}"
        );
        let answer = raw(address, request.as_bytes()).await;
        assert_eq!(status(&answer), expected, "{target}: {answer}");
    }
    assert_eq!(bench.wire.requests().len(), 0);
}

#[tokio::test]
async fn a_body_without_a_length_is_given_one_or_refused() {
    let bench = Bench::start().await;
    let chunked = |size: usize| {
        let part = json!({"touser": "o1", "template_id": "t", "data": {}, "x": "y".repeat(size)});
        let parts = futures::stream::iter([Ok::<_, std::io::Error>(part.to_string())]);
        reqwest::Body::wrap_stream(parts)
    };
    let small = Reply::of(bench.call("POST", SEND).body(chunked(10))).await;
    assert_eq!(small.json()["errcode"], 0, "{}", small.text());
    let large = Reply::of(bench.call("POST", SEND).body(chunked(100_000))).await;
    large.refused(411, "length_required");
    let asked = bench.wire.requests().concat().to_lowercase();
    assert!(!asked.contains("transfer-encoding"), "{asked}");
}

#[tokio::test]
async fn what_is_not_wechats_answer_is_refused() {
    let bench = Bench::start().await;
    bench.sends().await;
    for (plan, status, error) in [
        (json!({"fault": "redirect"}), 502, "wechat_error"),
        (json!({"fault": "html"}), 502, "wechat_error"),
        (
            json!({"fault": "status", "status": 502}),
            502,
            "wechat_error",
        ),
        (json!({"fault": "truncate"}), 502, "wechat_error"),
        (json!({"fault": "hang"}), 504, "wechat_timeout"),
        (json!({"fault": "close_before"}), 504, "wechat_timeout"),
        (json!({"fault": "close_after"}), 504, "wechat_timeout"),
    ] {
        let mut plan = plan;
        let named = plan.to_string();
        plan["times"] = json!(1);
        bench.t.fault_at(SEND, plan).await;
        let reply = bench.post(SEND, message()).await;
        assert_eq!(reply.refusal(), (status, error.to_owned()), "{named}");
        reply.refused(status, error);
        assert!(reply.header("location").is_empty());
    }
    // What a caller's parser may bear goes on as it is.
    bench
        .t
        .fault_at(SEND, json!({"fault": "raw_control", "times": 1}))
        .await;
    let reply = bench.post(SEND, message()).await;
    assert!(reply.body.contains(&1) && reply.status == 200);
    bench
        .t
        .fault_at(SEND, json!({"fault": "bom", "times": 1}))
        .await;
    assert_eq!(bench.post(SEND, message()).await.status, 200);
    bench.sends().await;
}

#[tokio::test]
async fn a_body_that_is_not_json_where_it_begins_so_is_refused() {
    let bench = Bench::start().await;
    for body in ["{\"touser\":", "{\"a\" 1}", "{}{}", "{a:1}"] {
        let call = bench.call("POST", SEND).body(body);
        Reply::of(call).await.refused(400, "bad_request");
    }
}

#[tokio::test]
async fn without_the_secret_nobody_calls() {
    let builder = TestGateway::builder().require_control_secret();
    let bench = Bench::with(builder).await;
    let call = || bench.call("POST", SEND).json(&message());
    Reply::of(call()).await.refused(401, "token_missing");
    let wrong = Reply::of(call().bearer_auth("x")).await;
    wrong.refused(401, "token_invalid");
    let right = Reply::of(call().bearer_auth(CONTROL_SECRET)).await;
    assert_eq!(right.json()["errcode"], 0);
    let page = call()
        .bearer_auth(CONTROL_SECRET)
        .header("origin", "https://evil.example");
    Reply::of(page).await.refused(403, "origin_not_allowed");
}

#[tokio::test]
async fn a_phone_number_is_one_call() {
    let bench = Bench::start().await;
    let t = &bench.t;
    let openid = async |user: &str| {
        let token = t.log_in(user).await.token;
        t.openid(&token).await
    };
    let (alice, bob) = (openid("alice").await, openid("bob").await);
    let asked = json!({"appid": TestGateway::appid("shop"), "user": "alice"});
    let tap = t.simulate("phone-code", asked).await;
    let number = async |openid: &str, code: &Value| {
        let path = format!("/v1/apps/shop/users/{openid}/phone-number");
        Reply::of(t.control("POST", &path).json(&json!({"code": code}))).await
    };
    let others = number(&bob, &tap["code"]).await;
    assert_eq!(others.refused(422, "code_invalid")["errcode"], 40003);
    let told = number(&alice, &tap["code"]).await;
    let expected = json!({
        "phone_number": tap["phone"], "pure_phone_number": tap["phone"], "country_code": "86",
    });
    assert_eq!(
        (told.status, told.json()),
        (200, expected),
        "{}",
        told.text()
    );
    let again = number(&alice, &tap["code"]).await;
    assert_eq!(again.refused(422, "code_used")["errcode"], 40163);
    let login = json!(t.code("alice").await);
    let wrong = number(&alice, &login).await;
    assert_eq!(wrong.refused(422, "code_invalid")["errcode"], 40029);
    number(&alice, &json!("a b"))
        .await
        .refused(400, "bad_request");
    // A spent token costs nobody the code.
    let asked = json!({"appid": TestGateway::appid("shop"), "user": "alice"});
    let tap = t.simulate("phone-code", asked).await;
    bench.t.force_access_token().await;
    assert_eq!(number(&alice, &tap["code"]).await.status, 200);
}
