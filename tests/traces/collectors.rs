//! A collector that is away, does not answer, refuses, or comes back: no request waits for it, and what is lost is counted.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test may panic")]

use std::fs;
use std::time::{Duration, Instant};

use menshen_test_support::{
    Builder, Certificate, Collector, Nodes, Reply, Taking, TestGateway, find_closed_address,
    tls_front,
};

const MENSHEN: &str = env!("CARGO_BIN_EXE_menshen");
const PATIENCE: Duration = Duration::from_secs(20);

fn traced(endpoint: &str, lines: &str) -> Builder {
    let traces = format!("{endpoint}\nsample = 1\n{lines}");
    TestGateway::builder().section("traces", &traces)
}

/// Returns the value of a metric.
async fn metric(t: &TestGateway, name: &str) -> u64 {
    let page = t.read_metrics().await;
    let line = page.lines().find_map(|line| line.strip_prefix(name));
    let value = line.unwrap_or_else(|| panic!("{name}\n{page}"));
    value.trim().parse().unwrap()
}

/// Waits until a metric has a value.
async fn reaches(t: &TestGateway, name: &str, value: u64) {
    let began = Instant::now();
    while metric(t, name).await != value {
        assert!(
            began.elapsed() < PATIENCE,
            "{name}: {}",
            metric(t, name).await
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

const EXPORTED: &str = "menshen_spans_exported_total";
const WAITING: &str = "menshen_spans_waiting";
const NO_ROOM: &str = r#"menshen_spans_dropped_total{reason="no_room"}"#;
const FAILED: &str = r#"menshen_spans_dropped_total{reason="failed"}"#;
const REJECTED: &str = r#"menshen_spans_dropped_total{reason="rejected"}"#;

/// Sends so many requests, of which each has two spans, and returns how long the slowest took.
async fn slowest(t: &TestGateway, requests: usize) -> Duration {
    let mut slowest = Duration::ZERO;
    for _ in 0..requests {
        let began = Instant::now();
        assert_eq!(Reply::of(t.get("/public")).await.status, 200);
        slowest = slowest.max(began.elapsed());
    }
    slowest
}

#[tokio::test]
async fn a_collector_that_is_away_slows_nobody_and_what_is_lost_is_counted() {
    let endpoint = format!("endpoint = \"http://{}\"", find_closed_address());
    let mut t = traced(&endpoint, "queue = 8").start().await;
    assert!(slowest(&t, 400).await < Duration::from_secs(2));
    // Two for each request, less what waits and what the sender holds.
    assert!(metric(&t, NO_ROOM).await > 200);
    let began = Instant::now();
    t.stop().await;
    assert!(began.elapsed() < Duration::from_secs(10));
}

#[tokio::test]
async fn a_collector_that_does_not_answer_slows_nobody_and_not_even_the_end_for_long() {
    let collector = Collector::start().await;
    collector.take(Taking::Nothing);
    let mut t = traced(&collector.line(), "queue = 8").start().await;
    slowest(&t, 5).await;
    collector.was_asked(1).await;
    assert!(slowest(&t, 100).await < Duration::from_secs(2));
    assert_eq!(metric(&t, WAITING).await, 8);
    assert!(metric(&t, NO_ROOM).await > 180);
    let began = Instant::now();
    t.stop().await;
    assert!(
        began.elapsed() < Duration::from_secs(8),
        "{:?}",
        began.elapsed()
    );
}

#[tokio::test]
async fn what_a_busy_collector_does_not_take_is_sent_again() {
    let collector = Collector::start().await;
    collector.take(Taking::Status(503));
    let t = traced(&collector.line(), "").start().await;
    slowest(&t, 1).await;
    collector.was_asked(2).await;
    collector.take(Taking::All);
    let spans = collector.until(|spans| spans.len() == 2).await;
    assert_eq!(spans[0].trace, spans[1].trace);
    reaches(&t, EXPORTED, 2).await;
    assert_eq!(
        (metric(&t, FAILED).await, metric(&t, NO_ROOM).await),
        (0, 0)
    );
}

#[tokio::test]
async fn what_a_collector_refuses_is_counted_and_not_sent_again() {
    let collector = Collector::start().await;
    collector.take(Taking::Status(400));
    let t = traced(&collector.line(), "").start().await;
    slowest(&t, 1).await;
    reaches(&t, FAILED, 2).await;
    assert_eq!(collector.asked().len(), 1);
    collector.take(Taking::AllBut(1));
    slowest(&t, 1).await;
    reaches(&t, REJECTED, 1).await;
    assert_eq!(metric(&t, EXPORTED).await, 1);
}

#[tokio::test]
async fn what_waits_at_a_stop_is_sent() {
    let collector = Collector::start().await;
    let mut t = traced(&collector.line(), "").start().await;
    slowest(&t, 30).await;
    t.stop().await;
    assert_eq!(collector.spans().len(), 60);
}

#[tokio::test]
async fn the_log_says_once_that_spans_are_lost_and_once_that_they_are_not() {
    let collector = Collector::start().await;
    collector.take(Taking::Status(400));
    let (_nodes, node) = Nodes::start_one(traced(&collector.line(), ""), MENSHEN).await;
    for asked in 1..=3 {
        assert_eq!(Reply::of(node.request("GET", "/public")).await.status, 200);
        collector.was_asked(asked).await;
    }
    collector.take(Taking::All);
    assert_eq!(Reply::of(node.request("GET", "/public")).await.status, 200);
    node.program.logs("the collector takes spans again").await;
    let said = node.program.stop().await.stderr;
    assert_eq!(said.matches("spans cannot be sent").count(), 1, "{said}");
    assert!(said.contains("the collector answered 400"), "{said}");
    assert_eq!(said.matches("takes spans again").count(), 1, "{said}");
}

#[tokio::test]
async fn a_reload_begins_to_trace_changes_it_and_ends_it() {
    let (first, second) = (Collector::start().await, Collector::start().await);
    let off = "# endpoint is not there";
    let (nodes, node) =
        Nodes::start_one(TestGateway::builder().section("traces", off), MENSHEN).await;
    let ask = async || {
        let asked = node.request("GET", "/public");
        assert_eq!(Reply::of(asked).await.status, 200);
        nodes.upstream.last().only("traceparent").map(str::to_owned)
    };
    assert_eq!(ask().await, None);
    let mut reloads = 0;
    let mut reload = async |from: &str, to: &str| {
        nodes.site.change(from, to);
        node.program.signal("HUP").await;
        reloads += 1;
        node.program
            .logs_times("the configuration was reloaded", reloads)
            .await;
    };
    let (to_first, to_second) = (
        first.line() + "\nsample = 1",
        second.line() + "\nsample = 1",
    );
    reload(off, &to_first).await;
    assert!(ask().await.is_some());
    first.until(|spans| spans.len() == 2).await;
    reload(&to_first, &to_second).await;
    assert!(ask().await.is_some());
    // What was recorded before tracing ended still arrives.
    reload(&to_second, off).await;
    assert_eq!(ask().await, None);
    second.until(|spans| spans.len() == 2).await;
    assert_eq!(node.program.stop().await.code, Some(0));
    assert_eq!((first.spans().len(), second.spans().len()), (2, 2));
}

#[tokio::test]
async fn the_headers_that_a_collector_asks_for_come_from_a_file() {
    let collector = Collector::start().await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("headers");
    fs::write(&file, "Authorization: Bearer t0ken\n\nX-Tenant: shop\n").unwrap();
    let lines = format!(
        "headers_file = '{}'\nservice_name = \"gate\"",
        file.display()
    );
    let mut t = traced(&collector.line(), &lines).start().await;
    slowest(&t, 1).await;
    t.stop().await;
    let asked = collector.asked();
    assert_eq!(asked[0].only("authorization"), Some("Bearer t0ken"));
    assert_eq!(asked[0].only("x-tenant"), Some("shop"));
    assert_eq!(
        collector.spans()[0].resource.get("service.name").unwrap(),
        "gate"
    );
}

#[tokio::test]
async fn a_collector_behind_tls_is_known_by_its_authority() {
    menshen::app::install_crypto();
    let collector = Collector::start().await;
    let certificate = Certificate::new("localhost");
    let front = tls_front(&certificate, collector.address).await;
    let endpoint = format!("endpoint = \"https://localhost:{}\"", front.port());
    let lines = format!("ca_file = '{}/cert.pem'", certificate.folder().display());
    let mut t = traced(&endpoint, &lines).start().await;
    slowest(&t, 1).await;
    t.stop().await;
    assert_eq!(collector.spans().len(), 2);
    let mut t = traced(&endpoint, "").start().await;
    slowest(&t, 1).await;
    reaches(&t, WAITING, 0).await;
    t.stop().await;
    assert_eq!(collector.spans().len(), 2);
}
