//! What a client does, or leaves undone, takes no server away from the others.

use bytes::Bytes;
use menshen_test_support::{Reply, TestGateway, Upstream, Wire, status};
use tokio::net::TcpStream;

/// Two servers, either of which the first failure takes out for good.
async fn gateway(max_fails: u32, timeouts: &str) -> (TestGateway, Upstream, Upstream) {
    let (a, b) = (Upstream::start().await, Upstream::start().await);
    let upstream = format!(
        "[[upstream]]\nname = \"pair\"\nservers = [\"{}\", \"{}\"]\n\
         max_fails = {max_fails}\nfail_timeout = \"1h\"\nread_timeout = \"100ms\"\n",
        a.address, b.address
    );
    let t = TestGateway::builder()
        .section("server", timeouts)
        .upstreams(&upstream)
        .routes("[[route]]\nupstream = \"pair\"\nauth = \"public\"\n")
        .start()
        .await;
    (t, a, b)
}

/// Asserts that the servers take turns.
async fn both_are_asked(t: &TestGateway, a: &Upstream, b: &Upstream) {
    let before = (a.requests(), b.requests());
    for _ in 0..6 {
        assert_eq!(Reply::of(t.get("/x")).await.status, 200);
    }
    let after = (a.requests() - before.0, b.requests() - before.1);
    assert_eq!(after, (3, 3));
}

#[tokio::test]
async fn half_a_body_over_http_1_is_the_clients_fault() {
    for timeouts in ["client_timeout = \"100ms\"", "client_timeout = \"10s\""] {
        let (t, a, b) = gateway(1, timeouts).await;
        for framing in [
            "Content-Length: 10\r\n\r\n1",
            "Transfer-Encoding: chunked\r\n\r\n5\r\n1",
        ] {
            let mut wire = Wire::connect(t.address).await;
            wire.send(format!("POST /x HTTP/1.1\r\nHost: h\r\n{framing}"))
                .await;
            let answer = wire.rest().await;
            assert_eq!(status(&answer), 408, "{timeouts}: {answer}");
            assert!(answer.contains("\"error\":\"request_timeout\""), "{answer}");
            both_are_asked(&t, &a, &b).await;
        }
    }
}

#[tokio::test]
async fn half_a_body_over_http_2_is_the_clients_fault() {
    let (t, a, b) = gateway(1, "client_timeout = \"10s\"").await;
    let stream = TcpStream::connect(t.address).await.unwrap();
    let (requests, connection) = h2::client::handshake(stream).await.unwrap();
    tokio::spawn(connection);
    let request = http::Request::post("http://h/x").header("content-length", 10);
    let mut ready = requests.ready().await.unwrap();
    let (answer, mut body) = ready
        .send_request(request.body(()).unwrap(), false)
        .unwrap();
    body.send_data(Bytes::from_static(b"1"), false).unwrap();
    assert_eq!(answer.await.unwrap().status(), 408);
    both_are_asked(&t, &a, &b).await;
}

#[tokio::test]
async fn a_url_that_no_server_answers_takes_none_out_for_the_one_who_asks_for_it() {
    let (t, a, b) = gateway(2, "trusted_proxies = [\"127.0.0.0/8\"]").await;
    for (path, status) in [("/close", 502), ("/hang", 504)] {
        for _ in 0..8 {
            let request = t.get(path).header("X-Forwarded-For", "192.0.2.1");
            assert_eq!(Reply::of(request).await.status, status);
        }
        let request = t.get("/x").header("X-Forwarded-For", "192.0.2.1");
        assert_eq!(Reply::of(request).await.status, 200);
    }
    both_are_asked(&t, &a, &b).await;
}
