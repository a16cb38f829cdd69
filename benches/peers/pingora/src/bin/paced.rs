//! Sends requests at a given rate, whatever the answers take: `paced PORT PATH TOKEN RATE SECONDS LENGTH`.
//!
//! Requests are due at random times, as those of many users are. Each connection has a thread that sends when a request
//! is due, or as soon as the answer before it is there, and the time until an answer counts from when its request was
//! due. So a proxy that stops for a moment pays for all who wait meanwhile.
#![expect(clippy::unwrap_used, reason = "a program for a benchmark may panic")]

use std::env::args;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::thread;
use std::time::{Duration, Instant};

const CONNECTIONS: usize = 32;
const SEED: u64 = 7;

/// Reads one answer, and makes sure that it is the expected one.
fn read_answer(stream: &mut TcpStream, buffer: &mut Vec<u8>, length: usize) {
    buffer.clear();
    let mut part = [0; 16 * 1024];
    loop {
        let read = stream.read(&mut part).unwrap();
        assert_ne!(read, 0, "the proxy closed a connection");
        buffer.extend(part.iter().take(read));
        let Some(head) = buffer.windows(4).position(|end| end == b"\r\n\r\n") else {
            continue;
        };
        let wanted = head + 4 + length;
        if buffer.len() >= wanted {
            assert!(buffer.starts_with(b"HTTP/1.1 200"), "not 200");
            assert_eq!(buffer.len(), wanted, "the body has another length");
            return;
        }
    }
}

fn connection(
    port: u16,
    request: &[u8],
    length: usize,
    rate: f64,
    span: Duration,
    seed: u64,
) -> Vec<Duration> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.set_nodelay(true).unwrap();
    stream
        .set_read_timeout(Some(Duration::from_secs(20)))
        .unwrap();
    let mut random = fastrand::Rng::with_seed(seed);
    let mut buffer = Vec::new();
    stream.write_all(request).unwrap();
    read_answer(&mut stream, &mut buffer, length);

    let mut took = Vec::new();
    let start = Instant::now();
    let mut due = Duration::ZERO;
    loop {
        due += Duration::from_secs_f64(-(1.0 - random.f64()).ln() / rate);
        if due >= span {
            return took;
        }
        if let Some(early) = due.checked_sub(start.elapsed()) {
            thread::sleep(early);
        }
        stream.write_all(request).unwrap();
        read_answer(&mut stream, &mut buffer, length);
        took.push(start.elapsed().saturating_sub(due));
    }
}

fn main() {
    let arguments: Vec<String> = args().skip(1).collect();
    let [port, path, token, rate, seconds, length] = arguments.as_slice() else {
        panic!("paced PORT PATH TOKEN RATE SECONDS LENGTH");
    };
    let request = format!(
        "GET {path} HTTP/1.1\r\nHost: bench.example\r\nAuthorization: Bearer {token}\r\n\r\n"
    );
    let (port, length) = (port.parse().unwrap(), length.parse().unwrap());
    let rate = rate.parse::<f64>().unwrap() / CONNECTIONS as f64;
    let span = Duration::from_secs_f64(seconds.parse().unwrap());
    let mut took: Vec<Duration> = thread::scope(|scope| {
        let threads: Vec<_> = (0..CONNECTIONS as u64)
            .map(|number| {
                let request = request.as_bytes();
                scope.spawn(move || connection(port, request, length, rate, span, SEED + number))
            })
            .collect();
        threads
            .into_iter()
            .flat_map(|thread| thread.join().unwrap())
            .collect()
    });
    took.sort();
    let at = |share: f64| {
        let index = (took.len() as f64 * share) as usize;
        took.get(index.min(took.len().saturating_sub(1)))
            .unwrap()
            .as_micros()
    };
    println!(
        "{{\"requests\":{},\"p50_us\":{},\"p99_us\":{}}}",
        took.len(),
        at(0.5),
        at(0.99)
    );
}
