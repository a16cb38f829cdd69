//! Connections are limited by the file descriptors that there are, unless the configuration says otherwise.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::fs;

use menshen_test_support::{Nodes, Program, TestGateway, address_in};
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
    let address = address_in(&program.logs("listening").await);
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
