//! Generated and spoiled HTTP/1: nothing crashes or hangs, and the backend gets exactly what one strict reader reads.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test may panic"
)]

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::time::{Duration, Instant};

use menshen_test_support::{Fuzzed, IDENTITY, Step, StrictRequest, find, fuzz};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use proptest::test_runner::TestCaseResult;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

const CASES: u32 = 400;

/// Longer than the gateway waits for anything.
const LIMIT: Duration = Duration::from_secs(20);

/// How long an answer may take where it is waited for, although none may be due.
const SOON: Duration = Duration::from_millis(25);

/// What every request says for whom it is; `TOKEN` and `CASE` are put in when it is sent.
const BEARER: &str = "Authorization: Bearer TOKEN";

const SMUGGLED: &str =
    "GET /smuggled HTTP/1.1\r\nHost: h\r\nX-Case: sCASE\r\nAuthorization: Bearer TOKEN\r\n\r\n";

/// Lines that have brought down a proxy somewhere.
const LINES: [&str; 52] = [
    "Content-Length: 0",
    "Content-Length: 5",
    "Content-Length : 5",
    "Content-Length: 5, 5",
    "Content-Length: +5",
    "Content-Length: 0x5",
    "Content-Length: 99999999999999999999",
    "Content_Length: 5",
    "content.length: 5",
    "Transfer-Encoding: chunked",
    "Transfer-Encoding: Chunked",
    "Transfer-Encoding: xchunked",
    "Transfer-Encoding: chunked, identity",
    "Transfer-Encoding: gzip, chunked",
    "Transfer-Encoding : chunked",
    "Transfer-Encoding:\tchunked",
    "Transfer-Encoding: \x0bchunked",
    "Transfer_Encoding: chunked",
    " Transfer-Encoding: chunked",
    "X-A: a\r\n Transfer-Encoding: chunked",
    "X-A: a\nTransfer-Encoding: chunked",
    "X-A: a\rContent-Length: 5",
    "X-A: a\0b",
    "Host: other",
    "Host:",
    "Connection: close",
    "Connection: keep-alive",
    "Connection: Content-Length",
    "Connection: Transfer-Encoding",
    "Connection: Host, X-Case",
    "Connection: X-WX-OPENID, X-Menshen-App, close",
    "Connection: X-Original-Forwarded-For",
    "Connection: upgrade\r\nUpgrade: x",
    "Connection: upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
    "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__",
    "Upgrade: h2c",
    "Expect: 100-continue",
    "Expect: 200-maybe",
    "TE: trailers, chunked",
    "Trailer: X-WX-OPENID, Content-Length",
    "Keep-Alive: timeout=1000000",
    "Proxy-Connection: keep-alive",
    "Max-Forwards: 0",
    "Authorization: Bearer other",
    "Authorization: Basic eDp5",
    "Cookie: a=b",
    "X-HTTP-Method-Override: DELETE",
    "Sec-WebSocket-Protocol: menshen.bearer.TOKEN",
    "X-Original-URL: /smuggled",
    "X-Forwarded-Host: forged",
    ": nameless",
    "no colon",
];

/// What is put somewhere it does not belong.
const SPOIL: [&[u8]; 22] = [
    b"\r",
    b"\n",
    b"\r\n",
    b"\r\n\r\n",
    b"\n\n",
    b" ",
    b"\t",
    b"\0",
    b":",
    b";",
    b",",
    b"#",
    b"%",
    b"\\",
    b"/../",
    b"\x80",
    b"\xff",
    b"\x7f",
    b"0\r\n\r\n",
    b"_",
    b"HTTP/1.1",
    b"chunked",
];

#[derive(Clone, Debug)]
enum Body {
    None,
    /// The payload, and the length that is declared where it is not its own.
    Length(Vec<u8>, Option<String>),
    /// What stands in place of a size where it is not the right one, what follows it, the data and its end; and the end.
    Chunks(Vec<(Option<String>, String, Vec<u8>, String)>, String),
}

