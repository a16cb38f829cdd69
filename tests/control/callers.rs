//! A caller of the private listener whose secret is good for some apps and calls only.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::fs;

use menshen_test_support::{
    Builder, CONTROL_SECRET, Program, Reply, TestGateway, Upstream, make_client,
};
use serde_json::{Value, json};
use tempfile::TempDir;

const MENSHEN: &str = env!("CARGO_BIN_EXE_menshen");
const CRM: &str = "0000000000000000000000000000crm0";
const BOT: &str = "0000000000000000000000000000bot0";
const DEPLOY: &str = "0000000000000000000000000deploy0";
const PROMETHEUS: &str = "0000000000000000000000prometheus";

/// What is written in `[control]`, with the secrets in a folder.
fn callers(folder: &TempDir, shared: &str) -> String {
    let file = |name: &str, secret: &str| {
        let path = folder.path().join(name);
        fs::write(&path, secret).unwrap();
        path.display().to_string()
    };
    let (crm, prometheus) = (file("crm", CRM), file("prometheus", PROMETHEUS));
    let (bot, deploy) = (file("bot", BOT), file("deploy", DEPLOY));
    format!(
        "{shared}\n\
         [[control.caller]]\nname = \"crm\"\nsecret_file = \"{crm}\"\napps = [\"shop\"]\n\
         calls = [\"list_sessions\", \"end_sessions\", \"verify\"]\n\
         [[control.caller]]\nname = \"bot\"\nsecret_file = \"{bot}\"\napps = [\"shop\"]\ncalls = [\"relay\"]\n\
         [[control.caller]]\nname = \"prometheus\"\nsecret_file = \"{prometheus}\"\ncalls = [\"metrics\"]\n\
         [[control.caller]]\nname = \"deploy\"\nsecret_file = \"{deploy}\"\ncalls = [\"reload\"]\n"
    )
}

fn builder(folder: &TempDir, shared: &str) -> Builder {
    let builder = TestGateway::builder().apps(&["shop", "club"]);
    builder.section("control", &callers(folder, shared))
}

async fn ask(t: &TestGateway, secret: &str, method: &str, path: &str) -> Reply {
    Reply::of(t.control(method, path).bearer_auth(secret)).await
}

#[tokio::test]
async fn a_secret_is_good_for_its_calls_and_its_apps_alone() {
    let folder = tempfile::tempdir().unwrap();
    let t = builder(&folder, "secret_env = \"CONTROL_SECRET\"")
        .start()
        .await;
    let users = |app: &str, call: &str| format!("/v1/apps/{app}/users/somebody/{call}");
    for method in ["GET", "HEAD", "DELETE"] {
        let reply = ask(&t, CRM, method, &users("shop", "sessions")).await;
        assert_eq!(reply.status, 200, "{method}");
    }
    let verified = ask(&t, CRM, "POST", &users("shop", "verify")).await;
    assert!(verified.status != 403, "{}", verified.text());
    // An app that there is not is refused like another's, so that nobody learns which there are.
    for app in ["club", "nowhere"] {
        for (method, call) in [
            ("GET", "sessions"),
            ("DELETE", "sessions"),
            ("POST", "verify"),
        ] {
            let reply = ask(&t, CRM, method, &users(app, call)).await;
            reply.refused(403, "app_not_allowed");
        }
    }
    for call in ["decrypt", "sign", "check-session", "reset-session-key"] {
        let reply = ask(&t, CRM, "POST", &users("shop", call)).await;
        reply.refused(403, "call_not_allowed");
    }
    for path in ["/v1/apps/shop/access-token", "/wechat/shop/wxa/anything"] {
        let reply = ask(&t, CRM, "GET", path).await;
        reply.refused(403, "call_not_allowed");
    }
    for app in ["club", "nowhere"] {
        let relayed = ask(&t, BOT, "GET", &format!("/wechat/{app}/wxa/anything")).await;
        relayed.refused(403, "app_not_allowed");
        let stranger = Reply::of(t.control("GET", &format!("/wechat/{app}/wxa/anything"))).await;
        stranger.refused(401, "token_missing");
    }
    let relayed = ask(&t, BOT, "GET", "/wechat/shop/sns/jscode2session").await;
    relayed.refused(403, "path_not_allowed");
    let metrics = ask(&t, CRM, "GET", "/metrics").await;
    metrics.refused(403, "call_not_allowed");
    assert_eq!(ask(&t, PROMETHEUS, "GET", "/metrics").await.status, 200);
    let sessions = ask(&t, PROMETHEUS, "GET", &users("shop", "sessions")).await;
    sessions.refused(403, "call_not_allowed");
    for (method, path) in [("GET", "/metrics"), ("GET", &*users("club", "sessions"))] {
        let reply = ask(&t, CONTROL_SECRET, method, path).await;
        assert_eq!(reply.status, 200, "{path}");
    }
    let nothing = ask(&t, CRM, "GET", "/v1/nothing").await;
    nothing.refused(404, "route_unknown");
}

