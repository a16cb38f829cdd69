//! At `log.level = "warn"` what clients cause, alone or while WeChat is away, is a few lines however many come.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

use futures::future::join_all;
use menshen_test_support::{
    Builder, Certificate, Node, Nodes, Reply, TestGateway, make_client, tls_front,
};
use serde_json::{Value, json};

const MENSHEN: &str = env!("CARGO_BIN_EXE_menshen");

/// Logins without an end in sight.
const CROWD: usize = 300;

/// Describes a program that is to be made quiet.
fn loud() -> Builder {
    TestGateway::builder()
        .section(
            "log",
            "level = \"info\"\nformat = \"json\"\naccess = false\naudit = true",
        )
        .section("login", "queue_timeout = \"100ms\"\nrefused_per_minute = 0")
        .section("server", "requests_per_minute = 0")
}

/// A program of whose lines only warnings are there, and the audit log if it is wanted.
struct Quiet {
    node: Node,
    /// How much of its log is older than that.
    before: usize,
}

impl std::ops::Deref for Quiet {
    type Target = Node;

    fn deref(&self) -> &Node {
        &self.node
    }
}

/// Starts a program that says where it listens, and then makes it quiet.
async fn quiet(builder: Builder, audit: bool) -> Quiet {
    let (nodes, node) = Nodes::start_one(builder, MENSHEN).await;
    nodes.site.change("level = \"info\"", "level = \"warn\"");
    nodes
        .site
        .change("audit = true", &format!("audit = {audit}"));
    let control = node.program.find_control_address().await;
    let reload = make_client().post(format!("http://{control}/v1/reload"));
    let reloaded = Reply::of(reload).await;
    assert_eq!(reloaded.status, 200, "{}", reloaded.text());
    let before = node.program.stderr().len();
    Quiet { node, before }
}

/// Sends invented codes, and returns how the last was refused.
async fn invent_codes(node: &Node, count: usize) -> (u16, String) {
    let mut last = (0, String::new());
    for batch in 0..count.div_ceil(20) {
        let codes = (0..20).map(|n| format!("0invented{batch}x{n}"));
        let sent = codes.map(|code| Reply::of(node.login_with(&code)));
        let replies = join_all(sent).await;
        last = replies.last().unwrap().refusal();
    }
    last
}

/// Ends the program and returns its lines; the last ones of before may be among them.
async fn lines(quiet: Quiet) -> Vec<Value> {
    let log = quiet.node.program.stop().await.stderr;
    let begin = log.get(..quiet.before).and_then(|old| old.rfind('\n'));
    let lines = log
        .get(begin.map_or(0, |at| at + 1)..)
        .unwrap()
        .lines()
        .map(|line| serde_json::from_str(line).unwrap());
    lines.collect()
}

fn are_severe(lines: &[Value]) -> Vec<&Value> {
    let severe = |line: &&Value| line["level"] == "WARN" || line["level"] == "ERROR";
    lines.iter().filter(severe).collect()
}

#[tokio::test]
async fn invented_codes_are_no_warning() {
    for audit in [false, true] {
        let node = quiet(loud(), audit).await;
        let refused = invent_codes(&node, CROWD).await;
        assert_eq!(refused, (401, "code_invalid".to_owned()));
        let lines = lines(node).await;
        assert!(are_severe(&lines).is_empty(), "{lines:?}");
        // The audit log has them all, where it is wanted.
        let told = lines
            .iter()
            .filter(|line| line["message"] == "login refused");
        assert_eq!(told.count(), if audit { CROWD } else { 0 });
        if !audit {
            assert!(lines.len() < 8, "{lines:?}");
        }
    }
}

#[tokio::test]
async fn a_code_that_comes_from_two_clients_again_and_again_is_no_warning() {
    let node = quiet(loud(), false).await;
    let code = node.code("alice").await;
    let first = Reply::of(node.login_as(&code, &"a".repeat(20))).await;
    assert_eq!(first.status, 200, "{}", first.text());
    for _ in 0..20 {
        let other = Reply::of(node.login_as(&code, &"b".repeat(20))).await;
        other.refused(401, "code_used");
    }
    let lines = lines(node).await;
    assert!(lines.len() < 8, "{lines:?}");
}

#[tokio::test]
async fn an_outage_is_a_few_warnings_however_many_log_in() {
    menshen::app::install_crypto();
    let nowhere = menshen_test_support::find_closed_address();
    // The authorities of the system do not know this one.
    let front = tls_front(&Certificate::new("localhost"), nowhere).await;
    for base in [
        format!("http://{nowhere}"),
        format!("https://localhost:{}", front.port()),
    ] {
        let builder = loud().section("wechat", &format!("api_base = \"{base}\""));
        let node = quiet(builder, false).await;
        let refused = invent_codes(&node, CROWD).await;
        assert_eq!(refused, (503, "wechat_unreachable".to_owned()));
        let lines = lines(node).await;
        assert!(lines.len() < 8, "{base}: {lines:?}");
        let unreachable = |line: &&Value| {
            let message = line["message"].as_str().unwrap();
            message.starts_with("WeChat cannot be reached: ")
        };
        let told: Vec<&Value> = lines.iter().filter(unreachable).collect();
        assert_eq!(told.len(), 1, "{lines:?}");
        assert!(told.iter().all(|line| line["cause"].is_string()));
        assert!(
            lines.iter().all(|line| line["level"] == "WARN"),
            "{lines:?}"
        );
    }
}

#[tokio::test]
async fn what_only_the_operator_can_mend_is_one_warning_with_what_to_do() {
    let node = quiet(loud(), false).await;
    for (errcode, error) in [
        (40125, "wechat_misconfigured"),
        (48001, "wechat_misconfigured"),
        (99999, "wechat_error"),
    ] {
        node.fault(json!({"fault": "errcode", "errcode": errcode}))
            .await;
        for _ in 0..10 {
            node.try_log_in("alice").await.refused(502, error);
        }
        node.heal().await;
    }
    let lines = lines(node).await;
    let warnings = are_severe(&lines);
    let told: Vec<(i64, bool)> = warnings
        .iter()
        .map(|line| {
            (
                line["errcode"].as_i64().unwrap(),
                line["advice"].is_string(),
            )
        })
        .collect();
    assert_eq!(
        told,
        [(40125, true), (48001, true), (99999, false)],
        "{lines:?}"
    );
    assert!(warnings.iter().all(|line| line["app"] == "shop"));
}
