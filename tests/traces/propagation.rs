//! What `traceparent` and `tracestate` of a client do, and what a backend gets in their place.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test may panic")]

use menshen_test_support::{Builder, Collector, Nodes, Received, Reply, TestGateway};

const MENSHEN: &str = env!("CARGO_BIN_EXE_menshen");
const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const STATE: &str = "rojo=00f067aa0ba902b7,congo=t61rcWkgMzE";

fn parent(flags: &str) -> String {
    format!("00-{TRACE}-00f067aa0ba902b7-{flags}")
}

fn traced(collector: &Collector, lines: &str) -> Builder {
    let traces = format!("{}\n{lines}", collector.line());
    TestGateway::builder().section("traces", &traces)
}

/// Sends a request with these headers, and returns what the backend received.
async fn forwarded(t: &TestGateway, headers: &[(&str, &str)]) -> Received {
    let mut request = t.get("/public");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    assert_eq!(Reply::of(request).await.status, 200);
    t.upstream.last()
}

/// The parts of the `traceparent` that a backend received.
struct Told {
    trace: String,
    span: String,
    flags: String,
}

fn told(received: &Received) -> Told {
    let parent = received.only("traceparent").unwrap();
    let parts: Vec<&str> = parent.split('-').collect();
    let ["00", trace, span, flags] = parts.as_slice() else {
        panic!("{parent}");
    };
    Told {
        trace: (*trace).to_owned(),
        span: (*span).to_owned(),
        flags: (*flags).to_owned(),
    }
}

#[tokio::test]
async fn without_tracing_whatever_a_client_says_goes_on_as_it_is() {
    let t = TestGateway::start().await;
    let (good, odd) = (parent("01"), "00-xyz");
    for lines in [
        vec![("traceparent", &*good), ("tracestate", STATE)],
        vec![("traceparent", odd), ("tracestate", "no list")],
        vec![("traceparent", &*good), ("traceparent", odd)],
        vec![],
    ] {
        let received = forwarded(&t, &lines).await;
        for name in ["traceparent", "tracestate"] {
            let sent = lines.iter().filter(|(sent, _)| *sent == name);
            let sent: Vec<&str> = sent.map(|(_, value)| *value).collect();
            assert_eq!(received.all(name), sent);
        }
    }
}

#[tokio::test]
async fn a_client_cannot_have_its_requests_traced() {
    let collector = Collector::start().await;
    let mut t = traced(&collector, "sample = 0").start().await;
    for _ in 0..20 {
        let received = forwarded(&t, &[("traceparent", &parent("01"))]).await;
        let told = told(&received);
        // Nor does the backend hear that somebody records it.
        assert_eq!((&*told.trace, &*told.flags), (TRACE, "00"));
        assert_ne!(told.span, "00f067aa0ba902b7");
    }
    t.stop().await;
    assert!(collector.asked().is_empty());
}

#[tokio::test]
async fn a_client_cannot_keep_its_requests_from_being_traced() {
    let collector = Collector::start().await;
    let mut t = traced(&collector, "sample = 1").start().await;
    let received = forwarded(&t, &[("traceparent", &parent("00"))]).await;
    assert_eq!(told(&received).flags, "01");
    t.stop().await;
    assert_eq!(collector.spans().len(), 2);
}

#[tokio::test]
async fn a_trusted_proxy_decides_and_others_are_sampled() {
    const TRUSTED: &str = "trusted_proxies = [\"127.0.0.1\"]";
    for (sample, flags) in [(0, "01"), (1, "00")] {
        let collector = Collector::start().await;
        let lines = format!("sample = {sample}");
        let builder = traced(&collector, &lines).section("server", TRUSTED);
        let mut t = builder.start().await;
        let received = forwarded(&t, &[("traceparent", &parent(flags))]).await;
        let heard = told(&received);
        assert_eq!((&*heard.trace, &*heard.flags), (TRACE, flags));
        let received = forwarded(&t, &[]).await;
        let own = told(&received);
        assert_ne!(own.trace, TRACE);
        t.stop().await;
        let spans = collector.spans();
        let (followed, sampled): (Vec<_>, Vec<_>) =
            spans.iter().partition(|span| span.trace == TRACE);
        assert_eq!(
            (followed.is_empty(), sampled.is_empty()),
            (flags == "00", sample == 0)
        );
    }
}

