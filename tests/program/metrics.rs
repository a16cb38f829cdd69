//! Each metric of `docs/en/metrics.md` is there with its labels and moves, and no other is there.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test may panic")]

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use menshen_test_support::{ByHand, Node, Nodes, Program, Reply, TestGateway, Wire};
use serde_json::json;

const MENSHEN: &str = env!("CARGO_BIN_EXE_menshen");
const DOCUMENT: &str = include_str!("../../docs/en/metrics.md");
const PATIENCE: Duration = Duration::from_secs(20);

/// What does not move, and what other tests see moving: `watch.rs`, `log_reader.rs`, `control/store.rs`, `control/metrics.rs`,
/// `relay/access_token.rs`, `traces/collectors.rs`.
const NOT_HERE: [&str; 15] = [
    "menshen_config_last_reload_taken_over",
    "menshen_build_info",
    "process_max_fds",
    "process_virtual_memory_bytes",
    "menshen_log_lines_dropped_total",
    "menshen_spans_exported_total",
    "menshen_spans_dropped_total",
    "menshen_spans_waiting",
    "menshen_store_errors_total",
    "menshen_store_available",
    "menshen_certificate_expiry_timestamp_seconds",
    "menshen_access_token_age_seconds",
    "menshen_access_token_left_seconds",
    "menshen_access_token_error",
    "menshen_access_token_renewals_total",
];

const ROUTES: &str = "[[route]]\npath = \"/\"\nupstream = \"api\"\n\
    [[route]]\npath = \"/public\"\nupstream = \"api\"\nauth = \"public\"\n\
    [[route]]\npath = \"/dead\"\nupstream = \"dead\"\nauth = \"public\"\n\
    [[route]]\npath = \"/slow\"\nupstream = \"slow\"\nauth = \"public\"\n";

/// Names, each with its labels.
type Families = BTreeMap<String, BTreeSet<String>>;

/// The values by name and labels.
type Values = BTreeMap<String, String>;

/// Reads the tables of the document.
fn documented() -> Families {
    let rows = DOCUMENT.lines().filter(|line| line.starts_with("| `"));
    let names = |cell: &str| -> BTreeSet<String> {
        let names = cell.split('`').skip(1).step_by(2);
        names.map(str::to_owned).collect()
    };
    let rows = rows.map(|row| {
        let cells: Vec<&str> = row.split('|').collect();
        let [_, name, _, labels, ..] = cells.as_slice() else {
            panic!("{row}");
        };
        (names(name).pop_first().unwrap(), names(labels))
    });
    rows.collect()
}

/// Returns the name of the metric that a line is a value of.
fn family<'n>(name: &'n str, kinds: &BTreeMap<&str, &str>) -> &'n str {
    let parts = ["_bucket", "_sum", "_count"];
    let whole = parts.iter().find_map(|part| name.strip_suffix(part));
    whole
        .filter(|whole| kinds.get(whole) == Some(&"histogram"))
        .unwrap_or(name)
}

/// Reads a page: which metrics there are, and their values.
fn read(text: &str) -> (Families, Values) {
    let kinds = text
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' '));
    let kinds: BTreeMap<&str, &str> = kinds.collect();
    let names = kinds.iter().map(|(name, kind)| match *kind {
        "counter" => format!("{name}_total"),
        _ => (*name).to_owned(),
    });
    let mut families: Families = names.map(|name| (name, BTreeSet::new())).collect();
    let mut values = Values::new();
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let (series, value) = line.rsplit_once(' ').unwrap();
        values.insert(series.to_owned(), value.to_owned());
        let (name, labels) = series.split_once('{').unwrap_or((series, ""));
        let of = families
            .get_mut(family(name, &kinds))
            .unwrap_or_else(|| panic!("{line}"));
        let labels = labels
            .split("\",")
            .filter_map(|label| label.split_once('='));
        of.extend(
            labels
                .map(|(name, _)| name.to_owned())
                .filter(|name| name != "le"),
        );
    }
    (families, values)
}

/// Follows the metrics of a program.
struct Watch {
    control: SocketAddr,
    first: Values,
    families: Families,
    moved: BTreeSet<String>,
}

impl Watch {
    async fn start(control: SocketAddr) -> Self {
        let mut watch = Self {
            control,
            first: Values::new(),
            families: Families::new(),
            moved: BTreeSet::new(),
        };
        let text = watch.text().await;
        (watch.families, watch.first) = read(&text);
        watch
    }

    async fn text(&self) -> String {
        let url = format!("http://{}/metrics", self.control);
        reqwest::get(url).await.unwrap().text().await.unwrap()
    }

