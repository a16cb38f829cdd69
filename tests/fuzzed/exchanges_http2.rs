//! Whole exchanges over HTTP/2 in which client and server both misbehave: each ends in time, no forged name comes through, and nobody
//! else notices, although all exchanges may share one connection to the server.
//!
//! Generated from a seed, as `fuzz/README.md` says; `MENSHEN_FUZZ_CASES` makes it run longer.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::fmt::Write as _;
use std::sync::Arc;

use bytes::Bytes;
use h2::server::SendResponse;
use h2::{Reason, RecvStream, SendStream};
use http::{HeaderMap, HeaderValue, Request, Response};
use menshen_test_support::{TestGateway, fuzz, raw};
use proptest::prelude::*;
use proptest::test_runner::TestCaseResult;
use tokio::net::TcpStream;
use tokio::sync::mpsc;

use crate::misbehaving::{Fixture, LIMIT, Scripts, Seen};

/// What a side does, one after the other.
#[derive(Clone, Debug)]
enum Step {
    /// Sends an interim answer; a client does nothing.
    Interim(u16),
    Data(usize),
    Trailers,
    Ends,
    Resets(u32),
    /// Lets the other side go on.
    Yields,
    /// Closes the connection: with a GOAWAY, or without a word.
    Closes {
        says_so: bool,
    },
}

#[derive(Clone, Debug)]
struct Case {
    method: &'static str,
    client_length: Option<usize>,
    client: Vec<Step>,
    status: u16,
    server_length: Option<usize>,
    before_head: Vec<Step>,
    server: Vec<Step>,
    /// Whether the server reads the request's body.
    reads: bool,
    /// Whether the client's protocol is HTTP/2; the server's is always.
    by_http2: bool,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        2 => prop::sample::select(vec![100_u16, 102, 103, 199]).prop_map(Step::Interim),
        6 => prop::sample::select(vec![0_usize, 1, 5, 100, 20_000, 70_000]).prop_map(Step::Data),
        2 => Just(Step::Trailers),
        4 => Just(Step::Ends),
        2 => (0_u32..16).prop_map(Step::Resets),
        3 => Just(Step::Yields),
        1 => any::<bool>().prop_map(|says_so| Step::Closes { says_so }),
    ]
}

fn length() -> impl Strategy<Value = Option<usize>> {
    prop_oneof![3 => Just(None), 1 => prop::sample::select(vec![0_usize, 5, 6, 20_000]).prop_map(Some)]
}

fn case() -> impl Strategy<Value = Case> {
    let steps = || prop::collection::vec(step(), 0..6);
    (
        (
            prop::sample::select(vec!["GET", "HEAD", "POST", "PUT", "OPTIONS"]),
            length(),
            steps(),
        ),
        (
            prop::sample::select(vec![200_u16, 204, 206, 304, 401, 413, 500]),
            length(),
        ),
        prop::collection::vec(step(), 0..3),
        steps(),
        any::<bool>(),
        any::<bool>(),
    )
        .prop_map(
            |(client, server, before_head, steps, reads, by_http2)| Case {
                method: client.0,
                client_length: client.1,
                client: client.2,
                status: server.0,
                server_length: server.1,
                before_head,
                server: steps,
                reads,
                by_http2,
            },
        )
}

/// What clients may not tell servers, and servers not clients.
const OF_CLIENTS: &[&str] = &["x-wx-openid", "x_wx_unionid"];
const OF_SERVERS: &[&str] = &["menshen-token"];