/// Every call of a user's or an app's, by its name in the configuration, with a body that goes well.
fn every_call(
    openid: &str,
    session: &str,
    data: &Value,
) -> Vec<(&'static str, &'static str, String, Value)> {
    let user = |call: &str| format!("/v1/apps/shop/users/{openid}/{call}");
    let app = |call: &str| format!("/v1/apps/shop/{call}");
    let encrypted = json!({"encrypted_data": data["encryptedData"], "iv": data["iv"]});
    let signed = json!({"raw_data": data["rawData"], "signature": data["signature"]});
    let message =
        json!({"touser": openid, "template_id": "t1", "data": {"thing1": {"value": "x"}}});
    let relayed = "/wechat/shop/cgi-bin/message/subscribe/send".to_owned();
    vec![
        ("metrics", "GET", "/metrics".to_owned(), Value::Null),
        ("status", "GET", "/v1/status".to_owned(), Value::Null),
        ("list_sessions", "GET", user("sessions"), Value::Null),
        ("decrypt", "POST", user("decrypt"), encrypted),
        ("verify", "POST", user("verify"), signed),
        ("sign", "POST", user("sign"), json!({"data": ""})),
        (
            "phone_number",
            "POST",
            user("phone-number"),
            json!({"code": data["phone"]}),
        ),
        ("access_token", "GET", app("access-token"), Value::Null),
        (
            "access_token",
            "POST",
            app("access-token/refresh"),
            json!({"stale": "old"}),
        ),
        ("relay", "POST", relayed, message),
        ("check_session", "POST", user("check-session"), Value::Null),
        (
            "reset_session_key",
            "POST",
            user("reset-session-key"),
            Value::Null,
        ),
        (
            "end_sessions",
            "DELETE",
            format!("/v1/sessions/{session}"),
            Value::Null,
        ),
        ("end_sessions", "DELETE", user("sessions"), Value::Null),
    ]
}

#[tokio::test]
async fn each_call_is_answered_to_the_secret_that_is_good_for_it_and_to_no_other() {
    let names = [
        "metrics",
        "status",
        "list_sessions",
        "decrypt",
        "verify",
        "sign",
        "phone_number",
        "access_token",
        "relay",
        "check_session",
        "reset_session_key",
        "end_sessions",
    ];
    let folder = tempfile::tempdir().unwrap();
    let secret = |name: &str| format!("{name:0>32}");
    let callers = names.map(|name| {
        let file = folder.path().join(name);
        fs::write(&file, secret(name)).unwrap();
        let file = file.display();
        format!(
            "[[control.caller]]\nname = \"{name}\"\nsecret_file = \"{file}\"\n\
             apps = [\"shop\"]\ncalls = [\"{name}\"]\n"
        )
    });
    let builder = TestGateway::builder().apps(&["shop", "club"]);
    let t = builder.section("control", &callers.concat()).start().await;
    let token = t.log_in("alice").await.token;
    let who = t.who(&token).await;
    let mut alice = json!({"appid": TestGateway::appid("shop"), "user": "alice"});
    let phone = t.simulate("phone-code", alice.clone()).await["code"].take();
    alice["data"] = json!({"n": 1});
    let mut data = t.simulate("encrypt", alice).await;
    data["phone"] = phone;
    let [openid, session] = ["openid", "session"].map(|key| who[key].as_str().unwrap());
    for (call, method, path, body) in every_call(openid, session, &data) {
        let asked = async |name: &str| {
            let mut request = t.control(method, &path).bearer_auth(secret(name));
            if !body.is_null() {
                request = request.json(&body);
            }
            Reply::of(request).await
        };
        // The one that is allowed comes last, since it may change something.
        for name in names.iter().filter(|name| **name != call) {
            asked(name).await.refused(403, "call_not_allowed");
        }
        let allowed = asked(call).await;
        assert!(
            [200, 204].contains(&allowed.status),
            "{path}: {}",
            allowed.text()
        );
        if call == "relay" {
            assert_eq!(allowed.json()["errcode"], 0, "{}", allowed.text());
        }
    }
}

