//! Whole exchanges in which client and server both misbehave: each ends in time, and nobody else notices.
//!
//! Generated from a seed, as `fuzz/README.md` says; `MENSHEN_FUZZ_CASES` makes it run longer.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::time::Instant;

use menshen_test_support::fuzz;
use proptest::prelude::*;
use proptest::test_runner::TestCaseResult;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::misbehaving::{Fixture, LIMIT, Scripts, Seen};

/// What a side does, one after the other.
#[derive(Clone, Debug)]
enum Step {
    Says(Vec<u8>),
    /// Lets the other side go on.
    Yields,
    /// Closes its sending side.
    HalfCloses,
    /// Closes the connection.
    Closes,
}

#[derive(Clone, Debug)]
struct Case {
    client: Vec<Step>,
    server: Vec<Step>,
    /// Whether the server reads what it gets.
    reads: bool,
}

fn says(texts: &'static [&'static str]) -> impl Strategy<Value = Step> {
    prop::sample::select(texts).prop_map(|text| Step::Says(text.as_bytes().to_vec()))
}

fn steps(texts: &'static [&'static str]) -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        12 => says(texts),
        2 => prop::collection::vec(any::<u8>(), 1..20).prop_map(Step::Says),
        1 => (1_usize..100_000).prop_map(|length| Step::Says(vec![b'x'; length])),
        3 => Just(Step::Yields),
        1 => Just(Step::HalfCloses),
        1 => Just(Step::Closes),
    ];
    prop::collection::vec(step, 0..8)
}

const OF_CLIENTS: &[&str] = &[
    "GET /CASE HTTP/1.1\r\nHost: h\r\n\r\n",
    "HEAD /CASE HTTP/1.1\r\nHost: h\r\n\r\n",
    "GET /CASE HTTP/1.0\r\n\r\n",
    "POST /CASE HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\n",
    "POST /CASE HTTP/1.1\r\nHost: h\r\nContent-Length: 100000\r\nExpect: 100-continue\r\n\r\n",
    "PUT /CASE HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n",
    "GET /CASE HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
     Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
    "hello",
    "5\r\nhello\r\n",
    "0\r\n\r\n",
    "0\r\nX-WX-OPENID: forged\r\nX-End: 1\r\n\r\n",
    "\r\n",
    "\u{1}\u{2}hi",
];

const OF_SERVERS: &[&str] = &[
    "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n",
    "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n",
    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
    "HTTP/1.0 200 OK\r\n\r\n",
    "HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\n",
    "HTTP/1.1 304 Not Modified\r\nTransfer-Encoding: chunked\r\n\r\n",
    "HTTP/1.1 100 Continue\r\n\r\n",
    "HTTP/1.1 103 Early Hints\r\nMenshen-Token: forged\r\n\r\n",
    "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n",
    "HTTP/1.1 413 Too Large\r\nConnection: close\r\nContent-Length: 0\r\n\r\n",
    "HTTP/1.1 200",
    "hello",
    "5\r\nhello\r\n",
    "0\r\n\r\n",
    "0\r\nMenshen-Token: forged\r\nX-End: 1\r\n\r\n",
    "ffffffffffffffff\r\n",
];

fn case() -> impl Strategy<Value = Case> {
    (steps(OF_CLIENTS), steps(OF_SERVERS), any::<bool>()).prop_map(|(client, server, reads)| Case {
        client,
        server,
        reads,
    })
}

/// Does what a side does; `name` stands in for the case in what it says.
async fn play(steps: &[Step], name: &str, stream: &mut TcpStream) {
    for step in steps {
        match step {
            Step::Says(bytes) => {
                let said = match std::str::from_utf8(bytes) {
                    Ok(text) => text.replace("CASE", name).into_bytes(),
                    Err(_) => bytes.clone(),
                };
                let saying = stream.write_all(&said);
                match tokio::time::timeout(LIMIT, saying).await {
                    Ok(Ok(())) => {}
                    Ok(Err(_)) | Err(_) => return,
                }
            }
            Step::Yields => tokio::task::yield_now().await,
            Step::HalfCloses => {
                let _ = stream.shutdown().await;
            }
            Step::Closes => return,
        }
    }
}

/// Does for each case what its name stands for, and is sound for everybody else.
async fn serve(mut stream: TcpStream, scripts: Scripts<Case>, seen: Seen) {
    let mut got = Vec::new();
    let mut part = [0; 4096];
    while !got.windows(4).any(|end| end == b"\r\n\r\n") {
        match stream.read(&mut part).await {
            Ok(length @ 1..) => got.extend_from_slice(part.get(..length).unwrap_or_default()),
            Ok(0) | Err(_) => return,
        }
    }
    let head = String::from_utf8_lossy(&got).into_owned();
    seen.lock().unwrap().push_str(&head);
    let path = head.split(' ').nth(1).unwrap_or_default();
    let case = scripts
        .lock()
        .unwrap()
        .get(path.trim_start_matches('/'))
        .cloned();
    let Some(case) = case else {
        let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok";
        let _ = stream.write_all(answer).await;
        return;
    };
    play(&case.server, "", &mut stream).await;
    if case.reads && !case.server.iter().any(|step| matches!(step, Step::Closes)) {
        let reading = async { while let Ok(1..) = stream.read(&mut part).await {} };
        let _ = tokio::time::timeout(LIMIT, reading).await;
    }
}

fn holds(fixture: &Fixture<Case>, case: &Case) -> TestCaseResult {
    let begun = Instant::now();
    let (came, seen) = fixture.play(case, async |t, name| {
        let mut stream = TcpStream::connect(t.address).await.unwrap();
        play(&case.client, name, &mut stream).await;
        if case.client.iter().any(|step| matches!(step, Step::Closes)) {
            return Some(Vec::new());
        }
        let mut came = Vec::new();
        let reading = stream.read_to_end(&mut came);
        tokio::time::timeout(LIMIT, reading).await.ok()?.ok();
        Some(came)
    });
    prop_assert!(came.is_some(), "still open after {:?}", begun.elapsed());
    let came = came.unwrap_or_default();
    let came = String::from_utf8_lossy(&came);
    prop_assert!(came.is_empty() || came.starts_with("HTTP/1.1 "), "{came:?}");
    prop_assert!(
        !came.to_lowercase().contains("menshen-token: forged"),
        "{came:?}"
    );
    prop_assert!(!seen.contains("x-wx-openid: forged"), "{seen:?}");
    fixture.serves_others()
}

#[test]
fn exchanges_of_two_that_misbehave_end_and_touch_nobody_else() {
    let fixture = Fixture::new("", serve);
    fuzz(150, &case(), |case| holds(&fixture, &case));
}
