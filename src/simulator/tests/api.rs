//! The calls that need an access_token.

use reqwest::multipart::{Form, Part};
use reqwest::{Response, StatusCode};
use serde_json::{Value, json};

use super::{APPID, SECRET, TestWeChat, json_of};
use crate::simulator::identity;

const CODE: &str = "/wxa/getwxacodeunlimit";
const PHONE: &str = "/wxa/business/getuserphonenumber";
const CHECK: &str = "/wxa/img_sec_check";

impl TestWeChat {
    async fn token(&self) -> String {
        let asked = [
            ("grant_type", "client_credential"),
            ("appid", APPID),
            ("secret", SECRET),
        ];
        let call = self.client.get(self.url("/cgi-bin/token")).query(&asked);
        let reply = call.send().await.unwrap();
        let kind = reply.headers()["content-type"].clone();
        assert_eq!(kind, "application/json; encoding=utf-8");
        let given = json_of(reply).await;
        given["access_token"].as_str().unwrap().to_owned()
    }

    async fn post(&self, path: &str, token: &str, body: Value) -> Response {
        let url = self.url(&format!("{path}?access_token={token}"));
        self.client.post(url).json(&body).send().await.unwrap()
    }

    async fn errcode_of(&self, path: &str, token: &str, body: Value) -> Value {
        json_of(self.post(path, token, body).await).await["errcode"].take()
    }

    async fn picture(&self, token: &str, scene: &str) -> Vec<u8> {
        let reply = self.post(CODE, token, json!({ "scene": scene })).await;
        assert_eq!(reply.headers()["content-type"], "image/png");
        reply.bytes().await.unwrap().to_vec()
    }

    async fn tap(&self, user: &str) -> Value {
        let asked = json!({ "appid": APPID, "user": user });
        json_of(self.control("/_sim/phone-code", asked).await).await
    }
}

fn media(bytes: &[u8]) -> Form {
    let part = Part::bytes(bytes.to_vec()).file_name("a.png");
    Form::new().part("media", part)
}

#[tokio::test]
async fn a_call_needs_a_token_that_is_good() {
    let wechat = TestWeChat::start().await;
    let (body, token) = (json!({ "cgi_path": "/x" }), wechat.token().await);
    let quota = "/cgi-bin/openapi/quota/get";
    let errcode = async |token: &str| wechat.errcode_of(quota, token, body.clone()).await;
    assert_eq!(errcode("").await, 41001);
    assert_eq!(errcode("90_made-up").await, 40014);
    assert_eq!(errcode(&token).await, 0);
    wechat.token().await;
    wechat.token().await;
    assert_eq!(errcode(&token).await, 40001);
    let token = wechat.token().await;
    wechat
        .control("/_sim/clock", json!({ "advance": "2h" }))
        .await;
    assert_eq!(errcode(&token).await, 42001);
}

#[tokio::test]
async fn a_revoked_token_is_over() {
    let wechat = TestWeChat::start().await;
    let token = wechat.token().await;
    let revoked = json!({ "appid": APPID });
    assert_eq!(wechat.control("/_sim/revoke", revoked).await.status(), 200);
    let body = json!({ "scene": "a=1" });
    assert_eq!(wechat.errcode_of(CODE, &token, body).await, 40001);
}

#[tokio::test]
async fn a_phone_number_is_behind_a_code_of_its_own_kind_once() {
    let wechat = TestWeChat::start().await;
    let (token, tap) = (wechat.token().await, wechat.tap("alice").await);
    let openid = |user| identity::openid(APPID, user);
    let asked = |user| json!({ "code": tap["code"], "openid": openid(user) });
    assert_eq!(wechat.errcode_of(PHONE, &token, asked("bob")).await, 40003);
    let told = json_of(wechat.post(PHONE, &token, asked("alice")).await).await;
    assert_eq!(told["phone_info"]["purePhoneNumber"], tap["phone"]);
    assert_eq!(told["phone_info"]["watermark"]["appid"], APPID);
    assert_eq!(
        wechat.errcode_of(PHONE, &token, asked("alice")).await,
        40163
    );
    let login = json!({ "code": wechat.code().await });
    assert_eq!(wechat.errcode_of(PHONE, &token, login).await, 40029);
    let other = wechat.tap("alice").await["code"].take();
    assert_eq!(wechat.errcode(other.as_str().unwrap()).await, 40029);
}

