//! Connections are limited by the file descriptors that there are, unless the configuration says otherwise.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::fs;
use std::time::Duration;

use bytes::Bytes;
use futures::future::join_all;
use h2::client::SendRequest;
use http::{Request, Response};
use menshen_test_support::{Nodes, Program, TestGateway};
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

const MENSHEN: &str = env!("CARGO_BIN_EXE_menshen");

/// Starts the program with limits of the shell's, such as `-n 400`.
async fn start(nodes: &Nodes, limits: &str) -> Program {
    let run = format!("ulimit {limits} && exec \"$0\" \"$@\"");
    let command = nodes.site.command("sh", &["-c", &run, MENSHEN, "serve"]);
    Program::start(command)
}

/// Sends a request, and returns the connection and the status line.
async fn asked(address: std::net::SocketAddr) -> (TcpStream, String) {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = b"GET /public/x HTTP/1.1\r\nHost: here\r\n\r\n";
    stream.write_all(request).await.unwrap();
    let mut answer = vec![0; 13];
    stream.read_exact(&mut answer).await.unwrap();
    (stream, String::from_utf8(answer).unwrap())
}

#[tokio::test]
async fn connections_are_turned_away_before_descriptors_run_out() {
    let nodes = Nodes::new(TestGateway::builder()).await;
    let program = start(&nodes, "-n 320").await;
    let address = program.find_address().await;
    let mut open = Vec::new();
    // Half of what is beyond 256.
    for _ in 0..32 {
        let (stream, status) = asked(address).await;
        assert_eq!(status, "HTTP/1.1 200 ");
        open.push(stream);
    }
    assert_eq!(asked(address).await.1, "HTTP/1.1 429 ");
}

#[tokio::test]
async fn a_start_takes_as_many_descriptors_as_it_may_have() {
    let nodes = Nodes::new(TestGateway::builder()).await;
    let program = start(&nodes, "-Sn 300 && ulimit -Hn 1000").await;
    program.logs("listening").await;
    let limits = fs::read_to_string(format!("/proc/{}/limits", program.id())).unwrap();
    let files = limits
        .lines()
        .find(|line| line.starts_with("Max open files"));
    let mut files = files.unwrap().split_whitespace().skip(3);
    assert_eq!((files.next(), files.next()), (Some("1000"), Some("1000")));
}

#[tokio::test]
async fn connections_are_limited_by_what_it_may_have_and_not_by_what_it_began_with() {
    let nodes = Nodes::new(TestGateway::builder()).await;
    let program = start(&nodes, "-Sn 300 && ulimit -Hn 400").await;
    let address = program.find_address().await;
    let mut open = Vec::new();
    // Half of what is beyond 256.
    for _ in 0..72 {
        let (stream, status) = asked(address).await;
        assert_eq!(status, "HTTP/1.1 200 ");
        open.push(stream);
    }
    assert_eq!(asked(address).await.1, "HTTP/1.1 429 ");
}

/// Asks over HTTP/2, and returns the answers in the order of the questions.
async fn asked_at_once(address: std::net::SocketAddr, path: &str, times: usize) -> Answers {
    let stream = TcpStream::connect(address).await.unwrap();
    let (mut requests, connection) = h2::client::handshake(stream).await.unwrap();
    tokio::spawn(connection);
    let mut answers = Vec::new();
    for _ in 0..times {
        let request = Request::get(format!("http://h{path}")).body(()).unwrap();
        requests = requests.ready().await.unwrap();
        let (answer, _) = requests.send_request(request, true).unwrap();
        answers.push(answer);
    }
    Answers {
        coming: answers,
        _requests: requests,
    }
}

/// Answers that are still to come.
struct Answers {
    coming: Vec<h2::client::ResponseFuture>,
    _requests: SendRequest<Bytes>,
}

impl Answers {
    async fn all(self) -> Vec<Response<h2::RecvStream>> {
        let answers = join_all(self.coming).await;
        answers.into_iter().map(Result::unwrap).collect()
    }
}

/// Lets the exchanges go on that wait on `/hold`, as many as ever come.
async fn releasing(nodes: &Nodes) {
    loop {
        nodes.upstream.release();
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

#[tokio::test]
async fn many_streams_share_the_connections_to_servers_that_there_may_be() {
    let builder = TestGateway::builder().section("upstream", "connect_timeout = \"1m\"");
    let nodes = Nodes::new(builder).await;
    // The limits of a small container, and of a usual shell before it is raised.
    for limit in ["-n 256", "-n 1024"] {
        let program = start(&nodes, limit).await;
        let address = program.find_address().await;
        let asked = (0..6).map(|_| asked_at_once(address, "/public/hold", 100));
        let asked = join_all(asked).await;
        let answers = join_all(asked.into_iter().map(Answers::all));
        let answers = tokio::select! {
            answers = answers => answers,
            () = releasing(&nodes) => unreachable!("it goes on for ever"),
        };
        for answer in answers.into_iter().flatten() {
            assert_eq!(answer.status(), 200, "{limit}");
        }
        assert!(!program.stderr().contains("ERROR"), "{}", program.stderr());
    }
}

#[tokio::test]
async fn what_finds_no_connection_left_is_refused_and_no_server_is_blamed() {
    let lines = "connect_timeout = \"300ms\"\nmax_fails = 1\nfail_timeout = \"1h\"";
    let nodes = Nodes::new(TestGateway::builder().section("upstream", lines)).await;
    let program = start(&nodes, "-n 256").await;
    let address = program.find_address().await;
    let mut held = asked_at_once(address, "/public/hold", 32).await;
    nodes.upstream.arrived(32).await;
    let refused = asked_at_once(address, "/public/x", 8).await.all().await;
    for mut answer in refused {
        assert_eq!(answer.status(), 503);
        assert!(answer.headers().contains_key("retry-after"));
        let body = answer.body_mut().data().await.unwrap().unwrap();
        let body: Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(body["error"], "proxy_busy");
    }
    program.logs("requests wait").await;
    nodes.upstream.release();
    let (answered, _, others) = futures::future::select_all(held.coming).await;
    assert_eq!(answered.unwrap().status(), 200);
    held.coming = others;
    let answers = asked_at_once(address, "/public/x", 1).await.all().await;
    assert_eq!(answers.first().unwrap().status(), 200);
    let log = program.stderr();
    assert!(!log.contains("left out"), "{log}");
    assert_eq!(log.matches("requests wait").count(), 1, "{log}");
}

#[tokio::test]
async fn more_connections_than_the_descriptors_allow_are_not_accepted_whatever_the_file_says() {
    for configured in ["100000", "0"] {
        let lines = format!("max_connections = {configured}");
        let nodes = Nodes::new(TestGateway::builder().section("server", &lines)).await;
        let program = start(&nodes, "-n 320").await;
        program.logs("whatever server.max_connections says").await;
        let address = program.find_address().await;
        let mut open = Vec::new();
        // Three quarters of what is beyond 256.
        for _ in 0..48 {
            let (stream, status) = asked(address).await;
            assert_eq!(status, "HTTP/1.1 200 ");
            open.push(stream);
        }
        assert_eq!(asked(address).await.1, "HTTP/1.1 429 ");
    }
}
