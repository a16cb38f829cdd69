//! Backends that were written for WeChat Cloud Run call WeChat through the relay as they did there.

use std::time::Duration;

use menshen_test_support::{CONTROL_SECRET, Reply, TestGateway, raw};
use serde_json::{Value, json};

const SEND: &str = "/cgi-bin/message/subscribe/send";
const URL: &str = "http://api.weixin.qq.com/cgi-bin/message/subscribe/send";
const TOKEN: &str = "x-wx-cloudbase-access-token";

fn message() -> Value {
    json!({"touser": "o1", "template_id": "t1", "data": {}})
}

/// A client that has the private listener for its proxy, as `http_proxy` says it.
fn by_proxy(t: &TestGateway, user: &str) -> reqwest::Client {
    let proxy = format!("http://{user}{}", t.control.unwrap());
    let proxy = reqwest::Proxy::http(proxy).unwrap();
    reqwest::Client::builder().proxy(proxy).build().unwrap()
}

/// A client for which the name of WeChat's API leads to the private listener.
fn by_name(t: &TestGateway) -> reqwest::Client {
    let client = reqwest::Client::builder().no_proxy();
    let client = client.resolve("api.weixin.qq.com", t.control.unwrap());
    client.build().unwrap()
}

async fn sends(request: reqwest::RequestBuilder) -> Reply {
    Reply::of(request.json(&message())).await
}

#[track_caller]
fn is_sent(reply: &Reply) {
    assert_eq!(
        reply.json()["errcode"],
        0,
        "{} {}",
        reply.status,
        reply.text()
    );
}

/// Returns the headers that the backend got with a request.
async fn received(t: &TestGateway, token: &str) -> Vec<(String, String)> {
    assert_eq!(t.get_as("/orders", token).await.status, 200);
    let last = t.upstream.last();
    last.headers
}

fn header<'h>(headers: &'h [(String, String)], name: &str) -> Option<&'h str> {
    let found = headers
        .iter()
        .find(|(known, _)| known.eq_ignore_ascii_case(name));
    found.map(|(_, value)| value.as_str())
}

#[tokio::test]
async fn plain_http_through_the_proxy_or_by_name_needs_no_token() {
    let t = TestGateway::start().await;
    is_sent(&sends(by_proxy(&t, "").post(URL)).await);
    let port = t.control.unwrap().port();
    let named = format!("http://api.weixin.qq.com:{port}{SEND}");
    let host = by_name(&t).post(named).header("host", "api.weixin.qq.com");
    is_sent(&sends(host).await);
}

#[tokio::test]
async fn with_a_secret_the_proxys_user_is_the_app_and_its_password_the_secret() {
    let t = TestGateway::builder()
        .require_control_secret()
        .apps(&["shop", "club"])
        .start()
        .await;
    // Whoever has no secret learns nothing of the apps, not even that there are several.
    let none = sends(by_proxy(&t, "").post(URL)).await;
    none.refused(401, "token_missing");
    let open = TestGateway::builder().apps(&["shop", "club"]);
    let open = open.start().await;
    let ambiguous = sends(by_proxy(&open, "").post(URL)).await;
    ambiguous.refused(400, "app_ambiguous");
    for app in ["shop", "club"] {
        let user = format!("{app}:{CONTROL_SECRET}@");
        is_sent(&sends(by_proxy(&t, &user).post(URL)).await);
    }
    let wrong = sends(by_proxy(&t, "shop:wr0ng@").post(URL)).await;
    wrong.refused(401, "token_invalid");
    let nobody = format!("nobody:{CONTROL_SECRET}@");
    let nobody = sends(by_proxy(&t, &nobody).post(URL)).await;
    nobody.refused(404, "app_unknown");
}

#[tokio::test]
async fn the_relay_is_no_way_to_other_hosts_or_into_https() {
    let t = TestGateway::start().await;
    let other = by_proxy(&t, "").get("http://evil.example/cgi-bin/x");
    Reply::of(other).await.refused(400, "bad_request");
    let connect = "CONNECT api.weixin.qq.com:443 HTTP/1.1\r\nHost: api.weixin.qq.com:443\r\n\r\n";
    let answer = raw(t.control.unwrap(), connect.as_bytes()).await;
    assert!(
        answer.contains(" 400 ") && answer.contains("http://api"),
        "{answer}"
    );
    let page = by_proxy(&t, "")
        .get(URL)
        .header("sec-fetch-site", "cross-site");
    Reply::of(page).await.refused(403, "origin_not_allowed");
}

