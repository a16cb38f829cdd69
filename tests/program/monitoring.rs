//! The rules and the dashboard of `packaging/monitoring`: what promtool says of them, that each metric is a documented one, that a
//! Prometheus which has asked a running Menshen can evaluate all of it, and that no panel is empty once there was traffic.
#![expect(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "a test may panic"
)]

use std::collections::BTreeSet;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use menshen_test_support::{
    ByHand, Certificate, Collector, Node, Nodes, Program, Reply, TestGateway, Wire, find_free_port,
    find_repository, make_client, read_from_repository,
};
use serde_json::{Value, json};

const MENSHEN: &str = env!("CARGO_BIN_EXE_menshen");
const METRICS: &str = include_str!("../../docs/en/metrics.md");
const PATIENCE: Duration = Duration::from_secs(30);
const BETWEEN_LOOKS: Duration = Duration::from_millis(100);

fn file(name: &str) -> PathBuf {
    find_repository().join("packaging/monitoring").join(name)
}

fn promtool(arguments: &[&str]) {
    let mut promtool = Command::new("promtool");
    let said = promtool
        .args(arguments)
        .current_dir(file(""))
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&said.stdout) + String::from_utf8_lossy(&said.stderr);
    assert!(said.status.success(), "{text}");
}

/// One line, or a number, of the dashboard.
#[derive(Clone, Debug)]
struct Shown {
    /// The row and the panel.
    place: (String, String),
    /// Its expression, for all nodes and over five minutes.
    expression: String,
    /// The labels that its name is made of.
    labels: Vec<String>,
}

/// Returns everything that the dashboard shows.
fn shown() -> Vec<Shown> {
    let dashboard: Value =
        serde_json::from_str(&read_from_repository("packaging/monitoring/dashboard.json")).unwrap();
    let mut row = String::new();
    let mut shown = Vec::new();
    for panel in dashboard["panels"].as_array().unwrap() {
        let title = panel["title"].as_str().unwrap().to_owned();
        if panel["type"] == "row" {
            row = title;
            continue;
        }
        for target in panel["targets"].as_array().unwrap() {
            let expression = target["expr"].as_str().unwrap();
            let expression = expression.replace("$__rate_interval", "5m");
            let legend = target["legendFormat"].as_str().unwrap_or_default();
            let labels = legend.split("{{").skip(1);
            let labels = labels.filter_map(|rest| rest.split_once("}}"));
            shown.push(Shown {
                place: (row.clone(), title.clone()),
                expression: expression.replace("$job", ".*").replace("$instance", ".*"),
                labels: labels.map(|(label, _)| label.trim().to_owned()).collect(),
            });
        }
    }
    shown
}

fn expressions() -> Vec<String> {
    shown().into_iter().map(|shown| shown.expression).collect()
}

/// A Prometheus that asks every second.
struct Prometheus {
    address: SocketAddr,
    http: reqwest::Client,
    _program: Program,
}

impl Prometheus {
    fn start(folder: &Path, targets: &[SocketAddr]) -> Self {
        let targets: Vec<_> = targets.iter().map(|at| format!("'{at}'")).collect();
        let config = format!(
            "global: {{scrape_interval: 1s, evaluation_interval: 1s}}\nrule_files: ['{}']\n\
             scrape_configs: [{{job_name: menshen, static_configs: [{{targets: [{}]}}]}}]\n",
            file("rules.yaml").display(),
            targets.join(", ")
        );
        let path = folder.join("prometheus.yaml");
        fs::write(&path, config).unwrap();
        let address = SocketAddr::from(([127, 0, 0, 1], find_free_port()));
        let arguments = [
            format!("--config.file={}", path.display()),
            format!("--storage.tsdb.path={}", folder.join("tsdb").display()),
            format!("--web.listen-address={address}"),
        ];
        Self {
            address,
            http: make_client(),
            _program: Program::start(Program::command("prometheus", &arguments)),
        }
    }

    /// Returns the series that an expression has now; `None` while nobody answers.
    async fn evaluated(&self, expression: &str) -> Option<Vec<Value>> {
        let asked = self
            .http
            .post(format!("http://{}/api/v1/query", self.address));
        let asked = asked.form(&[("query", expression)]).send().await.ok()?;
        let status = asked.status();
        let answer: Value = asked.json().await.ok()?;
        assert_eq!(status, 200, "{expression}: {answer}");
        Some(answer["data"]["result"].as_array().unwrap().clone())
    }

