//! WebSockets: the handshake needs a token like any request, and what follows passes untouched.

use std::time::{Duration, Instant};

use futures::{SinkExt as _, StreamExt as _};
use menshen_test_support::{ByHand, TestGateway, Wire, raw, status};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::handshake::client::Response;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{WebSocketStream, client_async};

type Socket = WebSocketStream<TcpStream>;

const UPGRADE: &str = "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
                       Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";

/// Opens a WebSocket with these header lines.
async fn open(
    t: &TestGateway,
    path: &str,
    lines: &[(&'static str, &str)],
) -> Result<(Socket, Response), Error> {
    let mut request = format!("ws://{}{path}", t.address).into_client_request()?;
    for (name, value) in lines {
        request.headers_mut().append(*name, value.parse()?);
    }
    client_async(request, TcpStream::connect(t.address).await?).await
}

/// Accepts the handshake, adding these lines to the answer, and returns its head too.
async fn accept(backend: &ByHand, lines: &str) -> (Wire, String) {
    let mut server = backend.accept().await;
    let head = server.read_to("\r\n\r\n").await;
    let key = head.lines().find_map(|line| {
        let (name, value) = line.split_once(": ")?;
        name.eq_ignore_ascii_case("sec-websocket-key")
            .then_some(value)
    });
    let accepted = derive_accept_key(key.unwrap_or_default().as_bytes());
    server
        .send(format!(
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Accept: {accepted}\r\n{lines}\r\n"
        ))
        .await;
    (server, head)
}

#[tokio::test]
async fn messages_go_both_ways() {
    let t = TestGateway::start().await;
    let alice = t.log_in("alice").await;
    let bearer = format!("Bearer {}", alice.token);
    let (mut socket, _) = open(&t, "/chat", &[("authorization", &bearer)])
        .await
        .unwrap();
    for message in [
        Message::text("hello"),
        Message::text(""),
        Message::binary(vec![0, 1, 255]),
        Message::text("你好"),
    ] {
        socket.send(message.clone()).await.unwrap();
        assert_eq!(socket.next().await.unwrap().unwrap(), message);
    }
}

#[tokio::test]
async fn large_messages_arrive_whole() {
    let t = TestGateway::start().await;
    let (mut socket, _) = open(&t, "/public", &[]).await.unwrap();
    let large: Vec<u8> = (0..1_000_000_u32).map(|n| (n % 251) as u8).collect();
    socket.send(Message::binary(large.clone())).await.unwrap();
    let echoed = socket.next().await.unwrap().unwrap();
    assert!(echoed.into_data() == large);
}

#[tokio::test]
async fn the_backend_learns_who_opened_the_socket() {
    let t = TestGateway::start().await;
    let alice = t.log_in("alice").await;
    let bearer = format!("Bearer {}", alice.token);
    let forged = [
        ("authorization", bearer.as_str()),
        ("x-wx-openid", "victim"),
        ("x_wx_unionid", "victim"),
    ];
    let _open = open(&t, "/chat?room=1", &forged).await.unwrap();
    let received = t.upstream.last();
    assert_eq!(received.target, "/chat?room=1");
    let shown = t.get_as("/_auth/session", &alice.token).await.json();
    assert_eq!(received.only("x-wx-openid"), shown["openid"].as_str());
    assert_eq!(received.only("x-wx-source"), Some("wx_client"));
    assert!(!received.head.contains("victim"), "{}", received.head);
    assert!(!received.head.contains(&alice.token), "{}", received.head);
    assert_eq!(received.only("connection"), Some("Upgrade"));
    assert_eq!(received.only("upgrade"), Some("websocket"));
}

#[tokio::test]
async fn a_handshake_without_a_token_is_refused() {
    let t = TestGateway::start().await;
    for upgrade in [
        UPGRADE,
        "Upgrade: websocket\r\nConnection: Upgrade\r\n",
        "Upgrade: x\r\nConnection: Upgrade\r\n",
        "Upgrade: x\r\n",
        "Upgrade: h2c\r\nConnection: Upgrade, HTTP2-Settings\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n",
        "Connection: Upgrade\r\n",
    ] {
        for token in ["", "Authorization: Bearer nonsense\r\n"] {
            let request = format!("GET /chat HTTP/1.1\r\nHost: h\r\n{upgrade}{token}\r\n");
            let mut client = Wire::connect(t.address).await;
            client.send(request).await;
            let answer = client.message().await;
            assert_eq!(status(&answer), 401, "{upgrade}{answer}");
            let error = if token.is_empty() {
                "missing"
            } else {
                "invalid"
            };
            let expected = format!("\"error\":\"token_{error}\"");
            assert!(answer.contains(&expected), "{answer}");
        }
    }
    assert_eq!(t.upstream.requests(), 0);
}

#[tokio::test]
async fn an_upgrade_to_something_else_is_not_passed_on() {
    let t = TestGateway::start().await;
    for upgrade in ["x", "h2c", "websocket, h2c", "TLS/1.0"] {
        let request = format!(
            "GET /public HTTP/1.1\r\nHost: h\r\nUpgrade: {upgrade}\r\nConnection: Upgrade, close\r\n\r\n"
        );
        raw(t.address, request.as_bytes()).await;
        let received = t.upstream.last();
        assert!(received.all("upgrade").is_empty(), "{}", received.head);
        assert!(received.all("connection").is_empty(), "{}", received.head);
    }
}

#[tokio::test]
async fn only_a_whole_handshake_opens_a_tunnel() {
    let t = TestGateway::start().await;
    let grant = t.log_in("alice").await;
    let key = "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
    for (first, lines) in [
        ("GET /public HTTP/1.1", "Upgrade: websocket\r\n"),
        (
            "GET /public HTTP/1.1",
            "Upgrade: websocket\r\nConnection: close\r\n",
        ),
        (
            "GET /public HTTP/1.1",
            "Upgrade: websocket\r\nUpgrade: x\r\nConnection: upgrade\r\n",
        ),
        (
            "POST /public HTTP/1.1",
            "Upgrade: websocket\r\nConnection: upgrade\r\n",
        ),
        (
            "GET /public HTTP/1.0",
            "Upgrade: websocket\r\nConnection: upgrade\r\n",
        ),
    ] {
        let mut client = Wire::connect(t.address).await;
        client
            .send(format!("{first}\r\nHost: h\r\n{lines}{key}\r\n"))
            .await;
        let answer = client.read_to("\r\n\r\n").await;
        assert_eq!(answer.get(9..12), Some("200"), "{first} {lines}: {answer}");
        let received = t.upstream.last();
        assert!(received.all("upgrade").is_empty(), "{}", received.head);
        assert!(received.all("connection").is_empty(), "{}", received.head);
        // Nor is a token among the sub-protocols one there.
        let token = format!("Sec-WebSocket-Protocol: menshen.bearer.{}\r\n", grant.token);
        let private = first.replace("/public", "/private");
        let mut client = Wire::connect(t.address).await;
        client
            .send(format!("{private}\r\nHost: h\r\n{lines}{key}{token}\r\n"))
            .await;
        let answer = client.read_to("\r\n\r\n").await;
        assert_eq!(answer.get(9..12), Some("401"), "{first} {lines}: {answer}");
    }
}

#[tokio::test]
async fn the_chosen_sub_protocol_passes_in_both_directions() {
    let backend = ByHand::start().await;
    let t = TestGateway::start_before(backend.address, "").await;
    let offer = [("sec-websocket-protocol", "chat, superchat")];
    let (opened, (_server, head)) = tokio::join!(
        open(&t, "/", &offer),
        accept(&backend, "Sec-WebSocket-Protocol: superchat\r\n")
    );
    let (_, response) = opened.unwrap();
    assert_eq!(response.headers()["sec-websocket-protocol"], "superchat");
    let head = head.to_lowercase();
    assert!(
        head.contains("sec-websocket-protocol: chat, superchat\r\n"),
        "{head}"
    );
}

#[tokio::test]
async fn an_empty_sub_protocol_of_the_servers_is_no_choice() {
    let backend = ByHand::start().await;
    let t = TestGateway::start_before(backend.address, "").await;
    let ours = format!("menshen.bearer.{}", t.log_in("alice").await.token);
    // The client of these tests fails where none of what it offered is named.
    for offered in [None, Some(&*ours)] {
        let offer = offered.map(|name| ("sec-websocket-protocol", name));
        let (opened, (_server, _)) = tokio::join!(
            open(&t, "/", offer.as_slice()),
            accept(&backend, "Sec-WebSocket-Protocol: \r\n")
        );
        let (_, response) = opened.unwrap();
        let named = response.headers().get_all("sec-websocket-protocol");
        assert!(named.iter().eq(offered.iter()), "{offered:?}");
    }
}

#[tokio::test]
async fn pings_are_answered_by_the_other_end_and_not_by_the_gateway() {
    let t = TestGateway::start().await;
    let (mut socket, _) = open(&t, "/public", &[]).await.unwrap();
    socket
        .send(Message::Ping("are you there?".into()))
        .await
        .unwrap();
    // This backend also echoes the ping.
    let answers = [socket.next().await, socket.next().await];
    let pong = Message::Pong("are you there?".into());
    assert!(
        answers
            .into_iter()
            .flatten()
            .flatten()
            .any(|answer| answer == pong)
    );

    let backend = ByHand::start().await;
    let t = TestGateway::start_before(backend.address, "").await;
    let (opened, (mut server, _)) = tokio::join!(open(&t, "/", &[]), accept(&backend, ""));
    let (mut socket, _) = opened.unwrap();
    server.send(b"\x89\x02hi").await;
    assert_eq!(
        socket.next().await.unwrap().unwrap(),
        Message::Ping("hi".into())
    );
    socket.flush().await.unwrap();
    drop(socket);
    // A pong of two bytes, with a mask.
    let pong = server.rest().await;
    assert!(pong.len() >= 6, "{pong:?}");
}

#[tokio::test]
async fn a_close_of_the_backend_reaches_the_client() {
    let backend = ByHand::start().await;
    let t = TestGateway::start_before(backend.address, "").await;
    let (opened, (mut server, _)) = tokio::join!(open(&t, "/", &[]), accept(&backend, ""));
    let (mut socket, _) = opened.unwrap();
    server.send(b"\x88\x05\x0f\xa1bye").await;
    let Message::Close(Some(close)) = socket.next().await.unwrap().unwrap() else {
        panic!("there should be a close frame with a reason");
    };
    assert_eq!(
        (close.code, close.reason.as_str()),
        (CloseCode::Library(4001), "bye")
    );
    // The client's library has a close frame of its own ready by now.
    let _ = socket.flush().await;
    drop(socket);
    let answer = server.rest().await;
    assert!(answer.len() >= 6, "{answer:?}");
}

#[tokio::test]
async fn a_close_of_the_client_reaches_the_backend() {
    let backend = ByHand::start().await;
    let t = TestGateway::start_before(backend.address, "").await;
    let (opened, (mut server, _)) = tokio::join!(open(&t, "/", &[]), accept(&backend, ""));
    let (mut socket, _) = opened.unwrap();
    socket.close(None).await.unwrap();
    server.send(b"\x88\x02\x03\xe8").await;
    assert!(socket.next().await.unwrap().unwrap().is_close());
    drop(socket);
    let frame = server.rest().await;
    assert!(frame.len() >= 6, "{frame:?}");
}

#[tokio::test]
async fn an_end_that_is_gone_takes_the_other_with_it() {
    let backend = ByHand::start().await;
    let t = TestGateway::start_before(backend.address, "").await;
    let (opened, (mut server, _)) = tokio::join!(open(&t, "/", &[]), accept(&backend, ""));
    drop(opened.unwrap());
    assert_eq!(server.rest().await, "");

    let (opened, (server, _)) = tokio::join!(open(&t, "/", &[]), accept(&backend, ""));
    let (mut socket, _) = opened.unwrap();
    drop(server);
    let end = tokio::time::timeout(Duration::from_secs(10), socket.next()).await;
    assert!(!matches!(end, Ok(Some(Ok(_))) | Err(_)), "{end:?}");
}

#[tokio::test]
async fn a_socket_on_which_only_the_backend_speaks_stays_open() {
    let backend = ByHand::start().await;
    let t = TestGateway::configure_server("client_timeout = \"600ms\"")
        .start_before(backend.address, "")
        .await;
    let (opened, (mut server, _)) = tokio::join!(open(&t, "/", &[]), accept(&backend, ""));
    let (mut socket, _) = opened.unwrap();
    for _ in 0..10 {
        tokio::time::sleep(Duration::from_millis(100)).await;
        server.send(b"\x81\x04tick").await;
        let tick = socket.next().await.unwrap();
        assert_eq!(tick.unwrap(), Message::text("tick"));
    }
}

#[tokio::test]
async fn a_quiet_socket_stays_open_for_as_long_as_its_route_says() {
    let t = TestGateway::builder().section("server", "client_timeout = \"200ms\"");
    let route = "[[route]]\npath = \"/\"\nupstream = \"api\"\nauth = \"public\"\n";
    let t = t.routes(&format!("{route}read_timeout = \"1500ms\"\n"));
    let t = t.start().await;
    let (mut socket, _) = open(&t, "/", &[]).await.unwrap();
    let since = Instant::now();
    let end = tokio::time::timeout(Duration::from_secs(10), socket.next()).await;
    assert!(!matches!(end, Ok(Some(Ok(_))) | Err(_)), "{end:?}");
    assert!(since.elapsed() > Duration::from_secs(1));
}

#[tokio::test]
async fn a_token_in_the_sub_protocols_opens_a_socket_and_goes_no_further() {
    let t = TestGateway::start().await;
    let grant = t.log_in("alice").await;
    let ours = format!("menshen.bearer.{}", grant.token);
    for (asked, passed) in [
        (format!("chat, {ours}, v2"), Some("chat, v2")),
        (ours.clone(), None),
        (format!("\"{ours}\""), None),
    ] {
        let request = format!(
            "GET /ws HTTP/1.1\r\nHost: h\r\n{UPGRADE}Sec-WebSocket-Protocol: {asked}\r\n\r\n"
        );
        let mut wire = Wire::connect(t.address).await;
        wire.send(request).await;
        let head = wire.read_to("\r\n\r\n").await;
        assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
        // The backend chose none, and strict clients fail where none of what they offered is named.
        let chosen = format!(
            "\r\nSec-Websocket-Protocol: {}\r\n",
            asked.split(", ").find(|name| name.contains(&ours)).unwrap()
        );
        assert!(head.contains(&chosen), "{head}");
        let received = t.upstream.last();
        assert_eq!(received.only("sec-websocket-protocol"), passed);
        assert!(!received.head.contains(&grant.token));
        assert!(received.only("x-wx-openid").is_some());
    }
}

#[tokio::test]
async fn a_token_in_the_sub_protocols_counts_on_a_handshake_only_and_beside_no_other() {
    let t = TestGateway::start().await;
    let grant = t.log_in("alice").await;
    let ours = format!("Sec-WebSocket-Protocol: menshen.bearer.{}\r\n", grant.token);
    let bearer = format!("Authorization: Bearer {}\r\n", grant.token);
    for (lines, refusal) in [
        (ours.clone(), "401"),
        (format!("{UPGRADE}{ours}{bearer}"), "400"),
        (format!("{UPGRADE}{ours}{ours}"), "400"),
        (
            format!("{UPGRADE}Sec-WebSocket-Protocol: menshen.bearer.x\r\n"),
            "401",
        ),
    ] {
        let request = format!("GET /ws HTTP/1.1\r\nHost: h\r\n{lines}\r\n");
        let mut wire = Wire::connect(t.address).await;
        wire.send(request).await;
        let head = wire.read_to("\r\n\r\n").await;
        assert!(
            head.starts_with(&format!("HTTP/1.1 {refusal} ")),
            "{lines}: {head}"
        );
    }
    assert_eq!(t.upstream.requests(), 0);
}