#[tokio::test]
async fn nobody_and_everyone_can_be_trusted_with_it() {
    for (decider, spans) in [("everyone", 2), ("nobody", 0)] {
        let collector = Collector::start().await;
        let lines = format!("sample = 0\nsampled_by = \"{decider}\"");
        let trusted = "trusted_proxies = [\"127.0.0.1\"]";
        let builder = traced(&collector, &lines).section("server", trusted);
        let mut t = builder.start().await;
        forwarded(&t, &[("traceparent", &parent("01"))]).await;
        t.stop().await;
        assert_eq!(collector.spans().len(), spans, "{decider}");
    }
}

#[tokio::test]
async fn one_in_so_many_requests_is_traced() {
    let collector = Collector::start().await;
    let mut t = traced(&collector, "sample = 0.5").start().await;
    let mut said = 0;
    for _ in 0..300 {
        said += usize::from(told(&forwarded(&t, &[]).await).flags == "01");
    }
    t.stop().await;
    assert!((90..210).contains(&said), "{said}");
    assert_eq!(collector.spans().len(), 2 * said);
}

#[tokio::test]
async fn what_is_no_traceparent_begins_a_trace_and_ends_its_state() {
    let collector = Collector::start().await;
    let t = traced(&collector, "sample = 1").start().await;
    let good = parent("01");
    let short = good.trim_end_matches('1').to_owned();
    let capitals = good.to_uppercase();
    let longer = format!("{good}-00");
    let nobody = good.replace(TRACE, &"0".repeat(32));
    let version = good.replacen("00-", "ff-", 1);
    for odd in [
        &short, &capitals, &longer, &nobody, &version, "", "<script>",
    ] {
        let received = forwarded(&t, &[("traceparent", odd), ("tracestate", STATE)]).await;
        let told = told(&received);
        assert!(told.trace != TRACE && told.trace.len() == 32, "{odd}");
        assert!(received.all("tracestate").is_empty(), "{odd}");
    }
    let twice = [
        ("traceparent", &*good),
        ("traceparent", &*good),
        ("tracestate", STATE),
    ];
    let received = forwarded(&t, &twice).await;
    assert_ne!(told(&received).trace, TRACE);
    assert!(received.all("tracestate").is_empty());
    let alone = forwarded(&t, &[("tracestate", STATE)]).await;
    assert!(alone.all("tracestate").is_empty());
}

#[tokio::test]
async fn a_state_goes_on_with_its_trace_where_it_is_one() {
    let collector = Collector::start().await;
    let t = traced(&collector, "sample = 1").start().await;
    let good = parent("01");
    let both = [
        ("traceparent", &*good),
        ("tracestate", "rojo=1"),
        ("tracestate", "congo=2"),
    ];
    let received = forwarded(&t, &both).await;
    assert_eq!(told(&received).trace, TRACE);
    assert_eq!(received.all("tracestate"), ["rojo=1", "congo=2"]);
    for odd in ["rojo", "Rojo=1", "rojo=1,rojo=2", "a=\u{e9}"] {
        let received = forwarded(&t, &[("traceparent", &good), ("tracestate", odd)]).await;
        assert_eq!(told(&received).trace, TRACE, "{odd}");
        assert!(received.all("tracestate").is_empty(), "{odd}");
    }
}

#[tokio::test]
async fn the_access_line_names_the_trace_that_the_backend_hears_of() {
    let collector = Collector::start().await;
    let builder = traced(&collector, "sample = 0").section("log", "format = \"json\"");
    let (nodes, node) = Nodes::start_one(builder, MENSHEN).await;
    let asked = node.request("GET", "/public");
    assert_eq!(Reply::of(asked).await.status, 200);
    let trace = told(&nodes.upstream.last()).trace;
    let line = node.program.logs("\"path\":\"/public\"").await;
    assert!(
        line.contains(&format!("\"trace_id\":\"{trace}\"")),
        "{line}"
    );
}
