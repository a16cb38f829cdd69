//! `POST /v1/reload` takes a good configuration over, and says every problem of a bad one and no secret.

use std::fs;
use std::net::SocketAddr;

use menshen_test_support::{
    APP_SECRET, CONTROL_SECRET, Program, Reply, Site, TestGateway, Upstream, make_client,
};
use serde_json::{Value, json};

const MENSHEN: &str = env!("CARGO_BIN_EXE_menshen");

/// The program with a configuration that changes.
struct Running {
    _program: Program,
    address: SocketAddr,
    control: SocketAddr,
    site: Site,
    http: reqwest::Client,
    _upstream: Upstream,
}

impl Running {
    async fn start() -> Self {
        let builder = TestGateway::builder().apps(&["shop", "club"]);
        let builder = builder.require_control_secret();
        let upstream = Upstream::start().await;
        let site = builder.site(upstream.address, builder.simulator().await);
        let program = Program::start(site.command(MENSHEN, &["serve"]));
        let address = program.find_address().await;
        let control = program.find_control_address().await;
        let http = make_client();
        Self {
            _program: program,
            address,
            control,
            site,
            http,
            _upstream: upstream,
        }
    }

    /// Changes the file.
    fn change(&self, from: &str, to: &str) {
        self.site.change(from, to);
    }

    async fn reload_with(&self, secret: &str) -> Reply {
        let url = format!("http://{}/v1/reload", self.control);
        Reply::of(self.http.post(url).bearer_auth(secret)).await
    }

    async fn reload(&self) -> Reply {
        self.reload_with(CONTROL_SECRET).await
    }

    async fn sessions_in(&self, app: &str) -> Reply {
        let path = format!("/v1/apps/{app}/users/o1/sessions");
        let url = format!("http://{}{path}", self.control);
        Reply::of(self.http.get(url).bearer_auth(CONTROL_SECRET)).await
    }
}

#[tokio::test]
async fn a_good_file_is_taken_over() {
    let running = Running::start().await;
    let url = format!("http://{}/free", running.address);
    let before = Reply::of(running.http.get(&url)).await;
    assert_eq!(before.status, 401);
    running.change("path = \"/public\"", "path = \"/free\"");
    let reply = running.reload().await;
    let done = json!({"reloaded": true, "restart_needed": []});
    assert_eq!((reply.status, reply.json()), (200, done));
    assert_eq!(Reply::of(running.http.get(&url)).await.status, 200);
}

#[tokio::test]
async fn a_bad_file_changes_nothing_and_each_of_its_problems_is_told() {
    let running = Running::start().await;
    running.change("[cache]", "[cache]\nmax_tokens = \"many\"");
    running.change("[log]", "[log]\nlevel = \"loud\"");
    running.change("path = \"/public\"", "path = \"/free\"");
    let reply = running.reload().await;
    assert_eq!(reply.refusal(), (422, "configuration_invalid".to_owned()));
    let told = reply.json();
    assert_eq!(told["request_id"], reply.header("x-request-id"));
    let problems: Vec<&str> = told["problems"]
        .as_array()
        .unwrap()
        .iter()
        .map(|problem| problem.as_str().unwrap())
        .collect();
    assert_eq!(problems.len(), 2, "{problems:?}");
    for (problem, key) in problems.iter().zip(["cache.max_tokens", "log.level"]) {
        assert!(problem.starts_with(&format!("{key} (line ")), "{problem}");
    }
    let url = format!("http://{}/public", running.address);
    assert_eq!(Reply::of(running.http.get(url)).await.status, 200);
}

#[tokio::test]
async fn no_secret_is_told() {
    let running = Running::start().await;
    let inline = format!("secret_env = \"APP_SECRET\"\nsecret = \"{APP_SECRET}\"");
    running.change("secret_env = \"APP_SECRET\"", &inline);
    let misplaced = format!("secret_file = \"{CONTROL_SECRET}\"");
    running.change("secret_env = \"CONTROL_SECRET\"", &misplaced);
    let reply = running.reload().await;
    assert_eq!(reply.status, 422);
    for secret in [APP_SECRET, CONTROL_SECRET] {
        assert!(!reply.text().contains(secret), "{}", reply.text());
    }
}

#[tokio::test]
async fn what_only_a_start_can_change_is_named() {
    let running = Running::start().await;
    running.change("[cache]", "refresh_grace = \"7s\"\n[cache]");
    // It would open the listener to everybody, were the secret taken out by itself.
    running.change("secret_env = \"CONTROL_SECRET\"", "");
    running.change("listen = \"127.0.0.1:0\"", "listen = \"127.0.0.1:1\"");
    let reply = running.reload().await.json();
    let waiting = reply["restart_needed"].as_array().unwrap();
    for key in ["control", "session"] {
        assert!(waiting.contains(&Value::from(key)), "{reply}");
    }
    let refused = running.reload_with("").await;
    refused.refused(401, "token_invalid");
}

#[tokio::test]
async fn apps_and_the_secret_of_the_listener_itself_change() {
    let running = Running::start().await;
    assert_eq!(running.sessions_in("club").await.status, 200);
    let text = fs::read_to_string(&running.site.config).unwrap();
    let (rest, _) = text.split_once("[[app]]\nname = \"club\"").unwrap();
    fs::write(&running.site.config, rest).unwrap();
    assert_eq!(running.reload().await.status, 200);
    running
        .sessions_in("club")
        .await
        .refused(404, "app_unknown");
    assert_eq!(running.sessions_in("shop").await.status, 200);
    let file = running.site.folder.path().join("control");
    fs::write(
        &file,
        "another secret, but without spaces".replace(' ', "-"),
    )
    .unwrap();
    let key = format!("secret_file = '{}'", file.display());
    running.change("secret_env = \"CONTROL_SECRET\"", &key);
    assert_eq!(running.reload().await.status, 200);
    running.reload().await.refused(401, "token_invalid");
    let renewed = running
        .reload_with("another-secret,-but-without-spaces")
        .await;
    assert_eq!(renewed.status, 200);
}
