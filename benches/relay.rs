//! What a call to WeChat through the relay costs: the time that it adds, and the memory that it holds, whatever the body's size.
#![expect(clippy::unwrap_used, reason = "a benchmark may panic")]

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use menshen_test_support::bench::{program, runs};
use menshen_test_support::{Program, Site, TestGateway, address_in, resident_memory};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

const CALLS: usize = 4_000;
const WARMING: usize = 400;
const MOST_ADDED: Duration = Duration::from_millis(1);

const GIB: usize = 1 << 30;
/// As many calls of a kind stand still at the same time; the private listener serves 512. The allocator takes memory in steps of 2 MiB,
/// which few calls would share.
const STANDING: usize = 400;
/// As many go before them.
const WARMING_CALLS: usize = 10;
/// The largest body that is kept to be sent again.
const WHOLE: usize = 16 * 1024;
const MOST_HELD: u64 = 64 * 1024;

const UPLOAD: &str = "/cgi-bin/media/upload";
const DOWNLOAD: &str = "/cgi-bin/media/get";
const MESSAGE: &str = r#"{"touser":"o1","template_id":"t1","data":{"thing1":{"value":"1"}}}"#;
const OK: &str = r#"{"errcode":0,"errmsg":"ok"}"#;

/// A WeChat that takes and gives as much as it is asked for, and stands still where it is asked to.
async fn wechat() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            stream.set_nodelay(true).unwrap();
            tokio::spawn(serve(stream));
        }
    });
    address
}

async fn serve(mut stream: TcpStream) {
    let mut part = vec![0; 256 * 1024];
    while let Some((head, early)) = head(&mut stream).await {
        let length = field(&head, "content-length").unwrap_or(0);
        let target = head.split(' ').nth(1).unwrap();
        if target.contains("still") {
            // Nothing more is read, and nothing answered.
            std::future::pending::<()>().await;
        }
        let mut left = length - early;
        while left > 0 {
            let read = stream.read(&mut part).await.unwrap_or(0);
            if read == 0 {
                return;
            }
            left -= read;
        }
        if target.starts_with(DOWNLOAD) {
            let head = format!(
                "HTTP/1.1 200 OK\r\nContent-Type: video/mp4\r\nContent-Length: {GIB}\r\n\r\n"
            );
            stream.write_all(head.as_bytes()).await.unwrap();
            let mut left = GIB;
            while left > 0 {
                let length = left.min(part.len());
                if stream.write_all(part.get(..length).unwrap()).await.is_err() {
                    return;
                }
                left -= length;
            }
            continue;
        }
        let body = match target.contains("stable_token") {
            true => r#"{"access_token":"90_bench","expires_in":7200}"#,
            false => OK,
        };
        let answer = format!(
            "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        if stream.write_all(answer.as_bytes()).await.is_err() {
            return;
        }
    }
}

/// Reads a head, and says how much of the body came with it.
async fn head(stream: &mut TcpStream) -> Option<(String, usize)> {
    let (mut bytes, mut part) = (Vec::new(), [0; 4096]);
    loop {
        let length = stream
            .read(&mut part)
            .await
            .ok()
            .filter(|length| *length > 0)?;
        bytes.extend_from_slice(part.get(..length)?);
        if let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            let head = String::from_utf8_lossy(bytes.get(..end)?).to_lowercase();
            return Some((head, bytes.len() - end - 4));
        }
    }
}

fn field(head: &str, name: &str) -> Option<usize> {
    let line = head.lines().find_map(|line| line.strip_prefix(name));
    line?.trim_start_matches(':').trim().parse().ok()
}

/// A connection on which calls are made one after the other.
struct Caller {
    stream: TcpStream,
    prefix: &'static str,
}

impl Caller {
    async fn to(address: SocketAddr, prefix: &'static str) -> Self {
        let stream = TcpStream::connect(address).await.unwrap();
        stream.set_nodelay(true).unwrap();
        Self { stream, prefix }
    }

    async fn begin(&mut self, method: &str, path: &str, length: usize) {
        let prefix = self.prefix;
        let head = format!(
            "{method} {prefix}{path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {length}\r\n\
             Content-Type: application/octet-stream\r\n\r\n"
        );
        self.stream.write_all(head.as_bytes()).await.unwrap();
    }

    /// Reads an answer, and returns the length of its body.
    async fn answered(&mut self) -> usize {
        let (head, early) = head(&mut self.stream).await.unwrap();
        assert!(head.starts_with("http/1.1 200"), "{head}");
        let length = field(&head, "content-length").unwrap();
        let (mut left, mut part) = (length - early, vec![0; 256 * 1024]);
        while left > 0 {
            let read = self.stream.read(&mut part).await.unwrap();
            assert_ne!(read, 0, "it broke off");
            left -= read;
        }
        length
    }

    async fn send_message(&mut self) {
        self.begin("POST", "/cgi-bin/message/subscribe/send", MESSAGE.len())
            .await;
        self.stream.write_all(MESSAGE.as_bytes()).await.unwrap();
        self.answered().await;
    }
}

struct Bench {
    menshen: Program,
    control: SocketAddr,
    wechat: SocketAddr,
    _site: Site,
}