    /// Returns why what is shown would be seen as empty, or with half a name; `None` where it is not.
    async fn lacks(&self, shown: &Shown) -> Option<&'static str> {
        let series = self.evaluated(&shown.expression).await.unwrap_or_default();
        let is_number = |series: &Value| {
            let value = series["value"][1].as_str().unwrap();
            value.parse::<f64>().is_ok_and(f64::is_finite)
        };
        let is_named = |series: &Value| {
            shown
                .labels
                .iter()
                .any(|label| series["metric"][label].is_string())
        };
        match series.as_slice() {
            [] => Some("no data"),
            some if !some.iter().any(is_number) => Some("no number"),
            some if !shown.labels.is_empty() && !some.iter().all(is_named) => Some("no name"),
            _ => None,
        }
    }

    /// Makes traffic until everything that is wanted is seen.
    async fn until_seen(&self, mut wanted: Vec<Shown>, mut traffic: impl AsyncFnMut()) {
        let since = Instant::now();
        while !wanted.is_empty() {
            traffic().await;
            let mut missing = Vec::new();
            for shown in wanted {
                if let Some(lack) = self.lacks(&shown).await {
                    missing.push((lack, shown));
                }
            }
            assert!(
                missing.is_empty() || since.elapsed() < PATIENCE,
                "{missing:#?}"
            );
            wanted = missing.into_iter().map(|(_, shown)| shown).collect();
            tokio::time::sleep(BETWEEN_LOOKS).await;
        }
    }
}

/// Returns the metrics that a text names, without what Prometheus makes of a histogram.
fn named(text: &str) -> BTreeSet<String> {
    let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    let words = words.filter(|word| word.starts_with("menshen_") || word.starts_with("process_"));
    let families = words.map(|word| {
        let end = ["_bucket", "_sum", "_count"]
            .iter()
            .find_map(|end| word.strip_suffix(end));
        end.unwrap_or(word).to_owned()
    });
    families.collect()
}

/// Returns the metrics of the document's tables.
fn documented() -> BTreeSet<String> {
    let rows = METRICS.lines().filter_map(|line| line.strip_prefix("| `"));
    rows.map(|row| row.split('`').next().unwrap().to_owned())
        .collect()
}

#[test]
fn promtool_accepts_the_rules_and_each_alert_is_raised_by_what_it_is_for() {
    promtool(&["check", "rules", "rules.yaml"]);
    promtool(&["test", "rules", "rules.test.yaml"]);
    let tests = read_from_repository("packaging/monitoring/rules.test.yaml");
    let rules = read_from_repository("packaging/monitoring/rules.yaml");
    let alerts: Vec<_> = rules
        .lines()
        .filter_map(|line| line.split_once("- alert: "))
        .collect();
    assert!(alerts.len() > 10);
    for (_, alert) in alerts {
        assert!(tests.contains(&format!("alertname=\"{alert}\"")), "{alert}");
    }
}

#[test]
fn every_metric_that_rules_and_dashboard_name_is_documented() {
    let documented = documented();
    let rules = read_from_repository("packaging/monitoring/rules.yaml")
        + &read_from_repository("packaging/monitoring/rules.test.yaml");
    for name in named(&rules) {
        assert!(documented.contains(&name), "{name}");
    }
    let shown = named(&expressions().join("\n"));
    assert!(shown.is_subset(&documented), "{shown:?}");
    // Nothing that can be seen is missing from the dashboard.
    let hidden: BTreeSet<_> = documented.difference(&shown).map(String::as_str).collect();
    assert_eq!(hidden, BTreeSet::from(["process_virtual_memory_bytes"]));
}

#[test]
fn no_two_panels_of_the_dashboard_share_an_id_or_a_place() {
    let dashboard: Value =
        serde_json::from_str(&read_from_repository("packaging/monitoring/dashboard.json")).unwrap();
    let panels = dashboard["panels"].as_array().unwrap();
    let ids: BTreeSet<_> = panels.iter().map(|panel| panel["id"].as_u64()).collect();
    assert_eq!(ids.len(), panels.len());
    let mut taken = BTreeSet::new();
    for panel in panels {
        let at = |name: &str| panel["gridPos"][name].as_u64().unwrap();
        for x in at("x")..at("x") + at("w") {
            assert!(x < 24, "{}", panel["title"]);
            for y in at("y")..at("y") + at("h") {
                assert!(taken.insert((x, y)), "{}", panel["title"]);
            }
        }
    }
}

