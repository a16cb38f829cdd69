//! How long a server may take: the upstream says, and a route may say otherwise.

use std::time::{Duration, Instant};

use menshen_test_support::{ByHand, Reply, TestGateway, Upstream, Wire};
use tokio::net::TcpSocket;

#[tokio::test]
async fn a_route_has_a_read_timeout_of_its_own_in_either_direction() {
    let slow = Upstream::start().await;
    let upstream = format!(
        "[[upstream]]\nname = \"slow\"\nservers = [\"{}\"]\nread_timeout = \"100ms\"\n",
        slow.address
    );
    let routes = "[[route]]\nupstream = \"slow\"\nauth = \"public\"\n\
        [[route]]\npath = \"/patient\"\nupstream = \"slow\"\nauth = \"public\"\nread_timeout = \"30s\"\n\
        [[route]]\npath = \"/hasty\"\nupstream = \"api\"\nauth = \"public\"\nread_timeout = \"100ms\"\n";
    let builder = TestGateway::builder().upstreams(&upstream);
    let t = builder.routes(routes).start().await;
    for path in ["/hold", "/hasty/hold"] {
        let reply = Reply::of(t.get(path)).await;
        assert_eq!(reply.status, 504, "{path}");
        assert_eq!(reply.json()["error"], "upstream_timeout");
    }
    let patient = tokio::spawn(Reply::of(t.get("/patient/hold")));
    slow.arrived(2).await;
    let hasty = Reply::of(t.get("/hold")).await;
    assert_eq!(
        hasty.status, 504,
        "longer than that, and the other still waits"
    );
    // The first exchange that was given up waits in the backend still, and takes a release as well.
    while !patient.is_finished() {
        slow.release();
        tokio::task::yield_now().await;
    }
    assert_eq!(patient.await.unwrap().status, 200);
}

/// Uploads a part every so often, for longer than the server's `read_timeout`, and returns the client's connection.
async fn upload_slowly(t: &TestGateway) -> Wire {
    let mut client = Wire::connect(t.address).await;
    let head = "POST /x HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n";
    client.send(head).await;
    for _ in 0..30 {
        client.send("4\r\npart\r\n").await;
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    client.send("0\r\n\r\n").await;
    client
}

async fn impatient_with(backend: &ByHand, protocol: &str) -> TestGateway {
    let lines = format!("protocol = \"{protocol}\"\nread_timeout = \"1s\"");
    TestGateway::start_before(backend.address, &lines).await
}

#[tokio::test]
async fn an_upload_may_last_for_longer_than_the_read_timeout_while_parts_of_it_come() {
    let backend = ByHand::start().await;
    let t = impatient_with(&backend, "http1").await;
    let (mut client, ()) = tokio::join!(upload_slowly(&t), async {
        let mut wire = backend.accept().await;
        wire.read_to("\r\n0\r\n\r\n").await;
        wire.send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
            .await;
    });
    assert!(client.message().await.starts_with("HTTP/1.1 200"));
}

#[tokio::test]
async fn the_same_holds_for_a_server_of_http_2() {
    let backend = ByHand::start().await;
    let t = impatient_with(&backend, "http2").await;
    let (mut client, read) = tokio::join!(upload_slowly(&t), async {
        let (_, stream) = backend.accept().await.into_parts();
        let mut connection = h2::server::handshake(stream).await.unwrap();
        let (request, mut respond) = connection.accept().await.unwrap().unwrap();
        tokio::spawn(async move { while connection.accept().await.is_some() {} });
        let mut body = request.into_body();
        let mut read = 0;
        while let Some(part) = body.data().await {
            let part = part.unwrap();
            body.flow_control().release_capacity(part.len()).unwrap();
            read += part.len();
        }
        respond
            .send_response(http::Response::new(()), true)
            .unwrap();
        read
    });
    assert_eq!(read, 30 * 4);
    assert!(client.message().await.starts_with("HTTP/1.1 200"));
}

#[tokio::test]
async fn a_route_has_a_connect_timeout_of_its_own() {
    // The queue of those who wait to be accepted is full, so that the system answers nobody.
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let full = socket.listen(0).unwrap();
    let address = full.local_addr().unwrap();
    let mut waiting = Vec::new();
    let limit = Duration::from_millis(200);
    while let Ok(wire) = tokio::time::timeout(limit, Wire::connect(address)).await {
        waiting.push(wire);
    }
    let upstream = format!("[[upstream]]\nname = \"full\"\nservers = [\"{address}\"]\n");
    let routes = "[[route]]\nupstream = \"full\"\nauth = \"public\"\nconnect_timeout = \"50ms\"\n";
    let builder = TestGateway::builder().upstreams(&upstream);
    let t = builder.routes(routes).start().await;
    let start = Instant::now();
    let reply = Reply::of(t.get("/x")).await;
    assert_eq!(reply.json()["error"], "upstream_unreachable");
    assert!(start.elapsed() < Duration::from_secs(4));
}

#[tokio::test]
async fn a_route_has_a_write_timeout_of_its_own() {
    let backend = ByHand::start().await;
    let address = backend.address;
    let upstream = format!("[[upstream]]\nname = \"hand\"\nservers = [\"{address}\"]\n");
    let routes = "[[route]]\nupstream = \"hand\"\nauth = \"public\"\nwrite_timeout = \"100ms\"\n\
        read_timeout = \"100ms\"\n";
    let builder = TestGateway::builder().upstreams(&upstream);
    let t = builder.routes(routes).start().await;
    // More than sockets buffer, which the backend never reads; an early answer is waited for even so.
    let request = t.request("POST", "/x").body(vec![0; 32 << 20]);
    let sending = tokio::spawn(Reply::of(request));
    let _wire = backend.accept().await;
    assert_eq!(sending.await.unwrap().json()["error"], "upstream_timeout");
}
