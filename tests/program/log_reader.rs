//! A reader of the log that stops, stops nothing else.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::io::{BufRead, BufReader, Read as _};
use std::net::SocketAddr;
use std::process::{Child, ChildStderr, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use menshen_test_support::{Nodes, Reply, TestGateway, address_in, make_client, nobody_waits};
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::time::timeout;

const MENSHEN: &str = env!("CARGO_BIN_EXE_menshen");

/// More than the queue holds of lines that each take over two kilobytes.
const REQUESTS: usize = 3_000;

/// How long the program may take to report what was dropped.
const PATIENCE: Duration = Duration::from_secs(20);

/// What it then says.
const DROPPED: &str = "log lines were dropped: nobody read them in time";

/// A program whose log is read only when a test says so.
struct Program {
    child: Child,
    log: Option<BufReader<ChildStderr>>,
    /// Where the site is served.
    address: SocketAddr,
    control: SocketAddr,
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Program {
    fn start(nodes: &Nodes) -> Self {
        let command = nodes.site.command(MENSHEN, &["serve"]);
        let mut command = command.into_std();
        command.stdin(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut log = BufReader::new(child.stderr.take().unwrap());
        let address = address_in(&line(&mut log, "listening"));
        let control = address_in(&line(&mut log, "open for control"));
        Self {
            child,
            log: Some(log),
            address,
            control,
        }
    }

    fn signal(&self, name: &str) {
        let kill = format!("kill -s {name} {}", self.child.id());
        assert!(
            Command::new("sh")
                .args(["-c", &kill])
                .status()
                .unwrap()
                .success()
        );
    }

    /// Waits for the end for as long as a stop may take: the moment in which connections are kept, and the log's limit.
    async fn ended(&mut self) -> ExitStatus {
        let since = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(since.elapsed() < Duration::from_secs(5), "it does not end");
            tokio::task::yield_now().await;
        }
    }
}

/// Reads up to a line that holds a text.
fn line(log: &mut impl BufRead, text: &str) -> String {
    loop {
        let mut line = String::new();
        assert_ne!(
            log.read_line(&mut line).unwrap(),
            0,
            "it should say {text:?}"
        );
        if line.contains(text) {
            return line;
        }
    }
}

/// Sends requests one after the other, and reads each answer.
async fn exchanges(address: SocketAddr, count: usize) {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let path = "a".repeat(2_000);
    let request = format!("GET /public/{path} HTTP/1.1\r\nHost: here\r\n\r\n");
    for _ in 0..count {
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        while !answer.ends_with(b"ok") {
            assert_ne!(stream.read_buf(&mut answer).await.unwrap(), 0);
        }
        assert!(answer.starts_with(b"HTTP/1.1 200 "));
    }
}

async fn nodes() -> Nodes {
    Nodes::new(TestGateway::builder().section("log", "format = \"json\"")).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_and_signals_do_not_wait_for_a_reader_that_stopped() {
    let nodes = nodes().await;
    let mut program = Program::start(&nodes);
    exchanges(program.address, REQUESTS).await;
    let http = make_client();
    nobody_waits(|| {
        let request = http.get(format!("http://{}/public/tiny", program.address));
        async move { assert_eq!(Reply::of(request).await.status, 200) }
    })
    .await;
    let health = reqwest::get(format!("http://{}/healthz", program.control)).await;
    assert_eq!(health.unwrap().status(), 200);
    program.signal("HUP");
    program.signal("TERM");
    assert_eq!(program.ended().await.code(), Some(0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_that_goes_on_learns_how_many_lines_were_dropped() {
    let nodes = nodes().await;
    let mut program = Program::start(&nodes);
    exchanges(program.address, REQUESTS).await;
    let metrics = reqwest::get(format!("http://{}/metrics", program.control)).await;
    let metrics = metrics.unwrap().text().await.unwrap();
    let lost = metrics
        .lines()
        .find_map(|line| line.strip_prefix("menshen_log_lines_dropped_total "));
    assert!(lost.unwrap().parse::<u64>().unwrap() > 0, "{metrics}");
    let (address, mut log) = (program.address, program.log.take().unwrap());
    let (report, reported) = oneshot::channel();
    let reading = std::thread::spawn(move || {
        let (mut lines, mut report) = (Vec::new(), Some(report));
        for line in log.by_ref().lines() {
            let line: Value = serde_json::from_str(&line.unwrap()).unwrap();
            if line["message"] == DROPPED
                && let Some(report) = report.take()
            {
                report.send(()).unwrap();
            }
            lines.push(line);
        }
        lines
    });
    timeout(PATIENCE, reported).await.unwrap().unwrap();
    exchanges(address, 1).await;
    program.signal("TERM");
    assert_eq!(program.ended().await.code(), Some(0));
    let lines = reading.join().unwrap();
    let written = lines.iter().filter(|line| line["message"] == "exchange");
    let reports = lines.iter().filter(|line| line["message"] == DROPPED);
    let dropped: u64 = reports.map(|line| line["lines"].as_u64().unwrap()).sum();
    assert!(dropped > 0);
    assert_eq!(
        written.count() + usize::try_from(dropped).unwrap(),
        REQUESTS + 1
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stop_writes_the_lines_that_wait() {
    let nodes = nodes().await;
    let mut program = Program::start(&nodes);
    // More than a pipe holds, and less than the queue.
    exchanges(program.address, 1_000).await;
    program.signal("TERM");
    let lines = program.log.take().unwrap().lines();
    let lines: Vec<String> = lines.map(Result::unwrap).collect();
    assert_eq!(program.ended().await.code(), Some(0));
    let written = lines.iter().filter(|line| line.contains("menshen::access"));
    assert_eq!(written.count(), 1_000);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_that_has_gone_is_missed_by_nobody() {
    let nodes = nodes().await;
    let mut program = Program::start(&nodes);
    drop(program.log.take());
    exchanges(program.address, 100).await;
    program.signal("TERM");
    assert_eq!(program.ended().await.code(), Some(0));
}
