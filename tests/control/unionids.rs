//! Which users of which apps are one person, told by the private listener where that is configured.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::fs;

use menshen_test_support::{Builder, CONTROL_SECRET, Reply, TestGateway};
use serde_json::{Value, json};

const OF_SHOP: &str = "00000000000000000000000000000shop";

fn builder() -> Builder {
    let builder = TestGateway::builder().apps(&["shop", "cafe"]);
    builder.section("session", "unionid_lookup = true")
}

async fn ask(t: &TestGateway, secret: &str, unionid: &str) -> Reply {
    let path = format!("/v1/unionids/{unionid}/users");
    Reply::of(t.control("GET", &path).bearer_auth(secret)).await
}

/// Returns the `[app, openid]` pairs that are told.
async fn users(t: &TestGateway, unionid: &str) -> Value {
    let reply = ask(t, CONTROL_SECRET, unionid).await;
    assert_eq!(reply.status, 200, "{}", reply.text());
    let told = reply.json();
    let users = told.get("users").and_then(Value::as_array).unwrap();
    let pair = |user: &Value| json!([user.get("app"), user.get("openid")]);
    users.iter().map(pair).collect()
}

async fn unionid(t: &TestGateway, token: &str) -> String {
    let who = t.who(token).await;
    who.get("unionid")
        .and_then(Value::as_str)
        .unwrap()
        .to_owned()
}

#[tokio::test]
async fn one_person_is_found_in_each_app_while_logged_in_there() {
    let t = builder().start().await;
    let (shop, cafe) = (t.log_in("alice").await, t.log_in_to("cafe", "alice").await);
    t.log_in("bob").await;
    let unionid = unionid(&t, &shop.token).await;
    let (in_shop, in_cafe) = (t.openid(&shop.token).await, t.openid(&cafe.token).await);
    assert_ne!(in_shop, in_cafe);
    let both = json!([["cafe", in_cafe], ["shop", in_shop]]);
    assert_eq!(users(&t, &unionid).await, both);
    t.log_out(&cafe.token).await;
    assert_eq!(users(&t, &unionid).await, json!([["shop", in_shop]]));
    assert_eq!(users(&t, "oNobody").await, json!([]));
}

#[tokio::test]
async fn a_caller_is_told_of_users_in_its_own_apps_alone() {
    let folder = tempfile::tempdir().unwrap();
    let secret = folder.path().join("secret");
    fs::write(&secret, OF_SHOP).unwrap();
    let control = format!(
        "secret_env = \"CONTROL_SECRET\"\n[[control.caller]]\nname = \"shop\"\nsecret_file = \"{}\"\napps = [\"shop\"]\n\
         calls = [\"list_users\"]\n",
        secret.display()
    );
    let t = builder().section("control", &control).start().await;
    let (shop, _) = (t.log_in("alice").await, t.log_in_to("cafe", "alice").await);
    let unionid = unionid(&t, &shop.token).await;
    let told = ask(&t, OF_SHOP, &unionid).await.json();
    let openid = t.openid(&shop.token).await;
    assert_eq!(told, json!({"users": [{"app": "shop", "openid": openid}]}));
}

#[tokio::test]
async fn what_is_no_unionid_or_not_looked_up_is_refused() {
    let t = builder().start().await;
    for wrong in ["a.b", "a%2Fb", "%00", &"x".repeat(513)] {
        let refusal = ask(&t, CONTROL_SECRET, wrong).await.refusal();
        assert_eq!(refusal, (400, "bad_request".to_owned()), "{wrong}");
    }
    let off = TestGateway::start().await;
    let reply = ask(&off, CONTROL_SECRET, "oNobody").await;
    assert_eq!(reply.refusal(), (404, "route_unknown".to_owned()));
    assert!(reply.text().contains("session.unionid_lookup"));
}
