//! Bodies of any size pass through the program in constant memory, however slowly the other side reads.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use menshen_test_support::{ByHand, Program, Site, TestGateway, Wire};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

const MENSHEN: &str = env!("CARGO_BIN_EXE_menshen");

const PART: usize = 1 << 20;
const PARTS: usize = 256;

/// What buffers on the way may take, all of them together: a fraction of the body.
const MOST: u64 = 48 << 20;

/// When nothing has moved for so long, every buffer is full.
const STUCK: Duration = Duration::from_millis(500);

const LIMIT: Duration = Duration::from_secs(120);

/// The program in front of a backend that the test answers for.
struct Running {
    program: Program,
    address: SocketAddr,
    backend: ByHand,
    before: u64,
    _site: Site,
}

impl Running {
    async fn start() -> Self {
        let backend = ByHand::start().await;
        let builder = TestGateway::builder().section("server", "max_body = \"1GiB\"");
        let simulator = builder.simulator().await;
        let site = builder.site(backend.address, simulator);
        let program = Program::start(site.command(MENSHEN, &["serve"]));
        let address = program.find_address().await;
        let running = Self {
            program,
            address,
            backend,
            before: 0,
            _site: site,
        };
        // An exchange before it is measured makes what every later one needs.
        let mut client = TcpStream::connect(address).await.unwrap();
        client.write_all(&head("Content-Length: 2")).await.unwrap();
        client.write_all(b"hi").await.unwrap();
        let mut wire = running.backend.accept().await;
        wire.message().await;
        wire.send("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")
            .await;
        Wire::of(client).message().await;
        let before = running.program.peak_memory();
        Self { before, ..running }
    }

    fn assert_small(&self) {
        let grown = self.program.peak_memory() - self.before;
        assert!(grown < MOST, "grew by {} KiB", grown >> 10);
    }
}

fn head(framing: &str) -> Vec<u8> {
    format!("POST /public HTTP/1.1\r\nHost: h\r\nConnection: close\r\n{framing}\r\n\r\n")
        .into_bytes()
}

/// Writes parts until nothing moves any more; returns how many bytes were taken.
async fn fill(stream: &mut (impl tokio::io::AsyncWrite + Unpin), part: &[u8]) -> usize {
    let mut taken = 0;
    while let Ok(written) = tokio::time::timeout(STUCK, stream.write(part)).await {
        taken += written.unwrap();
    }
    taken
}

#[tokio::test]
async fn an_upload_waits_for_a_backend_that_does_not_read_and_then_passes_whole() {
    let running = Running::start().await;
    let mut client = TcpStream::connect(running.address).await.unwrap();
    let length = PART * PARTS;
    client
        .write_all(&head(&format!("Content-Length: {length}")))
        .await
        .unwrap();
    let part = vec![b'x'; PART];
    let taken = fill(&mut client, &part).await;
    assert!(taken < length / 2, "{taken} bytes were taken for nobody");
    running.assert_small();
    let (mut answer, mut sending) = client.into_split();
    let writing = async {
        let mut left = length - taken;
        while left > 0 {
            let part = part.get(..left.min(PART)).unwrap();
            sending.write_all(part).await.unwrap();
            left -= part.len();
        }
    };
    let serving = async {
        let mut wire = running.backend.accept().await;
        wire.read_to("\r\n\r\n").await;
        let (start, mut wire) = wire.into_parts();
        let mut read = vec![0; PART];
        let mut left = length - start.len();
        while left > 0 {
            let got = wire.read(&mut read).await.unwrap();
            assert!(got > 0 && got <= left, "{got} of {left}");
            left -= got;
        }
        let done = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
        wire.write_all(done).await.unwrap();
    };
    let both = async { tokio::join!(writing, serving) };
    tokio::time::timeout(LIMIT, both).await.unwrap();
    let mut text = String::new();
    answer.read_to_string(&mut text).await.unwrap();
    assert!(text.starts_with("HTTP/1.1 200"), "{text}");
    running.assert_small();
}

#[tokio::test]
async fn an_upload_over_http_2_waits_for_a_backend_that_does_not_read() {
    let running = Running::start().await;
    let stream = TcpStream::connect(running.address).await.unwrap();
    let (requests, connection) = h2::client::handshake(stream).await.unwrap();
    tokio::spawn(connection);
    let request = http::Request::post("http://h/public").body(()).unwrap();
    let mut ready = requests.ready().await.unwrap();
    let (_response, mut sending) = ready.send_request(request, false).unwrap();
    let _wire = running.backend.accept().await;
    let mut taken = 0;
    loop {
        sending.reserve_capacity(PART);
        let room = std::future::poll_fn(|context| sending.poll_capacity(context));
        let Ok(room) = tokio::time::timeout(STUCK, room).await else {
            break;
        };
        let room = room.unwrap().unwrap();
        sending
            .send_data(Bytes::from(vec![b'x'; room]), false)
            .unwrap();
        taken += room;
        assert!(
            taken < PART * PARTS / 2,
            "{taken} bytes were taken for nobody"
        );
    }
    running.assert_small();
}

#[tokio::test]
async fn a_download_waits_for_a_client_that_does_not_read() {
    let running = Running::start().await;
    let mut client = TcpStream::connect(running.address).await.unwrap();
    client
        .write_all(b"GET /public HTTP/1.1\r\nHost: h\r\n\r\n")
        .await
        .unwrap();
    let mut wire = running.backend.accept().await;
    wire.message().await;
    wire.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        .await;
    let (_, mut backend) = wire.into_parts();
    let mut chunk = format!("{PART:x}\r\n").into_bytes();
    chunk.extend(vec![b'x'; PART]);
    chunk.extend(b"\r\n");
    let mut taken = 0;
    while let Ok(written) = tokio::time::timeout(STUCK, backend.write_all(&chunk)).await {
        written.unwrap();
        taken += PART;
        assert!(
            taken < PART * PARTS / 2,
            "{taken} bytes were taken for nobody"
        );
    }
    running.assert_small();
}
