//! Several requests on one connection: each is decided on its own, and nothing is a request that was not sent as one.

use menshen_test_support::{Reply, TestGateway, Wire};

const PUBLIC: &str = "GET /public HTTP/1.1\r\nHost: h\r\n\r\n";
const PRIVATE: &str = "GET /private HTTP/1.1\r\nHost: h\r\n\r\n";
/// A request that hides in a body of 48 bytes.
const HIDDEN: &str = "GET /public/hidden HTTP/1.1\r\nHost: h\r\nX: aaa\r\n\r\n";

/// The statuses of the answers in what came back on a connection.
fn statuses(answers: &str) -> Vec<&str> {
    let parts = answers.split("HTTP/1.1 ").skip(1);
    parts.filter_map(|part| part.get(..3)).collect()
}

/// The targets that reached the backend.
fn targets(t: &TestGateway) -> Vec<String> {
    t.upstream
        .received()
        .into_iter()
        .map(|r| r.target)
        .collect()
}

/// A request with a token.
fn as_user(target: &str, token: &str) -> String {
    format!("GET {target} HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer {token}\r\n\r\n")
}

/// Asks once more for something, on the connection to the backend that the gateway kept: whatever was left on it
/// would be read first.
async fn flush(t: &TestGateway) {
    assert_eq!(Reply::of(t.get("/public/flush")).await.status, 200);
}

#[tokio::test]
async fn requests_that_follow_each_other_on_a_connection_keep_their_own_users() {
    let t = TestGateway::start().await;
    let (alice, bob) = (t.log_in("alice").await, t.log_in("bob").await);
    let mut wire = Wire::connect(t.address).await;
    let mut seen = Vec::new();
    for request in [
        as_user("/", &alice.token),
        as_user("/", &bob.token),
        PUBLIC.to_owned(),
        as_user("/", &alice.token),
    ] {
        wire.send(request).await;
        assert!(wire.message().await.starts_with("HTTP/1.1 200"));
        seen.push(t.upstream.last().only("x-wx-openid").map(str::to_owned));
    }
    assert_ne!(seen[0], seen[1]);
    assert!(seen[0].is_some() && seen[1].is_some());
    assert_eq!((&seen[2], &seen[3]), (&None, &seen[0]));
}

#[tokio::test]
async fn a_refusal_leaves_the_connection_usable() {
    let t = TestGateway::start().await;
    let mut wire = Wire::connect(t.address).await;
    for (request, status) in [(PRIVATE, "401"), (PUBLIC, "200"), (PRIVATE, "401")] {
        wire.send(request).await;
        assert_eq!(statuses(&wire.message().await), [status]);
    }
}

#[tokio::test]
async fn pipelined_requests_are_decided_one_by_one_or_not_answered() {
    let t = TestGateway::start().await;
    let last = PUBLIC.replace("\r\n\r\n", "\r\nConnection: close\r\n\r\n");
    for (requests, decided) in [
        ([PUBLIC, PRIVATE, &last], ["200", "401", "200"]),
        ([PRIVATE, PUBLIC, &last], ["401", "200", "200"]),
        ([PRIVATE, PRIVATE, &last], ["401", "401", "200"]),
    ] {
        let mut wire = Wire::connect(t.address).await;
        wire.send(requests.concat()).await;
        let answers = wire.rest().await;
        let statuses = statuses(&answers);
        assert!(!statuses.is_empty(), "the first should be answered");
        assert!(decided.starts_with(&statuses), "{answers}");
    }
    flush(&t).await;
    assert!(targets(&t).iter().all(|target| target != "/private"));
}

#[tokio::test]
async fn pipelined_requests_of_two_users_are_not_mixed_up() {
    let t = TestGateway::start().await;
    let (alice, bob) = (t.log_in("alice").await, t.log_in("bob").await);
    t.get_as("/who", &bob.token).await;
    let bobs = t.upstream.last();
    let mut wire = Wire::connect(t.address).await;
    wire.send(as_user("/alice", &alice.token) + &as_user("/bob", &bob.token))
        .await;
    wire.message().await;
    t.get_as("/flush", &bob.token).await;
    for received in t.upstream.received() {
        let is_bob = received.only("x-wx-openid") == bobs.only("x-wx-openid");
        assert_eq!(is_bob, received.target != "/alice", "{}", received.head);
    }
}

