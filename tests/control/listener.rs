//! The private listener: who may ask it, how it refuses, what it says of the process's health, and its limits.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use menshen_test_support::{
    CONTROL_SECRET, Program, Reply, TestGateway, Upstream, Wire, make_client, raw, status,
};
use serde_json::json;

const MENSHEN: &str = env!("CARGO_BIN_EXE_menshen");
/// A call that needs neither a user nor a session.
const CALL: &str = "/v1/apps/shop/users/nobody/sessions";
const WITH_SECRET: &str = "secret_env = \"CONTROL_SECRET\"";

async fn with_secret() -> TestGateway {
    let builder = TestGateway::builder().require_control_secret();
    builder.start().await
}

async fn call_with(t: &TestGateway, name: &str, value: &str) -> Reply {
    Reply::of(t.control("GET", CALL).header(name, value)).await
}

fn control(t: &TestGateway) -> SocketAddr {
    t.control.unwrap()
}

#[tokio::test]
async fn probes_need_no_secret_and_learn_nothing_but_how_it_is() {
    let t = with_secret().await;
    let alive = Reply::of(t.control("GET", "/healthz")).await;
    assert_eq!((alive.status, alive.json()), (200, json!({"alive": true})));
    // Kubernetes asks by the pod's address.
    let ready = t.control("GET", "/readyz").header("host", "10.1.2.3:9090");
    let ready = Reply::of(ready).await;
    let well = json!({"state": "ready", "degraded": []});
    assert_eq!((ready.status, ready.json()), (200, well));
    let head = Reply::of(t.control("HEAD", "/readyz")).await;
    assert_eq!((head.status, head.body.len()), (200, 0));
}

#[tokio::test]
async fn what_drains_lives_and_is_not_ready() {
    let mut t = TestGateway::start().await;
    let held = tokio::spawn(t.get("/public/hold").send());
    t.upstream.arrived(1).await;
    t.begin_stop();
    let drains = async {
        loop {
            let ready = Reply::of(t.control("GET", "/readyz")).await;
            if ready.status == 503 {
                return ready;
            }
        }
    };
    let ready = tokio::time::timeout(Duration::from_secs(10), drains).await;
    let draining = json!({"state": "draining", "degraded": []});
    assert_eq!(ready.unwrap().json(), draining);
    let alive = Reply::of(t.control("GET", "/healthz")).await;
    assert_eq!(alive.status, 200);
    t.upstream.release();
    assert_eq!(held.await.unwrap().unwrap().status(), 200);
    t.stop().await;
    assert!(t.control("GET", "/healthz").send().await.is_err());
}

#[tokio::test]
async fn without_a_secret_programs_of_this_machine_may_ask() {
    let t = TestGateway::start().await;
    for host in ["localhost:9090", "127.0.0.1", "[::1]:9090"] {
        let reply = call_with(&t, "host", host).await;
        assert_eq!(reply.status, 200, "{host}: {}", reply.text());
    }
}

