//! The program as one of several processes with one configuration, one upstream and one WeChat.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use reqwest::RequestBuilder;
use serde_json::{Value, json};
use tokio::process::Command;

use crate::simulated::Simulated;
use crate::{Builder, Grant, Program, Reply, Site, TestGateway, Upstream, address_in};

/// How long a node may not know what another knows, before a test fails.
const PATIENCE: Duration = Duration::from_secs(20);

/// A seal key; see [`Nodes::over`].
pub const SEAL_KEY: &str = "c2VhbCBrZXkgc2VhbCBrZXkgc2VhbCBrZXkgc2VhbC4=";

/// What the processes share.
pub struct Nodes {
    /// Their folder and configuration.
    pub site: Site,
    /// The backend behind the routes.
    pub upstream: Upstream,
    world: Arc<World>,
    environment: Vec<(&'static str, String)>,
}

/// A running process.
pub struct Node {
    /// The process.
    pub program: Program,
    /// Where it listens.
    pub address: SocketAddr,
    world: Arc<World>,
}

struct World {
    simulator: SocketAddr,
    http: reqwest::Client,
}

impl Nodes {
    /// Prepares them; nothing runs yet but upstream and WeChat.
    pub async fn new(builder: Builder) -> Self {
        let (upstream, simulator) = (Upstream::start().await, builder.simulator().await);
        let http = reqwest::Client::builder().no_proxy();
        // A process that was killed leaves connections behind that look alive for a moment.
        let http = http.pool_max_idle_per_host(0).build().expect("a client");
        Self {
            site: builder.site(upstream.address, simulator),
            upstream,
            world: Arc::new(World { simulator, http }),
            environment: Vec::new(),
        }
    }

    /// Prepares them, and starts one.
    pub async fn start_one(builder: Builder, binary: &str) -> (Self, Node) {
        let nodes = Self::new(builder).await;
        let node = nodes.serve(binary).await;
        (nodes, node)
    }

    /// Prepares them with their sessions in Redis, at `url`, and more lines for `[session]`.
    pub async fn over(url: &str, session: &str) -> Self {
        Self::over_with(TestGateway::builder().section("session", session), url).await
    }

    /// Does the same with a configuration of the test's own.
    pub async fn over_with(builder: Builder, url: &str) -> Self {
        let lines = "store = \"redis\"\nredis_url_env = \"REDIS_URL\"\nseal_key_env = \"SEAL_KEY\"";
        let builder = builder.section("session", lines);
        let mut nodes = Self::new(builder).await;
        nodes.environment = vec![
            ("REDIS_URL", url.to_owned()),
            ("SEAL_KEY", SEAL_KEY.to_owned()),
        ];
        nodes
    }

    /// Sets a variable of the processes' environment.
    pub fn set_env(&mut self, name: &'static str, value: &str) {
        self.environment.push((name, value.to_owned()));
    }

    /// Returns where WeChat is simulated.
    pub fn simulator(&self) -> SocketAddr {
        self.world.simulator
    }

    /// Describes the program; see [`Program::start`].
    pub fn command(&self, binary: &str) -> Command {
        self.command_to(binary, &["serve"])
    }

    /// Describes the program with other arguments.
    pub fn command_to(&self, binary: &str, arguments: &[&str]) -> Command {
        let mut command = self.site.command(binary, arguments);
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        command
    }

    /// Returns how to log a user in where a process listens, with a fresh code; see [`Node::login`].
    pub async fn login_at(&self, address: SocketAddr, user: &str) -> RequestBuilder {
        self.world.login_at(address, user).await
    }

    /// Starts a process and waits until it listens.
    pub async fn serve(&self, binary: &str) -> Node {
        self.join(Program::start(self.command(binary))).await
    }

    /// Waits until a process listens that was started in another way.
    pub async fn join(&self, program: Program) -> Node {
        let address = program.find_address().await;
        self.node(program, address)
    }

    /// Does the same with a limit, for a program that is slow on purpose.
    pub async fn join_within(&self, program: Program, limit: Duration) -> Node {
        let address = address_in(&program.logs_within("listening", limit).await);
        self.node(program, address)
    }

    fn node(&self, program: Program, address: SocketAddr) -> Node {
        Node {
            address,
            program,
            world: Arc::clone(&self.world),
        }
    }
}

impl Node {
    /// Begins a request.
    pub fn request(&self, method: &str, path: &str) -> RequestBuilder {
        let method = method.parse().expect("a method");
        let url = format!("http://{}{path}", self.address);
        self.world.http.request(method, url)
    }

    /// Sends a request whose connection may break; `None` says that it did.
    pub async fn attempt(request: RequestBuilder) -> Option<Reply> {
        let response = request.send().await.ok()?;
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let body = response.bytes().await.ok()?.to_vec();
        Some(Reply {
            status,
            headers,
            body,
        })
    }