/// Sends `head`, and `body` at once or later, then a request; asserts that the first is refused and that
/// nothing else is taken for a request.
async fn body_is_never_a_request(t: &TestGateway, head: &str, body: &str, status: &str) {
    for at_once in [true, false] {
        let mut wire = Wire::connect(t.address).await;
        if at_once {
            wire.send(format!("{head}{body}")).await;
            wire.send(PRIVATE).await;
        } else {
            wire.send(head).await;
            let answer = wire.message().await;
            assert_eq!(statuses(&answer), [status], "{head}");
            let _ = wire.send(body).await && wire.send(PRIVATE).await;
        }
        let answers = wire.rest().await;
        let expected: &[&str] = if at_once { &[status] } else { &[] };
        assert!(
            statuses(&answers) == expected || statuses(&answers) == [expected, &["401"]].concat(),
            "{head} {answers}"
        );
    }
    flush(t).await;
    assert!(targets(t).iter().all(|target| target == "/public/flush"));
}

#[tokio::test]
async fn the_body_of_a_refused_request_is_never_the_next_request() {
    let t = TestGateway::start().await;
    assert_eq!(HIDDEN.len(), 0x30);
    let chunked = format!("30\r\n{HIDDEN}\r\n0\r\n\r\n");
    for first in [
        "POST /private",
        "GET /private",
        "PUT /public/../x",
        "POST /_auth/nothing",
        "TRACE /public",
    ] {
        let head = format!("{first} HTTP/1.1\r\nHost: h\r\n");
        let status = match first {
            "PUT /public/../x" => "400",
            "POST /_auth/nothing" => "404",
            "TRACE /public" => "405",
            _ => "401",
        };
        let length = format!("{head}Content-Length: 48\r\n\r\n");
        body_is_never_a_request(&t, &length, HIDDEN, status).await;
        let chunks = format!("{head}Transfer-Encoding: chunked\r\n\r\n");
        body_is_never_a_request(&t, &chunks, &chunked, status).await;
    }
}

#[tokio::test]
async fn the_body_of_a_request_that_we_answer_ourselves_is_never_the_next_request() {
    let t = TestGateway::start().await;
    let head = "GET /_auth/session HTTP/1.1\r\nHost: h\r\nContent-Length: 48\r\n\r\n";
    body_is_never_a_request(&t, head, HIDDEN, "200").await;
    let head = "POST /_auth/refresh HTTP/1.1\r\nHost: h\r\nContent-Length: 100000\r\n\r\n";
    body_is_never_a_request(&t, head, HIDDEN, "413").await;
}

#[tokio::test]
async fn bytes_behind_a_refused_upgrade_are_not_a_request() {
    let t = TestGateway::start().await;
    for upgrade in [
        "Upgrade: x\r\nConnection: upgrade",
        "Upgrade: h2c\r\nConnection: Upgrade, HTTP2-Settings\r\nHTTP2-Settings: AAMAAABkAAQAAP__",
        "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13",
    ] {
        let before = t.upstream.requests();
        let head = format!("GET /public/up HTTP/1.1\r\nHost: h\r\n{upgrade}\r\n\r\n");
        let mut wire = Wire::connect(t.address).await;
        wire.send(format!("{head}{PRIVATE}")).await;
        wire.send(PRIVATE).await;
        let answers = wire.rest().await;
        let decided = statuses(&answers).into_iter().skip(1).all(|s| s == "401");
        assert!(decided, "{upgrade}: {answers}");
        flush(&t).await;
        let arrived = targets(&t).split_off(before);
        let (up, rest) = arrived.split_at(arrived.len() - 1);
        assert_eq!(rest, ["/public/flush"]);
        assert!(up.iter().all(|target| target == "/public/up"), "{up:?}");
    }
}

#[tokio::test]
async fn bytes_behind_a_refused_upgrade_that_come_later_are_not_a_request() {
    let t = TestGateway::start().await;
    let mut wire = Wire::connect(t.address).await;
    wire.send(
        "GET /public/up HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n",
    )
    .await;
    assert!(wire.message().await.starts_with("HTTP/1.1 200"));
    wire.send(PRIVATE).await;
    let last = PUBLIC.replace("\r\n\r\n", "\r\nConnection: close\r\n\r\n");
    wire.send(last).await;
    let answers = wire.rest().await;
    assert!(["401", "200"].starts_with(&statuses(&answers)), "{answers}");
    assert!(targets(&t).iter().all(|target| target != "/private"));
}

#[tokio::test]
async fn a_client_that_still_uploads_reads_its_refusal() {
    let t = TestGateway::builder()
        .section("server", "max_body = \"1KiB\"")
        .start()
        .await;
    let body = vec![b'a'; 8 << 20];
    for (path, status) in [("/private", 401), ("/public", 413), ("/_auth/login", 413)] {
        let head = format!(
            "POST {path} HTTP/1.1\r\nHost: h\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        let mut wire = Wire::connect(t.address).await;
        wire.send(head).await;
        // Some clients read nothing before everything is written.
        assert!(wire.send(&body).await, "{path}: the gateway should read on");
        let answer = wire.message().await;
        assert_eq!(statuses(&answer), [status.to_string()], "{path}");
    }
}
