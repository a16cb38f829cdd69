//! What follows a body that was not read to its end is never taken for a request.

use menshen_test_support::{TestGateway, Wire};

/// Bodies in chunks that break off where no chunk can begin or end.
const BROKEN: [&str; 5] = [
    "zz\r\n",
    "zz\r\nGE",
    "5\r\nhelloX",
    "5\r\nhello\r\nzz\r\n",
    "ffffffffffffffffff\r\n",
];

/// Own endpoints that read a body, that do not, and that there are not; and routes.
const PATHS: [&str; 7] = [
    "/_auth/login",
    "/_auth/refresh",
    "/_auth/logout",
    "/_auth/jwks.json",
    "/_auth/none",
    "/public",
    "/",
];

fn head(path: &str) -> String {
    format!("POST {path} HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n")
}

#[tokio::test]
async fn nothing_is_read_behind_a_broken_body() {
    let t = TestGateway::start().await;
    for path in PATHS {
        for broken in BROKEN {
            let mut wire = Wire::connect(t.address).await;
            wire.send(format!("{}{broken}", head(path))).await;
            // Some are answered by now, and some are still waited for.
            let next = "T /_auth/smuggled HTTP/1.1\r\nHost: h\r\n\r\n";
            wire.send(format!("\r\n\r\n{next}GE{next}")).await;
            let answers = wire.rest().await;
            assert_eq!(
                answers.matches("HTTP/1.1 ").count(),
                1,
                "{path} {broken:?}: {answers}"
            );
            assert!(
                answers.starts_with("HTTP/1.1 4"),
                "{path} {broken:?}: {answers}"
            );
            assert!(
                answers.contains("\r\nConnection: close\r\n"),
                "{path} {broken:?}: {answers}"
            );
        }
    }
    for received in t.upstream.received() {
        assert_eq!(received.target, "/public");
    }
}

#[tokio::test]
async fn a_connection_goes_on_behind_a_body_that_was_read_whole() {
    let t = TestGateway::start().await;
    for body in ["2\r\n{}\r\n0\r\n\r\n", "2;a=b\r\n{}\r\n0\r\nX: y\r\n\r\n"] {
        let mut wire = Wire::connect(t.address).await;
        for _ in 0..3 {
            wire.send(format!("{}{body}", head("/_auth/login"))).await;
            let answer = wire.message().await;
            assert!(answer.contains("code_missing"), "{answer}");
            assert!(
                answer.contains("\r\nConnection: keep-alive\r\n"),
                "{answer}"
            );
        }
    }
}
