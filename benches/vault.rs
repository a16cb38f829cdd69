//! What it costs to have data decrypted: the time of the processor that a whole call to the private listener takes.
#![expect(clippy::unwrap_used, reason = "a benchmark may panic")]

use std::time::Duration;

use futures::StreamExt as _;
use menshen_test_support::{Official, TestGateway, bench};

const CALLS: u32 = 20_000;
const WARMING: u32 = 2_000;
const TOGETHER: usize = 4;
const MOST: Duration = Duration::from_micros(300);

async fn decrypt(official: &Official, times: u32) {
    let calls = futures::stream::iter(0..times).map(|_| official.decrypt());
    let mut replies = calls.buffer_unordered(TOGETHER);
    while let Some(reply) = replies.next().await {
        assert_eq!(reply.status, 200, "{}", reply.text());
        assert_eq!(reply.body, Official::PLAIN.as_bytes());
    }
}

/// Returns the time that all of a process's threads have had so far.
fn used(process: u32) -> Duration {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap();
    // Behind the name, which may hold anything, the 12th and 13th field are user and system time.
    let (_, fields) = stat.rsplit_once(") ").unwrap();
    let fields = fields.split_whitespace().skip(11).take(2);
    let ticks: u64 = fields.map(|field| field.parse::<u64>().unwrap()).sum();
    // Linux counts these in hundredths of a second, whatever its own clock does.
    Duration::from_millis(10 * ticks)
}

#[tokio::main]
async fn main() {
    let program = bench::program(env!("CARGO_BIN_EXE_menshen"));
    let official = Official::start(&program, TestGateway::builder()).await;
    decrypt(&official, WARMING).await;
    let before = used(official.program.id());
    decrypt(&official, CALLS).await;
    let each = (used(official.program.id()) - before) / CALLS;
    println!("decrypting the published example: {each:?} of CPU a call (at most {MOST:?})");
    assert!(each <= MOST, "{each:?}");
}
