//! The rules and the dashboard of `packaging/monitoring`: what promtool says of them, that each metric is a documented one, and that
//! a Prometheus which has asked a running Menshen can evaluate all of it.
#![expect(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "a test may panic"
)]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use menshen_test_support::{Nodes, Program, Reply, TestGateway, address_in};
use serde_json::Value;

const MENSHEN: &str = env!("CARGO_BIN_EXE_menshen");
const METRICS: &str = include_str!("../../docs/en/metrics.md");
const PATIENCE: Duration = Duration::from_secs(30);

fn file(name: &str) -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    root.join("packaging/monitoring").join(name)
}

fn text(name: &str) -> String {
    fs::read_to_string(file(name)).unwrap()
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

/// Returns every expression of the dashboard, for all nodes and over five minutes.
fn expressions() -> Vec<String> {
    let dashboard: Value = serde_json::from_str(&text("dashboard.json")).unwrap();
    let panels = dashboard["panels"].as_array().unwrap().iter();
    let targets = panels
        .filter_map(|panel| panel["targets"].as_array())
        .flatten();
    let expressions = targets.map(|target| {
        let expression = target["expr"].as_str().unwrap();
        let expression = expression.replace("$__rate_interval", "5m");
        expression.replace("$job", ".*").replace("$instance", ".*")
    });
    expressions.collect()
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
    let tests = text("rules.test.yaml");
    let rules = text("rules.yaml");
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
    let rules = text("rules.yaml") + &text("rules.test.yaml");
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
    let dashboard: Value = serde_json::from_str(&text("dashboard.json")).unwrap();
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

#[tokio::test]
async fn a_prometheus_that_has_asked_menshen_can_evaluate_rules_and_dashboard() {
    let nodes = Nodes::new(TestGateway::builder()).await;
    let node = nodes.serve(MENSHEN).await;
    let grant = node.log_in("alice").await;
    node.get("/orders", &grant.token).await;
    let control = address_in(&node.program.logs("open for control").await);
    let folder = nodes.site.folder.path();
    let config = format!(
        "global: {{scrape_interval: 1s, evaluation_interval: 1s}}\nrule_files: ['{}']\n\
         scrape_configs: [{{job_name: menshen, static_configs: [{{targets: ['{control}']}}]}}]\n",
        file("rules.yaml").display()
    );
    let path = folder.join("prometheus.yaml");
    fs::write(&path, config).unwrap();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let arguments = [
        format!("--config.file={}", path.display()),
        format!("--storage.tsdb.path={}", folder.join("tsdb").display()),
        format!("--web.listen-address={address}"),
    ];
    let _prometheus = Program::start(Program::command("prometheus", &arguments));
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    let evaluated = async |expression: &str| {
        let asked = http.post(format!("http://{address}/api/v1/query"));
        let asked = asked.form(&[("query", expression)]).send().await.ok()?;
        let status = asked.status();
        let answer: Value = asked.json().await.ok()?;
        assert_eq!(status, 200, "{expression}: {answer}");
        Some(answer["data"]["result"].as_array().unwrap().len())
    };
    let since = Instant::now();
    // Two values make a rate.
    while evaluated("rate(menshen_requests_total[5m])")
        .await
        .unwrap_or(0)
        == 0
    {
        assert!(since.elapsed() < PATIENCE, "nothing was asked of Menshen");
        tokio::time::sleep(Duration::from_millis(100)).await;
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
    let asked = http.get(format!("http://{address}/api/v1/rules"));
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
