//! Floods of HTTP/2 frames cost the sender its connection, and nobody else anything.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::time::Duration;

use h2::Reason;
use h2::client::handshake;
use http::Request;
use menshen_test_support::{PREFACE, Reply, SETTINGS, TestGateway, make_frame, resident_memory};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

const LIMIT: Duration = Duration::from_secs(20);
const PING: &[u8] = &[0, 0, 8, 6, 0, 0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8];

/// Returns the memory that this process holds, in KiB.
fn resident_kib() -> u64 {
    resident_memory(std::process::id()) / 1024
}

/// A request of `GET http://h/public` in HPACK, without the dynamic table.
fn get_public() -> Vec<u8> {
    let mut block = vec![0x82, 0x86, 0x04, 7];
    block.extend(b"/public");
    block.extend([0x01, 1, b'h']);
    block
}

/// One long header goes into the table, and 12,000 bytes name it 12,000 times: 48 MB.
fn bomb() -> Vec<u8> {
    let mut block = get_public();
    block.extend([0x40, 1, b'x', 0x7f]);
    // 4000 = 127 + 3873 as an HPACK integer with a prefix of seven bits.
    block.extend([0xa1, 0x1e]);
    block.extend(vec![b'v'; 4000]);
    block.extend(vec![0xbe; 12_000]);
    block.truncate(16_000);
    make_frame(1, 5, 1, &block)
}

/// Sends frames until the other side closes or `most` bytes are sent without an end; how many were sent.
async fn flood(
    stream: &mut TcpStream,
    most: usize,
    mut part: impl FnMut() -> Vec<u8>,
) -> (usize, bool) {
    let (mut reader, mut writer) = stream.split();
    let mut sent = 0;
    let reading = async {
        let mut answer = vec![0; 64 * 1024];
        while let Ok(1..) = reader.read(&mut answer).await {}
    };
    let writing = async {
        while sent < most {
            let bytes = part();
            if writer.write_all(&bytes).await.is_err() {
                return;
            }
            sent += bytes.len();
        }
        std::future::pending::<()>().await;
    };
    let ended = tokio::time::timeout(LIMIT, async {
        tokio::select! {
            () = reading => {}
            () = writing => {}
        }
    });
    let ended = ended.await.is_ok();
    (sent, ended)
}

