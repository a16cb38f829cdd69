//! SIGHUP takes a good configuration over without losing a request, and reports a bad one and changes nothing.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test may panic"
)]

use std::fs;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, UNIX_EPOCH};

use menshen_test_support::{
    APP_SECRET, Builder, Grant, Program, Reply, Site, TestGateway, Upstream, Wire, address_in,
};
use serde_json::{Value, json};

const MENSHEN: &str = env!("CARGO_BIN_EXE_menshen");

/// The program with a configuration that changes.
struct Running {
    program: Program,
    address: SocketAddr,
    simulator: SocketAddr,
    upstream: Upstream,
    site: Site,
    http: reqwest::Client,
}

impl Running {
    async fn start(builder: Builder) -> Self {
        let upstream = Upstream::start().await;
        let simulator = builder.simulator().await;
        let site = builder.site(upstream.address, simulator);
        let program = Program::start(site.command(MENSHEN, &["serve"]));
        let address = address_in(&program.logs("listening").await);
        Self {
            program,
            address,
            simulator,
            upstream,
            site,
            http: reqwest::Client::new(),
        }
    }

    /// Changes the file.
    fn change(&self, from: &str, to: &str) {
        let text = fs::read_to_string(&self.site.config).unwrap();
        assert!(text.contains(from), "{text}");
        fs::write(&self.site.config, text.replace(from, to)).unwrap();
    }

    /// Reloads, for the `count`th time, and waits until that is done.
    async fn reload(&self, count: usize) {
        self.program.signal("HUP").await;
        self.program.logs_times("was reloaded", count).await;
    }

    async fn get(&self, path: &str, token: &str) -> Reply {
        let url = format!("http://{}{path}", self.address);
        Reply::of(self.http.get(url).bearer_auth(token)).await
    }

    async fn try_to_log_in(&self) -> Reply {
        let user = json!({"appid": TestGateway::appid("shop"), "user": "alice"});
        let code = self
            .http
            .post(format!("http://{}/_sim/login", self.simulator));
        let code = Reply::of(code.json(&user)).await.json();
        let body = json!({"code": code["code"], "app": "shop"});
        let url = format!("http://{}/_auth/login", self.address);
        Reply::of(self.http.post(url).json(&body)).await
    }

    async fn log_in(&self) -> Grant {
        Grant::of(self.try_to_log_in().await.json())
    }

    async fn keys(&self, arguments: &[&str]) -> String {
        let arguments = [&["keys"], arguments].concat();
        let ended = Program::run(self.site.command(MENSHEN, &arguments)).await;
        assert_eq!(ended.code, Some(0), "{}", ended.said());
        ended.stdout
    }
}

fn kid(token: &str) -> String {
    jsonwebtoken::decode_header(token).unwrap().kid.unwrap()
}

#[tokio::test]
async fn requests_in_flight_finish_where_they_began_and_new_ones_go_where_the_file_says() {
    let running = Running::start(TestGateway::builder()).await;
    let url = format!("http://{}/public/hold", running.address);
    let held = tokio::spawn(running.http.get(url).send());
    running.upstream.arrived(1).await;
    let other = Upstream::start().await;
    let (from, to) = (running.upstream.address, other.address);
    running.change(&from.to_string(), &to.to_string());
    running.reload(1).await;
    assert_eq!(running.get("/public/x", "").await.status, 200);
    assert_eq!((running.upstream.requests(), other.requests()), (1, 1));
    running.upstream.release();
    assert_eq!(held.await.unwrap().unwrap().status(), 200);
}

#[tokio::test]
async fn a_file_with_mistakes_changes_nothing_and_each_of_them_is_reported() {
    let running = Running::start(TestGateway::builder()).await;
    let grant = running.log_in().await;
    let good = fs::read_to_string(&running.site.config).unwrap();
    running.change("[cache]", "[cache]\nmax_tokens = \"many\"");
    running.change("[log]", "[log]\nlevel = \"loud\"");
    running.program.signal("HUP").await;
    running.program.logs("cache.max_tokens (line").await;
    running.program.logs("log.level (line").await;
    assert_eq!(running.get("/orders", &grant.token).await.status, 200);
    fs::write(&running.site.config, good).unwrap();
    running.reload(1).await;
    assert_eq!(running.get("/orders", &grant.token).await.status, 200);
}

#[tokio::test]
async fn a_file_that_is_gone_changes_nothing() {
    let running = Running::start(TestGateway::builder()).await;
    let grant = running.log_in().await;
    fs::remove_file(&running.site.config).unwrap();
    running.program.signal("HUP").await;
    running.program.logs("not reloaded").await;
    assert_eq!(running.get("/orders", &grant.token).await.status, 200);
}