#[derive(Clone, Debug)]
enum Spoiling {
    Insert(&'static [u8]),
    Replace(u8),
    Delete(usize),
    Repeat(usize),
}

#[derive(Clone, Debug)]
struct Request {
    method: String,
    target: String,
    version: &'static str,
    host: Option<&'static str>,
    lines: Vec<String>,
    body: Body,
    spoilings: Vec<(u16, Spoiling)>,
    /// Where it is cut into parts, and whether the client waits there.
    cuts: Vec<(u16, bool)>,
    /// Whether the client waits for an answer before it goes on.
    waits: bool,
}

#[derive(Clone, Debug)]
struct Client {
    requests: Vec<Request>,
    /// Whether it says that it has nothing more to send; the gateway must end a connection of another as well.
    says_goodbye: bool,
}

fn payload() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        4 => Just(SMUGGLED.as_bytes().to_vec()),
        2 => Just(format!("0\r\n\r\n{SMUGGLED}").into_bytes()),
        1 => Just(format!("\r\n{SMUGGLED}{SMUGGLED}").into_bytes()),
        1 => Just(format!("1\r\nZ\r\n0\r\n\r\n{SMUGGLED}").into_bytes()),
        4 => vec(any::<u8>(), 0..40),
        1 => (60_000_usize..70_000).prop_map(|length| vec![b'x'; length]),
    ]
}

fn chunk() -> impl Strategy<Value = (Option<String>, String, Vec<u8>, String)> {
    let size = prop_oneof![
        60 => Just(None),
        2 => select(vec![
            "5", "0x5", "+5", "-5", " 5", "5 ", "005", "", "g", "ffffffffffffffff", "fffffffffffffffff",
            "100000000000000000000", "1_0", "5\t",
        ]).prop_map(|size| Some(size.to_owned())),
        1 => "[0-9a-fA-F]{1,4}".prop_map(Some),
    ];
    let extension = prop_oneof![
        40 => Just(""),
        4 => select(vec![
            ";", ";a", ";a=b", ";a=\"b\"", ";a=\"\r\n\"", ";a\nGET /smuggled", ";\r", ";\0", "; a = b", ";é",
        ]),
    ];
    let end = prop_oneof![80 => Just("\r\n"), 1 => select(vec!["\n", "\r", "", "XX", "\r\r\n", "\n\r\n"])];
    (
        size,
        extension.prop_map(str::to_owned),
        payload(),
        end.prop_map(str::to_owned),
    )
}

fn body() -> impl Strategy<Value = Body> {
    let declared = prop_oneof![
        16 => Just(None),
        1 => (0_usize..200).prop_map(|length| Some(length.to_string())),
        1 => "[0-9+ -]{0,3}".prop_map(Some),
    ];
    let last = prop_oneof![
        16 => Just("0\r\n\r\n"),
        4 => select(vec![
            "0\r\nX-WX-OPENID: forged\r\n\r\n", "0\r\nContent-Length: 5\r\nX: y\r\n\r\n", "0\r\nHost: other\r\n\r\n",
            "0\r\nTransfer-Encoding: chunked\r\n\r\n", "0;a=b\r\n\r\n", "00000000000000000\r\n\r\n",
            "0\r\n \r\n\r\n", "0\r\nno colon\r\n\r\n", "0\n\n", "0\r\n", "0\r\n\n", "0\r\r\n\r\n", "", "0",
            "0\r\nX: a\r\n b\r\n\r\n", "0\r\nX: a\nY: b\r\n\r\n",
        ]),
    ];
    prop_oneof![
        2 => Just(Body::None),
        3 => (payload(), declared).prop_map(|(payload, declared)| Body::Length(payload, declared)),
        4 => (vec(chunk(), 0..4), last.prop_map(str::to_owned))
            .prop_map(|(chunks, last)| Body::Chunks(chunks, last)),
    ]
}

/// A line that claims an identity, in some spelling.
fn forged() -> impl Strategy<Value = String> {
    let name = select(IDENTITY.to_vec());
    (name, "[!#$%&'*+.^_`|~-]{6}", any::<u8>()).prop_map(|(name, separators, cases)| {
        let mut separators = separators.chars().cycle();
        let spell = |(at, c): (usize, char)| match c {
            '-' => separators.next().unwrap(),
            c if cases >> (at % 8) & 1 == 1 => c.to_ascii_lowercase(),
            c => c,
        };
        let name: String = name.chars().enumerate().map(spell).collect();
        format!("{name}: forged")
    })
}

fn line() -> impl Strategy<Value = String> {
    prop_oneof![
        2 => select(LINES.to_vec()).prop_map(str::to_owned),
        4 => forged(),
        3 => "[xX]-[A-Za-z0-9_.~-]{0,12}:[ \t]{0,2}[ -~]{0,20}",
        1 => (1_usize..3000).prop_map(|length| format!("X-Long: {}", "y".repeat(length))),
    ]
}

