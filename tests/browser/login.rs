//! The way of a browser: a page, WeChat, the callback, and back to the page.

use menshen_test_support::{TestGateway, Visitor};
use serde_json::json;

use crate::{builder, logged_in, session, started};

#[tokio::test]
async fn a_page_load_comes_back_logged_in_to_where_it_began() {
    let t = started(builder()).await;
    for (mut visitor, app, page, source) in [
        (Visitor::new(&t), "site", "qrconnect", "wx_web"),
        (Visitor::in_wechat(&t), "news", "oauth2/authorize", "wx_h5"),
    ] {
        let walk = visitor.walk(&t.url("/orders?page=2&x=%2F")).await;
        assert_eq!(walk.reply.status, 200, "{:#?}", walk.urls);
        let wechat = format!("http://{}/connect/{page}?", t.simulator);
        assert!(walk.urls[1].starts_with(&wechat), "{}", walk.urls[1]);
        let callback = t.url(&format!("/_auth/web/{app}/callback?code="));
        assert!(walk.urls[2].starts_with(&callback), "{}", walk.urls[2]);
        assert_eq!(walk.urls[3], t.url("/orders?page=2&x=%2F"));
        let received = t.upstream.last();
        assert_eq!(received.target, "/orders?page=2&x=%2F");
        assert_eq!(received.only("x-wx-source"), Some(source));
        assert_eq!(received.only("x-menshen-app"), Some(app));
        let about = session(&t, &mut visitor).await;
        assert_eq!(received.only("x-wx-openid"), about["openid"].as_str());
        assert_eq!(about["app"], app);
        assert!(received.all("cookie").is_empty(), "{:?}", received.headers);
    }
}

#[tokio::test]
async fn the_link_to_wechat_is_one_that_it_follows() {
    let t = started(builder()).await;
    let reply = Visitor::in_wechat(&t).load(&t.url("/_auth/web/news")).await;
    assert_eq!(
        (reply.status, reply.header("cache-control")),
        (302, "no-store")
    );
    let link = reply.header("location");
    let (link, fragment) = link.split_once('#').unwrap();
    assert_eq!(fragment, "wechat_redirect");
    let query = link.split_once('?').unwrap().1;
    let pairs: Vec<_> = query
        .split('&')
        .map(|pair| pair.split_once('=').unwrap())
        .collect();
    let names: Vec<_> = pairs.iter().map(|(name, _)| *name).collect();
    assert_eq!(
        names,
        ["appid", "redirect_uri", "response_type", "scope", "state"]
    );
    let state = pairs[4].1;
    assert!(state.len() <= 128 && state.bytes().all(|b| b.is_ascii_alphanumeric()));
    assert!(state.len() >= 32, "{state}");
}

#[tokio::test]
async fn a_call_by_a_script_is_told_that_nobody_is_logged_in() {
    let t = started(builder()).await;
    let mut script = Visitor::new(&t).saying("sec-fetch-dest", "empty");
    script
        .load(&t.url("/orders"))
        .await
        .refused(401, "token_missing");
    let plain = t.get("/orders").header("accept", "application/json");
    Visitor::new(&t)
        .send(plain, &t.url("/orders"))
        .await
        .refused(401, "token_missing");
    let api = Visitor::new(&t).load(&t.url("/api/x")).await;
    api.refused(401, "token_missing");
    assert_eq!(t.upstream.requests(), 0);
}

