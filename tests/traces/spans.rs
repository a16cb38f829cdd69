//! The spans of a request, of each try to get it answered, and of a login with its calls to WeChat.
#![expect(clippy::panic, reason = "a test may panic")]

use menshen_test_support::{ByHand, Collector, Nodes, Reply, Span, TestGateway};
use serde_json::{Value, json};

const MENSHEN: &str = env!("CARGO_BIN_EXE_menshen");
const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const CLIENT: &str = "00f067aa0ba902b7";
const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

/// Starts a gateway that traces everything.
async fn traced(collector: &Collector) -> TestGateway {
    let traces = format!("{}\nsample = 1", collector.line());
    let builder = TestGateway::builder().section("traces", &traces);
    builder.start().await
}

/// Stops a gateway, and returns every span that there was.
async fn all(mut t: TestGateway, collector: &Collector) -> Vec<Span> {
    t.stop().await;
    collector.spans()
}

#[track_caller]
fn only<'s>(spans: &'s [Span], name: &str) -> &'s Span {
    let found: Vec<_> = spans.iter().filter(|span| span.name == name).collect();
    match found.as_slice() {
        [span] => span,
        _ => panic!("{name}: {spans:#?}"),
    }
}

#[track_caller]
fn says(span: &Span, attributes: &[(&str, &str)]) {
    for (name, value) in attributes {
        assert_eq!(span.get(name), *value, "{name} of {span:#?}");
    }
}

#[tokio::test]
async fn a_request_is_below_its_client_and_the_backend_below_the_request() {
    let collector = Collector::start().await;
    let t = traced(&collector).await;
    let token = t.log_in("alice").await.token;
    let asked = t.get("/orders/7?voucher=s3cret").bearer_auth(&token);
    let asked = asked.header("traceparent", format!("00-{TRACE}-{CLIENT}-00"));
    assert_eq!(Reply::of(asked).await.status, 200);
    let told = t.upstream.last().only("traceparent").unwrap().to_owned();
    let (upstream, address) = (t.upstream.address, t.address);
    let session = t.session_id(&token).await;
    let spans = all(t, &collector).await;
    let server = only(&spans, "GET /");
    let client = only(&spans, "GET");
    assert_eq!(
        (&*server.trace, &*server.parent, server.kind),
        (TRACE, CLIENT, "server")
    );
    assert_eq!(
        (&*client.trace, &client.parent, client.kind),
        (TRACE, &server.id, "client")
    );
    assert_eq!(told, format!("00-{TRACE}-{}-01", client.id));
    assert!(server.times.0 <= client.times.0 && client.times.0 <= client.times.1);
    assert!(client.times.1 <= server.times.1);
    says(
        server,
        &[
            ("http.request.method", "GET"),
            ("http.route", "/"),
            ("http.response.status_code", "200"),
            ("url.path", "/orders/7"),
            ("url.scheme", "http"),
            ("network.protocol.version", "1.1"),
            ("server.address", "127.0.0.1"),
            ("server.port", &address.port().to_string()),
            ("client.address", "127.0.0.1"),
            ("http.response.body.size", "2"),
            ("menshen.decision", "authenticated"),
            ("menshen.app", "shop"),
            ("menshen.session", &session),
        ],
    );
    says(
        client,
        &[
            ("http.request.method", "GET"),
            ("http.response.status_code", "200"),
            ("server.address", "127.0.0.1"),
            ("server.port", &upstream.port().to_string()),
            ("menshen.upstream", "api"),
        ],
    );
    assert_eq!((&server.error, &client.error), (&None, &None));
    assert_eq!(server.resource.get("service.name").unwrap(), "menshen");
    let bytes = collector.bytes();
    assert!(!bytes.windows(6).any(|part| part == b"s3cret"));
}

