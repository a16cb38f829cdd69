//! A WebSocket ends with the session that opened it: at its revocation, and at its end, but not at a refresh.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test may panic")]

use std::time::{Duration, Instant};

use futures::StreamExt as _;
use futures::future::join_all;
use menshen_test_support::{Socket, TestGateway, check_socket_lives, open_socket, try_open_socket};
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::{Error, Message};

const HOUR: Duration = Duration::from_secs(60 * 60);
/// How long a socket may outlive its session.
const SOON: Duration = Duration::from_secs(1);
/// Enough for everybody to have been looked at twice.
const A_WHILE: Duration = Duration::from_millis(1200);

async fn open_as_nobody(t: &TestGateway, path: &str) -> Socket {
    try_open_socket(t.address, path, None).await.unwrap()
}

/// Says so over and over, for long enough to be sure.
async fn stays(sockets: &mut [&mut Socket]) {
    let started = Instant::now();
    while started.elapsed() < A_WHILE {
        for socket in sockets.iter_mut() {
            check_socket_lives(socket).await;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Waits for the close frame and the end, neither of which may take long after `since`.
async fn is_closed(socket: &mut Socket, since: Instant) {
    let closed = async {
        let Message::Close(Some(close)) = socket.next().await.unwrap().unwrap() else {
            panic!("there should be a close frame with a reason");
        };
        let told = (close.code, close.reason.as_str());
        assert_eq!(told, (CloseCode::Library(4401), "session ended"));
        // It answers with a close frame of its own, and then reads the end.
        let end = socket.next().await;
        assert!(!matches!(end, Some(Ok(_))), "{end:?}");
    };
    tokio::time::timeout(10 * SOON, closed).await.unwrap();
    let took = since.elapsed();
    assert!(took < SOON, "{took:?}");
}

/// Waits until nothing of closed sockets is kept.
async fn are_left(t: &TestGateway, count: usize) {
    let wait = async {
        while t.sockets.len() != count {
            tokio::task::yield_now().await;
        }
    };
    let waited = tokio::time::timeout(10 * SOON, wait).await;
    assert!(waited.is_ok(), "{} sockets are left", t.sockets.len());
}

#[tokio::test]
async fn a_logout_closes_the_sockets_of_that_session_and_of_no_other() {
    let t = TestGateway::start().await;
    let phone = t.log_in("alice").await;
    let mut closed = [
        open_socket(t.address, &phone.token).await,
        open_socket(t.address, &phone.token).await,
    ];
    let mut other_device = open_socket(t.address, &t.log_in("alice").await.token).await;
    let mut other_user = open_socket(t.address, &t.log_in("bob").await.token).await;
    for socket in &mut closed {
        check_socket_lives(socket).await;
    }
    are_left(&t, 4).await;
    let since = Instant::now();
    t.log_out(&phone.token).await;
    join_all(closed.iter_mut().map(|socket| is_closed(socket, since))).await;
    stays(&mut [&mut other_device, &mut other_user]).await;
    are_left(&t, 2).await;
    drop((other_device, other_user));
    are_left(&t, 0).await;
}

#[tokio::test]
async fn a_logout_everywhere_closes_the_sockets_of_every_session_of_the_user() {
    let t = TestGateway::start().await;
    let phone = t.log_in("alice").await;
    let mut closed = Vec::new();
    for grant in [&phone, &t.log_in("alice").await, &t.log_in("alice").await] {
        closed.push(open_socket(t.address, &grant.token).await);
    }
    let mut other_user = open_socket(t.address, &t.log_in("bob").await.token).await;
    let since = Instant::now();
    t.log_out_everywhere(&phone.token).await;
    join_all(closed.iter_mut().map(|socket| is_closed(socket, since))).await;
    check_socket_lives(&mut other_user).await;
}

#[tokio::test]
async fn the_reuse_of_a_refresh_token_closes_the_sockets_of_its_session() {
    let builder = TestGateway::builder().section("session", "refresh_grace = \"0s\"");
    let t = builder.start().await;
    let grant = t.log_in("alice").await;
    let mut closed = open_socket(t.address, &grant.token).await;
    let mut other = open_socket(t.address, &t.log_in("alice").await.token).await;
    assert_eq!(t.refresh(&grant.refresh_token).await.status, 200);
    check_socket_lives(&mut closed).await;
    t.clock.advance(Duration::from_secs(1));
    let since = Instant::now();
    let reused = t.refresh(&grant.refresh_token).await;
    assert_eq!(reused.refusal(), (401, "refresh_reused".to_owned()));
    is_closed(&mut closed, since).await;
    check_socket_lives(&mut other).await;
}

#[tokio::test]
async fn a_refresh_closes_nothing() {
    let t = TestGateway::start().await;
    let grant = t.log_in("alice").await;
    let mut socket = open_socket(t.address, &grant.token).await;
    let refreshed = t.refreshed(&grant.refresh_token).await;
    let mut newer = open_socket(t.address, &refreshed.token).await;
    stays(&mut [&mut socket, &mut newer]).await;
}

#[tokio::test]
async fn a_socket_outlives_its_token_and_ends_when_its_session_does() {
    let builder = TestGateway::builder().section("session", "ttl = \"6h\"");
    let t = builder.section("token", "ttl = \"1h\"").start().await;
    let grant = t.log_in("alice").await;
    let mut socket = open_socket(t.address, &grant.token).await;
    t.clock.advance(2 * HOUR);
    stays(&mut [&mut socket]).await;
    assert_eq!(t.refresh(&grant.refresh_token).await.status, 200);
    // The session would have ended but for the refresh, which moved its end to the eighth hour.
    t.clock.advance(5 * HOUR);
    stays(&mut [&mut socket]).await;
    t.clock.advance(HOUR);
    is_closed(&mut socket, Instant::now()).await;
    are_left(&t, 0).await;
}

#[tokio::test]
async fn a_socket_of_nobody_belongs_to_no_session() {
    let builder = TestGateway::builder().section("session", "ttl = \"1h\"");
    let t = builder.start().await;
    let grant = t.log_in("alice").await;
    let mut strangers = [
        open_as_nobody(&t, "/public").await,
        open_as_nobody(&t, "/optional").await,
        try_open_socket(t.address, "/public", Some(&grant.token))
            .await
            .unwrap(),
    ];
    let optional = try_open_socket(t.address, "/optional", Some(&grant.token)).await;
    let since = Instant::now();
    t.log_out(&grant.token).await;
    is_closed(&mut optional.unwrap(), since).await;
    t.clock.advance(2 * HOUR);
    let [one, two, three] = &mut strangers;
    stays(&mut [one, two, three]).await;
}

#[tokio::test]
async fn a_socket_that_is_opened_during_the_logout_is_closed_or_refused() {
    let t = TestGateway::start().await;
    for _ in 0..20 {
        let grant = t.log_in("alice").await;
        let opened =
            join_all((0..8).map(|_| try_open_socket(t.address, "/chat", Some(&grant.token))));
        let (opened, ()) = tokio::join!(opened, t.log_out(&grant.token));
        for opened in opened {
            match opened {
                Ok(mut socket) => is_closed(&mut socket, Instant::now()).await,
                Err(Error::Http(refusal)) => assert_eq!(refusal.status(), 401),
                Err(error) => panic!("{error}"),
            }
        }
    }
    are_left(&t, 0).await;
}

#[tokio::test]
async fn sixty_sessions_that_end_at_once_close_sixty_sockets() {
    const SESSIONS: usize = 60;
    let t = TestGateway::start().await;
    let grants = join_all((0..SESSIONS).map(|_| t.log_in("alice"))).await;
    let mut sockets = join_all(
        grants
            .iter()
            .map(|grant| open_socket(t.address, &grant.token)),
    )
    .await;
    let since = Instant::now();
    t.log_out_everywhere(&grants.last().unwrap().token).await;
    join_all(sockets.iter_mut().map(|socket| is_closed(socket, since))).await;
    are_left(&t, 0).await;
}
