//! Nickname and picture: fetched once, and given to the backend where the operator wants that.

use menshen_test_support::{Nodes, Reply, TestGateway, Visitor};
use percent_encoding::percent_decode_str;
use serde_json::json;

use crate::nodes::{cookies, load};
use crate::session;

async fn started(headers: &str, scope: &str) -> TestGateway {
    let t = TestGateway::builder()
        .section("headers", headers)
        .web_app(
            "news",
            &format!("kind = \"official_account\"\nscope = \"{scope}\""),
        )
        .routes(crate::ROUTES)
        .start()
        .await;
    let settings = json!({
        "agrees": "alice",
        "nickname": "门\u{1}\"神\"🚪\\ ,;=",
        "picture": "https://thirdwx.qlogo.cn/a b/132",
    });
    t.set_up("news", settings).await;
    t
}

fn decoded(value: Option<&str>) -> String {
    let value = value.unwrap();
    assert!(value.bytes().all(|b| b.is_ascii_graphic()), "{value}");
    percent_decode_str(value)
        .decode_utf8()
        .unwrap()
        .into_owned()
}

#[tokio::test]
async fn a_profile_reaches_the_backend_with_every_character() {
    let t = started("profile = true", "snsapi_userinfo").await;
    let mut visitor = Visitor::in_wechat(&t);
    visitor.walk(&t.url("/orders")).await;
    for hours in [0, 3, 30] {
        t.clock
            .advance(std::time::Duration::from_secs(hours * 3600));
        assert_eq!(visitor.load(&t.url("/orders")).await.text(), "ok");
        let received = t.upstream.last();
        let nickname = decoded(received.only("x-menshen-nickname"));
        assert_eq!(nickname, "门\u{1}\"神\"🚪\\ ,;=");
        let picture = decoded(received.only("x-menshen-picture"));
        assert_eq!(picture, "https://thirdwx.qlogo.cn/a b/132");
        assert!(received.only("x-wx-unionid").is_some());
    }
    assert_eq!(t.calls("/sns/userinfo").await, 1);
    assert!(session(&t, &mut visitor).await["unionid"].is_string());
}

#[tokio::test]
async fn a_profile_that_nobody_wants_is_not_fetched() {
    for (headers, scope) in [("", "snsapi_userinfo"), ("profile = true", "snsapi_base")] {
        let t = started(headers, scope).await;
        Visitor::in_wechat(&t).walk(&t.url("/orders")).await;
        let received = t.upstream.last();
        assert!(received.only("x-menshen-nickname").is_none());
        assert_eq!(t.calls("/sns/userinfo").await, 0);
        let has_unionid = received.only("x-wx-unionid").is_some();
        assert_eq!(has_unionid, scope == "snsapi_userinfo");
    }
}

#[tokio::test]
async fn a_login_without_a_profile_is_better_than_none() {
    let t = started("profile = true", "snsapi_userinfo").await;
    let plan = json!({"path": "/sns/userinfo", "fault": "status", "status": 502, "times": 1});
    t.simulate("faults", plan).await;
    let walk = Visitor::in_wechat(&t).walk(&t.url("/orders")).await;
    assert_eq!(walk.reply.text(), "ok");
    assert!(t.upstream.last().only("x-menshen-nickname").is_none());
}

#[tokio::test]
async fn profiles_that_wechat_refuses_are_one_warning() {
    let scope = "kind = \"official_account\"\nscope = \"snsapi_userinfo\"";
    let describe = TestGateway::builder()
        .section("server", "public_url = \"http://shop.example\"")
        .web_app("news", scope)
        .routes(crate::ROUTES)
        .section("headers", "profile = true")
        .section("log", "format = \"json\"");
    let nodes = Nodes::new(describe).await;
    let node = nodes.serve(env!("CARGO_BIN_EXE_menshen")).await;
    let settings = json!({"appid": TestGateway::appid("news"), "agrees": "alice"});
    node.simulate("oauth", settings).await;
    let plan = json!({"path": "/sns/userinfo", "fault": "errcode", "errcode": 48001});
    node.simulate("faults", plan).await;
    let http = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none());
    let http = http.no_proxy().build().unwrap();
    for _ in 0..3 {
        let begun = load(node.address, "/orders", "").await;
        let wechat = Reply::of(http.get(begun.header("location"))).await;
        let callback = wechat.header("location").replace("http://shop.example", "");
        let reply = load(node.address, &callback, &cookies(&begun)).await;
        assert_eq!((reply.status, reply.header("location")), (302, "/orders"));
    }
    node.program
        .logs_times("a profile could not be fetched", 3)
        .await;
    let log = node.program.stderr();
    let told: Vec<_> = log
        .lines()
        .filter(|line| line.contains("WeChat refuses users' profiles"))
        .collect();
    assert_eq!(told.len(), 1, "{log}");
    assert!(
        told[0].contains("\"WARN\"") && told[0].contains("48001"),
        "{told:?}"
    );
}

#[tokio::test]
async fn no_client_says_who_it_looks_like() {
    let t = started("profile = true", "snsapi_userinfo").await;
    let forged = t
        .get("/public/x")
        .header("X-Menshen-Nickname", "admin")
        .header("x_menshen_picture", "https://evil.example");
    forged.send().await.unwrap();
    assert_eq!(t.upstream.last().identity(), TestGateway::nobody());
}