#[tokio::test]
async fn the_cookie_is_for_this_host_and_no_script() {
    let t = started(builder().trust_local_proxies()).await;
    let mut visitor = Visitor::new(&t)
        .saying("x-forwarded-proto", "https")
        .saying("x-forwarded-host", "shop.example");
    let begun = visitor.load(&t.url("/_auth/web/site?return_to=/x")).await;
    let bound = begun.header("set-cookie");
    assert!(bound.starts_with("__Host-menshen-login-"), "{bound}");
    assert!(
        bound.ends_with("; Path=/; Max-Age=900; HttpOnly; SameSite=Lax; Secure"),
        "{bound}"
    );
    let link = begun.header("location").to_owned();
    assert!(
        link.contains("redirect_uri=https%3A%2F%2Fshop.example%2F_auth%2Fweb%2Fsite%2Fcallback")
    );
    let wechat = Visitor::new(&t).load(&link).await;
    let back = wechat
        .header("location")
        .replace("https://shop.example", &t.url(""));
    let done = visitor.load(&back).await;
    assert_eq!((done.status, done.header("location")), (302, "/x"));
    let lines: Vec<_> = done.headers.get_all("set-cookie").iter().collect();
    let cookie = lines.iter().map(|line| line.to_str().unwrap());
    let cookie = cookie
        .filter(|line| line.starts_with("__Host-menshen="))
        .collect::<Vec<_>>();
    assert_eq!(cookie.len(), 1, "{lines:?}");
    assert!(
        cookie[0].ends_with("; HttpOnly; SameSite=Lax; Secure"),
        "{cookie:?}"
    );
    let lasts = cookie[0].split_once("; Path=/; Max-Age=").unwrap().1;
    let lasts: u64 = lasts.split(';').next().unwrap().parse().unwrap();
    // The session may have been opened some seconds ago.
    assert!((2_591_940..=2_592_000).contains(&lasts), "{cookie:?}");
    assert!(!cookie[0].contains("Domain"));
    assert_eq!(visitor.load(&t.url("/x")).await.text(), "ok");
    // Without the prefix, another host could have set it.
    let value = visitor
        .cookie(&t.host(), "__Host-menshen")
        .unwrap()
        .to_owned();
    let mut tossed = Visitor::new(&t).saying("x-forwarded-proto", "https");
    tossed.put(&t.host(), "menshen", &value);
    tossed
        .load(&t.url("/api/x"))
        .await
        .refused(401, "token_missing");
}

#[tokio::test]
async fn a_person_who_says_no_is_told_what_to_do_in_their_language() {
    let t = builder().start().await;
    t.set_up("site", json!({"denies": true})).await;
    for (language, words) in [("zh-CN,zh;q=0.9", "重新登录"), ("en-GB", "Log in again")] {
        let mut visitor = Visitor::new(&t).saying("accept-language", language);
        let page = visitor.walk(&t.url("/orders?a=1&b=2")).await.reply;
        assert_eq!(
            (page.status, page.header("content-type")),
            (403, "text/html; charset=utf-8")
        );
        let text = page.text();
        assert!(text.contains(words), "{text}");
        let again = "/_auth/web/site?return_to=%2Forders%3Fa%3D1%26b%3D2";
        assert!(text.contains(again), "{text}");
        assert_eq!(page.header("referrer-policy"), "no-referrer");
        assert!(
            page.header("content-security-policy")
                .contains("default-src 'none'")
        );
        assert!(
            !text.contains("http://") && !text.contains("https://"),
            "{text}"
        );
        let begun_over = visitor.load(&t.url(again)).await;
        assert_eq!(begun_over.status, 302);
    }
    assert_eq!(t.upstream.requests(), 0);
}

#[tokio::test]
async fn a_snapshot_of_a_page_logs_nobody_in() {
    let t = builder().start().await;
    let settings = json!({"agrees": "alice", "snapshot": true});
    t.set_up("news", settings).await;
    let mut visitor = Visitor::in_wechat(&t);
    let page = visitor.walk(&t.url("/orders")).await.reply;
    assert_eq!(page.status, 403);
    assert!(page.text().contains("snapshot_user"), "{}", page.text());
    assert_eq!(session(&t, &mut visitor).await["logged_in"], false);
}

#[tokio::test]
async fn what_wechat_refuses_or_does_not_say_becomes_a_page() {
    let t = started(builder()).await;
    for (errcode, status, code) in [
        (40029, 401, "code_invalid"),
        (40226, 403, "user_blocked"),
        (40125, 502, "wechat_misconfigured"),
        (45009, 503, "wechat_busy"),
    ] {
        let plan = json!({"path": "/sns/oauth2/access_token", "fault": "errcode", "errcode": errcode, "times": 1});
        t.simulate("faults", plan).await;
        let page = Visitor::new(&t).walk(&t.url("/orders")).await.reply;
        assert_eq!(page.status, status, "{errcode}");
        assert!(page.text().contains(code), "{}", page.text());
    }
    assert_eq!(t.upstream.requests(), 0);
}

