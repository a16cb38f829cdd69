//! Backends have data opened, checked and signed with the session_key of a user who logged in, and never get the key.

use std::collections::BTreeSet;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use menshen_test_support::{Grant, Official, Reply, TestGateway};
use serde_json::{Value, json};

/// The longest time for which the session_key before still opens what was encrypted with it.
const WINDOW: Duration = Duration::from_secs(600);

struct User {
    openid: String,
}

impl User {
    /// Logs a user in to the app `shop`.
    async fn log_in(t: &TestGateway, name: &str) -> Self {
        Self::of(t, &t.log_in(name).await).await
    }

    async fn of(t: &TestGateway, grant: &Grant) -> Self {
        Self {
            openid: t.openid(&grant.token).await,
        }
    }

    async fn ask(&self, t: &TestGateway, call: &str, body: Value) -> Reply {
        ask(t, "shop", &self.openid, call, body).await
    }

    async fn decrypt(&self, t: &TestGateway, open_data: &Value) -> Reply {
        self.ask(t, "decrypt", encrypted(open_data)).await
    }
}

async fn ask(t: &TestGateway, app: &str, openid: &str, call: &str, body: Value) -> Reply {
    let path = format!("/v1/apps/{app}/users/{openid}/{call}");
    Reply::of(t.control("POST", &path).json(&body)).await
}

fn encrypted(open_data: &Value) -> Value {
    json!({"encrypted_data": open_data["encryptedData"], "iv": open_data["iv"]})
}

/// Does what a page does to get open data.
async fn open_data(t: &TestGateway, user: &str, data: Value) -> Value {
    let asked = json!({"appid": TestGateway::appid("shop"), "user": user, "data": data});
    t.simulate("encrypt", asked).await
}

/// Lets WeChat replace the user's session_key, which Menshen does not see.
async fn rotate(t: &TestGateway, user: &str) {
    t.clock.advance(Duration::from_secs(61));
    t.code(user).await;
}