#[tokio::test]
async fn a_new_key_is_published_by_a_reload_and_signs_when_every_node_had_time_to_reload() {
    let running = Running::start(TestGateway::builder()).await;
    let before = running.log_in().await.token;
    let made = running.keys(&["new"]).await;
    running.reload(1).await;
    assert_eq!(kid(&running.log_in().await.token), kid(&before));
    let published = running.get("/_auth/jwks.json", "").await.json();
    assert_eq!(published["keys"][1]["kid"], made.trim());
    let listed = running.keys(&["list"]).await;
    let lines: Vec<_> = listed.lines().collect();
    assert_eq!(lines.len(), 2);
    assert_eq!(lines[0], format!("{} ES256 signs", kid(&before)));
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
    assert_ne!(kid(&before), kid(&after));
    assert_eq!(running.get("/orders", &before).await.status, 200);
    assert_eq!(running.get("/orders", &after).await.status, 200);
    running.keys(&["retire", &kid(&before)]).await;
    running.reload(2).await;
    let refused = running.get("/orders", &before).await;
    assert_eq!(refused.refusal(), (401, "token_invalid".to_owned()));
    assert_eq!(running.get("/orders", &after).await.status, 200);
}

#[tokio::test]
async fn keys_that_cannot_be_read_change_nothing() {
    let running = Running::start(TestGateway::builder()).await;
    let grant = running.log_in().await;
    let keys = running.site.folder.path().join("keys");
    fs::write(keys.join("9999999999999-00000000.ES256.pem"), "no key").unwrap();
    running.program.signal("HUP").await;
    running.program.logs("not reloaded").await;
    assert_eq!(running.get("/orders", &grant.token).await.status, 200);
    assert_eq!(kid(&running.log_in().await.token), kid(&grant.token));
}

#[tokio::test]
async fn a_secret_that_was_changed_is_used() {
    let running = Running::start(TestGateway::builder()).await;
    let secret = running.site.folder.path().join("secret");
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
async fn an_app_that_was_removed_lets_nobody_in() {
    let running = Running::start(TestGateway::builder().apps(&["shop", "club"])).await;
    let grant = running.log_in().await;
    let text = fs::read_to_string(&running.site.config).unwrap();
    let (head, apps) = text.split_once("[[app]]\nname = \"shop\"").unwrap();
    let (_, club) = apps.split_once("[[app]]").unwrap();
    fs::write(&running.site.config, format!("{head}[[app]]{club}")).unwrap();
    running.reload(1).await;
    let refused = running.get("/orders", &grant.token).await;
    assert_eq!(refused.refusal(), (401, "token_invalid".to_owned()));
}

#[tokio::test]
async fn what_only_a_start_can_change_is_named() {
    let running = Running::start(TestGateway::builder()).await;
    let grant = running.log_in().await;
    running.change("[cache]", "refresh_grace = \"7s\"\n[cache]");
    running.reload(1).await;
    let line = running.program.logs("waits for the next start").await;
    assert!(line.contains("session"), "{line}");
    assert_eq!(running.get("/orders", &grant.token).await.status, 200);
}

#[tokio::test]
async fn the_log_level_changes() {
    let running = Running::start(TestGateway::builder()).await;
    running.change("[log]", "[log]\nlevel = \"error\"");
    running.program.signal("HUP").await;
    // Nothing is said at the new level; the file that follows is refused, which is.
    running.get("/public/first", "").await;
    let good = fs::read_to_string(&running.site.config).unwrap();
    let quiet = async {
        loop {
            let before = running.program.stderr().matches("/public/probe").count();
            running.get("/public/probe", "").await;
            running.change("error", "loud");
            running.program.signal("HUP").await;
            running.program.logs("not reloaded").await;
            fs::write(&running.site.config, &good).unwrap();
            if running.program.stderr().matches("/public/probe").count() == before {
                return;
            }
        }
    };
    let waited = tokio::time::timeout(Duration::from_secs(20), quiet).await;
    assert!(waited.is_ok(), "{}", running.program.stderr());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_request_is_lost_while_the_configuration_is_reloaded_again_and_again() {
    let running = Arc::new(Running::start(TestGateway::builder()).await);
    let token = running.log_in().await.token;
    let (over, served) = (
        Arc::new(AtomicBool::new(false)),
        Arc::new(AtomicUsize::new(0)),
    );
    let clients: Vec<_> = (0..4)
        .map(|_| {
            let (running, token) = (Arc::clone(&running), token.clone());
            let (over, served) = (Arc::clone(&over), Arc::clone(&served));
            tokio::spawn(async move {
                while !over.load(Ordering::Relaxed) {
                    let reply = running.get("/orders", &token).await;
                    assert_eq!(reply.status, 200, "{}", reply.text());
                    served.fetch_add(1, Ordering::Relaxed);
                }
            })
        })
        .collect();
    let other = Upstream::start().await;
    for count in 1..=20 {
        let addresses = [
            running.upstream.address.to_string(),
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
    for client in clients {
        client.await.unwrap();
    }
    assert!(served.load(Ordering::Relaxed) >= 20);
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
        let mut wire = Wire::connect(running.address).await;
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
    let mut wire = Wire::connect(running.address).await;
    wire.send("GET /public HTTP/1.1\r\nHost: h\r\n\r\n").await;
    assert!(wire.message().await.starts_with("HTTP/1.1 200 "));
    assert_eq!(wire.rest().await, "");
}
