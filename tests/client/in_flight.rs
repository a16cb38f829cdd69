//! What the exchanges of one address hold together is bounded, over however many connections they come.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use h2::client::{Builder, ResponseFuture, SendRequest};
use http::Request;
use menshen_test_support::{
    PREFACE, Program, Reply, TestGateway, Wire, make_frame, resident_memory, status,
};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, copy, duplex, split};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::mpsc;
use tokio::time::timeout;

const LIMIT: Duration = Duration::from_secs(20);
const GET: &str = "GET /public HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n";

/// Sends a request on a connection of its own, from one of this machine's addresses, and returns the status.
async fn asked(from: &str, to: SocketAddr, request: &str) -> u16 {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(format!("{from}:0").parse().unwrap()).unwrap();
    let mut wire = Wire::of(socket.connect(to).await.unwrap());
    wire.send(request).await;
    status(&wire.rest().await)
}

/// Begins HTTP/2 on a new connection whose streams get nothing until somebody reads them.
async fn http2(address: SocketAddr) -> SendRequest<Bytes> {
    let tcp = TcpStream::connect(address).await.unwrap();
    let mut builder = Builder::new();
    builder.initial_window_size(0);
    let (requests, connection) = builder.handshake(tcp).await.unwrap();
    tokio::spawn(connection);
    requests
}

#[tokio::test]
async fn requests_of_one_address_are_limited_over_all_its_connections() {
    let lines = "max_requests_per_address = 6";
    let t = TestGateway::builder()
        .section("server", lines)
        .start()
        .await;
    let mut upload = Wire::connect(t.address).await;
    upload
        .send("POST /public HTTP/1.1\r\nHost: h\r\nContent-Length: 9\r\n\r\nbegin")
        .await;
    let mut socket = Wire::connect(t.address).await;
    socket
        .send(
            "GET /public/ws HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
        )
        .await;
    assert_eq!(status(&socket.message().await), 101);
    let mut waiting = Wire::connect(t.address).await;
    waiting
        .send("GET /public/hang HTTP/1.1\r\nHost: h\r\n\r\n")
        .await;
    let mut client = http2(t.address).await;
    let mut streams = Vec::new();
    for _ in 0..3 {
        client = client.ready().await.unwrap();
        let request = Request::get("http://h/public/hang").body(()).unwrap();
        streams.push(client.send_request(request, true).unwrap());
    }
    // The upload is not whole, and nobody is told of the head alone.
    t.upstream.arrived(5).await;
    let again = async |expected: u16| {
        while asked("127.0.0.1", t.address, GET).await != expected {}
    };
    timeout(LIMIT, again(429)).await.unwrap();
    for path in ["/public", "/nowhere", "/_auth/jwks.json"] {
        Reply::of(t.get(path))
            .await
            .refused(429, "too_many_requests");
    }
    assert_eq!(asked("127.0.0.2", t.address, GET).await, 200);
    for ends in 0..3 {
        match ends {
            0 => drop(streams.pop()),
            1 => socket = Wire::connect(t.address).await,
            _ => {
                upload.send("rest").await;
                assert_eq!(status(&upload.message().await), 200);
            }
        }
        // One that takes the place while it is asked again.
        timeout(LIMIT, again(200)).await.unwrap();
    }
    drop((waiting, socket));
}

#[tokio::test]
async fn of_those_behind_a_trusted_proxy_each_is_counted_and_the_proxy_is_not() {
    let lines = "trusted_proxies = [\"127.0.0.1\"]\nmax_requests_per_address = 1";
    let t = TestGateway::builder()
        .section("server", lines)
        .start()
        .await;
    let mut held = Vec::new();
    for (number, line) in ["X-Forwarded-For: 192.0.2.1\r\n", "", ""]
        .into_iter()
        .enumerate()
    {
        let mut wire = Wire::connect(t.address).await;
        let head = format!("GET /public/hang HTTP/1.1\r\nHost: h\r\n{line}\r\n");
        wire.send(head).await;
        t.upstream.arrived(number + 1).await;
        held.push(wire);
    }
    for (address, expected) in [
        ("192.0.2.1", 429),
        ("6.6.6.6, 192.0.2.1", 429),
        ("192.0.2.2", 200),
        ("127.0.0.1", 200),
    ] {
        let reply = Reply::of(t.get("/public").header("x-forwarded-for", address)).await;
        assert_eq!(reply.status, expected, "{address}");
    }
}