    /// Drives the simulator.
    pub async fn simulate(&self, path: &str, body: Value) -> Value {
        self.world.wechat().drive(path, body).await
    }

    /// Returns what the simulator tells of itself.
    pub async fn simulated(&self, path: &str) -> Value {
        self.world.wechat().read(path).await
    }

    /// Plans a fault of WeChat's code2Session, until [`Node::heal`].
    pub async fn fault(&self, plan: Value) {
        let wechat = self.world.wechat();
        wechat.plan_fault("/sns/jscode2session", plan).await;
    }

    /// Forgets the faults that were planned.
    pub async fn heal(&self) {
        self.world.wechat().forget_faults().await;
    }

    /// Does what `wx.login` does in the app `shop`.
    pub async fn code(&self, user: &str) -> String {
        self.world.wechat().make_code("shop", user).await
    }

    /// Begins a login in the app `shop`, with a fresh code.
    pub async fn login(&self, user: &str) -> RequestBuilder {
        self.login_with(&self.code(user).await)
    }

    /// Begins a login with a code.
    pub fn login_with(&self, code: &str) -> RequestBuilder {
        let body = json!({"code": code, "app": "shop"});
        self.request("POST", "/_auth/login").json(&body)
    }

    /// Begins a login with a code and a nonce, by which this client may send the code again.
    pub fn login_as(&self, code: &str, nonce: &str) -> RequestBuilder {
        let body = json!({"code": code, "nonce": nonce, "app": "shop"});
        self.request("POST", "/_auth/login").json(&body)
    }

    /// Returns how often WeChat was asked to redeem a code.
    pub async fn redeemed(&self) -> u64 {
        self.calls("/sns/jscode2session").await
    }

    /// Returns how often WeChat was called at a path.
    pub async fn calls(&self, path: &str) -> u64 {
        self.world.wechat().count_calls(path).await
    }

    /// Begins a refresh.
    pub fn refreshing(&self, refresh_token: &str) -> RequestBuilder {
        let body: Value = json!({"refresh_token": refresh_token});
        self.request("POST", "/_auth/refresh").json(&body)
    }

    /// Begins a logout.
    pub fn logout(&self, token: &str) -> RequestBuilder {
        self.request("POST", "/_auth/logout").bearer_auth(token)
    }

    /// Tries to log a user in.
    pub async fn try_log_in(&self, user: &str) -> Reply {
        Reply::of(self.login(user).await).await
    }

    /// Logs a user in.
    pub async fn log_in(&self, user: &str) -> Grant {
        let reply = self.try_log_in(user).await;
        assert_eq!(reply.status, 200, "{}", reply.text());
        Grant::of(reply.json())
    }

    /// Refreshes.
    pub async fn refresh(&self, refresh_token: &str) -> Reply {
        Reply::of(self.refreshing(refresh_token)).await
    }

    /// Refreshes, which must go well.
    pub async fn refreshed(&self, refresh_token: &str) -> Grant {
        let reply = self.refresh(refresh_token).await;
        assert_eq!(reply.status, 200, "{}", reply.text());
        Grant::of(reply.json())
    }

    /// Sends a request of somebody who is logged in.
    pub async fn get_as(&self, token: &str) -> Reply {
        self.get("/orders", token).await
    }

    /// Sends a request with a token.
    pub async fn get(&self, path: &str, token: &str) -> Reply {
        Reply::of(self.request("GET", path).bearer_auth(token)).await
    }

    /// Waits until a token is refused, as its session has ended, and returns how long after `since` that was.
    pub async fn wait_until_refused(&self, token: &str, since: Instant) -> Duration {
        loop {
            let reply = self.get_as(token).await;
            if reply.refusal() == (401, "session_ended".to_owned()) {
                return since.elapsed();
            }
            assert_eq!(reply.status, 200, "{}", reply.text());
            assert!(since.elapsed() < PATIENCE, "the token still passes");
        }
    }

    /// Logs out, which must go well.
    pub async fn log_out(&self, token: &str) {
        let reply = Reply::of(self.logout(token)).await;
        assert_eq!(reply.status, 204, "{}", reply.text());
    }
}

impl World {
    fn wechat(&self) -> Simulated<'_> {
        Simulated {
            address: self.simulator,
            http: &self.http,
        }
    }

    async fn login_at(&self, address: SocketAddr, user: &str) -> RequestBuilder {
        let code = self.wechat().make_code("shop", user).await;
        let body = json!({"code": code, "app": "shop"});
        let url = format!("http://{address}/_auth/login");
        self.http.post(url).json(&body)
    }
}
