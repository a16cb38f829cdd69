//! SIGHUP takes a good configuration over without losing a request, and reports a bad one and changes nothing.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, UNIX_EPOCH};

use menshen_test_support::{
    APP_SECRET, Builder, Grant, Node, Nodes, Program, Reply, TestGateway, Upstream, Wire, read_kid,
};
use serde_json::Value;

const MENSHEN: &str = env!("CARGO_BIN_EXE_menshen");

/// The program with a configuration that changes.
struct Running {
    nodes: Nodes,
    node: Node,
}

impl Running {
    async fn start(builder: Builder) -> Self {
        let (nodes, node) = Nodes::start_one(builder, MENSHEN).await;
        Self { nodes, node }
    }

    /// Changes the file.
    fn change(&self, from: &str, to: &str) {
        self.nodes.site.change(from, to);
    }

    /// Reloads, for the `count`th time, and waits until that is done.
    async fn reload(&self, count: usize) {
        self.node.program.reload(count).await;
    }

    async fn get(&self, path: &str, token: &str) -> Reply {
        self.node.get(path, token).await
    }

    async fn try_to_log_in(&self) -> Reply {
        self.node.try_log_in("alice").await
    }

    async fn log_in(&self) -> Grant {
        self.node.log_in("alice").await
    }

    async fn keys(&self, arguments: &[&str]) -> String {
        let arguments = [&["keys"], arguments].concat();
        let ended = Program::run(self.nodes.site.command(MENSHEN, &arguments)).await;
        assert_eq!(ended.code, Some(0), "{}", ended.said());
        ended.stdout
    }
}

#[tokio::test]
async fn requests_in_flight_finish_where_they_began_and_new_ones_go_where_the_file_says() {
    let running = Running::start(TestGateway::builder()).await;
    let url = format!("http://{}/public/hold", running.node.address);
    let held = tokio::spawn(reqwest::get(url));
    running.nodes.upstream.arrived(1).await;
    let other = Upstream::start().await;
    let (from, to) = (running.nodes.upstream.address, other.address);
    running.change(&from.to_string(), &to.to_string());
    running.reload(1).await;
    assert_eq!(running.get("/public/x", "").await.status, 200);
    assert_eq!(
        (running.nodes.upstream.requests(), other.requests()),
        (1, 1)
    );
    running.nodes.upstream.release();
    assert_eq!(held.await.unwrap().unwrap().status(), 200);
}

#[tokio::test]
async fn a_file_with_mistakes_changes_nothing_and_each_of_them_is_reported() {
    let running = Running::start(TestGateway::builder()).await;
    let grant = running.log_in().await;
    let good = fs::read_to_string(&running.nodes.site.config).unwrap();
    running.change("[cache]", "[cache]\nmax_tokens = \"many\"");
    running.change("[log]", "[log]\nlevel = \"loud\"");
    running.node.program.signal("HUP").await;
    running.node.program.logs("cache.max_tokens (line").await;
    running.node.program.logs("log.level (line").await;
    assert_eq!(running.get("/orders", &grant.token).await.status, 200);
    fs::write(&running.nodes.site.config, good).unwrap();
    running.reload(1).await;
    assert_eq!(running.get("/orders", &grant.token).await.status, 200);
}

#[tokio::test]
async fn a_file_that_is_gone_changes_nothing() {
    let running = Running::start(TestGateway::builder()).await;
    let grant = running.log_in().await;
    fs::remove_file(&running.nodes.site.config).unwrap();
    running.node.program.signal("HUP").await;
    running.node.program.logs("not reloaded").await;
    assert_eq!(running.get("/orders", &grant.token).await.status, 200);
}

#[tokio::test]
async fn a_new_key_is_published_by_a_reload_and_signs_when_every_node_had_time_to_reload() {
    let running = Running::start(TestGateway::builder()).await;
    let before = running.log_in().await.token;
    let made = running.keys(&["new"]).await;
    running.reload(1).await;
    assert_eq!(read_kid(&running.log_in().await.token), read_kid(&before));
    let published = running.get("/_auth/jwks.json", "").await.json();
    assert_eq!(published["keys"][1]["kid"], made.trim());
    let listed = running.keys(&["list"]).await;
    let lines: Vec<_> = listed.lines().collect();
    assert_eq!(lines.len(), 2);
    assert_eq!(lines[0], format!("{} ES256 signs", read_kid(&before)));
    let (key, from) = lines[1].split_once(" ES256 signs from ").unwrap();
    assert_eq!(key, made.trim());
    let from = humantime::parse_rfc3339(from).unwrap();
    let made_ms = key.split('-').next().unwrap().parse().unwrap();
    let made_at = UNIX_EPOCH + Duration::from_millis(made_ms);
    let waits = from.duration_since(made_at).unwrap();
    assert!(waits.as_secs().abs_diff(600) <= 1, "{listed}");
}

