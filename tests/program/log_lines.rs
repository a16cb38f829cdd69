//! A log is one line for each exchange and each login, which a machine can read.

use menshen_test_support::{
    Nodes, PREFACE, Program, Reply, SETTINGS, TestGateway, Upstream, Wire, address_in, raw,
};
use serde_json::{Value, json};
use tokio::net::TcpStream;

const MENSHEN: &str = env!("CARGO_BIN_EXE_menshen");

/// Runs the program through one login that fails, and returns its log.
async fn log_of_a_failed_login(format: &str) -> String {
    let login = "POST /_auth/login HTTP/1.1\r\nHost: here\r\nConnection: close\r\n\
                 Content-Length: 15\r\n\r\n{\"code\":\"0abc\"}";
    log_of(login, format).await
}

/// Runs the program through one request, and returns its log.
async fn log_of(request: &str, format: &str) -> String {
    let log = format!("level = \"trace\"\nformat = \"{format}\"");
    let builder = TestGateway::builder().section("log", &log);
    let upstream = Upstream::start().await.address;
    let site = builder.site(upstream, builder.simulator().await);
    let program = Program::start(site.command(MENSHEN, &["serve"]));
    let address = program.find_address().await;
    raw(address, request.as_bytes()).await;
    program.stop().await.stderr
}

#[tokio::test]
async fn every_line_of_json_says_when_where_how_bad_and_what() {
    for line in log_of_a_failed_login("json").await.lines() {
        let line: Value = serde_json::from_str(line).unwrap_or_else(|_| panic!("{line}"));
        for name in ["timestamp", "level", "target", "message"] {
            assert!(line[name].is_string(), "{name}: {line}");
        }
    }
}

#[tokio::test]
async fn numbers_are_numbers() {
    let log = log_of_a_failed_login("json").await;
    let lines = log.lines().map(|line| serde_json::from_str(line).unwrap());
    let mut timed = 0;
    for line in lines.filter(|line: &Value| line.get("elapsed_ms").is_some()) {
        assert!(line["elapsed_ms"].is_u64(), "{line}");
        timed += 1;
    }
    // The login's line and the exchange's.
    assert_eq!(timed, 2);
}

#[tokio::test]
async fn the_line_for_each_exchange_can_be_turned_off_and_on_by_a_reload() {
    let builder = TestGateway::builder().section("log", "format = \"json\"\naccess = false");
    let upstream = Upstream::start().await.address;
    let site = builder.site(upstream, builder.simulator().await);
    let program = Program::start(site.command(MENSHEN, &["serve"]));
    let address = program.find_address().await;
    let request = |path| format!("GET {path} HTTP/1.1\r\nHost: here\r\nConnection: close\r\n\r\n");
    raw(address, request("/public/before").as_bytes()).await;
    raw(address, b"GET / x HTTP/1.1\r\nHost: here\r\n\r\n").await;
    site.change("access = false", "access = true");
    program.reload(1).await;
    raw(address, request("/public/after").as_bytes()).await;
    let log = program.stop().await.stderr;
    let lines = log.lines().filter(|line| line.contains("menshen::access"));
    let paths: Vec<Value> = lines
        .map(|line| serde_json::from_str::<Value>(line).unwrap()["path"].take())
        .collect();
    assert_eq!(paths, ["/public/after"], "{log}");
}

#[tokio::test]
async fn an_exchange_names_the_server_that_was_asked() {
    let builder = TestGateway::builder().section("log", "format = \"json\"");
    let upstream = Upstream::start().await.address;
    let site = builder.site(upstream, builder.simulator().await);
    let program = Program::start(site.command(MENSHEN, &["serve"]));
    let address = program.find_address().await;
    let request = b"GET /public HTTP/1.1\r\nHost: here\r\nConnection: close\r\n\r\n";
    raw(address, request).await;
    let line = program.logs("menshen::access").await;
    let line: Value = serde_json::from_str(&line).unwrap();
    assert_eq!(line["server"], upstream.to_string(), "{line}");
}

#[tokio::test]
async fn what_is_refused_unread_has_its_line_too() {
    for request in [
        "GET /raw x HTTP/1.1\r\nHost: here\r\n\r\n",
        "CONNECT here:443 HTTP/1.1\r\nHost: here\r\n\r\n",
        "GET /?\" HTTP/1.1\r\nHost: here\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: here\r\nTransfer-Encoding: chunked\r\n\r\nx\r\n",
    ] {
        let log = log_of(request, "json").await;
        let lines = log.lines().filter(|line| line.contains("menshen::access"));
        let lines: Vec<Value> = lines
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        assert_eq!(lines.len(), 1, "{request}: {log}");
        assert_eq!(lines[0]["decision"], "refused", "{request}: {log}");
        assert_eq!(lines[0]["client"], "127.0.0.1", "{request}: {log}");
        assert!(lines[0]["request_id"].is_string(), "{request}: {log}");
    }
}