#[tokio::test]
async fn data_of_a_user_who_logged_in_opens_as_wechat_wrote_it() {
    let t = TestGateway::start().await;
    let alice = User::log_in(&t, "alice").await;
    for data in [
        json!({"openId": alice.openid, "nickName": "门神", "gender": 1}),
        json!({"openid": alice.openid, "unionid": "oOnePerson"}),
        json!({"phoneNumber": "13580006666", "countryCode": "86"}),
        json!({"openGId": "tGroup1"}),
        json!({"opengid": "tGroup1", "group_openid": "oInGroup", "chat_type": 3}),
        json!(r#"{"opengid":"tGroup1","group_openid":"oInGroup","chat_type":3}"#),
    ] {
        let data = open_data(&t, "alice", data).await;
        let reply = alice.decrypt(&t, &data).await;
        assert_eq!(
            (reply.status, reply.text().as_str()),
            (200, data["rawData"].as_str().unwrap())
        );
        assert_eq!(reply.header("content-type"), "application/json");
        assert_eq!(reply.header("cache-control"), "no-store");
    }
}

#[tokio::test]
async fn the_example_that_wechat_published_opens() {
    let builder = TestGateway::builder();
    let official = Official::start(env!("CARGO_BIN_EXE_menshen"), builder).await;
    let reply = official.decrypt().await;
    assert_eq!(
        (reply.status, reply.text().as_str()),
        (200, Official::PLAIN)
    );
}

#[tokio::test]
async fn the_key_before_the_last_login_opens_for_ten_minutes() {
    let t = TestGateway::start().await;
    let alice = User::log_in(&t, "alice").await;
    let old = open_data(&t, "alice", json!({"n": 1})).await;
    t.clock.advance(Duration::from_secs(61));
    // As several pages at once do: WeChat gives all of them the same new key.
    for _ in 0..3 {
        t.log_in("alice").await;
    }
    let new = open_data(&t, "alice", json!({"n": 2})).await;
    for data in [&old, &new] {
        let reply = alice.decrypt(&t, data).await;
        assert_eq!(reply.text(), data["rawData"].as_str().unwrap());
    }
    let signed = json!({"raw_data": old["rawData"], "signature": old["signature"]});
    let verified = alice.ask(&t, "verify", signed.clone()).await;
    assert_eq!(verified.json(), json!({"valid": true}));
    t.clock.advance(WINDOW + Duration::from_secs(1));
    alice.decrypt(&t, &old).await.refused(422, "decrypt_failed");
    let verified = alice.ask(&t, "verify", signed).await;
    assert_eq!(verified.json(), json!({"valid": false}));
    assert_eq!(alice.decrypt(&t, &new).await.status, 200);
}

#[tokio::test]
async fn every_failure_to_open_is_the_same_to_the_byte() {
    let t = TestGateway::start().await;
    let alice = User::log_in(&t, "alice").await;
    let bob = User::log_in(&t, "bob").await;
    let good = open_data(&t, "alice", json!({"openId": alice.openid})).await;
    assert_eq!(alice.decrypt(&t, &good).await.status, 200);
    let (data, iv) = (
        good["encryptedData"].as_str().unwrap(),
        good["iv"].as_str().unwrap(),
    );
    let cut = STANDARD.encode(&STANDARD.decode(data).unwrap()[..16]);
    let flipped = |at: usize, by: u8| {
        let mut bytes = STANDARD.decode(iv).unwrap();
        bytes[at] ^= by;
        STANDARD.encode(bytes)
    };
    let mut tried = vec![
        json!({"encrypted_data": data, "iv": "MQ=="}),
        json!({"encrypted_data": data, "iv": ""}),
        json!({"encrypted_data": "", "iv": iv}),
        json!({"encrypted_data": "*", "iv": iv}),
        json!({"encrypted_data": format!("aaaa{data}"), "iv": iv}),
        // Padding.
        json!({"encrypted_data": cut, "iv": iv}),
        // JSON, then UTF-8, then the user.
        json!({"encrypted_data": data, "iv": flipped(0, 1)}),
        json!({"encrypted_data": data, "iv": flipped(12, 0x80)}),
        json!({"encrypted_data": data, "iv": flipped(12, 1)}),
    ];
    let appid = TestGateway::appid("shop");
    for data in [
        json!({"openId": bob.openid}),
        json!({"openid": bob.openid}),
        json!({"watermark": {"appid": TestGateway::appid("cafe"), "timestamp": 1}}),
        json!({"watermark": {"timestamp": 1}}),
        json!(format!("{{\"openId\":\"{}\"}}", alice.openid)),
        json!(format!("{{\"watermark\":{{\"appid\":\"{appid}\"}}}}x")),
        json!("[]"),
        json!("plain"),
    ] {
        tried.push(encrypted(&open_data(&t, "alice", data).await));
    }
    tried.push(encrypted(&open_data(&t, "bob", json!({"n": 1})).await));
    let mut answers = BTreeSet::new();
    for body in tried {
        let reply = alice.ask(&t, "decrypt", body.clone()).await;
        let mut json = reply.refused(422, "decrypt_failed");
        assert!(json["request_id"].take().is_string());
        let names: Vec<_> = reply.headers.keys().map(ToString::to_string).collect();
        assert!(
            json["message"].as_str().unwrap().contains("log in first"),
            "{body}"
        );
        answers.insert((json.to_string(), reply.body.len(), names));
    }
    assert_eq!(answers.len(), 1, "{answers:?}");
}

#[tokio::test]
async fn whoever_tries_what_opens_is_stopped_and_nobody_else_is() {
    let t = TestGateway::start().await;
    let alice = User::log_in(&t, "alice").await;
    let bob = User::log_in(&t, "bob").await;
    let bad =
        json!({"encrypted_data": "AAAAAAAAAAAAAAAAAAAAAA==", "iv": "AAAAAAAAAAAAAAAAAAAAAA=="});
    for _ in 0..30 {
        let reply = alice.ask(&t, "decrypt", bad.clone()).await;
        reply.refused(422, "decrypt_failed");
    }
    let good = open_data(&t, "alice", json!({"n": 1})).await;
    let reply = alice.decrypt(&t, &good).await;
    reply.refused(429, "too_many_requests");
    let wait = reply.retry_after().unwrap();
    assert!((1..=120).contains(&wait), "{wait}");
    let of_bob = open_data(&t, "bob", json!({"n": 1})).await;
    assert_eq!(bob.decrypt(&t, &of_bob).await.status, 200);
    t.clock.advance(Duration::from_secs(wait));
    for _ in 0..40 {
        // What opens is not counted.
        assert_eq!(alice.decrypt(&t, &good).await.status, 200);
    }
    alice
        .ask(&t, "decrypt", bad.clone())
        .await
        .refused(422, "decrypt_failed");
    alice
        .ask(&t, "decrypt", bad)
        .await
        .refused(429, "too_many_requests");
}

#[tokio::test]
async fn raw_data_is_verified_to_the_byte() {
    let t = TestGateway::start().await;
    let alice = User::log_in(&t, "alice").await;
    let bob = User::log_in(&t, "bob").await;
    let text = "{\"nickName\": \"a\\/b\",\"z\":1, \"a\":2}";
    let data = open_data(&t, "alice", json!(text)).await;
    let signature = data["signature"].as_str().unwrap();
    let verify = async |user: &User, raw: &str, signature: &str| {
        let body = json!({"raw_data": raw, "signature": signature});
        let reply = user.ask(&t, "verify", body).await;
        assert_eq!(reply.status, 200, "{}", reply.text());
        reply.json()["valid"].as_bool().unwrap()
    };
    assert!(verify(&alice, text, signature).await);
    assert!(!verify(&alice, &text.replace(' ', ""), signature).await);
    assert!(!verify(&alice, text, signature.get(1..).unwrap()).await);
    assert!(!verify(&alice, text, "").await);
    assert!(!verify(&bob, text, signature).await);
}

#[tokio::test]
async fn what_is_signed_is_what_wechat_would_take() {
    let t = TestGateway::start().await;
    let alice = User::log_in(&t, "alice").await;
    let signed = alice.ask(&t, "sign", json!({"data": ""})).await.json();
    assert_eq!(signed["sig_method"], "hmac_sha256");
    let signature = signed["signature"].as_str().unwrap();
    // As somebody else who keeps the app's access_token does.
    let http = |path: &str| t.http.get(format!("http://{}{path}", t.simulator));
    let asked = json!({
        "grant_type": "client_credential",
        "appid": TestGateway::appid("shop"),
        "secret": t.secret,
    });
    let url = format!("http://{}/cgi-bin/stable_token", t.simulator);
    let token = Reply::of(t.http.post(url).json(&asked)).await.json();
    let query = [
        ("access_token", token["access_token"].as_str().unwrap()),
        ("openid", &alice.openid),
        ("signature", signature),
        ("sig_method", "hmac_sha256"),
    ];
    let checked = Reply::of(http("/wxa/checksession").query(&query)).await;
    assert_eq!(checked.json()["errcode"], 0);
    let other = alice
        .ask(&t, "sign", json!({"data": "{\"foo\":\"bar\"}"}))
        .await
        .json();
    assert_ne!(other["signature"], signature);
    assert_eq!(other["signature"].as_str().unwrap().len(), 64);
}

#[tokio::test]
async fn a_user_who_is_not_logged_in_has_no_session_key() {
    let builder = TestGateway::builder().apps(&["shop", "cafe"]);
    let t = builder.start().await;
    let alice = User::log_in(&t, "alice").await;
    let grant = t.log_in("bob").await;
    let bob = User::of(&t, &grant).await;
    let logout = t.request("POST", "/_auth/logout").bearer_auth(&grant.token);
    assert_eq!(Reply::of(logout).await.status, 204);
    let bodies = [
        ("decrypt", json!({"encrypted_data": "", "iv": ""})),
        ("verify", json!({"raw_data": "", "signature": ""})),
        ("sign", json!({"data": ""})),
        ("check-session", json!({})),
        ("reset-session-key", json!({})),
    ];
    for (call, body) in &bodies {
        for (app, openid) in [
            ("shop", &bob.openid),
            ("shop", &"o1".to_owned()),
            ("cafe", &alice.openid),
        ] {
            let reply = ask(&t, app, openid, call, body.clone()).await;
            reply.refused(404, "session_key_unknown");
        }
        let reply = ask(&t, "bakery", &alice.openid, call, body.clone()).await;
        reply.refused(404, "app_unknown");
        let path = format!("/v1/apps/shop/users/{}/{call}", alice.openid);
        let reply = Reply::of(t.control("GET", &path)).await;
        reply.refused(405, "method_not_allowed");
        let strange = format!("/v1/apps/shop/users/a.b/{call}");
        let reply = Reply::of(t.control("POST", &strange).json(body)).await;
        reply.refused(400, "bad_request");
    }
}

#[tokio::test]
async fn bodies_that_are_none_are_refused_before_anything_is_looked_up() {
    let t = TestGateway::start().await;
    let alice = User::log_in(&t, "alice").await;
    for call in ["decrypt", "verify", "sign"] {
        let path = format!("/v1/apps/shop/users/{}/{call}", alice.openid);
        for body in [
            "",
            "null",
            "[\"a\",\"b\"]",
            "{",
            "{}",
            "{\"data\":1}",
            "{\"data\":\"a\"}x",
        ] {
            let request = t
                .control("POST", &path)
                .header("content-type", "application/json");
            Reply::of(request.body(body))
                .await
                .refused(400, "bad_request");
        }
        let large = format!("{{\"data\":\"{}\"}}", "x".repeat(70_000));
        let request = t
            .control("POST", &path)
            .header("content-type", "application/json");
        Reply::of(request.body(large.clone()))
            .await
            .refused(413, "body_too_large");
        // In chunks, so that its length is not known before.
        let parts = large
            .as_bytes()
            .chunks(10_000)
            .map(|part| Ok::<_, std::io::Error>(part.to_vec()));
        let parts: Vec<_> = parts.collect();
        let body = reqwest::Body::wrap_stream(futures::stream::iter(parts));
        let request = t
            .control("POST", &path)
            .header("content-type", "application/json");
        Reply::of(request.body(body))
            .await
            .refused(413, "body_too_large");
        let form = t.control("POST", &path).form(&[("data", "a")]);
        Reply::of(form).await.refused(400, "bad_request");
    }
}

#[tokio::test]
async fn data_under_a_key_that_no_login_brought_does_not_open() {
    let t = TestGateway::start().await;
    let alice = User::log_in(&t, "alice").await;
    rotate(&t, "alice").await;
    let data = open_data(&t, "alice", json!({"n": 1})).await;
    alice
        .decrypt(&t, &data)
        .await
        .refused(422, "decrypt_failed");
    t.log_in("alice").await;
    assert_eq!(alice.decrypt(&t, &data).await.status, 200);
}