#[tokio::test]
async fn a_new_key_signs_at_once_when_told_so_and_an_old_one_passes_until_it_is_retired() {
    let running = Running::start(TestGateway::builder()).await;
    let before = running.log_in().await.token;
    running.keys(&["new", "--now"]).await;
    running.reload(1).await;
    let after = running.log_in().await.token;
    assert_ne!(read_kid(&before), read_kid(&after));
    assert_eq!(running.get("/orders", &before).await.status, 200);
    assert_eq!(running.get("/orders", &after).await.status, 200);
    running.keys(&["retire", &read_kid(&before)]).await;
    running.reload(2).await;
    let refused = running.get("/orders", &before).await;
    assert_eq!(refused.refusal(), (401, "token_invalid".to_owned()));
    assert_eq!(running.get("/orders", &after).await.status, 200);
}

#[tokio::test]
async fn keys_that_cannot_be_read_change_nothing() {
    let running = Running::start(TestGateway::builder()).await;
    let grant = running.log_in().await;
    let keys = running.nodes.site.folder.path().join("keys");
    fs::write(keys.join("9999999999999-00000000.ES256.pem"), "no key").unwrap();
    running.node.program.signal("HUP").await;
    running.node.program.logs("not reloaded").await;
    assert_eq!(running.get("/orders", &grant.token).await.status, 200);
    assert_eq!(
        read_kid(&running.log_in().await.token),
        read_kid(&grant.token)
    );
}

#[tokio::test]
async fn a_secret_that_was_changed_is_used() {
    let running = Running::start(TestGateway::builder()).await;
    let secret = running.nodes.site.folder.path().join("secret");
    fs::write(&secret, "0123456789abcdef0123456789abcde0").unwrap();
    let file = format!("secret_file = '{}'", secret.display());
    running.change("secret_env = \"APP_SECRET\"", &file);
    running.reload(1).await;
    let refused = running.try_to_log_in().await;
    assert_eq!(refused.refusal(), (502, "wechat_misconfigured".to_owned()));
    fs::write(&secret, APP_SECRET).unwrap();
    running.reload(2).await;
    assert_eq!(running.try_to_log_in().await.status, 200);
}

#[tokio::test]
async fn an_app_that_was_removed_lets_nobody_in_and_everybody_once_it_is_back() {
    let running = Running::start(TestGateway::builder().apps(&["shop", "club"])).await;
    let grant = running.log_in().await;
    let text = fs::read_to_string(&running.nodes.site.config).unwrap();
    let (head, apps) = text.split_once("[[app]]\nname = \"shop\"").unwrap();
    let (_, club) = apps.split_once("[[app]]").unwrap();
    fs::write(&running.nodes.site.config, format!("{head}[[app]]{club}")).unwrap();
    running.reload(1).await;
    let refused = running.get("/orders", &grant.token).await;
    assert_eq!(refused.refusal(), (401, "token_invalid".to_owned()));
    let refused = running.node.refresh(&grant.refresh_token).await;
    assert_eq!(refused.refusal(), (400, "app_unknown".to_owned()));
    fs::write(&running.nodes.site.config, text).unwrap();
    running.reload(2).await;
    assert_eq!(running.get("/orders", &grant.token).await.status, 200);
    running.node.refreshed(&grant.refresh_token).await;
}

#[tokio::test]
async fn what_only_a_start_can_change_is_named() {
    let running = Running::start(TestGateway::builder()).await;
    let grant = running.log_in().await;
    running.change("[cache]", "refresh_grace = \"7s\"\n[cache]");
    running.reload(1).await;
    let line = running.node.program.logs("waits for the next start").await;
    assert!(line.contains("session"), "{line}");
    assert_eq!(running.get("/orders", &grant.token).await.status, 200);
}