#[tokio::test]
async fn a_login_and_its_calls_to_wechat_are_below_the_request_that_brought_the_code() {
    let collector = Collector::start().await;
    let t = traced(&collector).await;
    t.fault(json!({"fault": "errcode", "errcode": -1, "times": 1}))
        .await;
    t.log_in("alice").await;
    let simulator = t.simulator.port().to_string();
    let spans = all(t, &collector).await;
    let request = only(&spans, "POST /_auth/login");
    let login = only(&spans, "login");
    assert_eq!((&login.parent, &login.trace), (&request.id, &request.trace));
    assert_eq!((&*request.parent, request.kind), ("", "server"));
    says(login, &[("menshen.app", "shop"), ("menshen.outcome", "ok")]);
    let calls: Vec<_> = spans
        .iter()
        .filter(|span| span.name == "GET jscode2session")
        .collect();
    let [busy, good] = calls.as_slice() else {
        panic!("{spans:#?}");
    };
    for call in [busy, good] {
        assert_eq!(
            (&call.parent, &call.trace, call.kind),
            (&login.id, &login.trace, "client")
        );
        says(
            call,
            &[
                ("server.address", "127.0.0.1"),
                ("server.port", &simulator),
                ("menshen.app", "shop"),
                ("menshen.wechat.endpoint", "jscode2session"),
            ],
        );
    }
    says(busy, &[("menshen.wechat.errcode", "-1")]);
    assert_eq!(busy.error.as_deref(), Some("-1"));
    says(good, &[("http.request.resend_count", "1")]);
    assert_eq!(good.error, None);
    assert_eq!(only(&spans, "store the session").parent, login.id);
    let waits = spans.iter().filter(|span| span.name == "wait for a turn");
    assert!(waits.clone().count() == 2 && waits.into_iter().all(|wait| wait.parent == login.id));
}

#[tokio::test]
async fn the_line_of_a_login_names_the_trace_that_its_spans_are_in() {
    let collector = Collector::start().await;
    let traces = format!("{}\nsample = 1", collector.line());
    let builder = TestGateway::builder().section("traces", &traces);
    let (_nodes, node) =
        Nodes::start_one(builder.section("log", "format = \"json\""), MENSHEN).await;
    let token = node.log_in("alice").await.token;
    let code = node.code("bob").await;
    let first = node.request("GET", "/orders").header("x-wx-code", &code);
    assert_eq!(Reply::of(first).await.status, 200);
    node.log_out(&token).await;
    let log = node.program.stop().await.stderr;
    let lines = log.lines().filter(|line| line.contains("login granted"));
    let lines = lines.map(|line| serde_json::from_str::<Value>(line).unwrap());
    let mut told: Vec<String> = lines
        .map(|line| line["trace_id"].as_str().unwrap().to_owned())
        .collect();
    let spans = collector.spans();
    let logins = spans.iter().filter(|span| span.name == "login");
    let mut recorded: Vec<String> = logins.map(|span| span.trace.clone()).collect();
    told.sort();
    recorded.sort();
    assert_eq!((told.len(), &told), (2, &recorded), "{log}");
}

#[tokio::test]
async fn a_login_on_the_first_request_is_below_that_request() {
    let collector = Collector::start().await;
    let t = traced(&collector).await;
    let code = t.code("alice").await;
    let asked = t.get("/orders").header("x-wx-code", &code);
    assert_eq!(Reply::of(asked).await.status, 200);
    let spans = all(t, &collector).await;
    let request = only(&spans, "GET /");
    let login = only(&spans, "login");
    assert_eq!(login.parent, request.id);
    assert_eq!(only(&spans, "GET jscode2session").parent, login.id);
    assert_eq!(only(&spans, "GET").parent, request.id);
}

#[tokio::test]
async fn a_refusal_is_no_error_and_a_failure_is_one() {
    let collector = Collector::start().await;
    let t = traced(&collector).await;
    let refused = Reply::of(t.get("/orders")).await;
    refused.refused(401, "token_missing");
    let failed = Reply::of(t.get("/public/close")).await;
    failed.refused(502, "upstream_error");
    let unknown = Reply::of(t.request("BREW", "/public/status/500")).await;
    assert_eq!(unknown.status, 500);
    let id = refused.header("x-request-id").to_owned();
    let spans = all(t, &collector).await;
    let refused = only(&spans, "GET /");
    says(
        refused,
        &[
            ("http.response.status_code", "401"),
            ("menshen.decision", "refused"),
            ("menshen.reason", "token_missing"),
            ("menshen.request_id", &id),
        ],
    );
    assert_eq!(refused.error, None);
    let failed = only(&spans, "GET /public");
    assert_eq!(failed.error.as_deref(), Some("upstream_error"));
    assert_eq!(only(&spans, "GET").error.as_deref(), Some("upstream_error"));
    let unknown = only(&spans, "HTTP /public");
    says(
        unknown,
        &[("http.request.method", "_OTHER"), ("error.type", "500")],
    );
    assert_eq!(only(&spans, "HTTP").error.as_deref(), Some("500"));
}