#[tokio::test]
async fn what_is_refused_over_http_2_before_anybody_sees_it_has_its_line_too() {
    let builder = TestGateway::builder().section("log", "format = \"json\"");
    let upstream = Upstream::start().await.address;
    let site = builder.site(upstream, builder.simulator().await);
    let program = Program::start(site.command(MENSHEN, &["serve"]));
    let address = program.find_address().await;
    let stream = TcpStream::connect(address).await.unwrap();
    let (requests, connection) = h2::client::handshake(stream).await.unwrap();
    let driver = tokio::spawn(connection);
    let mut ready: h2::client::SendRequest<bytes::Bytes> = requests.ready().await.unwrap();
    let request = http::Request::get("http://h/public").header("host", "other");
    let (answer, _) = ready.send_request(request.body(()).unwrap(), true).unwrap();
    assert_eq!(answer.await.unwrap().status(), 400);
    let line = program.logs("menshen::access").await;
    let line: Value = serde_json::from_str(&line).unwrap();
    assert_eq!(line["decision"], "refused", "{line}");
    assert_eq!(line["client"], "127.0.0.1", "{line}");
    assert!(line["request_id"].is_string(), "{line}");
    driver.abort();
}

#[tokio::test]
async fn what_becomes_no_request_has_its_line_too() {
    let times = "head_timeout = \"300ms\"\nclient_timeout = \"300ms\"\nkeepalive = \"300ms\"";
    let builder = TestGateway::builder()
        .section("log", "format = \"json\"")
        .section("server", times);
    let upstream = Upstream::start().await.address;
    let site = builder.site(upstream, builder.simulator().await);
    let program = Program::start(site.command(MENSHEN, &["serve"]));
    let address = program.find_address().await;
    let greeting = [PREFACE, SETTINGS].concat();
    for (number, (reason, sent)) in [
        ("request_timeout", &[&b"GE"[..]][..]),
        ("request_timeout", &[b"PRI * HT"]),
        // A head that says no more than GET, and one that does not end.
        (
            "bad_request",
            &[&greeting, b"\0\0\x01\x01\x05\0\0\0\x01\x82"],
        ),
        (
            "request_timeout",
            &[&greeting, b"\0\0\x01\x01\x01\0\0\0\x01\x82"],
        ),
    ]
    .into_iter()
    .enumerate()
    {
        let mut wire = Wire::connect(address).await;
        wire.send(sent.concat()).await;
        wire.rest().await;
        program.logs_times("menshen::access", number + 1).await;
        let log = program.stderr();
        let line = log.lines().rfind(|line| line.contains("menshen::access"));
        let line: Value = serde_json::from_str(line.unwrap()).unwrap();
        assert_eq!(line["reason"], reason, "{number}: {log}");
        assert_eq!(line["status"], 0, "{number}: {log}");
        assert_eq!(line["client"], "127.0.0.1", "{number}: {log}");
        let lines = log.matches("menshen::access").count();
        assert_eq!(lines, number + 1, "{log}");
    }
}

#[tokio::test]
async fn whoever_was_refused_a_login_is_found_by_the_id_they_were_told() {
    let builder = TestGateway::builder()
        .section("log", "level = \"debug\"\nformat = \"json\"")
        .trust_local_proxies();
    let (_nodes, node) = Nodes::start_one(builder, MENSHEN).await;
    let first_request = |code| node.request("GET", "/orders").header("X-WX-Code", code);
    let good = node.code("alice").await;
    for (request, status, words) in [
        (
            node.login_with("0abc"),
            401,
            ["code not redeemed", "login refused"].as_slice(),
        ),
        (node.login_with(&good), 200, &["login granted"]),
        (
            first_request("0abd"),
            401,
            &["code not redeemed", "login refused"],
        ),
        (
            node.login_with("0abe").header("X-Request-Id", "a-proxys"),
            401,
            &["code not redeemed", "login refused"],
        ),
    ] {
        let reply = Reply::of(request).await;
        assert_eq!(reply.status, status);
        let id = reply.header("x-request-id");
        node.program
            .logs_times(&format!("\"request_id\":\"{id}\""), words.len() + 1)
            .await;
        let log = node.program.stderr();
        let lines = log.lines().map(|line| serde_json::from_str(line).unwrap());
        let lines: Vec<Value> = lines
            .filter(|line: &Value| line["request_id"] == id)
            .collect();
        for word in words {
            let said = lines.iter().any(|line| line["message"] == *word);
            assert!(said, "{word}: {log}");
        }
    }
}

#[tokio::test]
async fn lines_of_text_have_no_colours() {
    let log = log_of_a_failed_login("text").await;
    assert!(log.contains("login refused"), "{log}");
    assert!(!log.contains('\u{1b}'), "{log}");
}

#[tokio::test]
async fn what_a_gateway_asked_about_is_said_by_its_route() {
    let ask = "GET /_auth/verify/public/a HTTP/1.1\r\nHost: here\r\nConnection: close\r\n\r\n";
    let log = log_of(ask, "json").await;
    let exchange = log.lines().find(|line| line.contains("/_auth/verify"));
    let exchange: Value = serde_json::from_str(exchange.unwrap()).unwrap();
    assert_eq!(exchange["route"], "/public", "{log}");
    assert_eq!(exchange["decision"], "own", "{log}");
}