#[tokio::test]
async fn a_session_of_another_app_is_not_ended() {
    let folder = tempfile::tempdir().unwrap();
    let t = builder(&folder, "").start().await;
    let (shop, club) = (
        t.log_in_to("shop", "alice").await,
        t.log_in_to("club", "alice").await,
    );
    let end = async |token: &str| {
        let path = format!("/v1/sessions/{}", t.session_id(token).await);
        ask(&t, CRM, "DELETE", &path).await
    };
    end(&club.token).await.refused(403, "app_not_allowed");
    assert_eq!(t.get_as("/orders", &club.token).await.status, 200);
    assert_eq!(end(&shop.token).await.status, 204);
    let ended = t.get_as("/orders", &shop.token).await;
    ended.refused(401, "session_ended");
    let unknown = ask(&t, CRM, "DELETE", "/v1/sessions/AAAAAAAAAAAAAAAAAAAAAA").await;
    assert_eq!(unknown.status, 204);
    // Nothing was revoked on the word of somebody who may not say it for every app.
    let forged = t.sign(&t.claims("bob"));
    assert_eq!(t.get_as("/orders", &forged).await.status, 200);
}

#[tokio::test]
async fn where_callers_have_secrets_nobody_asks_without_and_nobody_tries_them_out() {
    let folder = tempfile::tempdir().unwrap();
    let t = builder(&folder, "").start().await;
    let without = Reply::of(t.control("GET", "/metrics")).await;
    without.refused(401, "token_missing");
    for _ in 0..30 {
        let guess = ask(&t, "0000000000000000000000000000crm1", "GET", "/metrics").await;
        guess.refused(401, "token_invalid");
    }
    let right = ask(&t, PROMETHEUS, "GET", "/metrics").await;
    right.refused(429, "too_many_requests");
}

#[tokio::test]
async fn the_log_names_the_caller_and_a_reload_takes_a_secret_away() {
    let folder = tempfile::tempdir().unwrap();
    let builder = builder(&folder, "secret_env = \"CONTROL_SECRET\"");
    let builder = builder.section("log", "format = \"json\"");
    let upstream = Upstream::start().await.address;
    let site = builder.site(upstream, builder.simulator().await);
    let program = Program::start(site.command(MENSHEN, &["serve"]));
    let address = program.find_control_address().await;
    let http = make_client();
    let ask = async |secret: &str, method: &str, path: &str| {
        let method = reqwest::Method::from_bytes(method.as_bytes()).unwrap();
        let request = http.request(method, format!("http://{address}{path}"));
        Reply::of(request.bearer_auth(secret)).await
    };
    let sessions = "/v1/apps/shop/users/o1/sessions";
    let listed = ask(CRM, "GET", sessions).await;
    assert_eq!(listed.json(), json!({"sessions": []}));
    let line = program.logs("users/{openid}/sessions").await;
    assert!(line.contains("\"caller\":\"crm\""), "{line}");
    ask(CRM, "POST", "/v1/reload")
        .await
        .refused(403, "call_not_allowed");
    let line = program.logs("call_not_allowed").await;
    for part in [
        "\"caller\":\"crm\"",
        "\"call\":\"/v1/reload\"",
        "\"status\":403",
    ] {
        assert!(line.contains(part), "{part}: {line}");
    }
    let by_deploy = ask(DEPLOY, "POST", "/v1/reload").await;
    assert_eq!(by_deploy.status, 200, "{}", by_deploy.text());
    ask(DEPLOY, "GET", sessions)
        .await
        .refused(403, "call_not_allowed");
    site.change("name = \"crm\"", "name = \"hr\"");
    fs::write(
        folder.path().join("crm"),
        "0000000000000000000000000000hr00",
    )
    .unwrap();
    let reloaded = ask(CONTROL_SECRET, "POST", "/v1/reload").await;
    assert_eq!(reloaded.status, 200, "{}", reloaded.text());
    ask(CRM, "GET", sessions)
        .await
        .refused(401, "token_invalid");
    let renamed = ask("0000000000000000000000000000hr00", "GET", sessions).await;
    assert_eq!(renamed.status, 200);
    program.logs("\"caller\":\"hr\"").await;
    let log = program.stop().await.stderr;
    for secret in [CRM, DEPLOY, PROMETHEUS, CONTROL_SECRET, "00hr00"] {
        assert!(!log.contains(secret), "{log}");
    }
}
