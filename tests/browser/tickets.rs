//! Tickets: a mini-program's login becomes a session in a web-view, once.

use std::time::Duration;

use menshen::secret::Secret;
use menshen::session::{SessionRules, Sessions};
use menshen_test_support::{Reply, TestGateway, Visitor};
use serde_json::{Value, json};

use crate::{builder, session, started};

async fn ticket(t: &TestGateway, token: &str) -> Value {
    let reply = Reply::of(t.http.post(t.url("/_auth/ticket")).bearer_auth(token)).await;
    assert_eq!(reply.status, 200, "{}", reply.text());
    reply.json()
}

fn url(t: &TestGateway, ticket: &Value, end: &str) -> String {
    t.url(&format!(
        "/_auth/ticket/{}{end}",
        ticket["ticket"].as_str().unwrap()
    ))
}

fn script(t: &TestGateway) -> Visitor {
    Visitor::in_wechat(t).saying("sec-fetch-dest", "empty")
}

#[tokio::test]
async fn a_ticket_opens_a_session_of_the_same_user() {
    let t = started(builder()).await;
    let grant = t.log_in("alice").await;
    let ticket = ticket(&t, &grant.token).await;
    assert_eq!(ticket["expires_in"], 60);
    let mut view = Visitor::in_wechat(&t);
    let walk = view
        .walk(&url(&t, &ticket, "?return_to=/mini/x%3Fa=1"))
        .await;
    assert_eq!(walk.urls[1], t.url("/mini/x?a=1"));
    assert_eq!(walk.reply.text(), "ok");
    let mine = t.get_as("/_auth/session", &grant.token).await.json();
    let its = session(&t, &mut view).await;
    for name in ["openid", "unionid", "app"] {
        assert_eq!(its[name], mine[name]);
    }
    assert_ne!(its["session"], mine["session"]);
    let received = t.upstream.last();
    assert_eq!(received.only("x-wx-source"), Some("wx_client"));
    // The user's session_key is still there for the backend.
    let openid = mine["openid"].as_str().unwrap();
    let signed = t
        .control("POST", &format!("/v1/apps/shop/users/{openid}/sign"))
        .json(&json!({"data": "x"}));
    assert_eq!(Reply::of(signed).await.status, 200);
}

#[tokio::test]
async fn a_second_use_fails_and_ends_what_the_first_one_opened() {
    let t = started(builder()).await;
    let grant = t.log_in("alice").await;
    let ticket = ticket(&t, &grant.token).await;
    let mut view = Visitor::in_wechat(&t);
    assert_eq!(view.load(&url(&t, &ticket, "")).await.status, 302);
    assert_eq!(session(&t, &mut view).await["logged_in"], true);
    let mut thief = script(&t);
    thief
        .load(&url(&t, &ticket, ""))
        .await
        .refused(401, "ticket_invalid");
    assert_eq!(session(&t, &mut view).await["logged_in"], false);
    assert_eq!(session(&t, &mut thief).await["logged_in"], false);
    // The mini-program's own goes on.
    assert_eq!(t.get_as("/mini/x", &grant.token).await.status, 200);
}

#[tokio::test]
async fn of_uses_at_the_same_time_none_is_left() {
    let t = started(builder()).await;
    let grant = t.log_in("alice").await;
    let ticket = ticket(&t, &grant.token).await;
    let uses = (0..6).map(|_| {
        let (mut view, url) = (script(&t), url(&t, &ticket, ""));
        async move { (view.load(&url).await.status, view) }
    });
    let done = futures::future::join_all(uses).await;
    let opened = done.iter().filter(|(status, _)| *status == 302).count();
    assert_eq!(opened, 1);
    for (_, mut view) in done {
        assert_eq!(session(&t, &mut view).await["logged_in"], false);
    }
}

#[tokio::test]
async fn a_second_use_ends_a_session_that_went_on_and_outlived_a_restart() {
    let builder = builder().section("token", "ttl = \"1m\"");
    let mut t = started(builder.clone()).await;
    let grant = t.log_in("alice").await;
    let ticket = ticket(&t, &grant.token).await;
    let mut view = Visitor::in_wechat(&t);
    assert_eq!(view.load(&url(&t, &ticket, "")).await.status, 302);
    let first = t.host();
    let cookie = view.cookie(&first, "menshen").unwrap().to_owned();
    // The token in the cookie has been renewed once.
    t.clock.advance(Duration::from_secs(61));
    assert_eq!(session(&t, &mut view).await["logged_in"], true);
    let renewed = view.cookie(&first, "menshen").unwrap().to_owned();
    assert_ne!(renewed, cookie);
    t.stop().await;
    let folder = std::mem::replace(&mut t.folder, tempfile::tempdir().unwrap());
    let t = builder.start_in(folder).await;
    let mut view = Visitor::in_wechat(&t);
    view.put(&t.host(), "menshen", &renewed);
    assert_eq!(session(&t, &mut view).await["logged_in"], true);
    let second = script(&t).load(&url(&t, &ticket, "")).await;
    second.refused(401, "ticket_invalid");
    assert_eq!(session(&t, &mut view).await["logged_in"], false);
}