#[tokio::test]
async fn the_log_level_changes() {
    let running = Running::start(TestGateway::builder()).await;
    running.change("[log]", "[log]\nlevel = \"error\"");
    running.node.program.signal("HUP").await;
    // Nothing is said at the new level; the file that follows is refused, which is.
    running.get("/public/first", "").await;
    let good = fs::read_to_string(&running.nodes.site.config).unwrap();
    let quiet = async {
        for times in 1.. {
            let before = running
                .node
                .program
                .stderr()
                .matches("/public/probe")
                .count();
            running.get("/public/probe", "").await;
            running.change("error", "loud");
            running.node.program.signal("HUP").await;
            let program = &running.node.program;
            program.logs_times("not reloaded", times).await;
            fs::write(&running.nodes.site.config, &good).unwrap();
            if running
                .node
                .program
                .stderr()
                .matches("/public/probe")
                .count()
                == before
            {
                return;
            }
        }
    };
    let waited = tokio::time::timeout(Duration::from_secs(20), quiet).await;
    assert!(waited.is_ok(), "{}", running.node.program.stderr());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_request_is_lost_while_the_configuration_is_reloaded_again_and_again() {
    let running = Running::start(TestGateway::builder()).await;
    let token = running.log_in().await.token;
    let (over, served) = (
        Arc::new(AtomicBool::new(false)),
        Arc::new(AtomicUsize::new(0)),
    );
    let clients: Vec<_> = (0..4)
        .map(|_| {
            let (url, token) = (
                format!("http://{}/orders", running.node.address),
                token.clone(),
            );
            let (over, served) = (Arc::clone(&over), Arc::clone(&served));
            tokio::spawn(async move {
                // Its connection is kept.
                let http = reqwest::Client::new();
                while !over.load(Ordering::Relaxed) {
                    let reply = Reply::of(http.get(&url).bearer_auth(&token)).await;
                    assert_eq!(reply.status, 200, "{}", reply.text());
                    served.fetch_add(1, Ordering::Relaxed);
                }
            })
        })
        .collect();
    let refreshing = async {
        let mut grant = running.node.log_in("bob").await;
        let mut count = 0;
        while !over.load(Ordering::Relaxed) {
            grant = running.node.refreshed(&grant.refresh_token).await;
            // WeChat takes a hundred logins of one user a minute.
            running.node.log_in(&format!("carol{count}")).await;
            count += 1;
        }
        count
    };
    let other = Upstream::start().await;
    let reloading = async {
        for count in 1..=20 {
            let addresses = [
                running.nodes.upstream.address.to_string(),
                other.address.to_string(),
            ];
            let [from, to] = if count % 2 == 1 {
                addresses
            } else {
                let [one, two] = addresses;
                [two, one]
            };
            running.change(&from, &to);
            running.keys(&["new", "--now"]).await;
            running.reload(count).await;
        }
        over.store(true, Ordering::Relaxed);
    };
    let (refreshed, ()) = tokio::join!(refreshing, reloading);
    for client in clients {
        client.await.unwrap();
    }
    assert!(served.load(Ordering::Relaxed) >= 20);
    assert!(refreshed > 0);
    let tokens: Value = running.get("/_auth/jwks.json", &token).await.json();
    assert_eq!(tokens["keys"].as_array().unwrap().len(), 21);
}

#[tokio::test]
async fn whose_proxy_headers_are_believed_changes() {
    const ASKED: &str =
        "PROXY TCP4 203.0.113.7 198.51.100.1 4000 443\r\nGET /public HTTP/1.1\r\nHost: h\r\n\r\n";
    let lines = "proxy_protocol = true\ntrusted_proxies = [\"127.0.0.1\"]";
    let running = Running::start(TestGateway::builder().section("server", lines)).await;
    let (mut trusted, answers) = ("127.0.0.1", [true, false, true]);
    for (count, answered) in answers.into_iter().enumerate() {
        if count > 0 {
            let other = if answered { "127.0.0.1" } else { "192.0.2.1" };
            let list = |address| format!("trusted_proxies = [\"{address}\"]");
            running.change(&list(trusted), &list(other));
            running.reload(count).await;
            trusted = other;
        }
        let mut wire = Wire::connect(running.node.address).await;
        wire.send(ASKED).await;
        if answered {
            assert!(wire.message().await.starts_with("HTTP/1.1 200 "));
        } else {
            assert_eq!(wire.rest().await, "");
        }
    }
}

#[tokio::test]
async fn how_long_an_idle_connection_is_kept_changes() {
    let running =
        Running::start(TestGateway::builder().section("server", "keepalive = \"1h\"")).await;
    running.change("keepalive = \"1h\"", "keepalive = \"100ms\"");
    running.reload(1).await;
    let mut wire = Wire::connect(running.node.address).await;
    wire.send("GET /public HTTP/1.1\r\nHost: h\r\n\r\n").await;
    assert!(wire.message().await.starts_with("HTTP/1.1 200 "));
    assert_eq!(wire.rest().await, "");
}
