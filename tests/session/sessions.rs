//! Sessions: refresh and its grace, logout, expiry, and what a restart keeps.

use std::time::Duration;

use futures::future::join_all;
use menshen_test_support::{Grant, Reply, TestGateway};
use serde_json::{Value, json};

const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(60 * 60);

async fn log_out(t: &TestGateway, token: &str, everywhere: bool) -> Reply {
    let mut request = t.request("POST", "/_auth/logout").bearer_auth(token);
    if everywhere {
        request = request.json(&json!({"everywhere": true}));
    }
    Reply::of(request).await
}

#[tokio::test]
async fn a_refresh_brings_a_new_pair_for_the_same_session() {
    let t = TestGateway::start().await;
    let first = t.log_in("alice").await;
    let second = t.refreshed(&first.refresh_token).await;
    assert_ne!(first.refresh_token, second.refresh_token);
    assert_eq!(second.json["token_type"], "Bearer");
    let mut sessions = Vec::new();
    for grant in [&first, &second] {
        let shown = t.get_as("/_auth/session", &grant.token).await.json();
        sessions.push(shown["session"].clone());
    }
    assert_eq!(sessions[0], sessions[1]);
    t.check_session_lives(&second).await;
}

/// Checks what is left of a session: to store it takes some of its time.
fn is_left(told: &Value, secs: u64) {
    let is_left = |told: u64| (secs - 10..=secs).contains(&told);
    assert!(told.as_u64().is_some_and(is_left), "{told}");
}

#[tokio::test]
async fn a_refresh_prolongs_the_session() {
    let t = TestGateway::builder()
        .section("session", "ttl = \"3h\"")
        .start()
        .await;
    let mut grant = t.log_in("alice").await;
    for _ in 0..4 {
        t.clock.advance(2 * HOUR);
        grant = t.refreshed(&grant.refresh_token).await;
        is_left(&grant.json["refresh_expires_in"], 3 * 60 * 60);
    }
    t.check_session_lives(&grant).await;
}

#[tokio::test]
async fn within_the_grace_an_old_refresh_token_gives_the_same_successor() {
    let t = TestGateway::start().await;
    let first = t.log_in("alice").await;
    let second = t.refreshed(&first.refresh_token).await;
    t.clock.advance(Duration::from_secs(25));
    let again = t.refreshed(&first.refresh_token).await;
    assert_eq!(again.refresh_token, second.refresh_token);
    t.check_session_lives(&again).await;
}

#[tokio::test]
async fn after_the_grace_an_old_refresh_token_ends_the_session() {
    let t = TestGateway::start().await;
    let other = t.log_in("alice").await;
    let first = t.log_in("alice").await;
    let second = t.refreshed(&first.refresh_token).await;
    // Seen before, so that only the revocation can stop it.
    assert_eq!(t.get_as("/orders", &second.token).await.status, 200);
    t.clock.advance(Duration::from_secs(32));
    let reply = t.refresh(&first.refresh_token).await;
    assert_eq!(reply.refusal(), (401, "refresh_reused".to_owned()));
    t.check_session_ended(&second).await;
    t.check_session_ended(&first).await;
    t.check_session_lives(&other).await;
}

#[tokio::test]
async fn without_a_grace_a_refresh_token_is_good_once() {
    let t = TestGateway::builder()
        .section("session", "refresh_grace = \"0s\"")
        .start()
        .await;
    let first = t.log_in("alice").await;
    t.refreshed(&first.refresh_token).await;
    t.clock.advance(Duration::from_secs(1));
    let reply = t.refresh(&first.refresh_token).await;
    assert_eq!(reply.refusal(), (401, "refresh_reused".to_owned()));
}

#[tokio::test]
async fn forty_refreshes_at_once_all_succeed_with_one_successor() {
    let t = TestGateway::start().await;
    let first = t.log_in("alice").await;
    let at_once = (0..40).map(|_| t.refreshed(&first.refresh_token));
    let grants = join_all(at_once).await;
    for grant in &grants {
        assert_eq!(grant.refresh_token, grants[0].refresh_token);
        assert_eq!(t.get_as("/orders", &grant.token).await.status, 200);
    }
    t.check_session_lives(&grants[0]).await;
}

#[tokio::test]
async fn what_is_no_refresh_token_is_refused_and_harms_nobody() {
    let (t, other) = (TestGateway::start().await, TestGateway::start().await);
    let grant = t.log_in("alice").await;
    let sound = &grant.refresh_token;
    let foreign = other.log_in("alice").await.refresh_token;
    let mut forgeries = vec![
        "x".to_owned(),
        grant.token.clone(),
        foreign,
        format!("{sound}A"),
        format!("{sound}="),
        format!(" {sound}"),
        format!("{sound}\n"),
        format!("{sound}\u{0}"),
        sound.to_uppercase(),
        "A".repeat(sound.len()),
        "é".repeat(sound.len()),
        "A".repeat(10_000),
    ];
    forgeries.extend((1..sound.len()).map(|end| sound.chars().take(end).collect()));
    forgeries.extend((0..sound.len()).map(|at| {
        let mut bytes = sound.clone().into_bytes();
        bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };
        String::from_utf8(bytes).unwrap()
    }));
    for forged in forgeries {
        let reply = t.refresh(&forged).await;
        assert_eq!(
            reply.refusal(),
            (401, "refresh_invalid".to_owned()),
            "{forged:?}"
        );
    }
    t.check_session_lives(&grant).await;
}

