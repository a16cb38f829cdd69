//! Each field of `docs/en/logging.md` is written and no other, whatever clients send, and openids are digests unless configured.
#![expect(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test may panic"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use menshen_test_support::{
    CONTROL_SECRET, Certificate, Node, Nodes, Program, Reply, TestGateway, make_client, raw,
};
use serde_json::{Value, json};

const MENSHEN: &str = env!("CARGO_BIN_EXE_menshen");
const DOCUMENT: &str = include_str!("../../docs/en/logging.md");
const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const TRACEPARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
const HOSTILE: &str = "<script>alert(1)</script>\"'\\}{\t~";

/// Returns the rows of the table below a heading: the names in their first cell, and those in their last.
fn rows(heading: &str) -> Vec<(Vec<String>, Vec<String>)> {
    let (_, below) = DOCUMENT
        .split_once(&format!("\n## {heading}\n"))
        .unwrap_or_else(|| panic!("{heading}"));
    let section = below.split("\n## ").next().unwrap();
    let names = |cell: &str| -> Vec<String> {
        let names = cell.split('`').skip(1).step_by(2);
        names.map(str::to_owned).collect()
    };
    let rows = section.lines().filter(|line| line.starts_with("| `"));
    rows.map(|row| {
        let cells: Vec<&str> = row.trim_matches('|').split('|').collect();
        (names(cells.first().unwrap()), names(cells.last().unwrap()))
    })
    .collect()
}

fn first_names(heading: &str) -> BTreeSet<String> {
    rows(heading)
        .into_iter()
        .flat_map(|(names, _)| names)
        .collect()
}

/// Returns the lines of a log that have a target.
fn lines_of(log: &str, target: &str) -> Vec<Value> {
    let lines = log.lines().filter(|line| line.starts_with('{'));
    let lines = lines.map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("{line}")));
    lines
        .filter(|line: &Value| line["target"] == target)
        .collect()
}

fn names_in<'l>(lines: impl IntoIterator<Item = &'l Value>) -> BTreeSet<String> {
    let fields = lines.into_iter().filter_map(Value::as_object);
    fields.flat_map(|line| line.keys().cloned()).collect()
}

fn every_field() -> String {
    let usual = first_names("What every line has");
    let fields = first_names("Access lines");
    let wanted: Vec<String> = fields
        .difference(&usual)
        .map(|name| format!("{name:?}"))
        .collect();
    format!("access_fields = [{}]", wanted.join(", "))
}

/// A gateway in a process of its own, whose log is JSON.
struct Running {
    nodes: Nodes,
    node: Node,
    control: SocketAddr,
}

impl Running {
    async fn start(log: &str) -> Self {
        let builder = TestGateway::builder()
            .require_control_secret()
            .section("log", &format!("format = \"json\"\n{log}"));
        let (nodes, node) = Nodes::start_one(builder, MENSHEN).await;
        let control = node.program.find_control_address().await;
        Self {
            nodes,
            node,
            control,
        }
    }

    async fn control(&self, method: &str, path: &str, secret: &str) -> Reply {
        let method = reqwest::Method::from_bytes(method.as_bytes()).unwrap();
        let url = format!("http://{}{path}", self.control);
        let request = make_client();
        Reply::of(request.request(method, url).bearer_auth(secret)).await
    }

    async fn reload_with(&self, from: &str, to: &str) -> u16 {
        self.nodes.site.change(from, to);
        let reloaded = self.control("POST", "/v1/reload", CONTROL_SECRET);
        reloaded.await.status
    }