/// Starts the program with these lines in `[server]`, and returns the first line of its log that holds a text.
async fn logged_at_start(server: &str, text: &str) -> String {
    let builder = TestGateway::builder().section("server", server);
    let upstream = Upstream::start().await.address;
    let site = builder.site(upstream, builder.simulator().await);
    let program = Program::start(site.command(MENSHEN, &["serve"]));
    let line = program.logs(text).await;
    program.stop().await;
    line
}

#[tokio::test]
async fn where_plain_http_is_sent_on_is_told_too() {
    let lines = "redirect_http = [\"127.0.0.1:0\"]\npublic_url = \"https://shop.example\"";
    let line = logged_at_start(lines, "listening, to send on to HTTPS").await;
    assert_eq!(address_in(&line).ip().to_string(), "127.0.0.1", "{line}");
    assert_ne!(address_in(&line).port(), 0, "{line}");
}

#[tokio::test]
async fn to_trust_everybody_is_called_a_danger() {
    for network in ["0.0.0.0/0", "::/0"] {
        let lines = format!("trusted_proxies = [\"10.0.0.0/8\", \"{network}\"]");
        let line = logged_at_start(&lines, "trusted_proxies holds every address").await;
        assert!(line.contains("DANGER") && line.contains(network), "{line}");
    }
}

// Whoever forgot trusted_proxies learns why everything is refused.
#[tokio::test]
async fn a_description_that_is_refused_is_told_once() {
    let builder = TestGateway::builder();
    let upstream = Upstream::start().await.address;
    let site = builder.site(upstream, builder.simulator().await);
    let program = Program::start(site.command(MENSHEN, &["serve"]));
    let address = program.find_address().await;
    for _ in 0..3 {
        let asked = "GET /_auth/verify HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\
                     X-Forwarded-Method: GET\r\nX-Forwarded-Uri: /\r\nX-Forwarded-Host: h\r\n\r\n";
        raw(address, asked.as_bytes()).await;
    }
    let log = program.stop().await.stderr;
    let told = log.matches("outside server.trusted_proxies describes a request");
    assert_eq!(told.count(), 1, "{log}");
}

#[tokio::test]
async fn a_session_that_was_opened_for_a_client_that_left_is_logged() {
    let (_nodes, node) = Nodes::start_one(TestGateway::builder(), MENSHEN).await;
    // It is known to be gone after a second and a quarter.
    node.fault(json!({"fault": "delay", "by": "2500ms", "times": 1}))
        .await;
    let code = node.code("alice").await;
    let hasty = tokio::spawn(node.login_with(&code).send());
    while node.redeemed().await == 0 {
        tokio::task::yield_now().await;
    }
    hasty.abort();
    let line = node.program.logs("a client that has left").await;
    assert!(line.contains("request_id="), "{line}");
}

#[tokio::test]
async fn a_token_that_is_refused_has_what_is_wrong_with_it_in_its_line() {
    let request = "GET /orders HTTP/1.1\r\nHost: here\r\nConnection: close\r\n\
                   Authorization: Bearer eyJh.eyJh.eyJh\r\n\r\n";
    let log = log_of(request, "json").await;
    let mut lines = log.lines().filter(|line| line.contains("menshen::access"));
    let line: Value = serde_json::from_str(lines.next().unwrap()).unwrap();
    assert_eq!(line["reason"], "token_invalid", "{line}");
    assert_eq!(line["token_fault"], "not a JWT", "{line}");
}

#[tokio::test]
async fn a_code_of_an_app_that_is_not_configured_is_said_to_be_one() {
    let builder = TestGateway::builder().section("log", "format = \"json\"");
    let node = Nodes::new(builder).await.serve(MENSHEN).await;
    let other = "https://servicewechat.com/wx0000000000000009/7/page-frame.html";
    let own = format!(
        "https://servicewechat.com/{}/7/page-frame.html",
        TestGateway::appid("shop")
    );
    for (referer, named) in [
        (other, Some("wx0000000000000009")),
        (own.as_str(), None),
        ("https://servicewechat.com/<script>/", None),
    ] {
        let request = node.login_with("0abc").header("Referer", referer);
        let reply = Reply::of(request).await;
        assert_eq!(reply.refusal(), (401, "code_invalid".to_owned()));
        let id = format!("\"request_id\":\"{}\"", reply.header("x-request-id"));
        node.program.logs_times(&id, 2).await;
        let log = node.program.stderr();
        let mut lines = log
            .lines()
            .filter(|line| line.contains(&id) && line.contains("login refused"));
        let line: Value = serde_json::from_str(lines.next_back().unwrap()).unwrap();
        assert_eq!(line["referer_appid"].as_str(), named, "{line}");
        let advice = line["advice"].as_str().unwrap_or_default();
        assert_eq!(
            advice.contains("is it configured"),
            named.is_some(),
            "{line}"
        );
    }
}