#[test]
fn every_number_has_the_colours_that_were_chosen_for_it() {
    let dashboard: Value =
        serde_json::from_str(&read_from_repository("packaging/monitoring/dashboard.json")).unwrap();
    let panels = dashboard["panels"].as_array().unwrap().iter();
    for panel in panels.filter(|panel| panel["type"] == "stat") {
        // Without them, Grafana has whatever is 80 or more be red.
        let steps = &panel["fieldConfig"]["defaults"]["thresholds"]["steps"];
        assert!(steps[0]["color"].is_string(), "{}", panel["title"]);
    }
}

#[tokio::test]
async fn a_prometheus_that_has_asked_menshen_can_evaluate_rules_and_dashboard() {
    let (nodes, node) = Nodes::start_one(TestGateway::builder(), MENSHEN).await;
    let grant = node.log_in("alice").await;
    node.get("/orders", &grant.token).await;
    let control = node.program.find_control_address().await;
    let prometheus = Prometheus::start(nodes.site.folder.path(), &[control]);
    let evaluated = async |expression: &str| {
        let series = prometheus.evaluated(expression).await?;
        Some(series.len())
    };
    let since = Instant::now();
    // Two values make a rate.
    while evaluated("rate(menshen_requests_total[5m])")
        .await
        .unwrap_or(0)
        == 0
    {
        assert!(since.elapsed() < PATIENCE, "nothing was asked of Menshen");
        tokio::time::sleep(BETWEEN_LOOKS).await;
    }
    for expression in expressions() {
        evaluated(&expression).await.unwrap();
    }
    // What every process has is shown at once.
    for expression in [
        "sum(up)",
        "min(menshen_store_available)",
        "count by (version) (menshen_build_info)",
    ] {
        assert_eq!(evaluated(expression).await, Some(1), "{expression}");
    }
    let asked = format!("http://{}/api/v1/rules", prometheus.address);
    let asked = prometheus.http.get(asked);
    let rules = Reply::of(asked).await.json();
    let rules = rules["data"]["groups"][0]["rules"]
        .as_array()
        .unwrap()
        .clone();
    assert!(rules.len() > 10);
    for rule in rules {
        assert_ne!(rule["health"], "err", "{rule}");
        // Nobody is told anything of a Menshen that is well.
        assert!(
            rule["state"].is_null() || rule["state"] == "inactive",
            "{rule}"
        );
    }
}

/// A Menshen with everything switched on that the dashboard shows.
struct Busy {
    node: Node,
    control: SocketAddr,
    http: reqwest::Client,
    nodes: Nodes,
    /// How many users have logged in: none may do so often.
    users: AtomicUsize,
}

impl Busy {
    async fn start(slow: &ByHand, collector: &Collector) -> Self {
        // Nobody listens there.
        let dead = ByHand::start().await.address;
        let upstreams = format!(
            "[[upstream]]\nname = \"dead\"\nservers = [\"{dead}\"]\n\
             [[upstream]]\nname = \"slow\"\nservers = [\"{}\"]\n",
            slow.address
        );
        let routes = ["", "public", "dead", "slow"].map(|name| {
            let upstream = if ["dead", "slow"].contains(&name) {
                name
            } else {
                "api"
            };
            let auth = if name.is_empty() {
                "required"
            } else {
                "public"
            };
            format!("[[route]]\npath = \"/{name}\"\nupstream = \"{upstream}\"\nauth = \"{auth}\"\n")
        });
        let builder = TestGateway::builder()
            .apps(&["shop", "club"])
            .upstreams(&upstreams)
            .routes(&routes.concat())
            .section("app", "quota_per_minute = 6000")
            .section("traces", &format!("{}\nsample = 1", collector.line()));
        let (nodes, node) = Nodes::start_one(builder, MENSHEN).await;
        let control = node.program.find_control_address().await;
        Self {
            node,
            control,
            http: make_client(),
            nodes,
            users: AtomicUsize::new(0),
        }
    }

    async fn control(&self, method: &str, path: &str) -> Reply {
        let method = reqwest::Method::from_bytes(method.as_bytes()).unwrap();
        let url = format!("http://{}{path}", self.control);
        Reply::of(self.http.request(method, url)).await
    }

