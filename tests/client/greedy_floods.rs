//! Floods of what is cheap to send and dear to receive: what others notice while they go on.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use h2::client::handshake;
use http::Request;
use menshen_test_support::{
    Program, Reply, TestGateway, Wire, make_client, nobody_waits, resident_memory,
};
use serde_json::json;
use tokio::io::AsyncWriteExt as _;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until, timeout};

/// Where floods come from.
const ATTACKER: &str = "192.0.2.66";

/// Does something over and over until what is returned is dropped.
fn flood<F>(one: impl Fn() -> F + Send + 'static) -> JoinSet<()>
where
    F: Future<Output = ()> + Send + 'static,
{
    let mut flood = JoinSet::new();
    flood.spawn(async move {
        loop {
            one().await;
        }
    });
    flood
}

#[tokio::test]
async fn what_everybody_waits_for_does_not_pass_for_nothing() {
    let over = Instant::now() + Duration::from_millis(2500);
    let mut noticed = JoinSet::new();
    noticed.spawn(nobody_waits(move || sleep_until(over)));
    assert!(noticed.join_next().await.unwrap().unwrap_err().is_panic());
}

#[tokio::test]
async fn a_single_stall_does_not_pass_for_nothing() {
    let number = AtomicUsize::new(0);
    let mut noticed = JoinSet::new();
    noticed.spawn(nobody_waits(move || {
        let stalls = number.fetch_add(1, Ordering::Relaxed) % 50 == 25;
        let pause = Duration::from_millis(if stalls { 300 } else { 0 });
        sleep(pause)
    }));
    assert!(noticed.join_next().await.unwrap().unwrap_err().is_panic());
}

/// Returns a token of a user with a signature that nobody made.
fn forged(token: &str, number: usize) -> String {
    let (signed, _) = token.rsplit_once('.').unwrap();
    // The last character stands for two bits only.
    format!("{signed}.{number:0>85}A")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn wrong_signatures_without_end_keep_out_nobody_who_was_in() {
    let t = TestGateway::builder().trust_local_proxies().start().await;
    let (alice, bob) = (t.log_in("alice").await, t.log_in("bob").await);
    let get = |token: &str, address: &str| {
        let request = t.get("/orders").bearer_auth(token);
        request.header("X-Forwarded-For", address)
    };
    // Somebody behind the same address as the attacker, who has been seen before.
    assert_eq!(Reply::of(get(&alice.token, ATTACKER)).await.status, 200);
    let (mut verified, mut refused) = (0, None);
    for number in 0..1_000 {
        let reply = Reply::of(get(&forged(&alice.token, number), ATTACKER)).await;
        if reply.status == 429 {
            refused = Some(reply);
            break;
        }
        reply.refused(401, "token_invalid");
        verified += 1;
    }
    assert!((600..700).contains(&verified), "{verified}");
    let refused = refused.unwrap();
    refused.refused(429, "too_many_requests");
    assert_eq!(refused.header("retry-after"), "1");
    let number = AtomicUsize::new(1_000);
    let (http, url, token) = (t.http.clone(), t.url("/orders"), alice.token.clone());
    let _flood = flood(move || {
        let forged = forged(&token, number.fetch_add(1, Ordering::Relaxed));
        let request = http.get(&url).bearer_auth(forged);
        let request = request.header("X-Forwarded-For", ATTACKER);
        async move {
            let status = Reply::of(request).await.status;
            assert!([401, 429].contains(&status), "{status}");
        }
    });
    for _ in 0..100 {
        assert_eq!(Reply::of(get(&alice.token, ATTACKER)).await.status, 200);
    }
    // Elsewhere whoever comes for the first time is let in as well.
    assert_eq!(Reply::of(get(&bob.token, "192.0.2.1")).await.status, 200);
    t.log_in("carol").await;
    nobody_waits(|| {
        let request = get(&bob.token, "192.0.2.1");
        async move { assert_eq!(Reply::of(request).await.status, 200) }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn headers_full_of_words_that_look_like_tokens_delay_nobody() {
    let t = TestGateway::start().await;
    for word in ["aaaa.bbbb.cccc,", "eyJhbGciOiJFUzI1NiJ9.b.c,", "eyJ"] {
        let words = word.repeat(15_000 / word.len());
        let (http, url) = (t.http.clone(), t.url("/public/words"));
        let _flood = flood(move || {
            let request = http.get(&url).header("authorization", &words);
            async move { assert_eq!(Reply::of(request).await.status, 200) }
        });
        t.nobody_waits("/public/tiny").await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn chunks_of_one_byte_delay_nobody() {
    let t = TestGateway::start().await;
    let mut floods = Vec::new();
    for _ in 0..2 {
        let address = t.address;
        floods.push(flood(move || async move {
            let mut client = TcpStream::connect(address).await.unwrap();
            let head =
                "POST /public/drops HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n";
            client.write_all(head.as_bytes()).await.unwrap();
            let chunks = "1\r\nx\r\n".repeat(1_000);
            while client.write_all(chunks.as_bytes()).await.is_ok() {}
        }));
    }
    t.nobody_waits("/public/tiny").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn exchanges_that_are_given_up_without_end_delay_nobody() {
    let t = TestGateway::start().await;
    let address = t.address;
    let _flood = flood(move || async move {
        let tcp = TcpStream::connect(address).await.unwrap();
        let (mut requests, connection) = handshake(tcp).await.unwrap();
        let connection = tokio::spawn(connection);
        for _ in 0..50 {
            let Ok(ready) = requests.clone().ready().await else {
                break;
            };
            requests = ready;
            let request = Request::get("http://shop.example/public/hold").body(());
            // Dropped, which resets its stream.
            let _ = requests.send_request(request.unwrap(), true);
            tokio::task::yield_now().await;
        }
        connection.abort();
    });
    t.nobody_waits("/public/tiny").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn codes_of_others_that_are_sent_again_delay_nobody() {
    let t = TestGateway::builder().trust_local_proxies().start().await;
    let code = t.code("alice").await;
    let log_in = |address: &str, code: &str| {
        let request = t.http.post(t.url("/_auth/login"));
        let request = request.header("X-Forwarded-For", address);
        request.json(&json!({"code": code}))
    };
    assert_eq!(Reply::of(log_in("192.0.2.1", &code)).await.status, 200);
    let stolen = log_in(ATTACKER, &code);
    let _flood = flood(move || {
        let request = stolen.try_clone().unwrap();
        async move {
            Reply::of(request).await.refused(401, "code_used");
        }
    });
    let mut codes = Vec::new();
    for number in 0..250 {
        codes.push(t.code(&format!("user-{number}")).await);
    }
    let codes = std::sync::Mutex::new(codes);
    nobody_waits(|| {
        let code = codes.lock().unwrap().pop().unwrap();
        let request = log_in("192.0.2.1", &code);
        async move { assert_eq!(Reply::of(request).await.status, 200) }
    })
    .await;
    t.nobody_waits("/public/tiny").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn made_up_codes_delay_nobody_who_is_logged_in() {
    let t = TestGateway::builder()
        .trust_local_proxies()
        .section("login", "quota_per_minute = 60\nqueue_timeout = \"1s\"")
        .start()
        .await;
    let grant = t.log_in("alice").await;
    let mut floods = Vec::new();
    for attacker in 0..20 {
        let (http, url) = (t.http.clone(), t.url("/_auth/login"));
        let number = AtomicUsize::new(0);
        floods.push(flood(move || {
            let number = number.fetch_add(1, Ordering::Relaxed);
            let code = json!({"code": format!("0made-up-{attacker}-{number}")});
            let request = http.post(&url).json(&code);
            let request = request.header("X-Forwarded-For", format!("198.51.100.{attacker}"));
            async move {
                Reply::of(request).await;
            }
        }));
    }
    nobody_waits(|| {
        let request = t.get("/orders").bearer_auth(&grant.token);
        async move { assert_eq!(Reply::of(request).await.status, 200) }
    })
    .await;
}

/// Starts the program in front of a backend that sends 32 MiB to whoever asks for `/public/large`.
async fn before_large_answers() -> (Program, SocketAddr, tempfile::TempDir) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let backend = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            tokio::spawn(async move {
                let mut wire = Wire::of(stream);
                let large = wire.read_to("\r\n\r\n").await.contains("/large");
                let size = if large { 32 << 20 } else { 2 };
                let head = format!(
                    "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: {size}\r\n\r\n"
                );
                let (_, mut stream) = wire.into_parts();
                let _ = stream.write_all(head.as_bytes()).await;
                let part = Bytes::from(vec![b'x'; size.min(64 << 10)]);
                for _ in 0..size / part.len() {
                    if stream.write_all(&part).await.is_err() {
                        return;
                    }
                }
            });
        }
    });
    let builder = TestGateway::builder();
    let simulator = builder.simulator().await;
    let site = builder.site(backend, simulator);
    let program = Program::start(site.command(env!("CARGO_BIN_EXE_menshen"), &["serve"]));
    let address = program.find_address().await;
    (program, address, site.folder)
}

/// Begins so many large downloads, and reads no more of each than its head.
async fn read_slowly(address: SocketAddr, readers: usize) -> Vec<Wire> {
    let mut held = Vec::new();
    for _ in 0..readers {
        let mut client = Wire::connect(address).await;
        let request = "GET /public/large HTTP/1.1\r\nHost: h\r\n\r\n";
        client.send(request).await;
        let head = client.read_to("\r\n\r\n").await;
        assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
        held.push(client);
    }
    held
}

fn open_files(process: u32) -> usize {
    let files = std::fs::read_dir(format!("/proc/{process}/fd"));
    files.unwrap().count()
}

#[tokio::test]
async fn slow_readers_hold_little_memory_delay_nobody_and_leave_it_to_the_next() {
    const READERS: usize = 100;
    const MOST_KIB: u64 = 256;
    let (program, address, _folder) = before_large_answers().await;
    let http = make_client();
    let others = async || {
        nobody_waits(|| {
            let request = http.get(format!("http://{address}/public/tiny"));
            async move { assert_eq!(Reply::of(request).await.status, 200) }
        })
        .await;
    };
    others().await;
    let before = resident_memory(program.id());
    let files = open_files(program.id());
    // The allocator may keep what was freed, but what is kept serves those who come next.
    for _ in 0..4 {
        let held = read_slowly(address, READERS).await;
        others().await;
        let grown = resident_memory(program.id()).saturating_sub(before);
        let grown = grown / 1024 / READERS as u64;
        println!("{grown} KiB for each slow reader");
        assert!(grown < MOST_KIB, "{grown} KiB");
        drop(held);
        let gone = async {
            while open_files(program.id()) > files + READERS / 10 {
                others().await;
            }
        };
        let gone = timeout(Duration::from_secs(30), gone).await;
        assert!(gone.is_ok(), "{} files stay open", open_files(program.id()));
    }
}
