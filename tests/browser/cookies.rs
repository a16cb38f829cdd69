//! Sessions in cookies: one credential, renewed by the server, ended at once, and nobody else's business.

use std::time::Duration;

use menshen_test_support::{Reply, TestGateway, Visitor, raw};
use reqwest::RequestBuilder;
use serde_json::json;

use crate::{agree, builder, logged_in, session, started};

const HOUR: Duration = Duration::from_secs(3600);

fn cookie(t: &TestGateway, visitor: &Visitor) -> String {
    visitor.cookie(&t.host(), "menshen").unwrap().to_owned()
}

async fn with_cookies(request: RequestBuilder, cookies: &str) -> Reply {
    Reply::of(request.header("cookie", cookies)).await
}

#[tokio::test]
async fn a_cookie_is_one_credential_among_others() {
    let (t, visitor) = logged_in().await;
    let value = cookie(&t, &visitor);
    let one = format!("menshen={value}");
    let token = t.log_in("alice").await.token;
    let get = || t.get("/api/x");
    with_cookies(get().bearer_auth(&token), &one)
        .await
        .refused(400, "token_ambiguous");
    let code = t.code("alice").await;
    with_cookies(get().header("x-wx-code", code), &one)
        .await
        .refused(400, "token_ambiguous");
    let twice = with_cookies(get(), &format!("{one}; {one}")).await;
    twice.refused(400, "token_ambiguous");
    assert!(
        twice.header("set-cookie").contains("Max-Age=0"),
        "{:?}",
        twice.headers
    );
    let lines = get().header("cookie", &one).header("cookie", &one);
    Reply::of(lines).await.refused(400, "token_ambiguous");
    assert_eq!(t.upstream.requests(), 1);
    assert_eq!(with_cookies(get(), &one).await.status, 200);
    // A page that deletes a cookie may leave its name.
    with_cookies(get(), "menshen=")
        .await
        .refused(401, "token_missing");
}

#[tokio::test]
async fn forged_cookies_are_refused_and_let_go_of() {
    let (t, visitor) = logged_in().await;
    let value = cookie(&t, &visitor);
    let (token, renewal) = value.split_once('~').unwrap();
    let bearer = t.log_in("alice").await.token;
    for forged in [
        token.to_owned(),
        bearer.clone(),
        format!("{token}x~{renewal}"),
        format!("~{renewal}"),
        format!("{token}~"),
        "x~y".to_owned(),
        "a".repeat(5000),
    ] {
        let reply = with_cookies(t.get("/api/x"), &format!("menshen={forged}")).await;
        reply.refused(401, "token_invalid");
        assert!(
            reply
                .header("set-cookie")
                .starts_with("menshen=; Path=/; Max-Age=0")
        );
        let optional = with_cookies(t.get("/optional"), &format!("menshen={forged}")).await;
        optional.refused(401, "token_invalid");
    }
    // A token that has expired is renewed by what belongs to it alone.
    t.clock.advance(3 * HOUR);
    let refresh = t.log_in("alice").await.refresh_token;
    for renewal in ["x", &refresh, &renewal[1..]] {
        let cookies = format!("menshen={token}~{renewal}");
        with_cookies(t.get("/api/x"), &cookies)
            .await
            .refused(401, "token_invalid");
    }
    assert_eq!(t.upstream.requests(), 1);
}

#[tokio::test]
async fn a_cookie_of_another_app_opens_no_route() {
    let (t, mut visitor) = logged_in().await;
    let mut script = visitor.clone().saying("sec-fetch-dest", "empty");
    script
        .load(&t.url("/mini/x"))
        .await
        .refused(403, "app_not_allowed");
    assert_eq!(visitor.load(&t.url("/mini/x")).await.status, 403);
}

#[tokio::test]
async fn a_session_goes_on_by_its_cookie() {
    let (t, mut visitor) = logged_in().await;
    let before = session(&t, &mut visitor).await;
    let old = cookie(&t, &visitor);
    t.clock.advance(3 * HOUR);
    let reply = visitor.load(&t.url("/api/x")).await;
    assert_eq!(reply.text(), "ok");
    assert_eq!(reply.header("cache-control"), "no-store");
    let new = cookie(&t, &visitor);
    assert_ne!(new, old);
    let after = session(&t, &mut visitor).await;
    assert_eq!(after["session"], before["session"]);
    // An answer that the browser never saw costs it nothing, however late it comes again.
    t.clock.advance(3 * HOUR);
    let mut behind = Visitor::new(&t);
    behind.put(&t.host(), "menshen", &old);
    for _ in 0..3 {
        assert_eq!(behind.load(&t.url("/api/x")).await.text(), "ok");
        t.clock.advance(3 * HOUR);
    }
    assert_eq!(visitor.load(&t.url("/api/x")).await.text(), "ok");
    assert_eq!(
        session(&t, &mut visitor).await["session"],
        before["session"]
    );
    // Our own endpoints do the same.
    t.clock.advance(3 * HOUR);
    let told = session(&t, &mut visitor).await;
    assert_eq!(
        (&told["session"], &told["expires_in"]),
        (&before["session"], &json!(7200))
    );
}