#[tokio::test]
async fn a_name_that_was_made_to_lead_here_is_refused() {
    let t = TestGateway::start().await;
    for host in [
        "evil.example",
        "evil.example:9090",
        "127.0.0.1.evil.example",
        "localhost.evil.example",
        "0.0.0.0",
        "10.0.0.1",
    ] {
        call_with(&t, "host", host)
            .await
            .refused(400, "bad_request");
    }
    let absolute = format!(
        "GET http://evil.example{CALL} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    );
    assert_eq!(status(&raw(control(&t), absolute.as_bytes()).await), 400);
    let two = format!(
        "GET {CALL} HTTP/1.1\r\nHost: localhost\r\nHost: evil.example\r\nConnection: close\r\n\r\n"
    );
    assert_eq!(status(&raw(control(&t), two.as_bytes()).await), 400);
    let none = format!("GET {CALL} HTTP/1.0\r\n\r\n");
    let answer = raw(control(&t), none.as_bytes()).await;
    assert!(answer.contains(" 400 "), "{answer}");
}

#[tokio::test]
async fn web_pages_may_not_ask() {
    for t in [TestGateway::start().await, with_secret().await] {
        for (name, value) in [
            ("origin", "https://evil.example"),
            ("origin", "null"),
            ("origin", "http://127.0.0.1:9090"),
            ("sec-fetch-site", "cross-site"),
            ("sec-fetch-site", "same-origin"),
        ] {
            for method in ["GET", "DELETE"] {
                let request = t.control(method, CALL).bearer_auth(CONTROL_SECRET);
                let reply = Reply::of(request.header(name, value)).await;
                reply.refused(403, "origin_not_allowed");
            }
        }
    }
}

#[tokio::test]
async fn what_a_form_could_send_is_refused() {
    let t = TestGateway::start().await;
    for kind in [
        "application/x-www-form-urlencoded",
        "Text/Plain; charset=utf-8",
        "multipart/form-data; boundary=x",
    ] {
        let request = t.control("DELETE", CALL).header("content-type", kind);
        Reply::of(request).await.refused(400, "bad_request");
    }
}

#[tokio::test]
async fn nothing_that_comes_back_is_of_use_to_a_page() {
    let t = TestGateway::start().await;
    let reply = Reply::of(t.control("GET", CALL)).await;
    assert_eq!(reply.status, 200);
    assert_eq!(reply.header("cross-origin-resource-policy"), "same-origin");
    assert_eq!(reply.header("x-content-type-options"), "nosniff");
    assert_eq!(reply.header("access-control-allow-origin"), "");
    let preflight = t.control("OPTIONS", CALL).header("origin", "null");
    Reply::of(preflight)
        .await
        .refused(403, "origin_not_allowed");
}

#[tokio::test]
async fn with_a_secret_nobody_else_may_ask_whatever_the_call() {
    let t = with_secret().await;
    for path in [CALL, "/v1/sessions/x", "/v1/reload", "/metrics", "/", "/%"] {
        let reply = Reply::of(t.control("GET", path)).await;
        reply.refused(401, "token_missing");
    }
    let shorter = CONTROL_SECRET.get(1..).unwrap();
    let longer = format!("{CONTROL_SECRET}0");
    for bearer in ["", "x", shorter, &longer, &CONTROL_SECRET.to_uppercase()] {
        let reply = Reply::of(t.control("GET", CALL).bearer_auth(bearer)).await;
        let told = reply.refused(401, "token_invalid").to_string();
        assert!(!told.contains(shorter), "{told}");
    }
    let basic = format!("Basic {CONTROL_SECRET}");
    for value in [basic.as_str(), CONTROL_SECRET, "Bearer"] {
        let reply = call_with(&t, "authorization", value).await;
        reply.refused(401, "token_invalid");
    }
    let twice = t.control("GET", CALL).bearer_auth(CONTROL_SECRET);
    let twice = Reply::of(twice.bearer_auth(CONTROL_SECRET)).await;
    twice.refused(401, "token_invalid");
}

#[tokio::test]
async fn an_address_that_tries_secrets_out_is_refused_for_a_while_even_with_the_right_one() {
    let t = with_secret().await;
    for _ in 0..30 {
        let reply = Reply::of(t.control("GET", CALL).bearer_auth("x")).await;
        reply.refused(401, "token_invalid");
    }
    let right = || t.control("GET", CALL).bearer_auth(CONTROL_SECRET);
    let refused = Reply::of(right()).await;
    refused.refused(429, "too_many_requests");
    let wait = refused.retry_after().unwrap();
    assert!((1..=120).contains(&wait), "{wait}");
    // Probes go on, and who waits as told is let in again.
    assert_eq!(Reply::of(t.control("GET", "/healthz")).await.status, 200);
    t.clock.advance(Duration::from_secs(wait));
    assert_eq!(Reply::of(right()).await.status, 200);
    // Right ones are not counted.
    for _ in 0..40 {
        assert_eq!(Reply::of(right()).await.status, 200);
    }
}

#[tokio::test]
async fn with_the_secret_any_host_will_do() {
    let t = with_secret().await;
    for scheme in ["Bearer", "bearer"] {
        let bearer = format!("{scheme} {CONTROL_SECRET}");
        let request = t.control("GET", CALL).header("authorization", bearer);
        let reply = Reply::of(request.header("host", "menshen.internal:9090")).await;
        assert_eq!(reply.status, 200, "{}", reply.text());
    }
}

#[tokio::test]
async fn what_is_not_there_is_refused_in_the_usual_shape() {
    let t = TestGateway::start().await;
    for path in [
        "/",
        "/v1",
        "/v1/",
        "/healthz/",
        "/_auth/session",
        "/v1//sessions/x",
    ] {
        let reply = Reply::of(t.control("GET", path)).await;
        reply.refused(404, "route_unknown");
    }
    // Nothing is there to be reloaded from.
    let reload = Reply::of(t.control("POST", "/v1/reload")).await;
    reload.refused(404, "route_unknown");
    for (method, path, allowed) in [
        ("POST", "/healthz", "GET,HEAD"),
        ("POST", CALL, "GET,HEAD,DELETE"),
        ("GET", "/v1/sessions/x", "DELETE"),
    ] {
        let reply = Reply::of(t.control(method, path)).await;
        reply.refused(405, "method_not_allowed");
        assert_eq!(reply.header("allow"), allowed);
    }
}

#[tokio::test]
async fn a_body_over_the_limit_is_refused_before_it_comes() {
    let t = TestGateway::start().await;
    let head = format!(
        "DELETE {CALL} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000000\r\nConnection: close\r\n\r\n"
    );
    let answer = raw(control(&t), head.as_bytes()).await;
    assert_eq!(status(&answer), 413, "{answer}");
    assert!(answer.contains("body_too_large"), "{answer}");
}

#[tokio::test]
async fn heads_have_a_limit() {
    let t = TestGateway::start().await;
    let many = "X-A: b\r\n".repeat(100);
    let long = format!("X-A: {}\r\n", "b".repeat(64 * 1024));
    for lines in [many, long] {
        let head = format!("GET /healthz HTTP/1.1\r\nHost: localhost\r\n{lines}\r\n");
        assert_eq!(status(&raw(control(&t), head.as_bytes()).await), 431);
    }
}

#[tokio::test]
async fn a_slow_client_is_cut_off() {
    let t = TestGateway::start().await;
    let mut silent = Wire::connect(control(&t)).await;
    let mut halfway = Wire::connect(control(&t)).await;
    assert!(halfway.send("GET /healthz HTTP/1.1\r\nHost: lo").await);
    let mut kept = Wire::connect(control(&t)).await;
    assert!(
        kept.send("GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
            .await
    );
    assert!(kept.message().await.starts_with("HTTP/1.1 200"));
    let started = Instant::now();
    let ends = tokio::join!(silent.rest(), halfway.rest(), kept.rest());
    assert!(started.elapsed() < Duration::from_secs(9));
    assert!(!ends.1.contains(" 200 "), "{}", ends.1);
}

#[tokio::test]
async fn only_so_many_connections_are_served_and_places_are_given_back() {
    let t = TestGateway::start().await;
    let mut taken = Vec::new();
    for _ in 0..512 {
        taken.push(Wire::connect(control(&t)).await);
    }
    let mut refused = Wire::connect(control(&t)).await;
    refused
        .send("GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
        .await;
    assert_eq!(refused.rest().await, "");
    drop(taken);
    let again = async {
        while t.control("GET", "/healthz").send().await.is_err() {
            tokio::task::yield_now().await;
        }
    };
    let waited = tokio::time::timeout(Duration::from_secs(4), again).await;
    assert!(waited.is_ok(), "a place should be free again");
}

#[tokio::test]
async fn an_idle_connection_does_not_delay_the_end() {
    let mut t = TestGateway::start().await;
    let _silent = Wire::connect(control(&t)).await;
    let mut kept = Wire::connect(control(&t)).await;
    assert!(
        kept.send("GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
            .await
    );
    kept.message().await;
    let started = Instant::now();
    t.stop().await;
    assert!(started.elapsed() < Duration::from_secs(3));
}

#[tokio::test]
async fn it_can_be_left_out() {
    let builder = TestGateway::builder().section("control", "listen = \"\"");
    let t = builder.start().await;
    assert_eq!(t.control, None);
    assert_eq!(Reply::of(t.get("/public")).await.status, 200);
}

#[tokio::test]
async fn the_program_logs_who_asked_for_what_but_no_openid_and_no_secret() {
    let builder = TestGateway::builder().require_control_secret();
    let builder = builder.section("log", "level = \"trace\"\nformat = \"json\"");
    let upstream = Upstream::start().await.address;
    let site = builder.site(upstream, builder.simulator().await);
    let program = Program::start(site.command(MENSHEN, &["serve"]));
    let address = program.find_control_address().await;
    let url = format!("http://{address}/v1/apps/shop/users/oSECRETUSER/sessions");
    let http = make_client();
    let reply = Reply::of(http.delete(&url).bearer_auth(CONTROL_SECRET)).await;
    assert_eq!(reply.json(), json!({"ended": 0}));
    let line = program.logs("users/{openid}/sessions").await;
    for part in [
        "\"status\":200",
        "\"decision\":\"control\"",
        "\"client\":\"127.0.0.1\"",
        reply.header("x-request-id"),
    ] {
        assert!(line.contains(part), "{part}: {line}");
    }
    let refused = Reply::of(http.delete(&url).bearer_auth("guess")).await;
    assert_eq!(refused.status, 401);
    program.logs("\"reason\":\"token_invalid\"").await;
    Reply::of(http.get(format!("http://{address}/readyz"))).await;
    let log = program.stop().await.stderr;
    for unsaid in ["oSECRETUSER", CONTROL_SECRET, "guess", "readyz"] {
        assert!(!log.contains(unsaid), "{unsaid}: {log}");
    }
}

#[tokio::test]
async fn a_port_in_use_is_one_clear_sentence() {
    let taken = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = taken.local_addr().unwrap();
    let listen = format!("listen = \"{address}\"");
    let builder = TestGateway::builder().section("control", &listen);
    let upstream = Upstream::start().await.address;
    let site = builder.site(upstream, builder.simulator().await);
    let ended = Program::run(site.command(MENSHEN, &["serve"])).await;
    assert_ne!(ended.code, Some(0));
    let sentence = format!("cannot listen on {address}");
    assert!(ended.stderr.contains(&sentence), "{}", ended.said());
}

#[tokio::test]
async fn an_address_of_another_machine_is_found_by_check() {
    let lines = format!("listen = \"192.0.2.1:1\"\n{WITH_SECRET}");
    let builder = TestGateway::builder().section("control", &lines);
    let upstream = Upstream::start().await.address;
    let site = builder.site(upstream, builder.simulator().await);
    let ended = Program::run(site.command(MENSHEN, &["check"])).await;
    assert_eq!(ended.code, Some(2), "{}", ended.said());
    assert!(
        ended.stderr.starts_with("control.listen: "),
        "{}",
        ended.said()
    );
}