/// Connects, and says what begins a connection of HTTP/2.
async fn begun(t: &TestGateway) -> TcpStream {
    let mut stream = TcpStream::connect(t.address).await.unwrap();
    let begin = [PREFACE, SETTINGS].concat();
    stream.write_all(&begin).await.unwrap();
    stream
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rapid_reset_ends_its_connection() {
    let t = TestGateway::start().await;
    let before = resident_kib();
    let mut stream = begun(&t).await;
    let mut id = 1;
    let cancel = 8_u32.to_be_bytes();
    let (sent, ended) = flood(&mut stream, 100 << 20, || {
        let mut bytes = Vec::new();
        for _ in 0..50 {
            bytes.extend(make_frame(1, 5, id, &get_public()));
            bytes.extend(make_frame(3, 0, id, &cancel));
            id += 2;
        }
        bytes
    })
    .await;
    assert!(ended, "{sent}");
    assert!(t.upstream.requests() < 1_000, "{}", t.upstream.requests());
    let grown = resident_kib().saturating_sub(before);
    assert!(grown < 64 * 1024, "{grown} KiB");
    assert_eq!(Reply::of(t.get("/public")).await.status, 200);
}

#[tokio::test]
async fn requests_that_are_given_up_one_by_one_end_their_connection_too() {
    let t = TestGateway::start().await;
    let stream = TcpStream::connect(t.address).await.unwrap();
    let (mut requests, connection) = handshake(stream).await.unwrap();
    let mut driver = tokio::spawn(connection);
    let mut given_up = 0;
    // Each of them reaches the backend before it is reset, which the protocol's own counters do not see.
    while let Ok(mut ready) = requests.ready().await {
        let request = Request::get("http://h/public/hang").body(()).unwrap();
        let Ok((response, mut stream)) = ready.send_request(request, true) else {
            break;
        };
        tokio::select! {
            _ = &mut driver => break,
            () = t.upstream.arrived(given_up + 1) => given_up += 1,
        }
        stream.send_reset(Reason::CANCEL);
        drop(response);
        requests = ready;
        assert!(given_up < 1_000, "it should have been ended");
    }
    assert!(given_up > 100, "{given_up}");
}

#[tokio::test]
async fn a_client_that_gives_up_some_of_its_requests_keeps_its_connection() {
    let t = TestGateway::start().await;
    let stream = TcpStream::connect(t.address).await.unwrap();
    let (mut requests, connection) = handshake(stream).await.unwrap();
    tokio::spawn(connection);
    for n in 0..90 {
        let mut ready = requests.ready().await.unwrap();
        let request = Request::get("http://h/public/hang").body(()).unwrap();
        let (response, mut stream) = ready.send_request(request, true).unwrap();
        t.upstream.arrived(2 * n + 1).await;
        stream.send_reset(Reason::CANCEL);
        drop(response);
        let mut ready = ready.ready().await.unwrap();
        let request = Request::get("http://h/public").body(()).unwrap();
        let (response, _) = ready.send_request(request, true).unwrap();
        assert_eq!(response.await.unwrap().status(), 200);
        requests = ready;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn floods_of_pings_and_settings_that_nobody_reads_the_answers_of_are_not_stored() {
    let t = TestGateway::start().await;
    for unit in [PING, SETTINGS] {
        let before = resident_kib();
        let mut stream = begun(&t).await;
        let part = unit.repeat(1_000);
        // Without reading, the gateway's own buffers are full at some time, and then it reads no more either.
        let writing = async {
            let mut sent = 0;
            while sent < 64 << 20 && stream.write_all(&part).await.is_ok() {
                sent += part.len();
            }
            sent
        };
        let sent = tokio::time::timeout(Duration::from_secs(1), writing).await;
        let grown = resident_kib().saturating_sub(before);
        assert!(grown < 32 * 1024, "{grown} KiB after {sent:?}");
        assert_eq!(Reply::of(t.get("/public")).await.status, 200);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn headers_that_go_on_for_ever_end_their_connection() {
    let t = TestGateway::start().await;
    let before = resident_kib();
    let mut stream = begun(&t).await;
    let mut first = true;
    let (sent, ended) = flood(&mut stream, 256 << 20, || {
        if std::mem::take(&mut first) {
            return make_frame(1, 1, 1, &get_public());
        }
        // `a: b` for ever, in CONTINUATION frames that never say they are the last.
        make_frame(9, 0, 1, &[0x00, 1, b'a', 1, b'b'].repeat(100))
    })
    .await;
    assert!(ended, "{sent}");
    let grown = resident_kib().saturating_sub(before);
    assert!(grown < 32 * 1024, "{grown} KiB");
    assert_eq!(t.upstream.requests(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bomb_of_compressed_headers_is_refused() {
    let t = TestGateway::start().await;
    let before = resident_kib();
    let mut stream = begun(&t).await;
    stream.write_all(&bomb()).await.unwrap();
    // An answer, a reset, a goodbye or the end: anything but the request being forwarded.
    let refused = async {
        let mut head = [0; 9];
        while stream.read_exact(&mut head).await.is_ok() && ![1, 3, 7].contains(&head[3]) {
            let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
            let mut payload = vec![0; usize::try_from(length).unwrap()];
            stream.read_exact(&mut payload).await.unwrap();
        }
    };
    tokio::time::timeout(LIMIT, refused).await.unwrap();
    let grown = resident_kib().saturating_sub(before);
    assert!(grown < 32 * 1024, "{grown} KiB");
    assert_eq!(t.upstream.requests(), 0);
    assert_eq!(Reply::of(t.get("/public")).await.status, 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn frames_without_end_delay_nobody() {
    let t = TestGateway::start().await;
    // A request whose body is to come, and one whose head is.
    let [open, begun_head] = [4, 0].map(|flags| make_frame(1, flags, 1, &get_public()));
    let resets = (0..500).flat_map(|n| {
        let (id, cancel) = (2 * n + 1, 8_u32.to_be_bytes());
        [
            make_frame(1, 5, id, &get_public()),
            make_frame(3, 0, id, &cancel),
        ]
        .concat()
    });
    for (name, first, part) in [
        ("resets", vec![], resets.collect()),
        ("compressed headers", vec![], bomb()),
        (
            "CONTINUATION",
            begun_head,
            make_frame(9, 0, 1, &[0x00, 1, b'a', 1, b'b'].repeat(100)),
        ),
        ("PING", vec![], PING.repeat(500)),
        ("SETTINGS", vec![], SETTINGS.repeat(500)),
        (
            "empty DATA",
            open.clone(),
            make_frame(0, 0, 1, &[]).repeat(500),
        ),
        (
            "DATA of one byte",
            open.clone(),
            make_frame(0, 0, 1, b"x").repeat(500),
        ),
        (
            "WINDOW_UPDATE",
            open,
            make_frame(8, 0, 1, &[0, 0, 0, 1]).repeat(500),
        ),
        (
            "PRIORITY",
            vec![],
            make_frame(2, 0, 1, &[0, 0, 0, 3, 16]).repeat(500),
        ),
        (
            "unknown",
            vec![],
            make_frame(0x42, 0, 0, &[0; 8]).repeat(500),
        ),
    ] {
        println!("{name}");
        let (gateway, mut attack) = (t.address, JoinSet::new());
        attack.spawn(async move {
            // Whoever is cut off comes back.
            loop {
                let mut stream = TcpStream::connect(gateway).await.unwrap();
                let begin = [PREFACE, SETTINGS, &first].concat();
                if stream.write_all(&begin).await.is_ok() {
                    flood(&mut stream, usize::MAX, || part.clone()).await;
                }
            }
        });
        t.nobody_waits("/public").await;
    }
}