#[tokio::test]
async fn tabs_that_renew_at_once_all_go_on() {
    let (t, visitor) = logged_in().await;
    t.clock.advance(3 * HOUR);
    let tabs = (0..8).map(|_| {
        let (mut tab, url) = (visitor.clone(), t.url("/api/x"));
        async move { (tab.load(&url).await.status, tab) }
    });
    let done = futures::future::join_all(tabs).await;
    t.clock.advance(3 * HOUR);
    for (status, mut tab) in done {
        assert_eq!(status, 200);
        assert_eq!(tab.load(&t.url("/api/x")).await.status, 200);
    }
}

#[tokio::test]
async fn a_session_that_is_over_leads_to_a_login() {
    let (t, mut visitor) = logged_in().await;
    let walk = visitor.clone();
    t.clock.advance(31 * 24 * HOUR);
    let mut script = walk.clone().saying("sec-fetch-dest", "empty");
    script
        .load(&t.url("/orders"))
        .await
        .refused(401, "session_ended");
    assert_eq!(script.cookie(&t.host(), "menshen"), None);
    let walk = visitor.walk(&t.url("/orders?x=1")).await;
    assert_eq!(walk.urls.last().unwrap(), &t.url("/orders?x=1"));
    assert_eq!(walk.reply.text(), "ok");
    assert_eq!(walk.urls.len(), 4);
}

#[tokio::test]
async fn a_logout_ends_the_session_and_clears_the_cookie() {
    let (t, mut visitor) = logged_in().await;
    let value = cookie(&t, &visitor);
    let url = t.url("/_auth/logout");
    let logout = t.http.post(&url).header("origin", t.url(""));
    let reply = visitor.send(logout, &url).await;
    assert_eq!(reply.status, 204);
    assert_eq!(visitor.cookie(&t.host(), "menshen"), None);
    let cookies = format!("menshen={value}");
    with_cookies(t.get("/api/x"), &cookies)
        .await
        .refused(401, "session_ended");
    t.clock.advance(3 * HOUR);
    with_cookies(t.get("/api/x"), &cookies)
        .await
        .refused(401, "session_ended");
}

#[tokio::test]
async fn a_revocation_counts_from_the_next_request() {
    let (t, mut visitor) = logged_in().await;
    let sid = session(&t, &mut visitor).await["session"]
        .as_str()
        .unwrap()
        .to_owned();
    let revoke = t.control("DELETE", &format!("/v1/sessions/{sid}"));
    assert_eq!(Reply::of(revoke).await.status, 204);
    let mut script = visitor.clone().saying("sec-fetch-dest", "empty");
    script
        .load(&t.url("/orders"))
        .await
        .refused(401, "session_ended");
    assert_eq!(script.cookie(&t.host(), "menshen"), None);
}

#[tokio::test]
async fn the_backend_gets_the_other_cookies_alone() {
    let (t, visitor) = logged_in().await;
    let one = format!("menshen={}", cookie(&t, &visitor));
    let long = format!("big={}", "x".repeat(6000));
    for (sent, received) in [
        (one.clone(), None),
        (format!("a=1; {one}; b=2"), Some("a=1; b=2".to_owned())),
        (format!("{one};a=1"), Some("a=1".to_owned())),
        (
            format!("{one}; __Host-menshen=x~y; menshen-login-abc=z"),
            None,
        ),
        (format!("{long}; {one}"), Some(long.clone())),
        (
            "menshens=1; my-menshen=2".to_owned(),
            Some("menshens=1; my-menshen=2".to_owned()),
        ),
    ] {
        for path in ["/optional/x", "/public/x", "/files/x"] {
            let reply = with_cookies(t.get(path), &sent).await;
            if reply.status == 401 {
                continue;
            }
            assert_eq!(reply.status, 200, "{path} {}", reply.text());
            assert_eq!(
                t.upstream.last().only("cookie").map(str::to_owned),
                received,
                "{path}"
            );
        }
    }
    assert_eq!(t.upstream.requests(), 1 + 17);
}

