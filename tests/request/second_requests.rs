//! What follows a body that was not read to its end is never taken for a request.

use menshen_test_support::{ByHand, TestGateway, Wire};

/// Bodies in chunks that break off where no chunk can begin or end.
const BROKEN: [&str; 6] = [
    "zz\r\n",
    "zz\r\nGE",
    "5\r\nhelloX",
    "5\r\nhello\r\nzz\r\n",
    "0\r\nX",
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

/// Bodies that lenient parsers take for chunks.
const LENIENT: [&str; 14] = [
    "5;\nxx\r\nhello\r\n0\r\n\r\n",
    "5;a\nxx\r\nhello\r\n0\r\n\r\n",
    "5;a\0\r\nhello\r\n0\r\n\r\n",
    "5;\r\nhello\r\n0\r\n\r\n",
    "5 \r\nhello\r\n0\r\n\r\n",
    "\r\nhello\r\n0\r\n\r\n",
    "\r\n\r\n",
    ";a\r\nhello\r\n0\r\n\r\n",
    "5\r\nhello\r\n\r\n\r\n",
    "5\r\nhello\r\n0\r\nGET /smug2 HTTP/1.1\r\n\r\n",
    "5\r\nhello\r\n0\r\nX: y\r\n z\r\n\r\n",
    "5\r\nhello\r\n0\r\nX: y\0\r\n\r\n",
    "5\r\nhello\r\n0\r\nX : y\r\n\r\n",
    "5\r\nhello\r\n0\r\nX: y\nZ: z\r\n\r\n",
];

#[tokio::test]
async fn chunks_are_read_strictly_wherever_the_reads_are_cut() {
    let t = TestGateway::start().await;
    for path in ["/public", "/_auth/login"] {
        for body in LENIENT {
            // At once, behind the head, and in the middle.
            for cut in [0, 1, body.len() / 2, body.len() - 1] {
                let mut wire = Wire::connect(t.address).await;
                let (start, rest) = body.split_at(cut);
                if cut == 0 {
                    wire.send(format!("{}{body}", head(path))).await;
                } else {
                    let expects = "Expect: 100-continue\r\nTransfer";
                    wire.send(head(path).replace("Transfer", expects)).await;
                    if path != "/public" {
                        wire.read_to("100 Continue\r\n\r\n").await;
                    }
                    wire.send(start).await;
                    wire.send(rest).await;
                }
                let answer = wire.rest().await;
                let shown = format!("{path} {body:?} {cut}: {answer}");
                assert!(answer.starts_with("HTTP/1.1 400 "), "{shown}");
                assert!(answer.contains("{\"error\":\"bad_request\","), "{shown}");
                assert!(answer.contains("\r\nConnection: close\r\n"), "{shown}");
                assert_eq!(answer.matches("HTTP/1.1 ").count(), 1, "{shown}");
            }
        }
    }
    assert_eq!(t.upstream.requests(), 0);
}

#[tokio::test]
async fn chunks_are_framed_anew_for_the_backend() {
    let backend = ByHand::start().await;
    let upstream = format!(
        "[[upstream]]\nname = \"hand\"\nservers = [\"{}\"]\n",
        backend.address
    );
    let routes = "[[route]]\nupstream = \"hand\"\nauth = \"public\"\n";
    let builder = TestGateway::builder().upstreams(&upstream);
    let t = builder.routes(routes).start().await;
    let mut client = Wire::connect(t.address).await;
    let body = "0005;a=\"b\"\r\nhello\r\n000;c\r\nX-Trailer: y\r\n\r\n";
    client.send(format!("{}{body}", head("/x"))).await;
    let mut server = backend.accept().await;
    let head = server.read_to("\r\n\r\n").await;
    assert!(
        head.to_lowercase()
            .contains("\r\ntransfer-encoding: chunked\r\n"),
        "{head}"
    );
    let body = server.read_to("y\r\n\r\n").await;
    assert_eq!(body, "5\r\nhello\r\n0\r\nx-trailer: y\r\n\r\n");
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
