//! What the simulator answers by itself, and how it is driven.

use reqwest::StatusCode;
use serde_json::json;

use super::{APPID, PATH, SECRET, TestWeChat, json_of, params};

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