fn target() -> impl Strategy<Value = String> {
    prop_oneof![
        24 => select(vec!["/", "/a", "/public/a?b=c", "/optional", "/a/b/c.html", "/_auth/session"]).prop_map(str::to_owned),
        2 => select(vec![
            "/public/../smuggled", "/a/%2e%2e/b", "/a%2fb", "/a%5cb", "/a\\b", "/a%00", "//smuggled", "/a;b/..;/c",
            "/a#b", "/a b", "*", "a", "", "http://h/a", "https://h/a", "http://other/a", "http://h", "//h/a", "/?a b",
            "/a%", "/a%zz", "/%c0%af", "/%e4%bd%a0", "/你", "/public/%252e%252e/a", "/_auth/verify/smuggled",
            "/_auth/login", "/_auth/refresh", "/_auth/logout", "/a?\u{1}", "/a?b#c", "/%61", "/./", "/.", "/a?\u{e9}",
        ]).prop_map(str::to_owned),
        2 => "/[a-z%.;?&=/ 0-9_~-]{0,16}",
    ]
}

fn spoiling() -> impl Strategy<Value = (u16, Spoiling)> {
    let spoiling = prop_oneof![
        4 => select(SPOIL.to_vec()).prop_map(Spoiling::Insert),
        2 => any::<u8>().prop_map(Spoiling::Replace),
        2 => (1_usize..6).prop_map(Spoiling::Delete),
        1 => (1_usize..60).prop_map(Spoiling::Repeat),
    ];
    (any::<u16>(), spoiling)
}

fn request() -> impl Strategy<Value = Request> {
    let method = prop_oneof![
        30 => select(vec!["GET", "POST", "PUT", "HEAD", "DELETE", "OPTIONS", "PATCH"]),
        1 => select(vec!["TRACE", "CONNECT", "PRI", "get", "G T", "", "GET\t", "X!", "\u{e9}", "CONTENT-LENGTH:"]),
    ];
    let version = prop_oneof![
        50 => Just("HTTP/1.1"),
        1 => select(vec!["HTTP/1.0", "HTTP/2.0", "HTTP/0.9", "http/1.1", "HTTP/1.1 ", "HTTP/1.10", ""]),
    ];
    let host = prop_oneof![
        50 => Just(Some("Host: h")),
        1 => select(vec![None, Some("Host: h:80"), Some("host:h"), Some("Host: h, other"), Some("Host : h")]),
    ];
    let spoilings = prop_oneof![8 => Just(Vec::new()), 1 => vec(spoiling(), 1..4)];
    let lines = prop_oneof![1 => Just(Vec::new()), 1 => vec(line(), 1..4)];
    let cuts = prop_oneof![2 => Just(Vec::new()), 1 => vec((any::<u16>(), any::<bool>()), 1..4)];
    let said = (method, target(), version, host);
    (said, lines, body(), spoilings, cuts, any::<bool>()).prop_map(
        |((method, target, version, host), lines, body, spoilings, cuts, waits)| Request {
            method: method.to_owned(),
            target,
            version,
            host,
            lines,
            body,
            spoilings,
            cuts,
            waits,
        },
    )
}

fn client() -> impl Strategy<Value = Client> {
    (vec(request(), 1..4), 0..200).prop_map(|(requests, n)| Client {
        requests,
        says_goodbye: n > 0,
    })
}

impl Request {
    /// Returns its bytes; `id` tells it from all others.
    fn bytes(&self, id: &str, token: &str) -> Vec<u8> {
        let first = format!("{} {} {}", self.method, self.target, self.version);
        let mut lines = vec![first];
        lines.extend(self.host.map(str::to_owned));
        lines.push(format!("X-Case: {id}"));
        lines.push(BEARER.to_owned());
        lines.extend(self.lines.iter().cloned());
        let mut body = Vec::new();
        match &self.body {
            Body::None => {}
            Body::Length(payload, declared) => {
                body.clone_from(payload);
                let own = filled(payload, id, token).len().to_string();
                lines.push(format!(
                    "Content-Length: {}",
                    declared.as_ref().unwrap_or(&own)
                ));
            }
            Body::Chunks(chunks, last) => {
                lines.push("Transfer-Encoding: chunked".to_owned());
                for (size, extension, data, end) in chunks {
                    let own = format!("{:x}", filled(data, id, token).len());
                    let size = size.as_ref().unwrap_or(&own);
                    body.extend(format!("{size}{extension}\r\n").bytes());
                    body.extend_from_slice(data);
                    body.extend(end.bytes());
                }
                body.extend(last.bytes());
            }
        }
        let mut bytes = lines.join("\r\n").into_bytes();
        bytes.extend(b"\r\n\r\n");
        bytes.extend(body);
        let mut bytes = filled(&bytes, id, token);
        for (at, spoiling) in &self.spoilings {
            spoil(&mut bytes, *at, spoiling);
        }
        bytes
    }
}

