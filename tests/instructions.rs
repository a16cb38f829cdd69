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
/// How many requests come first, for connections and caches.
const FIRST: u64 = 30;
/// How many are counted: what begins and ends a count is in both, and so not in their difference.
const FEW: u64 = 50;
const MANY: u64 = 150;
/// How often it is counted, more than once only where a limit is not held. What a thread does of itself meanwhile only adds to a
/// count, so that the least of several is the nearest to what the requests take.
const TURNS: u32 = 4;
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
        let threads = "--separate-threads=yes";
        // It starts itself once more, without the secrets in its environment.
        let children = "--trace-children=yes";
        let arguments = ["--tool=callgrind", children, threads, &out, binary, "serve"];
        let mut command = nodes.command_to("valgrind", &arguments);
        // Its pipes outlive it, since it is killed.
        command.env("TMPDIR", nodes.site.folder.path());
        let program = Program::start(command);
        let node = nodes.join_within(program, PATIENCE).await;
        Self {
            nodes,
            node,
            dumps: 0,
        }
    }

    /// Returns the instructions since the last time, of the threads that requests pass through: what the others do depends on how
    /// long the count took, not on how many requests came.
    fn since(&mut self) -> u64 {
        self.dumps += 1;
        let id = self.node.program.id();
        let folder = self.nodes.site.folder.path();
        // It returns when the files are complete.
        let told = Command::new("callgrind_control")
            .args(["--dump", &id.to_string()])
            .env("TMPDIR", folder)
            .output();
        let total = |thread: usize| {
            let dump = folder.join(format!("counted.{}-{thread:02}", self.dumps));
            // A thread that did nothing has none.
            let text = fs::read_to_string(dump).unwrap_or_default();
            let total = text.lines().find_map(|line| line.strip_prefix("totals: "));
            total.map_or(0, |total| total.parse::<u64>().unwrap())
        };
        let threads = threads(id);
        let busy = threads
            .iter()
            .filter(|(name, _)| name == "worker-1" || name == "log");
        let (counted, all): (u64, u64) = (
            busy.map(|(_, at)| total(*at)).sum(),
            threads.iter().map(|(_, at)| total(*at)).sum(),
        );
        // The first dump has the start of the process, which is the main thread's.
        assert!(
            counted > 0 && 2 * counted > all || self.dumps == 1,
            "{counted} of {all}: {threads:?} {told:?}"
        );
        counted
    }

    /// Returns the instructions of so many requests.
    async fn of(&mut self, requests: u64, client: &mut Client, credential: &Credential) -> u64 {
        for _ in 0..requests {
            client.get(credential).await;
        }
        self.since()
    }
}

/// Returns the threads of a process with the numbers that valgrind gives them, which are those of their order.
fn threads(process: u32) -> Vec<(String, usize)> {
    let folder = PathBuf::from(format!("/proc/{process}/task"));
    let mut ids: Vec<u32> = fs::read_dir(&folder)
        .unwrap()
        .map(|thread| {
            thread
                .unwrap()
                .file_name()
                .to_str()
                .unwrap()
                .parse()
                .unwrap()
        })
        .collect();
    ids.sort_unstable();
    let named = ids.iter().zip(1..).map(|(id, at)| {
        // One that has ended meanwhile keeps its number.
        let name = fs::read_to_string(folder.join(id.to_string()).join("comm")).unwrap_or_default();
        (name.trim().to_owned(), at)
    });
    named.collect()
}

/// What requests with one credential took: the least for a few and for many.
struct Least {
    few: u64,
    many: u64,
}

impl Least {
    const NONE: Self = Self {
        few: u64::MAX,
        many: u64::MAX,
    };

    async fn count(&mut self, callgrind: &mut Callgrind, client: &mut Client, with: &Credential) {
        self.few = self.few.min(callgrind.of(FEW, client, with).await);
        self.many = self.many.min(callgrind.of(MANY, client, with).await);
    }

    fn of_a_request(&self) -> u64 {
        (self.many - self.few) / (MANY - FEW)
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
        for credential in [&token, &cookie] {
            callgrind.of(FIRST, &mut client, credential).await;
        }
        let (mut least, mut least_with_cookie) = (Least::NONE, Least::NONE);
        let (mut taken, mut with_cookie, mut holds) = (0, 0, false);
        for _ in 0..TURNS {
            least.count(&mut callgrind, &mut client, &token).await;
            least_with_cookie
                .count(&mut callgrind, &mut client, &cookie)
                .await;
            taken = least.of_a_request();
            with_cookie = least_with_cookie.of_a_request();
            holds = taken * 100 <= most * MOST_PER_CENT
                && with_cookie * 100 <= taken * MOST_PER_CENT_OF_A_TOKEN;
            if holds {
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