impl Bench {
    async fn start() -> Self {
        let wechat = wechat().await;
        let builder = TestGateway::builder().section("log", "access = false");
        let site = builder.site(wechat, wechat);
        let mut command = site.command(&program(env!("CARGO_BIN_EXE_menshen")), &["serve"]);
        // Whole huge pages would count as held, however little of them is.
        command.env("MIMALLOC_ALLOW_THP", "0");
        command.envs(std::env::vars().filter(|(name, _)| name.starts_with("MIMALLOC_")));
        let menshen = Program::start(command);
        let control = address_in(&menshen.logs("open for control").await);
        Self {
            menshen,
            control,
            wechat,
            _site: site,
        }
    }

    async fn relayed(&self) -> Caller {
        Caller::to(self.control, "/wechat/shop").await
    }

    async fn time(&self) {
        let mut callers = [Caller::to(self.wechat, "").await, self.relayed().await];
        let mut times = [Vec::new(), Vec::new()];
        for round in 0..WARMING + CALLS {
            for (caller, times) in callers.iter_mut().zip(&mut times) {
                let began = Instant::now();
                caller.send_message().await;
                if round >= WARMING {
                    times.push(began.elapsed());
                }
            }
        }
        let [direct, relayed] = times.map(|mut times| {
            times.sort();
            times.get(times.len() / 2).copied().unwrap()
        });
        let added = relayed.saturating_sub(direct);
        println!(
            "a message: {direct:?} straight, {relayed:?} through the relay, {added:?} added at the median (at most {MOST_ADDED:?})"
        );
        assert!(added <= MOST_ADDED, "{added:?}");
    }

    async fn gibibytes(&self) {
        self.relayed().await.send_message().await;
        let before = resident_memory(self.menshen.id());
        let began = Instant::now();
        let mut upload = self.relayed().await;
        upload.begin("POST", UPLOAD, GIB).await;
        let part = vec![7; 256 * 1024];
        for _ in 0..GIB / part.len() {
            upload.stream.write_all(&part).await.unwrap();
        }
        upload.answered().await;
        let up = began.elapsed();
        let began = Instant::now();
        let mut download = self.relayed().await;
        download.begin("GET", DOWNLOAD, 0).await;
        assert_eq!(download.answered().await, GIB);
        let down = began.elapsed();
        let grown = self.menshen.peak_memory().saturating_sub(before) / 1024;
        println!(
            "1 GiB up in {up:.1?}, 1 GiB down in {down:.1?}: at most {grown} KiB more than before"
        );
    }

    async fn standing(&self, kind: Standing) -> u64 {
        self.relayed().await.send_message().await;
        // The program's code is read from the disk when it runs first, which is nobody's call.
        let warming = self.stand(kind, WARMING_CALLS).await;
        let before = resident_memory(self.menshen.id());
        let standing = self.stand(kind, STANDING).await;
        let grown = resident_memory(self.menshen.id()).saturating_sub(before);
        assert_eq!(warming.len() + standing.len(), WARMING_CALLS + STANDING);
        let held = grown / STANDING as u64;
        println!("{STANDING} {kind:?}: {held} bytes held for each (at most {MOST_HELD})");
        held
    }

    async fn stand(&self, kind: Standing, calls: usize) -> Vec<Caller> {
        let mut standing = JoinSet::new();
        for _ in 0..calls {
            standing.spawn(kind.stand(self.relayed().await));
        }
        standing.join_all().await
    }
}

/// How a call stands still.
#[derive(Clone, Copy, Debug)]
enum Standing {
    /// In the middle of 1 GiB to WeChat.
    Upload,
    /// In the middle of 1 GiB from WeChat.
    Download,
    /// With a body that is kept, behind which WeChat says nothing.
    Whole,
}

impl Standing {
    async fn stand(self, mut caller: Caller) -> Caller {
        match self {
            Self::Upload => {
                caller
                    .begin("POST", &format!("{UPLOAD}?still=1"), GIB)
                    .await;
                let part = vec![7; 64 * 1024];
                // Until nobody takes any more.
                let pause = Duration::from_millis(300);
                while let Ok(sent) =
                    tokio::time::timeout(pause, caller.stream.write_all(&part)).await
                {
                    sent.unwrap();
                }
            }
            Self::Download => {
                caller.begin("GET", DOWNLOAD, 0).await;
                let mut first = [0; 1];
                caller.stream.read_exact(&mut first).await.unwrap();
            }
            Self::Whole => {
                let path = "/cgi-bin/message/subscribe/send?still=1";
                caller.begin("POST", path, WHOLE).await;
                caller.stream.write_all(&vec![7; WHOLE]).await.unwrap();
                tokio::time::sleep(Duration::from_millis(300)).await;
            }
        }
        caller
    }
}

#[tokio::main]
async fn main() {
    let bench = Bench::start().await;
    if runs("time") {
        bench.time().await;
    }
    if runs("gibibytes") {
        bench.gibibytes().await;
    }
    if runs("standing") {
        drop(bench);
        let mut most = 0;
        for kind in [Standing::Upload, Standing::Download, Standing::Whole] {
            // What calls of another kind gave back would be taken again.
            let held = Bench::start().await.standing(kind).await;
            most = most.max(held);
        }
        assert!(most <= MOST_HELD, "{most}");
    }
}