fn forged(names: &[&'static str]) -> HeaderMap {
    let mut forged = HeaderMap::new();
    for &name in names {
        forged.insert(name, HeaderValue::from_static("forged"));
    }
    forged.insert("x-end", HeaderValue::from_static("1"));
    forged
}

/// Does what a side does with its body; returns whether its connection should be closed, and how.
fn send(steps: &[Step], names: &[&'static str], stream: &mut SendStream<Bytes>) -> Option<bool> {
    for step in steps {
        // Whatever cannot be done any more is left out.
        let _ = match step {
            Step::Data(length) => stream.send_data(Bytes::from(vec![b'x'; *length]), false),
            Step::Trailers => stream.send_trailers(forged(names)),
            Step::Ends => stream.send_data(Bytes::new(), true),
            Step::Resets(reason) => {
                stream.send_reset(Reason::from(*reason));
                Ok(())
            }
            Step::Interim(_) | Step::Yields => Ok(()),
            Step::Closes { says_so } => return Some(*says_so),
        };
    }
    None
}

fn note(seen: &Seen, headers: &HeaderMap) {
    write!(seen.lock().unwrap(), "{headers:?}").unwrap();
}

/// Reads a body to its end, and notes its trailers.
async fn drain(mut body: RecvStream, seen: Option<&Seen>) -> Option<HeaderMap> {
    while let Some(Ok(part)) = body.data().await {
        let _ = body.flow_control().release_capacity(part.len());
    }
    let trailers = body.trailers().await.ok().flatten();
    if let (Some(seen), Some(trailers)) = (seen, &trailers) {
        note(seen, trailers);
    }
    trailers
}

/// Answers a request as its case says, and orders the end of its connection where that belongs to it.
async fn answer(
    request: Request<RecvStream>,
    mut respond: SendResponse<Bytes>,
    scripts: Scripts<Case>,
    seen: Seen,
    close: mpsc::UnboundedSender<bool>,
) {
    note(&seen, request.headers());
    let name = request.uri().path().trim_start_matches('/').to_owned();
    let case = scripts.lock().unwrap().get(&name).cloned();
    let body = request.into_body();
    let Some(case) = case else {
        let head = Response::builder().header("content-length", 2);
        if let Ok(mut stream) = respond.send_response(head.body(()).unwrap(), false) {
            let _ = stream.send_data(Bytes::from_static(b"ok"), true);
        }
        return;
    };
    for step in &case.before_head {
        match step {
            Step::Interim(status) => {
                let mut interim = Response::new(());
                *interim.status_mut() = (*status).try_into().unwrap();
                *interim.headers_mut() = forged(OF_SERVERS);
                let _ = respond.send_informational(interim);
            }
            Step::Resets(reason) => respond.send_reset(Reason::from(*reason)),
            Step::Closes { says_so } => {
                let _ = close.send(*says_so);
                return;
            }
            Step::Data(_) | Step::Trailers | Step::Ends | Step::Yields => {
                tokio::task::yield_now().await;
            }
        }
    }
    let mut head = Response::builder().status(case.status);
    if let Some(length) = case.server_length {
        head = head.header("content-length", length);
    }
    let is_over = case
        .server
        .first()
        .is_none_or(|step| matches!(step, Step::Ends));
    let Ok(mut stream) = respond.send_response(head.body(()).unwrap(), is_over) else {
        return;
    };
    if let Some(says_so) = send(&case.server, OF_SERVERS, &mut stream) {
        let _ = close.send(says_so);
        return;
    }
    if case.reads {
        let _ = tokio::time::timeout(LIMIT, drain(body, Some(&seen))).await;
    }
    // The stream is held, not dropped, until its other side gives it up.
    let _ = tokio::time::timeout(LIMIT, std::future::poll_fn(|cx| stream.poll_reset(cx))).await;
}

async fn serve(tcp: TcpStream, scripts: Scripts<Case>, seen: Seen) {
    let Ok(mut connection) = h2::server::handshake(tcp).await else {
        return;
    };
    let (close, mut closes) = mpsc::unbounded_channel();
    loop {
        tokio::select! {
            asked = connection.accept() => {
                let Some(Ok((request, respond))) = asked else { return };
                tokio::spawn(answer(request, respond, Arc::clone(&scripts), Arc::clone(&seen), close.clone()));
            }
            Some(says_so) = closes.recv() => {
                if !says_so {
                    return;
                }
                connection.graceful_shutdown();
            }
        }
    }
}

/// What a client got: every head and every trailer, as text.
async fn ask_by_http2(t: &TestGateway, name: &str, case: &Case) -> Option<String> {
    let tcp = TcpStream::connect(t.address).await.unwrap();
    let (requests, connection) = h2::client::handshake(tcp).await.unwrap();
    let connection = tokio::spawn(connection);
    let mut request = Request::builder()
        .method(case.method)
        .uri(format!("http://h/{name}"));
    request = request.header("x-wx-openid", "forged");
    if let Some(length) = case.client_length {
        request = request.header("content-length", length);
    }
    let mut ready = requests.ready().await.unwrap();
    let is_over = case.client.is_empty();
    let (response, mut stream) = ready
        .send_request(request.body(()).unwrap(), is_over)
        .unwrap();
    if send(&case.client, OF_CLIENTS, &mut stream).is_some() {
        connection.abort();
        return Some(String::new());
    }
    let coming = async {
        let Ok(response) = response.await else {
            return String::new();
        };
        let head = format!("{:?}", response.headers());
        let trailers = drain(response.into_body(), None).await;
        format!("{head}{trailers:?}")
    };
    tokio::time::timeout(LIMIT, coming).await.ok()
}

async fn ask_by_http1(t: &TestGateway, name: &str, case: &Case) -> Option<String> {
    let mut request = format!(
        "{} /{name} HTTP/1.1\r\nHost: h\r\nConnection: close\r\n",
        case.method
    );
    let sent: usize = case
        .client
        .iter()
        .map(|step| {
            if let Step::Data(length) = step {
                *length
            } else {
                0
            }
        })
        .sum();
    if sent > 0 {
        write!(request, "Content-Length: {sent}\r\n").unwrap();
    }
    let mut request = (request + "\r\n").into_bytes();
    request.resize(request.len() + sent, b'x');
    tokio::time::timeout(LIMIT, raw(t.address, &request))
        .await
        .ok()
}

fn holds(fixture: &Fixture<Case>, case: &Case) -> TestCaseResult {
    let (came, seen) = fixture.play(case, async |t, name| match case.by_http2 {
        true => ask_by_http2(t, name, case).await,
        false => ask_by_http1(t, name, case).await,
    });
    prop_assert!(came.is_some(), "still open after {LIMIT:?}");
    let came = came.unwrap_or_default().to_lowercase();
    prop_assert!(!came.contains("forged"), "{came}");
    prop_assert!(!seen.contains("forged"), "{seen}");
    fixture.serves_others()
}

#[test]
fn exchanges_over_http2_of_two_that_misbehave_end_and_touch_nobody_else() {
    let fixture = Fixture::new("protocol = \"http2\"", serve);
    fuzz(150, &case(), |case| holds(&fixture, &case));
}