#[tokio::test]
async fn another_site_changes_nothing_in_a_users_name() {
    let routes =
        "cors.allow_origins = [\"https://admin.example\"]\ncors.allow_credentials = true\n";
    let t = started(builder().routes(&format!("{}{routes}", crate::ROUTES))).await;
    let mut visitor = Visitor::new(&t);
    visitor.walk(&t.url("/orders")).await;
    let one = format!("menshen={}", cookie(&t, &visitor));
    let own = t.url("");
    for (pairs, status) in [
        (vec![("origin", "https://evil.example")], 403),
        (vec![("origin", "null")], 403),
        (vec![("origin", "https://admin.example")], 403),
        (vec![("sec-fetch-site", "cross-site")], 403),
        (vec![("sec-fetch-site", "same-site")], 403),
        (vec![("referer", "https://evil.example/x")], 403),
        (
            vec![("origin", own.as_str()), ("sec-fetch-site", "same-origin")],
            200,
        ),
        (vec![("sec-fetch-site", "same-origin")], 200),
        (vec![], 200),
    ] {
        for method in ["POST", "PUT", "DELETE", "PATCH"] {
            let mut request = t.request(method, "/api/x");
            for (name, value) in &pairs {
                request = request.header(*name, *value);
            }
            let reply = with_cookies(request, &one).await;
            assert_eq!(reply.status, status, "{method} {pairs:?}");
            if status == 403 {
                reply.refused(403, "origin_not_allowed");
            }
        }
    }
    let allowed = t
        .request("POST", "/files/x")
        .header("origin", "https://admin.example");
    assert_eq!(with_cookies(allowed, &one).await.status, 200);
    for path in ["/_auth/logout", "/_auth/ticket", "/_auth/sign"] {
        let request = t
            .request("POST", path)
            .header("origin", "https://evil.example");
        with_cookies(request, &one)
            .await
            .refused(403, "origin_not_allowed");
    }
    // A link from another site is a link, and a token is no cookie.
    let link = t.get("/api/x").header("sec-fetch-site", "cross-site");
    assert_eq!(with_cookies(link, &one).await.status, 200);
    let token = t.log_in("alice").await.token;
    let bearer = t
        .request("POST", "/api/x")
        .header("origin", "https://evil.example");
    assert_eq!(Reply::of(bearer.bearer_auth(token)).await.status, 200);
}

#[tokio::test]
async fn another_site_opens_no_websocket_with_a_users_cookie() {
    let (t, visitor) = logged_in().await;
    let cookie = cookie(&t, &visitor);
    let handshake = |origin: &str| {
        format!(
            "GET /api/ws HTTP/1.1\r\nHost: {}\r\nConnection: Upgrade, close\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
             Origin: {origin}\r\nCookie: menshen={cookie}\r\n\r\n",
            t.host()
        )
    };
    let refused = raw(t.address, handshake("https://evil.example").as_bytes()).await;
    assert!(refused.starts_with("HTTP/1.1 403"), "{refused}");
    assert!(refused.contains("origin_not_allowed"), "{refused}");
}

#[tokio::test]
async fn another_gateway_that_asks_is_told_of_a_cookies_user() {
    let (t, mut visitor) = logged_in().await;
    let openid = session(&t, &mut visitor).await["openid"].clone();
    let one = format!("menshen={}", cookie(&t, &visitor));
    let told = with_cookies(t.get("/_auth/verify"), &one).await;
    assert_eq!(
        (told.status, told.header("x-wx-openid")),
        (200, openid.as_str().unwrap())
    );
    t.clock.advance(3 * HOUR);
    let renewed = with_cookies(t.get("/_auth/verify/api/x"), &one).await;
    assert_eq!(renewed.status, 200);
    assert!(renewed.header("set-cookie").starts_with("menshen="));
    with_cookies(t.get("/_auth/verify/mini/x"), &one)
        .await
        .refused(403, "app_not_allowed");
}

#[tokio::test]
async fn a_login_does_not_end_those_of_other_browsers() {
    let (t, mut visitor) = logged_in().await;
    agree(&t).await;
    let mut other = Visitor::new(&t);
    other.walk(&t.url("/orders")).await;
    let (one, two) = (
        session(&t, &mut visitor).await,
        session(&t, &mut other).await,
    );
    assert_eq!(one["openid"], two["openid"]);
    assert_ne!(one["session"], two["session"]);
}