#[tokio::test]
async fn another_site_begins_no_login_without_a_click() {
    let t = started(builder()).await;
    let url = t.url("/_auth/web/site?return_to=/orders");
    let mut led = Visitor::new(&t)
        .saying("sec-fetch-site", "cross-site")
        .saying("sec-fetch-mode", "navigate")
        .saying("sec-fetch-dest", "document");
    let page = led.load(&url).await;
    assert_eq!(page.status, 403);
    assert!(page.headers.get("set-cookie").is_none());
    assert!(page.text().contains("/_auth/web/site?return_to=%2Forders"));
    let mut image = Visitor::new(&t)
        .saying("sec-fetch-site", "cross-site")
        .saying("sec-fetch-dest", "image");
    image.load(&url).await.refused(403, "origin_not_allowed");
    // Older browsers say no more than which page it was.
    for referrer in ["https://evil.example/", "https://evil.example", "null"] {
        let mut led = Visitor::new(&t).saying("referer", referrer);
        let page = led.load(&url).await;
        assert_eq!(page.status, 403, "{referrer}");
        assert!(page.headers.get("set-cookie").is_none());
    }
    let own = t.url("/public?x=https://evil.example/");
    let mut own = Visitor::new(&t).saying("referer", &own);
    assert_eq!(own.load(&url).await.status, 302);
}

#[tokio::test]
async fn a_browser_in_which_no_app_logs_anybody_in_is_told_so() {
    let t = TestGateway::builder()
        .web_app("news", "kind = \"official_account\"")
        .routes("[[route]]\npath = \"/\"\nupstream = \"api\"\non_missing = \"redirect\"\n")
        .start()
        .await;
    let page = Visitor::new(&t).load(&t.url("/orders")).await;
    assert_eq!(page.status, 401);
    assert!(
        page.text().contains("other_browser_needed"),
        "{}",
        page.text()
    );
    let mini = t.url("/_auth/web/shop");
    let mut script = Visitor::new(&t).saying("sec-fetch-dest", "empty");
    script.load(&mini).await.refused(400, "app_unknown");
}

#[tokio::test]
async fn a_browsers_app_takes_no_code_of_a_mini_program() {
    let t = started(builder()).await;
    let code = t.code("alice").await;
    let body = json!({"code": code, "app": "site"});
    t.post("/_auth/login", body)
        .await
        .refused(403, "app_not_allowed");
    // With one mini-program, the app need not be named.
    assert_eq!(t.redeem(&code).await.status, 200);
}

#[tokio::test]
async fn a_host_that_is_not_ours_is_refused() {
    let t = started(builder().section("server", "public_url = \"https://shop.example\"")).await;
    for host in [
        "evil.example",
        "shop.example.evil.example",
        "shop.example:444",
        // Plain HTTP, where the public origin is HTTPS.
        "shop.example",
    ] {
        let asked = t.get("/_auth/web/site").header("host", host);
        let reply = Visitor::new(&t).send(asked, &t.url("/")).await;
        assert_eq!(
            reply.refusal(),
            (400, "host_not_allowed".to_owned()),
            "{host}"
        );
        assert!(reply.headers.get("location").is_none());
    }
}

#[tokio::test]
async fn a_domain_is_shown_to_be_the_apps() {
    let t = started(builder().section("web", "domain_check = [\"MP_verify_0a1B2c3D.txt\"]")).await;
    let reply = Visitor::new(&t)
        .load(&t.url("/MP_verify_0a1B2c3D.txt"))
        .await;
    assert_eq!((reply.status, reply.text()), (200, "0a1B2c3D".to_owned()));
    assert_eq!(reply.header("content-type"), "text/plain; charset=utf-8");
    let other = t.get("/MP_verify_0a1B2c3E.txt").send().await.unwrap();
    assert_eq!(other.status(), 401);
}

#[tokio::test]
async fn a_logged_in_browser_loads_pages_without_asking_wechat() {
    let (t, mut visitor) = logged_in().await;
    for path in ["/orders", "/api/x", "/optional"] {
        assert_eq!(visitor.load(&t.url(path)).await.text(), "ok");
        assert_eq!(t.upstream.last().only("x-wx-source"), Some("wx_web"));
    }
}

#[test]
fn the_configuration_that_the_documentation_shows_is_one() {
    let text = include_str!("../../docs/en/browsers.md");
    let block = text.split("```toml\n").nth(1).unwrap();
    let block = block.split("```").next().unwrap();
    let secret = |_: &str| Some("0123456789abcdef0123456789abcdef".to_owned());
    let config = menshen::config::parse(block, "browsers.md", &secret).unwrap();
    assert_eq!(config.apps.len(), 2);
}