fn spoil(bytes: &mut Vec<u8>, at: u16, spoiling: &Spoiling) {
    let length = bytes.len();
    if length == 0 {
        return;
    }
    // Heads are where the most can be spoiled.
    let at = usize::from(at) % length.min(400);
    match spoiling {
        Spoiling::Insert(what) => drop(bytes.splice(at..at, what.iter().copied())),
        Spoiling::Replace(byte) => bytes[at] = *byte,
        Spoiling::Delete(count) => drop(bytes.drain(at..(at + count).min(length))),
        Spoiling::Repeat(count) => {
            let again = bytes[at..(at + count).min(length)].to_vec();
            drop(bytes.splice(at..at, again));
        }
    }
}

/// Puts in what is only known when it is sent.
fn filled(bytes: &[u8], id: &str, token: &str) -> Vec<u8> {
    let mut filled = Vec::new();
    let mut rest = bytes;
    while let Some((first, after)) = rest.split_first() {
        if let Some(after) = rest.strip_prefix(b"TOKEN") {
            filled.extend(token.bytes());
            rest = after;
        } else if let Some(after) = rest.strip_prefix(b"CASE") {
            filled.extend(id.bytes());
            rest = after;
        } else {
            filled.push(*first);
            rest = after;
        }
    }
    filled
}

/// Reads what a client sent as strictly as can be, up to what breaks the rules.
fn strictly_read(mut bytes: &[u8]) -> (Vec<StrictRequest>, bool) {
    let mut requests = Vec::new();
    loop {
        while let Some(rest) = bytes.strip_prefix(b"\r\n") {
            bytes = rest;
        }
        match StrictRequest::read(bytes) {
            Step::Done(length, request) => {
                bytes = &bytes[length..];
                requests.push(request);
            }
            Step::More => return (requests, !bytes.is_empty()),
            Step::Wrong(_) => return (requests, true),
        }
    }
}

/// One answer.
#[derive(Clone, Debug)]
struct Answer {
    status: u16,
    /// The number that the backend gave it.
    number: Option<usize>,
}

/// Reads answers; those to HEAD have no body.
fn answers(mut bytes: &[u8], requests: &[StrictRequest]) -> Vec<Answer> {
    let mut answers = Vec::new();
    while let Some(end) = find(bytes, b"\r\n\r\n") {
        let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
        bytes = &bytes[end + 4..];
        let line = |name: &str| {
            let mut lines = head.lines().filter_map(|line| line.split_once(": "));
            let (_, value) = lines.find(|(known, _)| known.eq_ignore_ascii_case(name))?;
            value.parse::<usize>().ok()
        };
        let status = head
            .strip_prefix("HTTP/1.1 ")
            .or(head.strip_prefix("HTTP/1.0 "));
        let status = status.and_then(|rest| rest.get(..3)?.parse().ok());
        let status: u16 = status.unwrap_or_else(|| panic!("no answer: {head}"));
        if (100..200).contains(&status) {
            continue;
        }
        let to_head = requests
            .get(answers.len())
            .is_some_and(|r| r.method == "HEAD");
        let length = if to_head {
            0
        } else {
            line("content-length").unwrap_or(0)
        };
        bytes = bytes.get(length..).unwrap_or_default();
        answers.push(Answer {
            status,
            number: line("x-strict"),
        });
    }
    answers
}

/// The gateway that all cases share.
#[derive(Default)]
struct Fixture {
    gateway: Fuzzed,
    cases: Cell<usize>,
    /// What could be read of the latest cases and did not reach the backend; it may still.
    due: RefCell<VecDeque<StrictRequest>>,
    forwarded: Cell<usize>,
    refused: Cell<usize>,
}