#[tokio::test]
async fn what_stands_for_no_refresh_token_is_a_missing_one() {
    let t = TestGateway::start().await;
    let grant = t.log_in("alice").await;
    for nothing in ["", " ", "undefined", "null", "\"\""] {
        let reply = t.refresh(nothing).await;
        reply.refused(400, "bad_request");
        let told = reply.text().contains("The refresh_token is missing.");
        assert!(told, "{nothing:?}: {}", reply.text());
    }
    t.check_session_lives(&grant).await;
}

#[tokio::test]
async fn a_refresh_token_is_no_token() {
    let t = TestGateway::start().await;
    let grant = t.log_in("alice").await;
    let reply = t.get_as("/orders", &grant.refresh_token).await;
    assert_eq!(reply.refusal(), (401, "token_invalid".to_owned()));
}

#[tokio::test]
async fn a_logout_counts_from_the_next_request() {
    let t = TestGateway::start().await;
    let grant = t.log_in("alice").await;
    assert_eq!(t.get_as("/orders", &grant.token).await.status, 200);
    let reply = log_out(&t, &grant.token, false).await;
    assert_eq!((reply.status, reply.text()), (204, String::new()));
    t.check_session_ended(&grant).await;
    assert_eq!(t.upstream.requests(), 1);
    let again = log_out(&t, &grant.token, false).await;
    assert_eq!(again.refusal(), (401, "session_ended".to_owned()));
}

#[tokio::test]
async fn a_logout_ends_every_token_of_its_session() {
    let t = TestGateway::start().await;
    let first = t.log_in("alice").await;
    let second = t.refreshed(&first.refresh_token).await;
    assert_eq!(log_out(&t, &first.token, false).await.status, 204);
    t.check_session_ended(&first).await;
    t.check_session_ended(&second).await;
}

#[tokio::test]
async fn a_logout_leaves_the_users_other_sessions_alone() {
    let t = TestGateway::start().await;
    let (phone, desktop) = (t.log_in("alice").await, t.log_in("alice").await);
    assert_eq!(log_out(&t, &phone.token, false).await.status, 204);
    t.check_session_lives(&desktop).await;
    let tablet = t.log_in("alice").await;
    let this_one = t
        .request("POST", "/_auth/logout")
        .bearer_auth(&tablet.token);
    let this_one = this_one.json(&json!({"everywhere": false}));
    assert_eq!(Reply::of(this_one).await.status, 204);
    t.check_session_ended(&tablet).await;
    let desktop = t.refreshed(&desktop.refresh_token).await;
    t.check_session_lives(&desktop).await;
}

#[tokio::test]
async fn a_logout_everywhere_ends_the_users_sessions_in_this_app() {
    let t = TestGateway::builder().apps(&["shop", "cafe"]).start().await;
    let phone = t.log_in("alice").await;
    let desktop = t.log_in("alice").await;
    let cafe = t.log_in_to("cafe", "alice").await;
    let bob = t.log_in("bob").await;
    assert_eq!(log_out(&t, &phone.token, true).await.status, 204);
    t.check_session_ended(&phone).await;
    t.check_session_ended(&desktop).await;
    t.check_session_lives(&cafe).await;
    t.check_session_lives(&bob).await;
}

#[tokio::test]
async fn a_login_after_a_logout_everywhere_lives() {
    let t = TestGateway::start().await;
    let grant = t.log_in("alice").await;
    assert_eq!(log_out(&t, &grant.token, true).await.status, 204);
    t.check_session_lives(&t.log_in("alice").await).await;
}

#[tokio::test]
async fn a_logout_needs_a_sound_token() {
    let t = TestGateway::start().await;
    let grant = t.log_in("alice").await;
    let nobody = Reply::of(t.request("POST", "/_auth/logout")).await;
    assert_eq!(nobody.refusal(), (401, "token_missing".to_owned()));
    let forged = log_out(&t, "rubbish", true).await;
    assert_eq!(forged.refusal(), (401, "token_invalid".to_owned()));
    let code = t.code("alice").await;
    let with_code = t.request("POST", "/_auth/logout").header("X-WX-Code", code);
    assert_eq!(Reply::of(with_code).await.status, 401);
    t.check_session_lives(&grant).await;
}

#[tokio::test]
async fn null_for_everywhere_ends_this_session_alone() {
    let t = TestGateway::start().await;
    let (ended, other) = (t.log_in("alice").await, t.log_in("alice").await);
    let request = t.request("POST", "/_auth/logout").bearer_auth(&ended.token);
    let reply = Reply::of(request.json(&json!({"everywhere": null}))).await;
    assert_eq!(reply.status, 204, "{}", reply.text());
    let reply = t.get_as("/orders", &ended.token).await;
    assert_eq!(reply.refusal(), (401, "session_ended".to_owned()));
    t.check_session_lives(&other).await;
}