#[tokio::test]
async fn the_token_of_a_request_is_good_at_the_relay_for_its_app_alone() {
    let builder = TestGateway::builder()
        .require_control_secret()
        .apps(&["shop", "club"]);
    let t = builder
        .section("headers", "relay_token = true")
        .start()
        .await;
    let login = t.log_in_to("shop", "alice").await.token;
    let headers = received(&t, &login).await;
    let token = header(&headers, TOKEN).unwrap().to_owned();
    let again = received(&t, &login).await;
    assert_eq!(header(&again, TOKEN), Some(token.as_str()));
    let with =
        |url: &str, token: &str| t.http.post(format!("{url}?cloudbase_access_token={token}"));
    let at = format!("http://{}", t.control.unwrap());
    is_sent(&sends(with(&format!("{at}/wechat/shop{SEND}"), &token)).await);
    is_sent(&sends(by_proxy(&t, "").post(format!("{URL}?cloudbase_access_token={token}"))).await);
    let club = sends(with(&format!("{at}/wechat/club{SEND}"), &token)).await;
    club.refused(403, "app_not_allowed");
    // It is good for nothing else.
    let control = t
        .control("GET", "/v1/apps/shop/access-token")
        .bearer_auth(&token);
    Reply::of(control).await.refused(401, "token_invalid");
    // The same keys sign what is good at the public listener.
    let bare = token.trim_start_matches("mrt1.");
    for token in [token.as_str(), bare] {
        let public = t.get_as("/orders", token).await;
        public.refused(401, "token_invalid");
        assert!(!public.text().contains(token));
    }
    for changed in [
        format!("{token}x"),
        token.replace("mrt1.", "mrt1.A"),
        bare.to_owned(),
        login.clone(),
        format!("mrt1.{login}"),
        "x".to_owned(),
    ] {
        let reply = sends(with(&format!("{at}/wechat/shop{SEND}"), &changed)).await;
        let told = reply.refused(401, "token_invalid").to_string();
        assert!(!told.contains(&changed) || changed == "x", "{told}");
    }
    t.clock.advance(Duration::from_secs(901));
    let late = sends(with(&format!("{at}/wechat/shop{SEND}"), &token)).await;
    late.refused(401, "token_expired");
    let renewed = received(&t, &login).await;
    assert_ne!(header(&renewed, TOKEN), Some(token.as_str()));
}

#[tokio::test]
async fn no_token_is_sent_unless_it_is_asked_for_nor_to_strangers() {
    let t = TestGateway::start().await;
    let login = t.log_in("alice").await.token;
    assert_eq!(header(&received(&t, &login).await, TOKEN), None);
    let builder = TestGateway::builder().section("headers", "relay_token = true");
    let t = builder.start().await;
    t.get("/public")
        .header(TOKEN, "forged")
        .send()
        .await
        .unwrap();
    let last = t.upstream.last();
    assert_eq!(header(&last.headers, TOKEN), None);
    // Who is logged in is told to any gateway; a token goes to those alone that are trusted.
    let login = t.log_in("alice").await.token;
    let told = t.get_as("/_auth/verify/orders", &login).await;
    assert_eq!((told.status, told.header(TOKEN)), (200, ""));
}

#[tokio::test]
async fn a_user_of_a_shared_app_is_told_under_names_of_their_own() {
    let shared = "[[app]]\nname = \"club\"\nkind = \"mini_program\"\nappid = \"wxclub\"\n\
                  secret_env = \"APP_SECRET\"\nshared_from = \"shop\"\n";
    // The test's own apps come last; this one stands before them.
    let routes = format!("{shared}[[route]]\npath = \"/\"\nupstream = \"api\"\n");
    let t = TestGateway::builder()
        .section("headers", "relay_token = true")
        .routes(&routes)
        .start()
        .await;
    let now = t.clock.unix_secs();
    let mut claims = t.claims("o-of-club");
    claims["aud"] = json!("wxclub");
    claims["app"] = json!("club");
    claims["unionid"] = json!("u1");
    claims["exp"] = json!(now + 60);
    let headers = received(&t, &t.sign(&claims)).await;
    let shop = TestGateway::appid("shop");
    for (name, value) in [
        ("x-wx-from-openid", Some("o-of-club")),
        ("x-wx-from-appid", Some("wxclub")),
        ("x-wx-from-unionid", Some("u1")),
        ("x-wx-openid", None),
        ("x-wx-unionid", None),
        ("x-wx-appid", Some(shop.as_str())),
        ("x-wx-source", Some("wx_client")),
        ("x-menshen-app", Some("club")),
    ] {
        assert_eq!(header(&headers, name), value, "{name}");
    }
    let [own, from] = [TOKEN, "x-wx-from-cloudbase-access-token"].map(|it| header(&headers, it));
    assert!(own.is_some() && from.is_some() && own != from);
    let own = t.sign(&t.claims("o-of-shop"));
    let headers = received(&t, &own).await;
    assert_eq!(header(&headers, "x-wx-openid"), Some("o-of-shop"));
    assert_eq!(header(&headers, "x-wx-from-openid"), None);
}

#[tokio::test]
async fn clients_that_want_a_token_first_get_one_of_the_relays() {
    let t = TestGateway::builder()
        .require_control_secret()
        .start()
        .await;
    let appid = TestGateway::appid("shop");
    let ask = async |appid: &str, secret: &str| {
        let asked = [
            ("grant_type", "client_credential"),
            ("appid", appid),
            ("secret", secret),
        ];
        Reply::of(t.control("GET", "/wechat/shop/cgi-bin/token").query(&asked)).await
    };
    let at = format!("/wechat/shop{SEND}");
    for secret in [CONTROL_SECRET, t.secret.as_str()] {
        let given = ask(&appid, secret).await;
        assert_eq!(
            (given.status, &given.json()["expires_in"]),
            (200, &json!(7200))
        );
        let token = given.json()["access_token"].as_str().unwrap().to_owned();
        let call = t.control("POST", &at).query(&[("access_token", &token)]);
        is_sent(&sends(call).await);
    }
    ask(&appid, "wr0ng").await.refused(401, "token_invalid");
    ask("wx9", CONTROL_SECRET).await.refused(404, "app_unknown");
    let stable =
        json!({"grant_type": "client_credential", "appid": appid, "secret": CONTROL_SECRET});
    let stable = t
        .control("POST", "/wechat/shop/cgi-bin/stable_token")
        .json(&stable);
    assert!(Reply::of(stable).await.json()["access_token"].is_string());
    // WeChat was not asked for any of these.
    let calls = t.simulated("calls").await;
    assert_eq!(calls["/cgi-bin/stable_token"]["calls"], 1);
    assert!(calls["/cgi-bin/token"].is_null());
}