#[tokio::test]
async fn a_ticket_is_good_for_a_minute_and_while_its_session_stands() {
    let t = started(builder()).await;
    let grant = t.log_in("alice").await;
    let late = ticket(&t, &grant.token).await;
    t.clock.advance(Duration::from_secs(61));
    script(&t)
        .load(&url(&t, &late, ""))
        .await
        .refused(401, "ticket_invalid");
    let page = Visitor::in_wechat(&t).load(&url(&t, &late, "")).await;
    assert_eq!(
        (page.status, page.header("content-type")),
        (401, "text/html; charset=utf-8")
    );
    let orphan = ticket(&t, &grant.token).await;
    let logout = t
        .http
        .post(t.url("/_auth/logout"))
        .bearer_auth(&grant.token);
    assert_eq!(Reply::of(logout).await.status, 204);
    script(&t)
        .load(&url(&t, &orphan, ""))
        .await
        .refused(401, "session_ended");
}

#[tokio::test]
async fn forged_tickets_are_refused_and_a_preview_uses_none_up() {
    let t = started(builder()).await;
    let grant = t.log_in("alice").await;
    let ticket = ticket(&t, &grant.token).await;
    let text = ticket["ticket"].as_str().unwrap();
    let long = "A".repeat(9000);
    for forged in [
        "x",
        &text[1..],
        &format!("{text}AAAA"),
        &grant.refresh_token,
        &long,
    ] {
        let reply = script(&t)
            .load(&t.url(&format!("/_auth/ticket/{forged}")))
            .await;
        reply.refused(401, "ticket_invalid");
    }
    // The seal of a cookie is another one.
    let mut visitor = Visitor::new(&t);
    visitor.walk(&t.url("/orders")).await;
    let cookie = visitor.cookie(&t.host(), "menshen").unwrap();
    let renewal = cookie.split_once('~').unwrap().1;
    let reply = script(&t)
        .load(&t.url(&format!("/_auth/ticket/{renewal}")))
        .await;
    reply.refused(401, "ticket_invalid");
    let head = t.http.head(url(&t, &ticket, ""));
    assert_eq!(Reply::of(head).await.status, 405);
    let mut led = Visitor::in_wechat(&t)
        .saying("sec-fetch-site", "cross-site")
        .saying("sec-fetch-dest", "document");
    assert_eq!(led.load(&url(&t, &ticket, "")).await.status, 403);
    assert_eq!(
        Visitor::in_wechat(&t)
            .load(&url(&t, &ticket, ""))
            .await
            .status,
        302
    );
    let stranger = Reply::of(t.http.post(t.url("/_auth/ticket"))).await;
    stranger.refused(401, "token_missing");
}

#[tokio::test]
async fn the_seal_key_alone_makes_no_ticket() {
    let t = started(builder()).await;
    let (mallory, alice) = (t.log_in("mallory").await, t.log_in("alice").await);
    let hers = t.get_as("/_auth/session", &alice.token).await.json();
    // Whoever has a copy of the key, and what backends are sent.
    let copy = tempfile::tempdir().unwrap();
    let key = t.folder.path().join("data/seal.key");
    std::fs::copy(key, copy.path().join("seal.key")).unwrap();
    let minute = Duration::from_secs(60);
    let rules = SessionRules {
        session_ttl: minute,
        refresh_grace: minute,
        token_ttl: minute,
        unionid_lookup: false,
    };
    let sessions = Sessions::embedded(copy.path(), None, rules, t.clock.clone()).unwrap();
    let seal = |ticket: &str| {
        let sealed = sessions.seal_for("a ticket", &Secret::new(ticket));
        json!({"ticket": sealed.unwrap()})
    };
    let expires = t.clock.unix_secs() + 60;
    let before = json!({"n": 1, "a": "shop", "o": hers["openid"], "s": "wx_client", "i": hers["session"], "e": expires});
    let with =
        |proof: &str| json!({"n": 1, "a": "shop", "o": hers["openid"], "e": expires, "p": proof});
    let asked = json!({"path": "/files/1"});
    let asked = t.http.post(t.url("/_auth/sign")).json(&asked);
    let signed = Reply::of(asked.bearer_auth(&mallory.token)).await.json();
    let signed = signed["path"].as_str().unwrap().to_owned();
    let (_, signed) = signed.split_once('=').unwrap();
    // Of a ticket of one's own the proof is for its number alone.
    let own = ticket(&t, &mallory.token).await;
    let own = sessions.open_sealed("a ticket", own["ticket"].as_str().unwrap());
    let own = own.unwrap().expose().to_owned();
    let proof = serde_json::from_str::<Value>(&own).unwrap()["p"].take();
    for forged in [
        before.to_string(),
        with("").to_string(),
        with(&mallory.token).to_string(),
        with(signed).to_string(),
        with(proof.as_str().unwrap()).to_string(),
        own.replace("\"shop\"", "\"news\""),
    ] {
        let reply = script(&t).load(&url(&t, &seal(&forged), "")).await;
        assert_eq!(reply.refusal().1, "ticket_invalid", "{forged}");
    }
    // What is left is what its owner may do.
    let reply = script(&t).load(&url(&t, &seal(&own), "")).await;
    assert_eq!(reply.status, 302);
}
