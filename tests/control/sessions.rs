//! Sessions are listed and ended on the private listener: at once, those that are named, and no others.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may panic"
)]

use std::time::{Duration, Instant};

use futures::StreamExt as _;
use menshen_test_support::{
    Reply, Socket, TestGateway, check_socket_lives, open_socket, raw_request, status,
};
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;

/// How long a socket may outlive its session.
const SOON: Duration = Duration::from_secs(1);

fn path(app: &str, openid: &str) -> String {
    format!("/v1/apps/{app}/users/{openid}/sessions")
}

async fn list(t: &TestGateway, app: &str, openid: &str) -> Vec<Value> {
    let reply = Reply::of(t.control("GET", &path(app, openid))).await;
    assert_eq!(reply.status, 200, "{}", reply.text());
    reply.json()["sessions"].as_array().unwrap().clone()
}

async fn end(t: &TestGateway, session: &str) {
    let path = format!("/v1/sessions/{session}");
    let reply = Reply::of(t.control("DELETE", &path)).await;
    assert_eq!((reply.status, reply.body.len()), (204, 0));
}

async fn is_closed(socket: &mut Socket, since: Instant) {
    let Ok(Some(Ok(Message::Close(Some(close))))) =
        tokio::time::timeout(10 * SOON, socket.next()).await
    else {
        panic!("there should be a close frame");
    };
    assert_eq!(close.code, CloseCode::Library(4401));
    assert!(since.elapsed() < SOON, "{:?}", since.elapsed());
}

#[tokio::test]
async fn a_users_sessions_are_listed_oldest_first_and_nobody_elses() {
    let builder = TestGateway::builder().apps(&["shop", "cafe"]);
    let t = builder.section("session", "ttl = \"3h\"").start().await;
    let phone = t.log_in("alice").await;
    t.clock.advance(Duration::from_secs(60));
    let desktop = t.log_in("alice").await;
    t.log_in("bob").await;
    let cafe = t.log_in_to("cafe", "alice").await;
    let listed = list(&t, "shop", &t.openid(&phone.token).await).await;
    assert_eq!(listed.len(), 2);
    for (listed, grant) in listed.iter().zip([&phone, &desktop]) {
        let names: Vec<_> = listed.as_object().unwrap().keys().collect();
        assert_eq!(names, ["created", "expires", "session", "source"]);
        assert_eq!(listed["session"], t.session_id(&grant.token).await);
        assert_eq!(listed["source"], "wx_client");
        let created = listed["created"].as_u64().unwrap();
        assert_eq!(listed["expires"], created + 3 * 3600);
    }
    let now = t.clock.unix_secs();
    assert!(now - listed[1]["created"].as_u64().unwrap() < 30);
    assert_eq!(
        list(&t, "cafe", &t.openid(&cafe.token).await).await.len(),
        1
    );
    let strangers = list(&t, "shop", &t.openid(&cafe.token).await).await;
    assert_eq!(strangers, Vec::<Value>::new());
}

#[tokio::test]
async fn an_ended_session_is_over_at_once_and_the_others_stand() {
    let t = TestGateway::start().await;
    let [phone, desktop, bob] = [
        t.log_in("alice").await,
        t.log_in("alice").await,
        t.log_in("bob").await,
    ];
    // Seen before, so that only the revocation can stop it.
    assert_eq!(t.get_as("/orders", &phone.token).await.status, 200);
    let user = t.openid(&phone.token).await;
    end(&t, &t.session_id(&phone.token).await).await;
    t.check_session_ended(&phone).await;
    t.check_session_lives(&desktop).await;
    t.check_session_lives(&bob).await;
    let left = list(&t, "shop", &user).await;
    assert_eq!(left.len(), 1);
    assert_eq!(left[0]["session"], t.session_id(&desktop.token).await);
}

#[tokio::test]
async fn the_sockets_of_an_ended_session_close_and_no_others() {
    let t = TestGateway::start().await;
    let (phone, desktop) = (t.log_in("alice").await, t.log_in("alice").await);
    let (mut closed, mut stays) = (
        open_socket(t.address, &phone.token).await,
        open_socket(t.address, &desktop.token).await,
    );
    let sid = t.session_id(&phone.token).await;
    let since = Instant::now();
    end(&t, &sid).await;
    is_closed(&mut closed, since).await;
    check_socket_lives(&mut stays).await;
}

