//! What a request costs in instructions, counted by callgrind, stays at what `benches/README.md` says.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test may panic")]

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use bytes::Bytes;
use h2::client::{SendRequest, handshake};
use http::Request;
use menshen_test_support::{Node, Nodes, Program, Reply, TestGateway, bench};
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// More than so many hundredths of the figure in the README fail.
const MOST_PER_CENT: u64 = 110;
/// How many requests come first, for connections and caches, and how many are counted.
const FIRST: u64 = 30;
const COUNTED: u64 = 100;
/// How often it is counted where a mean is over its limit: what the process does of itself meanwhile puts one count some per cent
/// off, and less the mean of several.
const TURNS: u64 = 4;
/// In callgrind the program takes long to start, and longer on a busy machine.
const PATIENCE: Duration = Duration::from_secs(180);

/// More than so many hundredths of what a token takes fail for a cookie.
const MOST_PER_CENT_OF_A_TOKEN: u64 = 105;

/// A header by which a client identifies itself.
struct Credential(&'static str, String);

/// Requests over one connection, one after the other.
enum Client {
    Http1(TcpStream),
    Http2(SendRequest<Bytes>),
}

impl Client {
    async fn http1(node: &Node) -> Self {
        Self::Http1(TcpStream::connect(node.address).await.unwrap())
    }

    async fn http2(node: &Node) -> Self {
        let stream = TcpStream::connect(node.address).await.unwrap();
        let (requests, connection) = handshake(stream).await.unwrap();
        tokio::spawn(connection);
        Self::Http2(requests)
    }

    async fn get(&mut self, credential: &Credential) {
        match self {
            Self::Http1(stream) => get_http1(stream, credential).await,
            Self::Http2(requests) => get_http2(requests, credential).await,
        }
    }
}

async fn get_http1(stream: &mut TcpStream, Credential(name, value): &Credential) {
    let request = format!("GET /orders HTTP/1.1\r\nHost: shop.example\r\n{name}: {value}\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let (mut answer, mut part) = (Vec::new(), [0; 2048]);
    // The upstream's body.
    while !answer.ends_with(b"\r\n\r\nok") {
        let length = stream.read(&mut part).await.unwrap();
        assert_ne!(length, 0, "{}", String::from_utf8_lossy(&answer));
        answer.extend(part.iter().take(length));
    }
    assert!(answer.starts_with(b"HTTP/1.1 200"));
}

async fn get_http2(requests: &SendRequest<Bytes>, Credential(name, value): &Credential) {
    let request = Request::get("http://shop.example/orders")
        .header(*name, value)
        .body(())
        .unwrap();
    let mut ready = requests.clone().ready().await.unwrap();
    let (response, _) = ready.send_request(request, true).unwrap();
    let response = response.await.unwrap();
    assert_eq!(response.status(), 200);
    let mut body = response.into_body();
    let mut whole = Vec::new();
    while let Some(part) = body.data().await {
        whole.extend(part.unwrap());
    }
    assert_eq!(whole, b"ok");
}

/// The program in callgrind, which counts the instructions of its user space.
struct Callgrind {
    nodes: Nodes,
    node: Node,
    dumps: u32,
}

impl Callgrind {
    async fn start(binary: &str) -> Self {
        let nodes = Nodes::new(TestGateway::builder().section("server", "threads = 1")).await;
        let out = nodes.site.folder.path().join("counted");
        let out = format!("--callgrind-out-file={}", out.display());
        // It starts itself once more, without the secrets in its environment.
        let children = "--trace-children=yes";
        let arguments = ["--tool=callgrind", children, &out, binary, "serve"];
        let program = Program::start(nodes.command_to("valgrind", &arguments));
        let node = nodes.join_within(program, PATIENCE).await;
        Self {
            nodes,
            node,
            dumps: 0,
        }
    }

    /// Returns the instructions since the last time.
    fn since(&mut self) -> u64 {
        self.dumps += 1;
        let folder = self.nodes.site.folder.path();
        let dump: PathBuf = folder.join(format!("counted.{}", self.dumps));
        let id = self.node.program.id().to_string();
        // It returns when the file is complete.
        let told = Command::new("callgrind_control")
            .args(["--dump", &id])
            .output();
        let text = fs::read_to_string(dump).unwrap_or_else(|error| panic!("{error}: {told:?}"));
        let total = text.lines().find_map(|line| line.strip_prefix("totals: "));
        total.unwrap().parse().unwrap()
    }

    /// Returns the instructions of a request, from those of so many and of twice as many, which begin and end alike.
    async fn of_a_request(&mut self, client: &mut Client, credential: &Credential) -> u64 {
        let mut counts = Vec::new();
        for requests in [FIRST, COUNTED, 2 * COUNTED] {
            for _ in 0..requests {
                client.get(credential).await;
            }
            counts.push(self.since());
        }
        match counts.as_slice() {
            [_, once, twice] => (twice - once) / COUNTED,
            _ => panic!("{counts:?}"),
        }
    }
}

/// Finds the figure of a table's line in the README of the benchmarks.
fn figure(name: &str) -> u64 {
    let readme = include_str!("../benches/README.md");
    let line = readme
        .lines()
        .find_map(|line| line.strip_prefix(&format!("| {name} | ")));
    let figure = line.and_then(|line| line.split(" |").next());
    let figure = figure.unwrap_or_else(|| panic!("benches/README.md names no {name:?}"));
    figure.replace(',', "").parse().unwrap()
}

/// Has a web-view take a login over, and returns its cookie.
async fn cookie(node: &Node, token: &str) -> String {
    let asked = node.request("POST", "/_auth/ticket").bearer_auth(token);
    let ticket = Reply::of(asked).await.json();
    let path = ticket
        .get("path")
        .and_then(Value::as_str)
        .unwrap()
        .to_owned();
    let http = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none());
    let http = http.no_proxy().build().unwrap();
    let taken = Reply::of(http.get(format!("http://{}{path}", node.address))).await;
    assert_eq!(taken.status, 302, "{}", taken.text());
    let line = taken.header("set-cookie").to_owned();
    line.split(';').next().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_takes_no_more_instructions_than_the_benchmarks_say() {
    let own = env!("CARGO_BIN_EXE_menshen");
    let binary = bench::program(own);
    let build = if binary == own {
        "test build"
    } else {
        "release build"
    };
    let mut callgrind = Callgrind::start(&binary).await;
    let token = callgrind.node.log_in("alice").await.token;
    let cookie = Credential("cookie", cookie(&callgrind.node, &token).await);
    let token = Credential("authorization", format!("Bearer {token}"));
    let mut report = String::new();
    let mut fine = true;
    for protocol in ["HTTP/1.1", "HTTP/2"] {
        // Not before its turn: a connection on which nothing comes is closed.
        let mut client = match protocol {
            "HTTP/2" => Client::http2(&callgrind.node).await,
            _ => Client::http1(&callgrind.node).await,
        };
        let name = format!("{protocol}, {build}");
        let most = figure(&name);
        let (mut taken, mut with_cookie, mut holds) = (0, 0, false);
        for turn in 1..=TURNS {
            taken += callgrind.of_a_request(&mut client, &token).await;
            with_cookie += callgrind.of_a_request(&mut client, &cookie).await;
            holds = taken * 100 <= turn * most * MOST_PER_CENT
                && with_cookie * 100 <= taken * MOST_PER_CENT_OF_A_TOKEN;
            if holds || turn == TURNS {
                (taken, with_cookie) = (taken / turn, with_cookie / turn);
                break;
            }
        }
        fine &= holds;
        report += &format!("{name}: {taken} instructions a request, {most} in the README\n");
        report += &format!("{protocol}, with a cookie: {with_cookie}\n");
    }
    println!("{report}");
    assert!(fine, "{report}");
}