#[tokio::test]
async fn each_try_has_a_span_and_the_backend_hears_of_its_own() {
    let (collector, backend) = (Collector::start().await, ByHand::start().await);
    let traces = format!("{}\nsample = 1", collector.line());
    let builder = TestGateway::builder().section("traces", &traces);
    let mut t = builder
        .public_upstream(&[backend.address], "")
        .start()
        .await;
    let first = tokio::spawn(Reply::of(t.get("/first")));
    let mut kept = backend.accept().await;
    kept.message().await;
    kept.send(OK).await;
    assert_eq!(first.await.unwrap().status, 200);
    let again = tokio::spawn(Reply::of(t.get("/again")));
    let lost = kept.message().await;
    drop(kept);
    let mut wire = backend.accept().await;
    let repeated = wire.message().await;
    wire.send(OK).await;
    assert_eq!(again.await.unwrap().status, 200);
    t.stop().await;
    let spans = collector.spans();
    let whole = spans.iter().find(|span| span.get("url.path") == "/again");
    let whole = whole.unwrap();
    let tries: Vec<_> = spans
        .iter()
        .filter(|span| span.parent == whole.id)
        .collect();
    let [first, second] = tries.as_slice() else {
        panic!("{spans:#?}");
    };
    assert!(first.error.is_some() && second.error.is_none());
    says(second, &[("http.request.resend_count", "1")]);
    for (message, span) in [(lost, first), (repeated, second)] {
        let line = format!("traceparent: 00-{}-{}-01\r\n", whole.trace, span.id);
        assert!(message.to_lowercase().contains(&line), "{message}");
    }
}

#[tokio::test]
async fn what_names_nothing_of_its_own_is_told_by_its_pattern() {
    let collector = Collector::start().await;
    let t = traced(&collector).await;
    for path in [
        "/_auth/jwks.json",
        "/_auth/web/nobody",
        "/_auth/ticket/dGhlIHRpY2tldA",
    ] {
        Reply::of(t.get(path)).await;
    }
    let spans = all(t, &collector).await;
    for name in [
        "GET /_auth/jwks.json",
        "GET /_auth/web/{app}",
        "GET /_auth/ticket/{ticket}",
    ] {
        only(&spans, name);
    }
    let ticket = only(&spans, "GET /_auth/ticket/{ticket}");
    says(ticket, &[("url.path", "/_auth/ticket/…")]);
}

#[tokio::test]
async fn two_gateways_in_a_row_are_one_trace_over_http_2() {
    let collector = Collector::start().await;
    let traces = |lines: &str| format!("{}\n{lines}", collector.line());
    // It records what the one before it records, and nothing else.
    let behind = TestGateway::builder()
        .section("traces", &traces("sample = 0\nservice_name = \"behind\""))
        .trust_local_proxies();
    let mut behind = behind.start().await;
    let before = TestGateway::builder()
        .section("traces", &traces("sample = 1\nservice_name = \"before\""))
        .public_upstream(&[behind.address], "protocol = \"http2\"");
    let mut before = before.start().await;
    let http2 = reqwest::Client::builder().http2_prior_knowledge();
    let http2 = http2.no_proxy().build().unwrap();
    let asked = http2.get(before.url("/public"));
    assert_eq!(Reply::of(asked).await.status, 200);
    before.stop().await;
    behind.stop().await;
    let spans = collector.spans();
    let of = |service: &str, kind: &str| {
        let mut found = spans.iter().filter(|span| {
            span.kind == kind && span.resource.get("service.name").unwrap() == service
        });
        found.next().unwrap()
    };
    let chain = [
        of("before", "server"),
        of("before", "client"),
        of("behind", "server"),
        of("behind", "client"),
    ];
    for pair in chain.windows(2) {
        let [above, below] = pair else { continue };
        assert_eq!((&below.parent, &below.trace), (&above.id, &above.trace));
    }
    for span in [of("before", "server"), of("behind", "server")] {
        says(span, &[("network.protocol.version", "2")]);
    }
    let told = behind
        .upstream
        .last()
        .only("traceparent")
        .unwrap()
        .to_owned();
    let last = of("behind", "client");
    assert_eq!(told, format!("00-{}-{}-01", last.trace, last.id));
}