impl Fixture {
    /// Sends what the client sends, and returns all of it and what came back.
    async fn run(&self, client: &Client, id: &str) -> Result<(Vec<u8>, Vec<u8>), TestCaseError> {
        let mut stream = TcpStream::connect(self.gateway.t.address).await.unwrap();
        let _ = stream.set_nodelay(true);
        let (mut sent, mut came) = (Vec::new(), Vec::new());
        let mut open = true;
        for (at, request) in client.requests.iter().enumerate() {
            let bytes = request.bytes(&format!("{id}-{at}"), &self.gateway.token);
            let place = |cut: u16| usize::from(cut) % (bytes.len() + 1);
            let mut cuts: Vec<_> = request
                .cuts
                .iter()
                .map(|(at, waits)| (place(*at), *waits))
                .collect();
            cuts.push((bytes.len(), request.waits));
            cuts.sort_unstable();
            let mut from = 0;
            for (to, waits) in cuts {
                sent.extend_from_slice(&bytes[from..to]);
                open = open && stream.write_all(&bytes[from..to]).await.is_ok();
                from = to;
                if waits {
                    open = open && self.wait(&mut stream, &sent, &mut came).await;
                }
            }
        }
        open = open && self.wait(&mut stream, &sent, &mut came).await;
        if open && client.says_goodbye {
            let _ = stream.shutdown().await;
        }
        let begun = Instant::now();
        let rest = tokio::time::timeout(LIMIT, async {
            let mut part = vec![0; 16 * 1024];
            while let Ok(length @ 1..) = stream.read(&mut part).await {
                came.extend_from_slice(&part[..length]);
            }
        });
        let ended = rest.await.is_ok();
        prop_assert!(
            ended,
            "still open after {:?}; came {}",
            begun.elapsed(),
            String::from_utf8_lossy(&came)
        );
        Ok((sent, came))
    }

    /// Reads until what was sent is answered, or for a while; says whether the connection is still open.
    async fn wait(&self, stream: &mut TcpStream, sent: &[u8], came: &mut Vec<u8>) -> bool {
        let (requests, more) = strictly_read(sent);
        let mut part = vec![0; 16 * 1024];
        let wait = async {
            while more || answers(came, &requests).len() < requests.len() {
                match stream.read(&mut part).await {
                    Ok(length @ 1..) => came.extend_from_slice(&part[..length]),
                    Ok(0) | Err(_) => return false,
                }
            }
            true
        };
        tokio::time::timeout(SOON, wait).await.unwrap_or(true)
    }

    fn holds(&self, client: &Client) -> TestCaseResult {
        self.cases.set(self.cases.get() + 1);
        let id = format!("{}", self.cases.get());
        let (sent, came) = self.gateway.runtime.block_on(self.run(client, &id))?;
        let (requests, _) = strictly_read(&sent);
        let answers = answers(&came, &requests);
        let seen = self.gateway.backend.take();
        let shown = || {
            let (sent, came) = (
                String::from_utf8_lossy(&sent),
                String::from_utf8_lossy(&came),
            );
            format!("\nsent {sent:?}\ncame {came:?}\nseen {:?}", seen.requests)
        };
        prop_assert!(seen.wrong.is_empty(), "{:?}{}", seen.wrong, shown());
        let mut due = self.due.borrow_mut();
        due.extend(requests.iter().cloned());
        for request in seen.requests.values() {
            self.gateway.is_sound(request)?;
            let same = |due: &StrictRequest| {
                due.method == request.method
                    && due.body == request.body
                    && due.all("x-case") == request.all("x-case")
            };
            let at = due.iter().position(same);
            prop_assert!(at.is_some(), "nobody sent {request:?}{}", shown());
            due.remove(at.unwrap());
        }
        let surplus = due.len().saturating_sub(50);
        due.drain(..surplus);
        drop(due);
        for (answer, request) in answers.iter().zip(&requests) {
            let refused = answer.number.is_none() && (400..500).contains(&answer.status);
            let case = request.all("x-case");
            let alone = requests
                .iter()
                .filter(|other| other.all("x-case") == case)
                .count()
                == 1;
            let seen = seen
                .requests
                .values()
                .any(|seen| seen.all("x-case") == case);
            prop_assert!(
                !(refused && alone && seen),
                "refused, but forwarded: {request:?}{}",
                shown()
            );
        }
        let passed = answers
            .iter()
            .filter(|answer| answer.number.is_some())
            .count();
        self.forwarded.set(self.forwarded.get() + passed);
        self.refused
            .set(self.refused.get() + usize::from(answers.len() > passed));
        let late = self.due.borrow();
        let known = |r: &StrictRequest| late.iter().any(|l| l.all("x-case") == r.all("x-case"));
        self.gateway.is_alive(known)
    }
}

#[test]
fn what_http1_clients_send_is_read_in_one_way_or_refused() {
    let fixture = Fixture::default();
    fuzz(CASES, &client(), |client| fixture.holds(&client));
    let (cases, forwarded) = (fixture.cases.get(), fixture.forwarded.get());
    let refused = fixture.refused.get();
    println!("{cases} connections: {forwarded} requests forwarded, {refused} connections refused");
    // Otherwise nothing was tried.
    assert!(
        forwarded * 5 > cases && refused * 5 > cases,
        "{forwarded} {refused} of {cases}"
    );
}