/// A backend that sends 32 MiB to whoever asks for `/public/large`, answers `/public/tiny`, and else reads the head alone.
async fn backend() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            tokio::spawn(async move {
                let mut wire = Wire::of(stream);
                let head = wire.read_to("\r\n\r\n").await;
                if head.contains("/tiny") {
                    wire.send("HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n")
                        .await;
                } else if head.contains("/large") {
                    wire.send("HTTP/1.1 200 OK\r\nContent-Length: 33554432\r\n\r\n")
                        .await;
                    let (_, mut stream) = wire.into_parts();
                    let _ = stream.write_all(&vec![b'x'; 32 << 20]).await;
                } else {
                    // It reads no body.
                    let _wire = wire;
                    std::future::pending::<()>().await;
                }
            });
        }
    });
    address
}

/// Begins HTTP/2 with windows that let everything through, on a socket that takes little and that nobody reads.
async fn deaf(address: SocketAddr) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    let mut stream = socket.connect(address).await.unwrap();
    let window = (1_u32 << 30).to_be_bytes();
    // SETTINGS_INITIAL_WINDOW_SIZE, and the connection's own window.
    let settings = make_frame(4, 0, 0, &[&[0, 4][..], &window].concat());
    let update = make_frame(8, 0, 0, &window);
    let greeting = [PREFACE, &settings, &update].concat();
    stream.write_all(&greeting).await.unwrap();
    stream
}

// The crate h2 takes a whole response of 60 kB, which counts as in flight until the socket has taken it too.
#[tokio::test]
async fn responses_that_nobody_reads_count_as_in_flight_over_http_2() {
    let (t, _deaf, _) = before_clients_that_do_not_read("3s").await;
    assert_eq!(asked("127.0.0.2", t.address, GET).await, 200);
    // Who takes nothing for `client_timeout` has no place any more.
    let again = async { while asked("127.0.0.1", t.address, GET).await != 200 {} };
    timeout(LIMIT, again).await.unwrap();
}

/// Has two clients ask for as much as they may without reading an answer; returns on how many streams each of them has asked.
async fn before_clients_that_do_not_read(
    client_timeout: &str,
) -> (TestGateway, [TcpStream; 2], u32) {
    const MOST: usize = 30;
    const STREAMS: u32 = 98;
    let lines = format!("max_requests_per_address = {MOST}\nclient_timeout = \"{client_timeout}\"");
    let builder = TestGateway::builder().section("server", &lines);
    let (backend, mut asked_for) = of_60_kb().await;
    let t = builder.start_before(backend, "").await;
    let mut deaf = [deaf(t.address).await, deaf(t.address).await];
    let head = [&[0x82, 0x86, 0x84, 0x41, 1][..], b"h"].concat();
    let mut arrived = 0;
    'all: for stream in 0..STREAMS {
        for client in &mut deaf {
            let request = make_frame(1, 5, 2 * stream + 1, &head);
            client.write_all(&request).await.unwrap();
            let next = timeout(Duration::from_secs(2), asked_for.recv()).await;
            if next.is_err() {
                break 'all;
            }
            arrived += 1;
        }
    }
    assert!(arrived < 2 * STREAMS, "the server is asked for all");
    assert_eq!(asked("127.0.0.1", t.address, GET).await, 429);
    (t, deaf, arrived / 2)
}

/// A server whose answers have 60,000 bytes, and that tells of each request.
async fn of_60_kb() -> (SocketAddr, mpsc::UnboundedReceiver<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (tell, asked_for) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let (mut wire, tell) = (Wire::of(stream), tell.clone());
            tokio::spawn(async move {
                wire.read_to("\r\n\r\n").await;
                let _ = tell.send(());
                let head = "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 60000\r\n\r\n";
                wire.send(format!("{head}{}", "x".repeat(60_000))).await;
            });
        }
    });
    (address, asked_for)
}