    async fn stop(self) -> String {
        self.node.program.stop().await.stderr
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_documented_field_of_an_access_line_is_written_and_no_other_is() {
    let running = Running::start(&every_field()).await;
    let node = &running.node;
    let token = node.log_in("alice").await.token;
    let traced = node
        .request("POST", "/orders")
        .bearer_auth(&token)
        .header("traceparent", TRACEPARENT)
        .header("user-agent", "a client")
        .body("four");
    assert_eq!(Reply::of(traced).await.status, 200);
    assert_eq!(node.get("/orders", "eyJh.eyJh.eyJh").await.status, 401);
    running
        .control("GET", "/v1/nothing", "no secret at all")
        .await;
    let folder = running.nodes.site.folder.path().to_owned();
    let secret = "0000000000000000000000000000crm0";
    std::fs::write(folder.join("crm"), secret).unwrap();
    running.nodes.site.change(
        "secret_env = \"CONTROL_SECRET\"",
        "secret_env = \"CONTROL_SECRET\"\n[[control.caller]]\nname = \"crm\"\nsecret_file = \"crm\"\ncalls = [\"reload\"]\n",
    );
    assert_eq!(
        running
            .control("POST", "/v1/reload", CONTROL_SECRET)
            .await
            .status,
        200
    );
    assert_eq!(
        running.control("POST", "/v1/reload", secret).await.status,
        200
    );
    let openid = running
        .node
        .request("GET", "/_auth/session")
        .bearer_auth(&token);
    let session = Reply::of(openid).await.json();
    let log = running.stop().await;
    let lines = lines_of(&log, "menshen::access");
    let mut documented = first_names("What every line has");
    documented.append(&mut first_names("Access lines"));
    assert_eq!(names_in(&lines), documented, "{log}");
    let traced = lines.iter().find(|line| line["trace_id"] == TRACE).unwrap();
    let id = session["session"].as_str().unwrap();
    for (field, expected) in [
        ("method", json!("POST")),
        ("path", json!("/orders")),
        ("route", json!("/")),
        ("status", json!(200)),
        ("decision", json!("authenticated")),
        ("app", json!("shop")),
        ("session", json!(id)),
        ("openid", json!(id.chars().take(10).collect::<String>())),
        ("client", json!("127.0.0.1")),
        ("user_agent", json!("a client")),
        ("received_bytes", json!(4)),
        ("sent_bytes", json!(2)),
        ("failed", json!(false)),
    ] {
        assert_eq!(traced[field], expected, "{field}: {traced}");
    }
    for field in ["elapsed_ms", "upstream_ms"] {
        assert!(traced[field].is_u64(), "{traced}");
    }
    let refused = lines
        .iter()
        .find(|line| line["reason"] == "token_invalid")
        .unwrap();
    assert_eq!(refused["route"], "/", "{refused}");
    assert!(!log.contains(session["openid"].as_str().unwrap()), "{log}");
}

/// Does what the audit log tells of.
async fn everything_that_is_audited(running: &Running) {
    let node = &running.node;
    let grant = node.log_in("alice").await;
    let foreign = "https://servicewechat.com/wx0000000000000009/7/page-frame.html";
    node.login_with("0abc")
        .header("Referer", foreign)
        .header("traceparent", TRACEPARENT)
        .send()
        .await
        .unwrap();
    node.fault(json!({"fault": "close_after", "times": 1}))
        .await;
    node.login("carol").await.send().await.unwrap();
    let mut last = grant.refresh_token.clone();
    // So far behind that somebody else must hold it.
    for _ in 0..65 {
        last = node.refreshed(&last).await.refresh_token;
    }
    let reused = node.refresh(&grant.refresh_token).await;
    assert_eq!(reused.error(), "refresh_reused");
    assert_eq!(
        node.get("/orders", &grant.token).await.error(),
        "session_ended"
    );
    let forged = node.request("GET", "/orders").bearer_auth("eyJh.eyJh.eyJh");
    let forged = forged.header("traceparent", TRACEPARENT);
    assert_eq!(Reply::of(forged).await.status, 401);
    node.log_out(&node.log_in("bob").await.token).await;
    let dave = node.log_in("dave").await.token;
    let session = node.request("GET", "/_auth/session").bearer_auth(&dave);
    let session = Reply::of(session).await.json()["session"]
        .as_str()
        .unwrap()
        .to_owned();
    let wrong = running.control("GET", "/metrics", "no secret at all").await;
    assert_eq!(wrong.status, 401);
    let folder = running.nodes.site.folder.path().to_owned();
    let secret = "0000000000000000000000000000crm0";
    std::fs::write(folder.join("crm"), secret).unwrap();
    running.nodes.site.change(
        "secret_env = \"CONTROL_SECRET\"",
        "secret_env = \"CONTROL_SECRET\"\n[[control.caller]]\nname = \"crm\"\nsecret_file = \"crm\"\ncalls = [\"end_sessions\"]\n",
    );
    let made = Program::run(running.nodes.command_to(MENSHEN, &["keys", "new"])).await;
    assert_eq!(made.code, Some(0), "{}", made.stderr);
    let reloaded = running.control("POST", "/v1/reload", CONTROL_SECRET);
    assert_eq!(reloaded.await.status, 200);
    let end = format!("/v1/sessions/{session}");
    assert_eq!(running.control("DELETE", &end, secret).await.status, 204);
    let refused = running.control("POST", "/v1/reload", secret).await;
    assert_eq!(refused.error(), "call_not_allowed");
    let kept = running.reload_with("[token]\n", "[token]\nttl = \"1h\"\n");
    assert_eq!(kept.await, 200);
    let spoiled = running.reload_with("ttl = \"1h\"", "ttl = \"soon\"");
    assert_eq!(spoiled.await, 422);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_documented_event_of_the_audit_log_has_its_fields_and_no_other_whatever_the_level() {
    let running = Running::start("level = \"info\"\naccess = false").await;
    let quiet = running.reload_with("level = \"info\"", "level = \"error\"");
    assert_eq!(quiet.await, 200);
    everything_that_is_audited(&running).await;
    let log = running.stop().await;
    assert!(lines_of(&log, "menshen::access").is_empty(), "{log}");
    let usual = first_names("What every line has");
    let mut documented: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for (events, fields) in rows("The audit log") {
        let event = events.into_iter().next().unwrap();
        documented.entry(event).or_default().extend(fields);
    }
    // It needs TLS, and has a test of its own below.
    documented.remove("certificate").unwrap();
    let mut written: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for line in lines_of(&log, "menshen::audit") {
        let event = line["event"].as_str().unwrap().to_owned();
        let names = names_in([&line]);
        let fields = names.difference(&usual).filter(|name| *name != "event");
        written.entry(event).or_default().extend(fields.cloned());
    }
    assert_eq!(written, documented, "{log}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_the_switch_the_audit_log_is_at_the_level_of_all_lines() {
    let running = Running::start("level = \"info\"\naudit = false").await;
    running.node.log_in("alice").await;
    let quiet = running.reload_with("level = \"info\"", "level = \"error\"");
    assert_eq!(quiet.await, 200);
    running.node.log_in("bob").await;
    let log = running.stop().await;
    let lines = lines_of(&log, "menshen::audit");
    let logins = lines.iter().filter(|line| line["event"] == "login");
    assert_eq!(logins.count(), 1, "{log}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn openids_are_there_in_full_where_that_is_configured() {
    let running = Running::start("openid = \"full\"").await;
    let token = running.node.log_in("alice").await.token;
    assert_eq!(running.node.get_as(&token).await.status, 200);
    let session = running
        .node
        .request("GET", "/_auth/session")
        .bearer_auth(&token);
    let openid = Reply::of(session).await.json()["openid"].clone();
    let log = running.stop().await;
    let of = |target: &str, field: &str, value: &str| -> Value {
        let lines = lines_of(&log, target).into_iter();
        let mut lines = lines.filter(|line| line[field] == value);
        lines.next().unwrap_or_else(|| panic!("{log}"))["openid"].take()
    };
    assert_eq!(of("menshen::audit", "event", "login"), openid);
    assert_eq!(of("menshen::access", "decision", "authenticated"), openid);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_line_holds_the_configured_fields_and_a_reload_changes_them() {
    let running = Running::start("access_fields = [\"status\", \"path\"]").await;
    let get = async |path: &str| Reply::of(running.node.request("GET", path)).await.status;
    assert_eq!(get("/public/before").await, 200);
    running.nodes.site.change(
        "access_fields = [\"status\", \"path\"]",
        "access_fields = [\"method\"]",
    );
    running.node.program.reload(1).await;
    assert_eq!(get("/public/after").await, 200);
    let log = running.stop().await;
    let usual = first_names("What every line has");
    let lines = lines_of(&log, "menshen::access");
    let fields: Vec<Vec<String>> = lines
        .iter()
        .map(|line| names_in([line]).difference(&usual).cloned().collect())
        .collect();
    assert_eq!(fields, [vec!["path", "status"], vec!["method"]], "{log}");
    assert_eq!(lines[0]["path"], "/public/before");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn few_good_requests_have_a_line_where_that_is_configured_and_all_refused_ones() {
    let running = Running::start("access_one_in = 1000000").await;
    for _ in 0..20 {
        assert_eq!(
            Reply::of(running.node.request("GET", "/public"))
                .await
                .status,
            200
        );
        assert_eq!(
            Reply::of(running.node.request("GET", "/orders"))
                .await
                .status,
            401
        );
    }
    let log = running.stop().await;
    let lines = lines_of(&log, "menshen::access");
    let refused = lines.iter().filter(|line| line["decision"] == "refused");
    assert_eq!(refused.count(), 20, "{log}");
    // A line of one of twenty would be the luck of one in 50,000.
    assert!(lines.len() <= 21, "{log}");
}

/// Sends a request whose parts are all hostile, as far as the protocol lets them be.
async fn attack(address: SocketAddr) {
    let mut request = format!(
        "GET /public/\"' HTTP/1.1\r\nHost: here\r\nConnection: close\r\nUser-Agent: {HOSTILE}"
    )
    .into_bytes();
    request.extend(b"\xff\xfe\xc3\r\nTraceparent: 00-\"}-\r\nX-Request-Id: a\"b\r\n\r\n");
    raw(address, &request).await;
    for path in [
        b"/public/\"\\\xff".as_slice(),
        b"/public/\x1b[2J",
        b"/public/<script>",
        b"/public/\xe2\x80\xa8\xe2\x80\xae",
    ] {
        let mut request = b"GET ".to_vec();
        request.extend(path);
        request.extend(b" HTTP/1.1\r\nHost: \"};<script>\r\nConnection: close\r\n\r\n");
        raw(address, &request).await;
    }
    let smuggled = "GET /public HTTP/1.1\r\nHost: here\r\nConnection: close\r\n\
                    User-Agent: a\r\n {\"target\":\"menshen::audit\"}\r\n\r\n";
    raw(address, smuggled.as_bytes()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_client_sends_breaks_no_line_of_json() {
    let running = Running::start(
        "access_fields = [\"user_agent\", \"path\", \"host\", \"trace_id\", \"request_id\"]",
    )
    .await;
    attack(running.node.address).await;
    let log = running.stop().await;
    let bad =
        |c: char| c.is_control() && c != '\n' || matches!(c, '\u{2028}' | '\u{2029}' | '\u{202e}');
    assert!(!log.contains(bad), "{log:?}");
    let lines = lines_of(&log, "menshen::access");
    // One line for each request.
    assert_eq!(lines.len(), 6, "{log}");
    let agent = lines
        .iter()
        .find_map(|line| line["user_agent"].as_str())
        .unwrap();
    assert_eq!(agent, format!("{HOSTILE}\u{fffd}\u{fffd}\u{fffd}"), "{log}");
    let paths: Vec<&str> = lines
        .iter()
        .filter_map(|line| line["path"].as_str())
        .collect();
    assert!(paths.contains(&"/public/\"'"), "{paths:?}");
    assert!(lines.iter().all(|line| line["trace_id"].is_null()), "{log}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_client_sends_breaks_no_line_of_text() {
    let builder = TestGateway::builder().section(
        "log",
        "access_fields = [\"user_agent\", \"path\", \"status\"]",
    );
    let node = Nodes::new(builder).await.serve(MENSHEN).await;
    attack(node.address).await;
    let log = node.program.stop().await.stderr;
    assert!(
        !log.contains(|c: char| c.is_control() && c != '\n'),
        "{log:?}"
    );
    let accesses = log
        .lines()
        .filter(|line| line.contains(" INFO menshen::access: exchange "));
    assert_eq!(accesses.count(), 6, "{log}");
    for line in log.lines() {
        let time = line.split(' ').next().unwrap();
        assert!(time.starts_with("20") && time.ends_with('Z'), "{line}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_audit_log_tells_of_certificates_that_change() {
    let certificate = Certificate::new("shop.example");
    let builder = TestGateway::builder()
        .section("server", &certificate.lines())
        .section("log", "format = \"json\"");
    let nodes = Nodes::new(builder).await;
    let program = Program::start(nodes.command(MENSHEN));
    program.logs("listening").await;
    let successor = Certificate::new("shop.example");
    // The key comes first: between the two, they do not fit each other.
    for (file, outcomes) in [("key.pem", &["refused"][..]), ("cert.pem", &["renewed"])] {
        let (from, to) = (
            successor.folder().join(file),
            certificate.folder().join(file),
        );
        std::fs::copy(from, to).unwrap();
        for outcome in outcomes {
            let said = format!("\"outcome\":\"{outcome}\",\"certificate\"");
            program.logs(&said).await;
        }
    }
    let log = program.stop().await.stderr;
    let lines = lines_of(&log, "menshen::audit").into_iter();
    let lines: Vec<Value> = lines
        .filter(|line| line["event"] == "certificate")
        .collect();
    let usual = first_names("What every line has");
    let mut documented = rows("The audit log").into_iter();
    let row = documented
        .find(|(event, _)| event[0] == "certificate")
        .unwrap();
    let mut expected: BTreeSet<String> = row.1.into_iter().collect();
    expected.insert("event".to_owned());
    let written: BTreeSet<String> = names_in(&lines).difference(&usual).cloned().collect();
    assert_eq!(written, expected, "{log}");
}