#[tokio::test]
async fn a_logout_whose_body_is_malformed_ends_nothing() {
    let t = TestGateway::start().await;
    let grant = t.log_in("alice").await;
    for body in ["everywhere", "{\"everywhere\":1}", "[true]", "{", "null"] {
        let request = t.request("POST", "/_auth/logout").bearer_auth(&grant.token);
        let reply = Reply::of(request.body(body)).await;
        assert_eq!(reply.refusal(), (400, "bad_request".to_owned()), "{body}");
    }
    t.check_session_lives(&grant).await;
}

#[tokio::test]
async fn a_unionid_that_appears_or_changes_reaches_older_sessions_at_their_next_refresh() {
    let t = TestGateway::start().await;
    let log_in = async |account: Option<&str>| {
        let mut asked = json!({"appid": TestGateway::appid("shop"), "user": "alice"});
        if let Some(account) = account {
            asked["open_platform"] = json!(account);
        }
        let code = t.simulate("login", asked).await;
        Grant::of(t.post("/_auth/login", code).await.json())
    };
    let refresh = async |grant: &Grant| {
        let body = json!({"refresh_token": grant.refresh_token});
        Grant::of(t.post("/_auth/refresh", body).await.json())
    };
    let unionid = async |grant: &Grant| {
        assert_eq!(t.get_as("/orders", &grant.token).await.status, 200);
        let received = t.upstream.last();
        received.only("x-wx-unionid").map(str::to_owned)
    };
    let phone = log_in(Some("")).await;
    assert_eq!(unionid(&phone).await, None);
    let appeared = unionid(&log_in(None).await).await;
    assert!(appeared.is_some());
    assert_eq!(unionid(&phone).await, None, "the token says what it said");
    let phone = refresh(&phone).await;
    assert_eq!(unionid(&phone).await, appeared);
    let changed = unionid(&log_in(Some("another account")).await).await;
    assert!(changed.is_some() && changed != appeared);
    assert_eq!(unionid(&refresh(&phone).await).await, changed);
}

#[tokio::test]
async fn a_new_login_never_ends_another() {
    let t = TestGateway::start().await;
    let logins = join_all((0..10).map(|_| t.log_in("alice"))).await;
    for grant in &logins {
        t.check_session_lives(grant).await;
    }
}

#[tokio::test]
async fn a_token_does_not_outlive_its_session() {
    let t = TestGateway::builder()
        .section("session", "ttl = \"10m\"")
        .start()
        .await;
    let grant = t.log_in("alice").await;
    is_left(&grant.json["expires_in"], 600);
    is_left(&grant.json["refresh_expires_in"], 600);
    t.clock.advance(10 * MINUTE);
    let reply = t.get_as("/orders", &grant.token).await;
    assert_eq!(reply.refusal(), (401, "token_expired".to_owned()));
    let reply = t.refresh(&grant.refresh_token).await;
    assert_eq!(reply.refusal(), (401, "session_ended".to_owned()));
    assert_eq!(t.upstream.requests(), 0);
}

#[tokio::test]
async fn a_restart_keeps_sessions() {
    let builder = TestGateway::builder();
    let mut t = builder.clone().start().await;
    let first = t.log_in("alice").await;
    let second = t.refreshed(&first.refresh_token).await;
    t.stop().await;
    let t = builder.start_in(t.folder).await;
    let again = t.refreshed(&first.refresh_token).await;
    assert_eq!(again.refresh_token, second.refresh_token);
    t.check_session_lives(&second).await;
}

#[tokio::test]
async fn a_restart_keeps_what_was_ended() {
    let builder = TestGateway::builder().apps(&["shop", "cafe"]);
    let mut t = builder.clone().start().await;
    let [one, all, other, living] = [
        t.log_in("alice").await,
        t.log_in("bob").await,
        t.log_in("bob").await,
        t.log_in("alice").await,
    ];
    assert_eq!(log_out(&t, &one.token, false).await.status, 204);
    assert_eq!(log_out(&t, &all.token, true).await.status, 204);
    t.stop().await;
    let t = builder.start_in(t.folder).await;
    for grant in [&one, &all, &other] {
        t.check_session_ended(grant).await;
    }
    t.check_session_lives(&living).await;
}

#[tokio::test]
async fn what_was_ended_stays_so_while_a_token_of_it_could_be_good() {
    let builder = TestGateway::builder();
    let mut t = builder.clone().start().await;
    let grant = t.log_in("alice").await;
    t.stop().await;
    let shorter = builder.section("token", "ttl = \"1m\"");
    let t = shorter.start_in(t.folder).await;
    assert_eq!(log_out(&t, &grant.token, false).await.status, 204);
    t.clock.advance(10 * MINUTE);
    // A write, with which the store forgets what is over.
    t.log_in("bob").await;
    t.log_in("bob").await;
    let reply = t.get_as("/orders", &grant.token).await;
    assert_eq!(reply.status, 401, "{}", reply.text());
}
