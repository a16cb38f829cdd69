//! WeChat's SDKs work through the relay with nothing changed but their base address.

use std::path::PathBuf;

use menshen_test_support::{CONTROL_SECRET, Program, TestGateway, find_installed, find_repository};
use serde_json::{Value, json};

/// Has a script do all that an SDK is for, and returns what it says.
async fn run(program: PathBuf, script: &str, more: &[(&str, &str)]) {
    let t = TestGateway::builder()
        .require_control_secret()
        .start()
        .await;
    let appid = TestGateway::appid("shop");
    let login = t.log_in("alice").await.token;
    let openid = t.openid(&login).await;
    let tap = json!({"appid": appid, "user": "alice"});
    let tap = t.simulate("phone-code", tap).await;
    let script = find_repository().join("tests/sdks").join(script);
    let mut command = Program::command(program.to_str().unwrap(), &[script]);
    command
        // One of them keeps tokens in files where it runs.
        .current_dir(&t.folder)
        .env(
            "NODE_PATH",
            find_installed("sdks/node_modules", "node-easywechat"),
        )
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .env(
            "RELAY",
            format!("http://{}/wechat/shop", t.control.unwrap()),
        )
        .env("APPID", &appid)
        // No AppSecret: that of the private listener.
        .env("SECRET", CONTROL_SECRET)
        .env("OPENID", openid)
        .env("CODE", tap["code"].as_str().unwrap())
        .env("PICTURE", t.folder.path().join("picture.png"))
        .envs(more.iter().copied());
    let ended = Program::run(command).await;
    let told: Value = serde_json::from_str(&ended.stdout)
        .unwrap_or_else(|_| panic!("{} {}", ended.stdout, ended.stderr));
    let picture = std::fs::read(t.folder.path().join("picture.png")).unwrap();
    assert!(
        picture.starts_with(b"\x89PNG\r\n\x1a\n") && picture.ends_with(b"IEND\xae\x42\x60\x82")
    );
    let expected = json!({
        "phone": tap["phone"], "sent": 0, "picture": picture.len(), "checked": 0,
    });
    assert_eq!(told, expected, "{}", ended.stderr);
    let calls = t.simulated("calls").await;
    assert_eq!(calls["/cgi-bin/stable_token"]["calls"], 1, "{calls}");
    assert!(calls["/cgi-bin/token"].is_null(), "{calls}");
}

#[tokio::test]
async fn wechatpy_calls_wechat_through_the_relay() {
    run(
        find_installed("sdks/python/bin/python", "wechatpy"),
        "wechatpy_client.py",
        &[],
    )
    .await;
}

#[tokio::test]
async fn co_wechat_api_calls_wechat_through_the_relay() {
    run("node".into(), "co_wechat_api.js", &[]).await;
}

#[tokio::test]
async fn node_easywechat_calls_wechat_through_the_relay() {
    for stable in ["no", "yes"] {
        run("node".into(), "node_easywechat.js", &[("STABLE", stable)]).await;
    }
}