#[tokio::test]
async fn all_of_a_users_sessions_end_in_one_app() {
    let builder = TestGateway::builder().apps(&["shop", "cafe"]);
    let t = builder.start().await;
    let [phone, desktop, bob] = [
        t.log_in("alice").await,
        t.log_in("alice").await,
        t.log_in("bob").await,
    ];
    let cafe = t.log_in_to("cafe", "alice").await;
    let mut socket = open_socket(t.address, &desktop.token).await;
    let user = t.openid(&phone.token).await;
    let since = Instant::now();
    let all = path("shop", &user);
    let reply = Reply::of(t.control("DELETE", &all)).await;
    assert_eq!((reply.status, reply.json()), (200, json!({"ended": 2})));
    is_closed(&mut socket, since).await;
    t.check_session_ended(&phone).await;
    t.check_session_ended(&desktop).await;
    t.check_session_lives(&bob).await;
    t.check_session_lives(&cafe).await;
    assert_eq!(list(&t, "shop", &user).await, Vec::<Value>::new());
    let again = Reply::of(t.control("DELETE", &all)).await;
    assert_eq!((again.status, again.json()), (200, json!({"ended": 0})));
    t.check_session_lives(&t.log_in("alice").await).await;
}

#[tokio::test]
async fn to_end_a_session_again_or_one_that_never_was_changes_nothing_but_revokes_its_tokens() {
    let t = TestGateway::start().await;
    let grant = t.log_in("alice").await;
    let sid = t.session_id(&grant.token).await;
    end(&t, &sid).await;
    end(&t, &sid).await;
    t.check_session_ended(&grant).await;
    // As after a store that lost a write: the token is good, its session is not there.
    let claims = t.claims("somebody");
    let token = t.sign(&claims);
    assert_eq!(t.get_as("/orders", &token).await.status, 200);
    end(&t, claims["sid"].as_str().unwrap()).await;
    let refused = t.get_as("/orders", &token).await;
    assert_eq!(refused.refusal(), (401, "session_ended".to_owned()));
}

#[tokio::test]
async fn an_app_that_is_not_there_is_not_found() {
    let t = TestGateway::start().await;
    let appid = TestGateway::appid("shop");
    for app in ["cafe", "SHOP", "shop.", &appid] {
        for method in ["GET", "DELETE"] {
            let reply = Reply::of(t.control(method, &path(app, "o1"))).await;
            reply.refused(404, "app_unknown");
        }
    }
}

#[tokio::test]
async fn openids_and_sessions_with_strange_characters_are_refused_and_end_nothing() {
    let t = TestGateway::start().await;
    let grant = t.log_in("alice").await;
    let (user, sid) = (
        t.openid(&grant.token).await,
        t.session_id(&grant.token).await,
    );
    let first = user.as_bytes()[0];
    let mut strange = vec![
        ".".to_owned(),
        "..".to_owned(),
        "%2e%2e".to_owned(),
        "%2F".to_owned(),
        "..%2f..%2fv1%2freload".to_owned(),
        "%00".to_owned(),
        "%0d%0aX:%20y".to_owned(),
        "%ff".to_owned(),
        "%c0%af".to_owned(),
        "%".to_owned(),
        "%4".to_owned(),
        "é".to_owned(),
        "*".to_owned(),
        "a:b".to_owned(),
        "a;b".to_owned(),
        "a'b".to_owned(),
        "a,b".to_owned(),
        "{openid}".to_owned(),
        "x".repeat(513),
        // The right one, written otherwise.
        format!("%{first:02x}{}", user.get(1..).unwrap()),
        format!("{user}."),
        format!("{user}%00"),
        format!("{user};a=b"),
    ];
    strange.push(format!("{sid}="));
    for text in &strange {
        for method in ["GET", "DELETE"] {
            refused(&t, &format!("{method} {}", path("shop", text))).await;
        }
        refused(&t, &format!("DELETE /v1/sessions/{text}")).await;
    }
    for text in [user, format!("{sid}A"), sid.get(1..).unwrap().to_owned()] {
        refused(&t, &format!("DELETE /v1/sessions/{text}")).await;
    }
    t.check_session_lives(&grant).await;
    assert_eq!(list(&t, "shop", &"x".repeat(512)).await.len(), 0);
}

/// Sends a path as it is and expects a refusal, by a 400 of whoever read it first.
async fn refused(t: &TestGateway, request: &str) {
    let none: [(&str, &str); 0] = [];
    let answer = raw_request(t.control.unwrap(), request, &none).await;
    assert_eq!(status(&answer), 400, "{request}: {answer}");
}

#[tokio::test]
async fn bytes_that_are_no_text_are_refused() {
    let t = TestGateway::start().await;
    for byte in [0x00, 0x01, 0x09, 0x0b, 0x7f, 0x80, 0xff] {
        let mut request = b"DELETE /v1/sessions/abc".to_vec();
        request.push(byte);
        request.extend_from_slice(b" HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
        let answer = menshen_test_support::raw(t.control.unwrap(), &request).await;
        assert_eq!(status(&answer), 400, "{byte}: {answer}");
    }
}