    /// Notes what has another value than at first; a value that was not there was 0.
    async fn look(&mut self) -> Values {
        let text = self.text().await;
        let kinds = text
            .lines()
            .filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' '));
        let kinds: BTreeMap<&str, &str> = kinds.collect();
        let (families, values) = read(&text);
        for (series, value) in &values {
            if self.first.get(series).map_or("0", String::as_str) != value {
                let name = series.split('{').next().unwrap_or_default();
                self.moved.insert(family(name, &kinds).to_owned());
            }
        }
        for (name, labels) in families {
            self.families.entry(name).or_default().extend(labels);
        }
        values
    }

    /// Waits until a value is another one than at first.
    async fn until_moved(&mut self, name: &str) {
        let since = Instant::now();
        while !self.moved.contains(name) {
            assert!(since.elapsed() < PATIENCE, "{name} does not move");
            self.look().await;
        }
    }
}

async fn nodes(slow: &ByHand) -> Nodes {
    // Nobody listens there.
    let dead = ByHand::start().await.address;
    let upstreams = format!(
        "[[upstream]]\nname = \"dead\"\nservers = [\"{dead}\"]\nmax_fails = 1\nfail_timeout = \"1h\"\n\
         [[upstream]]\nname = \"slow\"\nservers = [\"{}\"]\n",
        slow.address
    );
    let builder = TestGateway::builder()
        .routes(ROUTES)
        .upstreams(&upstreams)
        .section("cache", "max_tokens = 1")
        .section("app", "quota_per_minute = 60");
    Nodes::new(builder).await
}

/// Logs three users in at once, of whom WeChat's quota lets one in a second.
async fn log_in_three(node: &Node, watch: &mut Watch) -> Vec<String> {
    let mut logins = Vec::new();
    for user in ["alice", "bob", "carol"] {
        let code = node.code(user).await;
        logins.push(tokio::spawn(node.login_with(&code).send()));
    }
    watch.until_moved("menshen_login_waiting").await;
    let mut grants = Vec::new();
    for login in logins {
        let answer = login.await.unwrap().unwrap();
        assert_eq!(answer.status(), 200);
        grants.push(answer.text().await.unwrap());
    }
    grants
}