#[tokio::test]
async fn what_one_address_holds_is_a_fixed_amount_for_each_request() {
    const MOST: usize = 300;
    const MOST_KIB: u64 = 256;
    let builder =
        TestGateway::builder().section("server", &format!("max_requests_per_address = {MOST}"));
    let simulator = builder.simulator().await;
    let site = builder.site(backend().await, simulator);
    let program = Program::start(site.command(env!("CARGO_BIN_EXE_menshen"), &["serve"]));
    let address = program.find_address().await;
    let tiny = "GET /public/tiny HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n";
    assert_eq!(asked("127.0.0.1", address, tiny).await, 204);
    let before = resident_memory(program.id());
    let mut held = Vec::new();
    let mut answers: Vec<ResponseFuture> = Vec::new();
    for connection in 0..MOST / 50 {
        let mut client = http2(address).await;
        for _ in 0..50 {
            client = client.ready().await.unwrap();
            if connection % 2 == 0 {
                let request = Request::get("http://h/public/large").body(()).unwrap();
                answers.push(client.send_request(request, true).unwrap().0);
            } else {
                let request = Request::post("http://h/public/deaf").body(()).unwrap();
                let (answer, mut body) = client.send_request(request, false).unwrap();
                body.send_data(Bytes::from(vec![b'x'; 1 << 20]), false)
                    .unwrap();
                held.push((answer, body));
            }
        }
    }
    for answer in answers.iter_mut() {
        assert_eq!(timeout(LIMIT, answer).await.unwrap().unwrap().status(), 200);
    }
    let full = async { while asked("127.0.0.1", address, tiny).await != 429 {} };
    timeout(LIMIT, full).await.unwrap();
    assert_eq!(asked("127.0.0.2", address, tiny).await, 204);
    let grown = resident_memory(program.id()).saturating_sub(before) / 1024 / MOST as u64;
    println!("{grown} KiB for each request in flight");
    assert!(grown < MOST_KIB, "{grown} KiB");
}

/// Begins HTTP/2 with windows that let everything through, on a line that carries 8 MB in a second.
async fn on_a_slow_line(address: SocketAddr) -> SendRequest<Bytes> {
    const PART: usize = 16 * 1024;
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(PART as u32).unwrap();
    let (mut from, mut to) = socket.connect(address).await.unwrap().into_split();
    let (near, far) = duplex(PART);
    let (mut sent, mut received) = split(far);
    tokio::spawn(async move { copy(&mut sent, &mut to).await });
    tokio::spawn(async move {
        let mut part = [0; PART];
        while let Ok(read @ 1..) = from.read(&mut part).await {
            received.write_all(part.get(..read).unwrap()).await.unwrap();
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    });
    let mut builder = Builder::new();
    builder.initial_window_size(1 << 30);
    builder.initial_connection_window_size(1 << 30);
    let (requests, connection) = builder.handshake(near).await.unwrap();
    tokio::spawn(connection);
    requests
}

#[tokio::test]
async fn a_response_that_was_sent_is_not_in_flight_while_others_of_its_connection_are() {
    const MOST: usize = 12;
    const AT_ONCE: usize = 5;
    let lines = format!("max_requests_per_address = {MOST}");
    let builder = TestGateway::builder().section("server", &lines);
    let t = builder.start_before(backend().await, "").await;
    let mut client = on_a_slow_line(t.address).await;
    let ask = |mut ready: SendRequest<Bytes>, path: &str| {
        let request = Request::get(format!("http://h{path}")).body(()).unwrap();
        ready.send_request(request, true).unwrap().0
    };
    let mut downloads = Vec::new();
    for _ in 0..2 {
        client = client.ready().await.unwrap();
        let response = ask(client.clone(), "/public/large").await.unwrap();
        downloads.push(response.into_body());
    }
    for turn in 0..4 {
        let mut answers = Vec::new();
        for _ in 0..AT_ONCE {
            client = client.ready().await.unwrap();
            answers.push(ask(client.clone(), "/public/tiny"));
        }
        for answer in answers {
            let answer = timeout(LIMIT, answer).await.unwrap().unwrap();
            assert_eq!(answer.status(), 204, "{turn}");
        }
    }
    // They were under way all the time.
    for mut download in downloads {
        let mut came = 0;
        while let Some(part) = download.data().await {
            came += part.unwrap().len();
        }
        assert_eq!(came, 32 << 20);
    }
}

#[tokio::test]
async fn a_response_whose_stream_is_reset_is_not_in_flight_although_h2_had_taken_it() {
    let (t, mut deaf, streams) = before_clients_that_do_not_read("1h").await;
    for client in &mut deaf {
        for stream in 0..streams {
            let reset = make_frame(3, 0, 2 * stream + 1, &8_u32.to_be_bytes());
            client.write_all(&reset).await.unwrap();
        }
    }
    let again = async { while asked("127.0.0.1", t.address, GET).await != 200 {} };
    timeout(LIMIT, again).await.unwrap();
}

#[tokio::test]
async fn a_response_whose_connection_ends_is_not_in_flight_although_h2_had_taken_it() {
    let (t, deaf, _) = before_clients_that_do_not_read("1h").await;
    drop(deaf);
    let again = async { while asked("127.0.0.1", t.address, GET).await != 200 {} };
    timeout(LIMIT, again).await.unwrap();
}
