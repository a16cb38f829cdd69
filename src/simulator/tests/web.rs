//! Logins in browsers, as a browser without scripts and a server see them.

use super::*;

const CALLBACK: &str = "http://shop.example/back";
const REDEEM: &str = "/sns/oauth2/access_token";

fn link(page: &str, scope: &str) -> String {
    format!(
        "/connect/{page}?appid={APPID}&redirect_uri=http%3A%2F%2Fshop.example%2Fback&response_type=code&scope={scope}&state=ab12"
    )
}

impl TestWeChat {
    async fn set_up(&self, mut settings: Value) {
        settings["appid"] = json!(APPID);
        let reply = self.control("/_sim/oauth", settings).await;
        assert_eq!(reply.status(), StatusCode::OK);
    }

    async fn open(&self, path: &str) -> Response {
        self.client.get(self.url(path)).send().await.unwrap()
    }

    /// Returns the code with which somebody comes back who agreed.
    async fn agreed(&self, page: &str, scope: &str) -> String {
        let click = link(page, scope).replace(page, "confirm") + "&user=alice&decision=allow";
        let back = self.open(&click).await;
        let back = back.headers()["location"].to_str().unwrap().to_owned();
        let code = back.strip_prefix(&format!("{CALLBACK}?code="));
        let code = code.and_then(|rest| rest.strip_suffix("&state=ab12"));
        code.unwrap_or_else(|| panic!("{back}")).to_owned()
    }

    async fn call(&self, path: &str, query: &[(&str, &str)]) -> String {
        let call = self.client.get(self.url(path)).query(query).send().await;
        let reply = call.unwrap();
        assert_eq!(reply.headers()["content-type"], "text/plain");
        reply.text().await.unwrap()
    }

    async fn exchange(&self, code: &str) -> Value {
        let query = [
            ("appid", APPID),
            ("secret", SECRET),
            ("code", code),
            ("grant_type", "authorization_code"),
        ];
        serde_json::from_str(&self.call(REDEEM, &query).await).unwrap()
    }
}

#[tokio::test]
async fn a_person_who_agrees_comes_back_with_a_code_that_is_good_once() {
    let wechat = TestWeChat::start().await;
    for (page, scope) in [
        ("oauth2/authorize", "snsapi_base"),
        ("oauth2/authorize", "snsapi_userinfo"),
        ("qrconnect", "snsapi_login"),
    ] {
        let shown = wechat.open(&link(page, scope)).await;
        assert_eq!(shown.headers()["content-type"], "text/html; charset=utf-8");
        let text = shown.text().await.unwrap();
        assert!(text.contains("id=\"allow\""), "{text}");
        let code = wechat.agreed(page, scope).await;
        let granted = wechat.exchange(&code).await;
        assert_eq!(granted["openid"], identity::openid(APPID, "alice"));
        assert_eq!(granted["scope"], scope);
        let has_unionid = granted.get("unionid").is_some();
        assert_eq!(has_unionid, scope != "snsapi_base");
        assert_eq!(wechat.exchange(&code).await["errcode"], 40163);
    }
}

#[tokio::test]
async fn a_person_who_says_no_comes_back_without_a_code() {
    let wechat = TestWeChat::start().await;
    let link = link("confirm", "snsapi_userinfo") + "&user=alice&decision=deny";
    let back = wechat.open(&link).await;
    assert_eq!(
        back.headers()["location"],
        format!("{CALLBACK}?state=ab12").as_str()
    );
}

#[tokio::test]
async fn a_page_speaks_the_language_of_who_looks() {
    let wechat = TestWeChat::start().await;
    let url = wechat.url(&link("qrconnect", "snsapi_login"));
    for (language, word) in [("zh-CN", "允许"), ("en", "Allow")] {
        let asked = wechat.client.get(&url).header("accept-language", language);
        let text = asked.send().await.unwrap().text().await.unwrap();
        assert!(text.contains(word), "{text}");
    }
}

#[tokio::test]
async fn the_registered_domain_alone_is_returned_to() {
    let wechat = TestWeChat::start().await;
    wechat
        .set_up(json!({"domain": "www.shop.example", "agrees": "alice"}))
        .await;
    let refused = wechat.open(&link("qrconnect", "snsapi_login")).await;
    assert!(refused.text().await.unwrap().contains("10003"));
    wechat
        .set_up(json!({"domain": "shop.example", "agrees": "alice"}))
        .await;
    let followed = wechat.open(&link("qrconnect", "snsapi_login")).await;
    assert_eq!(followed.status(), StatusCode::FOUND);
}

#[tokio::test]
async fn a_profile_has_what_wechat_sends_and_json_forbids() {
    let wechat = TestWeChat::start().await;
    wechat.set_up(json!({"nickname": "门\u{1}\"神\"🚪"})).await;
    let code = wechat.agreed("oauth2/authorize", "snsapi_userinfo").await;
    let granted = wechat.exchange(&code).await;
    let token = granted["access_token"].as_str().unwrap();
    let openid = granted["openid"].as_str().unwrap();
    let userinfo = async |query: &[(&str, &str)]| wechat.call("/sns/userinfo", query).await;
    let told = userinfo(&[("access_token", token), ("openid", openid)]).await;
    assert!(
        told.contains("\"nickname\":\"门\u{1}\\\"神\\\"🚪\""),
        "{told}"
    );
    assert!(told.contains("https:\\/\\/thirdwx.qlogo.cn\\/"), "{told}");
    let other = userinfo(&[("access_token", token), ("openid", "o1")]).await;
    assert!(other.contains("40003"), "{other}");
    let base = wechat.agreed("oauth2/authorize", "snsapi_base").await;
    let base = wechat.exchange(&base).await;
    let token = base["access_token"].as_str().unwrap();
    let refused = userinfo(&[("access_token", token), ("openid", openid)]).await;
    assert!(refused.contains("48001"), "{refused}");
}

#[tokio::test]
async fn a_snapshot_user_is_said_to_be_one() {
    let wechat = TestWeChat::start().await;
    wechat.set_up(json!({"snapshot": true})).await;
    let code = wechat.agreed("oauth2/authorize", "snsapi_base").await;
    let granted = wechat.exchange(&code).await;
    assert_eq!(granted["is_snapshotuser"], 1);
    assert_ne!(granted["openid"], identity::openid(APPID, "alice"));
}

#[tokio::test]
async fn a_browser_may_come_back_twice() {
    let wechat = TestWeChat::start().await;
    wechat
        .set_up(json!({"twice": true, "agrees": "alice"}))
        .await;
    let page = wechat.open(&link("oauth2/authorize", "snsapi_base")).await;
    let text = page.text().await.unwrap();
    assert!(text.contains(&format!("\"{CALLBACK}?code=0")), "{text}");
    let settings = wechat.open("/_sim/oauth").await;
    assert_eq!(json_of(settings).await[APPID]["twice"], true);
}
