//! What binds a login to the browser that began it: its state, once, and the cookie.

use menshen_test_support::{TestGateway, Visitor};
use serde_json::json;

use crate::{builder, session, started};

/// Begins a login, has a user agree, and returns the callback.
async fn agreed(t: &TestGateway, visitor: &mut Visitor, path: &str) -> String {
    let begun = visitor.load(&t.url(path)).await;
    let link = begun.header("location").to_owned();
    let wechat = visitor.load(&link).await;
    wechat.header("location").to_owned()
}

fn with_code(callback: &str, code: &str) -> String {
    let (before, after) = callback.split_once("code=").unwrap();
    let state = after.split_once('&').unwrap().1;
    format!("{before}code={code}&{state}")
}

/// Makes what a script would be answered, which says more than a page.
fn script(visitor: &Visitor) -> Visitor {
    visitor.clone().saying("sec-fetch-dest", "empty")
}

#[tokio::test]
async fn a_callback_that_comes_twice_works_once_and_lands_at_the_same_place() {
    let t = started(builder()).await;
    let mut visitor = Visitor::new(&t);
    let callback = agreed(&t, &mut visitor, "/_auth/web/site?return_to=/orders").await;
    let mut twin = visitor.clone();
    let (one, other) = tokio::join!(visitor.load(&callback), twin.load(&callback));
    let again = visitor.load(&callback).await;
    for reply in [&one, &other, &again] {
        assert_eq!((reply.status, reply.header("location")), (302, "/orders"));
    }
    let (mine, its) = (
        session(&t, &mut visitor).await,
        session(&t, &mut twin).await,
    );
    assert_eq!(mine["session"], its["session"]);
    assert_eq!(t.calls("/sns/oauth2/access_token").await, 1);
}

#[tokio::test]
async fn a_state_is_good_for_one_code() {
    let t = started(builder()).await;
    let mut visitor = Visitor::new(&t);
    let callback = agreed(&t, &mut visitor, "/_auth/web/site").await;
    let mut replaying = visitor.clone();
    assert_eq!(visitor.load(&callback).await.status, 302);
    // Another code of the same app, as somebody would bring who has watched.
    let other = agreed(&t, &mut Visitor::new(&t), "/_auth/web/site").await;
    let code = other
        .split_once("code=")
        .unwrap()
        .1
        .split('&')
        .next()
        .unwrap();
    let forged = with_code(&callback, code);
    script(&replaying)
        .load(&forged)
        .await
        .refused(401, "code_used");
    t.clock.advance(std::time::Duration::from_secs(120));
    script(&replaying)
        .load(&forged)
        .await
        .refused(401, "code_used");
    assert_eq!(session(&t, &mut replaying).await["logged_in"], false);
}

#[tokio::test]
async fn a_login_ends_in_the_browser_that_began_it() {
    let t = started(builder()).await;
    let mut visitor = Visitor::new(&t);
    let callback = agreed(&t, &mut visitor, "/_auth/web/site").await;
    let mut other = Visitor::new(&t);
    script(&other)
        .load(&callback)
        .await
        .refused(400, "state_invalid");
    let page = other.load(&callback).await;
    assert_eq!(page.status, 400);
    assert!(page.text().contains("state_invalid"), "{}", page.text());
    assert!(page.text().contains("/_auth/web/site?return_to=%2F"));
    assert_eq!(session(&t, &mut other).await["logged_in"], false);
    // Nobody's code was spent by that.
    assert_eq!(visitor.load(&callback).await.status, 302);
}

#[tokio::test]
async fn forged_foreign_and_oversize_states_are_refused() {
    let t = started(builder()).await;
    let mut visitor = Visitor::new(&t);
    let callback = agreed(&t, &mut visitor, "/_auth/web/site").await;
    let state = callback.split_once("state=").unwrap().1.to_owned();
    let foreign = callback.replace("/web/site/", "/web/news/");
    script(&visitor)
        .load(&foreign)
        .await
        .refused(400, "state_invalid");
    let long = "a".repeat(129);
    for forged in ["", "a-b", "x", &"b".repeat(40), &long, &format!("{state}a")] {
        let url = callback.replace(&state, forged);
        script(&visitor)
            .load(&url)
            .await
            .refused(400, "state_invalid");
    }
    let twice = format!("{callback}&state={state}");
    script(&visitor)
        .load(&twice)
        .await
        .refused(400, "bad_request");
    let name = visitor.names(&t.host())[0].to_owned();
    let sealed = visitor.cookie(&t.host(), &name).unwrap().to_owned();
    for value in [
        "x",
        "",
        &sealed[1..],
        &format!("{sealed}AAAA"),
        &"A".repeat(9000),
    ] {
        let mut forging = visitor.clone();
        forging.put(&t.host(), &name, value);
        script(&forging)
            .load(&callback)
            .await
            .refused(400, "state_invalid");
    }
    // A cookie of another login under this one's name.
    let mut other = Visitor::new(&t);
    agreed(&t, &mut other, "/_auth/web/site").await;
    let its = other.names(&t.host())[0].to_owned();
    let its = other.cookie(&t.host(), &its).unwrap().to_owned();
    let mut mixed = visitor.clone();
    mixed.put(&t.host(), &name, &its);
    script(&mixed)
        .load(&callback)
        .await
        .refused(400, "state_invalid");
    assert_eq!(visitor.load(&callback).await.status, 302);
}