#[tokio::test]
async fn a_code_is_a_picture_or_an_error_in_json() {
    let wechat = TestWeChat::start().await;
    let token = wechat.token().await;
    let picture = wechat.picture(&token, "a=1").await;
    assert!(picture.starts_with(b"\x89PNG\r\n\x1a\n"));
    assert!(picture.ends_with(b"IEND\xae\x42\x60\x82"));
    assert_ne!(picture, wechat.picture(&token, "a=2").await);
    let wrong = json!({ "scene": "a=1", "width": 1 });
    assert_eq!(wechat.errcode_of(CODE, &token, wrong).await, 40097);
    let url = wechat.url(&format!("{CODE}?access_token={token}"));
    let get = wechat.client.get(url).send().await.unwrap();
    assert_eq!(json_of(get).await["errcode"], 43002);
}

#[tokio::test]
async fn a_picture_is_uploaded_with_its_length_and_checked_by_its_bytes() {
    let wechat = TestWeChat::start().await;
    let token = wechat.token().await;
    let url = wechat.url(&format!("{CHECK}?access_token={token}"));
    let check = async |form: Form| {
        let reply = wechat.client.post(&url).multipart(form).send().await;
        json_of(reply.unwrap()).await["errcode"].take()
    };
    let picture = wechat.picture(&token, "a=1").await;
    assert_eq!(check(media(&picture)).await, 0);
    assert_eq!(check(media(b"not a picture")).await, 40004);
    assert_eq!(check(Form::new().text("other", "x")).await, 41005);
    let large = [picture.as_slice(), &vec![0; 1024 * 1024]].concat();
    assert_eq!(check(media(&large)).await, 40006);
    let pieces = futures::stream::iter([Ok::<_, std::io::Error>("--b--")]);
    let chunked = reqwest::Body::wrap_stream(pieces);
    let reply = wechat.client.post(&url).body(chunked).send().await.unwrap();
    assert_eq!(reply.status(), StatusCode::PRECONDITION_FAILED);
}

#[tokio::test]
async fn media_come_back_as_they_were_uploaded() {
    let wechat = TestWeChat::start().await;
    let token = wechat.token().await;
    let picture = wechat.picture(&token, "a=1").await;
    let url = wechat.url(&format!(
        "/cgi-bin/media/upload?access_token={token}&type=image"
    ));
    let upload = wechat.client.post(url).multipart(media(&picture)).send();
    let kept = json_of(upload.await.unwrap()).await;
    let id = kept["media_id"].as_str().unwrap();
    let url = wechat.url(&format!("/cgi-bin/media/get?access_token={token}"));
    let get = async |id: &str| {
        let get = wechat.client.get(&url).query(&[("media_id", id)]);
        get.send().await.unwrap()
    };
    assert_eq!(get(id).await.bytes().await.unwrap(), picture);
    assert_eq!(json_of(get("x").await).await["errcode"], 40007);
}

#[tokio::test]
async fn a_message_needs_what_wechat_asks_for() {
    let wechat = TestWeChat::start().await;
    let (token, send) = (wechat.token().await, "/cgi-bin/message/subscribe/send");
    for (body, expected) in [
        (json!({"touser": "o1", "template_id": "t", "data": {}}), 0),
        (json!({"template_id": "t", "data": {}}), 40003),
        (json!({"touser": "o1", "data": {}}), 40037),
        (json!({"touser": "o1", "template_id": "t"}), 47003),
        (json!([]), 47001),
    ] {
        assert_eq!(wechat.errcode_of(send, &token, body).await, expected);
    }
    let empty = wechat
        .client
        .post(wechat.url(&format!("{send}?access_token={token}")));
    assert_eq!(json_of(empty.send().await.unwrap()).await["errcode"], 44002);
}