/// Holds a request up, and answers it with a WebSocket that stays open.
async fn open_web_socket(node: &Node, slow: &ByHand, watch: &mut Watch) -> (Wire, Wire) {
    let mut client = Wire::connect(node.address).await;
    let handshake = "GET /slow HTTP/1.1\r\nHost: here\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
                     Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    client.send(handshake).await;
    let mut server = slow.accept().await;
    server.read_to("\r\n\r\n").await;
    watch.until_moved("menshen_requests_open").await;
    let accepted = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
                    Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";
    server.send(accepted).await;
    client.read_to("\r\n\r\n").await;
    watch.until_moved("menshen_websockets_open").await;
    (client, server)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_documented_metric_is_there_and_moves_and_no_other_is_there() {
    let slow = ByHand::start().await;
    let nodes = nodes(&slow).await;
    let node = nodes.serve(MENSHEN).await;
    let control = node.program.find_control_address().await;
    let mut watch = Watch::start(control).await;
    let grants = log_in_three(&node, &mut watch).await;
    let grants: Vec<serde_json::Value> = grants
        .iter()
        .map(|grant| serde_json::from_str(grant).unwrap())
        .collect();
    let text = |grant: usize, name: &str| grants[grant][name].as_str().unwrap().to_owned();
    for grant in [0, 0, 1, 2] {
        assert_eq!(node.get("/orders", &text(grant, "token")).await.status, 200);
    }
    let upload = node.request("POST", "/public/x").body("four");
    assert_eq!(Reply::of(upload).await.status, 200);
    assert_eq!(Reply::of(node.request("GET", "/orders")).await.status, 401);
    assert_eq!(Reply::of(node.request("GET", "/dead")).await.status, 502);
    assert_eq!(node.refresh(&text(0, "refresh_token")).await.status, 200);
    node.log_out(&text(1, "token")).await;
    let code = node.code("dave").await;
    for _ in 0..2 {
        assert_eq!(Reply::of(node.login_with(&code)).await.status, 200);
    }
    node.fault(json!({"fault": "errcode", "errcode": 45009, "times": 1}))
        .await;
    assert_eq!(node.login("erin").await.send().await.unwrap().status(), 503);
    let (mut client, mut server) = open_web_socket(&node, &slow, &mut watch).await;
    client.send(b"\x81\x80\0\0\0\0").await;
    server.send(b"\x81\0").await;
    watch
        .until_moved("menshen_websocket_received_bytes_total")
        .await;
    watch
        .until_moved("menshen_websocket_sent_bytes_total")
        .await;
    let made = Program::run(nodes.command_to(MENSHEN, &["keys", "new"])).await;
    assert_eq!(made.code, Some(0), "{}", made.stderr);
    let reload = reqwest::Client::new().post(format!("http://{control}/v1/reload"));
    assert_eq!(reload.send().await.unwrap().status(), 200);
    let values = watch.look().await;

    let documented = documented();
    let names = |families: &Families| families.keys().cloned().collect::<BTreeSet<_>>();
    let (shown, told) = (names(&watch.families), names(&documented));
    let untold: Vec<_> = shown.difference(&told).collect();
    assert!(untold.is_empty(), "{untold:?}");
    // A metric without any value is not shown.
    let missing = told.difference(&shown);
    let missing: Vec<_> = missing
        .filter(|name| !NOT_HERE.contains(&name.as_str()))
        .collect();
    assert!(missing.is_empty(), "{missing:?}");
    let still: Vec<_> = documented
        .keys()
        .filter(|name| !watch.moved.contains(*name) && !NOT_HERE.contains(&name.as_str()))
        .collect();
    assert!(still.is_empty(), "{still:?}");
    for (name, labels) in &watch.families {
        // Those of which there is no value yet are seen by the tests named above.
        if !labels.is_empty() || !NOT_HERE.contains(&name.as_str()) {
            assert_eq!(Some(labels), documented.get(name), "{name}");
        }
    }
    let value = |series: &str| values.get(series).map(String::as_str);
    for (series, expected) in [
        (
            r#"menshen_requests_total{host="",route="/",decision="authenticated",reason="",status="2xx"}"#,
            "4",
        ),
        (
            r#"menshen_requests_total{host="",route="/",decision="refused",reason="token_missing",status="4xx"}"#,
            "1",
        ),
        (
            r#"menshen_requests_total{host="",route="/dead",decision="refused",reason="upstream_unreachable",status="5xx"}"#,
            "1",
        ),
        (
            r#"menshen_request_body_bytes_total{host="",route="/public"}"#,
            "4",
        ),
        (
            r#"menshen_response_body_bytes_total{host="",route="/"}"#,
            // Four times "ok", and a refusal.
            "107",
        ),
        (
            r#"menshen_request_duration_seconds_count{host="",route="/"}"#,
            "5",
        ),
        (r#"menshen_upstream_server_up{upstream="dead",server="#, "0"),
        ("menshen_requests_open", "0"),
        ("menshen_websockets_open", "1"),
        ("menshen_websocket_received_bytes_total", "6"),
        ("menshen_websocket_sent_bytes_total", "2"),
        (
            r#"menshen_decision_duration_seconds_count{host="",route="/"}"#,
            "5",
        ),
        ("menshen_sessions_opened_total", "4"),
        ("menshen_sessions_refreshed_total", "1"),
        ("menshen_sessions_ended_total", "1"),
        ("menshen_sessions_stored", "3"),
        ("menshen_revocations_held", "1"),
        ("menshen_token_cache_hits_total", "1"),
        (r#"menshen_keys{state="signing"}"#, "1"),
        (r#"menshen_keys{state="next"}"#, "1"),
        (r#"menshen_reloads_total{result="ok"}"#, "1"),
    ] {
        let found = match series.ends_with('=') {
            true => values
                .iter()
                .find(|(name, _)| name.starts_with(series))
                .map(|(_, v)| v.as_str()),
            false => value(series),
        };
        assert_eq!(found, Some(expected), "{series}\n{}", watch.text().await);
    }
}

#[tokio::test]
async fn what_clients_send_is_no_label() {
    let (_nodes, node) = Nodes::start_one(TestGateway::builder(), MENSHEN).await;
    let control = node.program.find_control_address().await;
    let watch = Watch::start(control).await;
    let (_, before) = read(&watch.text().await);
    for number in 0..50 {
        let mut client = Wire::connect(node.address).await;
        let request = format!(
            "GET /public/{number}?{number} HTTP/1.1\r\nHost: h{number}.example\r\n\
             User-Agent: a\"b{number}\r\nX-Request-Id: {number}\r\nConnection: close\r\n\r\n"
        );
        client.send(request).await;
        client.rest().await;
    }
    let (_, after) = read(&watch.text().await);
    let new: Vec<_> = after
        .keys()
        .filter(|series| !before.contains_key(*series))
        .collect();
    assert_eq!(
        new,
        [
            r#"menshen_requests_total{host="",route="/public",decision="public",reason="",status="2xx"}"#
        ]
    );
}