#[tokio::test]
async fn a_login_that_took_too_long_is_over() {
    let t = started(builder()).await;
    let mut visitor = Visitor::new(&t);
    let callback = agreed(&t, &mut visitor, "/_auth/web/site?return_to=/orders").await;
    t.clock.advance(std::time::Duration::from_secs(901));
    script(&visitor)
        .load(&callback)
        .await
        .refused(400, "state_invalid");
    let page = visitor.load(&callback).await.text();
    assert!(
        page.contains("/_auth/web/site?return_to=%2Forders"),
        "{page}"
    );
}

#[tokio::test]
async fn a_callback_without_a_code_is_a_no() {
    let t = started(builder()).await;
    let mut visitor = Visitor::new(&t);
    let callback = agreed(&t, &mut visitor, "/_auth/web/site").await;
    for url in [with_code(&callback, ""), callback.replace("code=", "kode=")] {
        script(&visitor)
            .load(&url)
            .await
            .refused(403, "login_denied");
    }
    let bare = t.url("/_auth/web/site/callback");
    script(&visitor)
        .load(&bare)
        .await
        .refused(400, "state_invalid");
    let odd = with_code(&callback, "a%26b");
    script(&visitor)
        .load(&odd)
        .await
        .refused(400, "bad_request");
}

#[tokio::test]
async fn logins_of_several_tabs_end_each_at_its_own_place() {
    let t = started(builder()).await;
    let mut visitor = Visitor::new(&t);
    let mut callbacks = Vec::new();
    for tab in 0..4 {
        let path = format!("/_auth/web/site?return_to=/tab/{tab}");
        callbacks.push(agreed(&t, &mut visitor, &path).await);
    }
    for (tab, callback) in callbacks.iter().enumerate().rev() {
        let reply = visitor.load(callback).await;
        assert_eq!(reply.header("location"), format!("/tab/{tab}"));
    }
}

#[tokio::test]
async fn a_browser_keeps_no_more_logins_than_a_few() {
    let t = started(builder()).await;
    let mut visitor = Visitor::new(&t);
    let mut callbacks = Vec::new();
    for tab in 0..20 {
        let path = format!("/_auth/web/site?return_to=/tab/{tab}");
        callbacks.push(agreed(&t, &mut visitor, &path).await);
        t.clock.advance(std::time::Duration::from_secs(1));
    }
    assert_eq!(visitor.names(&t.host()).len(), 8);
    script(&visitor)
        .load(&callbacks[0])
        .await
        .refused(400, "state_invalid");
    assert_eq!(visitor.load(&callbacks[19]).await.status, 302);
}

#[tokio::test]
async fn the_head_of_a_callback_spends_nothing() {
    let t = started(builder()).await;
    let mut visitor = Visitor::new(&t);
    let callback = agreed(&t, &mut visitor, "/_auth/web/site").await;
    let head = t.http.head(&callback);
    assert_eq!(visitor.send(head, &callback).await.status, 405);
    assert_eq!(visitor.load(&callback).await.status, 302);
}

#[tokio::test]
async fn a_users_token_of_wechat_is_in_no_cookie_and_no_log() {
    // What is told of a login is what a session is; WeChat's own tokens are dropped.
    let t = started(builder()).await;
    let mut visitor = Visitor::new(&t);
    visitor.walk(&t.url("/orders")).await;
    let told = session(&t, &mut visitor).await;
    let names: Vec<_> = told.as_object().unwrap().keys().cloned().collect();
    assert_eq!(
        json!(names),
        json!([
            "app",
            "expires_in",
            "logged_in",
            "openid",
            "session",
            "unionid"
        ])
    );
}