    async fn log_in(&self) -> Value {
        let user = self.users.fetch_add(1, Ordering::Relaxed).to_string();
        let code = self.node.code(&user).await;
        let login = || {
            let login = self.node.request("POST", "/_auth/login");
            login.json(
                &json!({"code": code, "app": "shop", "nonce": "0123456789abcdef0123456789abcdef"}),
            )
        };
        let grant = Reply::of(login()).await;
        assert_eq!(grant.status, 200, "{}", grant.text());
        // A client that heard nothing of it sends its code again.
        assert_eq!(Reply::of(login()).await.status, 200);
        grant.json()
    }

    /// What clients do who mean well, while everything works.
    async fn good_traffic(&self) {
        let grant = self.log_in().await;
        let token = grant["token"].as_str().unwrap();
        assert_eq!(self.node.get("/orders", token).await.status, 200);
        let upload = self.node.request("POST", "/public/x").body("four");
        assert_eq!(Reply::of(upload).await.status, 200);
        let refresh = grant["refresh_token"].as_str().unwrap();
        let renewed = self.node.refreshed(refresh).await;
        self.node.log_out(&renewed.token).await;
    }

    /// What goes wrong.
    async fn bad_traffic(&self) {
        assert_eq!(
            Reply::of(self.node.request("GET", "/orders")).await.status,
            401
        );
        assert_eq!(
            Reply::of(self.node.request("GET", "/dead")).await.status,
            502
        );
        let refused = json!({"fault": "errcode", "errcode": 40164, "times": 1});
        self.node.fault(refused).await;
        let login = self.node.request("POST", "/_auth/login");
        let login = login.json(&json!({"code": "0a1b2c", "app": "shop"}));
        Reply::of(login).await.refused(502, "wechat_misconfigured");
        assert_eq!(self.control("POST", "/v1/reload").await.status, 200);
    }

    async fn open_web_socket(&self, slow: &ByHand) -> (Wire, Wire) {
        let mut client = Wire::connect(self.node.address).await;
        let handshake = "GET /slow HTTP/1.1\r\nHost: here\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
                         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
        client.send(handshake).await;
        let mut server = slow.accept().await;
        server.read_to("\r\n\r\n").await;
        let accepted = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
                        Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";
        server.send(accepted).await;
        client.read_to("\r\n\r\n").await;
        (client, server)
    }

    /// Has one app get its access_token, and another one be refused one.
    async fn ask_for_access_tokens(&self) {
        let token = self.control("GET", "/v1/apps/shop/access-token").await;
        assert_eq!(token.status, 200, "{}", token.text());
        let fault = json!({"path": "/cgi-bin/stable_token", "fault": "errcode", "errcode": 40164, "times": 1000});
        self.node.simulate("faults", fault).await;
        let refused = self.control("GET", "/v1/apps/club/access-token").await;
        assert_eq!(refused.status, 502, "{}", refused.text());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_panel_of_the_dashboard_is_empty_once_there_was_traffic() {
    let (slow, collector) = (ByHand::start().await, Collector::start().await);
    let busy = Busy::start(&slow, &collector).await;
    let certificate = Certificate::new("shop.example");
    let encrypted = TestGateway::builder().section("server", &certificate.lines());
    let encrypted = Nodes::new(encrypted).await;
    let other = Program::start(encrypted.command(MENSHEN));
    let other_control = other.find_control_address().await;
    let folder = busy.nodes.site.folder.path();
    let prometheus = Prometheus::start(folder, &[busy.control, other_control]);

    // Whoever opens the dashboard of a Menshen that is well sees so, and no "No data".
    let (glance, rest): (Vec<_>, Vec<_>) = shown()
        .into_iter()
        .partition(|shown| shown.place.0 == "At a glance");
    assert_eq!(glance.len(), 6);
    prometheus
        .until_seen(glance, async || busy.good_traffic().await)
        .await;

    busy.ask_for_access_tokens().await;
    let (mut client, mut server) = busy.open_web_socket(&slow).await;
    prometheus
        .until_seen(rest, async || {
            busy.good_traffic().await;
            busy.bad_traffic().await;
            client.send(b"\x81\x80\0\0\0\0").await;
            server.send(b"\x81\0").await;
        })
        .await;

    // The choices above the panels.
    for (label, expected) in [("job", 1), ("instance", 2)] {
        let names = format!("count by ({label}) (menshen_build_info)");
        let names = prometheus.evaluated(&names).await.unwrap();
        assert_eq!(names.len(), expected, "{label}");
    }
}
