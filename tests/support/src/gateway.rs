//! A gateway of a test's own: real sockets, its own upstream, simulator, keys, store and clock.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use menshen::app::App;
use menshen::clock::Clock;
use menshen::config;
use menshen::secret::Secret;
use menshen::server::{Sockets, Workers};
use menshen::simulator::{SimulatedApp, Simulator};
use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::simulated::Simulated;
use crate::{Reply, Upstream};

/// The AppSecret of every app.
pub const APP_SECRET: &str = "00000000000000000000000app5ecret";

/// An AppSecret that WeChat does not know, as `OTHER_SECRET`.
pub const OTHER_SECRET: &str = "00000000000000000000000other5ecret";

/// The secret of the private listener, where `CONTROL_SECRET` is named for it.
pub const CONTROL_SECRET: &str = "0000000000000000000000c0ntr0l";

/// What a login brought.
#[derive(Clone, Debug)]
pub struct Grant {
    /// The token.
    pub token: String,
    /// The refresh token.
    pub refresh_token: String,
    /// The whole answer.
    pub json: Value,
}

/// The configuration of a test's gateway: fragments of TOML by section.
#[derive(Clone, Debug)]
pub struct Builder {
    apps: Vec<String>,
    /// Names and lines of the apps for browsers.
    web_apps: Vec<(String, String)>,
    sections: Vec<(&'static str, String)>,
    routes: String,
    upstreams: String,
    clock: Clock,
    open_platform: bool,
}

/// A running gateway; it stops when dropped.
pub struct TestGateway {
    /// Where it listens.
    pub address: SocketAddr,
    /// Everywhere it listens; `address` is the first.
    pub addresses: Vec<SocketAddr>,
    /// Where it only sends on to HTTPS.
    pub redirects: Vec<SocketAddr>,
    /// Where it is controlled; `None` where the configuration says so.
    pub control: Option<SocketAddr>,
    /// Where WeChat is simulated.
    pub simulator: SocketAddr,
    /// The backend behind the routes of the default configuration.
    pub upstream: Upstream,
    /// The time of gateway and simulator.
    pub clock: Clock,
    /// The WebSockets that are open.
    pub sockets: Arc<Sockets>,
    /// A client without redirects, proxies or cookies.
    pub http: reqwest::Client,
    /// The AppSecret of every app.
    pub secret: String,
    /// Where keys and data are.
    pub folder: TempDir,
    stop: Option<oneshot::Sender<()>>,
    serving: Option<JoinHandle<()>>,
}

impl Default for Builder {
    fn default() -> Self {
        Self {
            apps: vec!["shop".to_owned()],
            web_apps: Vec::new(),
            sections: Vec::new(),
            routes: "[[route]]\npath = \"/\"\nupstream = \"api\"\n\
                     [[route]]\npath = \"/public\"\nupstream = \"api\"\nauth = \"public\"\n\
                     [[route]]\npath = \"/optional\"\nupstream = \"api\"\nauth = \"optional\"\n"
                .to_owned(),
            upstreams: String::new(),
            clock: Clock::system(),
            open_platform: true,
        }
    }
}

impl Builder {
    /// Adds lines to a section such as `server`, `token`, `session`, `headers`, `login`, `relay`, `traces` or `wechat`.
    ///
    /// A line that starts with `listen` in `server` or `control`, with `api_base` in `wechat`, with `refused` or `refreshes` in `login`, or
    /// with `secret` in `app` replaces what is there.
    pub fn section(mut self, name: &'static str, lines: &str) -> Self {
        self.sections.push((name, lines.to_owned()));
        self
    }

    /// Takes the client's address from `X-Forwarded-For`, which proxies on this machine set.
    pub fn trust_local_proxies(self) -> Self {
        self.section("server", "trusted_proxies = [\"127.0.0.1\"]")
    }

    /// Has the private listener want `CONTROL_SECRET`.
    pub fn require_control_secret(self) -> Self {
        self.section("control", "secret_env = \"CONTROL_SECRET\"")
    }

    /// Names the apps; the appid of each is [`TestGateway::appid`].
    pub fn apps(mut self, names: &[&str]) -> Self {
        self.apps = names.iter().map(|name| (*name).to_owned()).collect();
        self
    }

    /// Adds an app for browsers, with its `kind` and whatever else it has.
    pub fn web_app(mut self, name: &str, lines: &str) -> Self {
        self.web_apps.push((name.to_owned(), lines.to_owned()));
        self
    }

    /// Leaves the apps without an Open Platform account, and so their users without a unionid.
    pub fn without_unionids(mut self) -> Self {
        self.open_platform = false;
        self
    }

    /// Replaces the routes. Without this, `/` is required, `/public` public and `/optional` optional.
    pub fn routes(mut self, toml: &str) -> Self {
        toml.clone_into(&mut self.routes);
        self
    }

    /// Replaces the routes by one to `api` that is public.
    pub fn make_public(self) -> Self {
        self.routes("[[route]]\nupstream = \"api\"\nauth = \"public\"\n")
    }

    /// Adds upstreams to `api`, which is always there.
    pub fn upstreams(mut self, toml: &str) -> Self {
        toml.clone_into(&mut self.upstreams);
        self
    }

    /// Adds an upstream with these servers and lines; the only route is public and leads to it.
    pub fn public_upstream(self, servers: &[impl ToString], lines: &str) -> Self {
        let servers: Vec<String> = servers.iter().map(ToString::to_string).collect();
        let upstream = format!("[[upstream]]\nname = \"only\"\nservers = {servers:?}\n{lines}\n");
        self.upstreams(&upstream)
            .routes("[[route]]\nupstream = \"only\"\nauth = \"public\"\n")
    }

    /// Has the gateway, and the simulator, go by a clock of the test's own.
    pub fn clock(mut self, clock: Clock) -> Self {
        self.clock = clock;
        self
    }

    /// Starts the gateway before one server, with these lines of its upstream; the only route is public and leads to it.
    pub async fn start_before(self, server: impl ToString, lines: &str) -> TestGateway {
        self.public_upstream(&[server], lines).start().await
    }

    /// Starts the gateway on a port that the system chooses.
    pub async fn start(self) -> TestGateway {
        self.start_in(tempfile::tempdir().expect("a folder")).await
    }

    /// Starts the gateway with the keys and data of one that was stopped; upstream and simulator are new.
    ///
    /// A clone of a builder keeps its clock.
    pub async fn start_in(self, folder: TempDir) -> TestGateway {
        let upstream = Upstream::start().await;
        let secret = APP_SECRET.to_owned();
        let simulator_address = self.simulator().await;
        let text = self.toml(&folder, upstream.address, simulator_address);
        let env = |name: &str| match name {
            "APP_SECRET" => Some(secret.clone()),
            "OTHER_SECRET" => Some(OTHER_SECRET.to_owned()),
            "CONTROL_SECRET" => Some(CONTROL_SECRET.to_owned()),
            _ => None,
        };
        let config = config::parse(&text, "test.toml", &env)
            .unwrap_or_else(|problems| panic!("{problems}\n{text}"));
        let app = App::build(config, &self.clock)
            .await
            .unwrap_or_else(|error| panic!("{error}"));
        let addresses = app.addresses();
        let address = *addresses.first().expect("it listens");
        let redirects = app.redirect_addresses();
        let control = app.control_address();
        let sockets = app.sockets();
        let (stop, stopped) = oneshot::channel();
        let serving = tokio::spawn(async {
            let stop = async {
                let _ = stopped.await;
            };
            app.serve(&Workers::here(), stop, || {})
                .await
                .expect("it serves");
        });
        let http = reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .build()
            .expect("a client");
        TestGateway {
            address,
            addresses,
            redirects,
            control,
            simulator: simulator_address,
            upstream,
            clock: self.clock,
            sockets,
            http,
            secret,
            folder,
            stop: Some(stop),
            serving: Some(serving),
        }
    }

    /// Starts a WeChat that knows the apps, on a port that the system chooses.
    pub async fn simulator(&self) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("binds");
        let address = listener.local_addr().expect("is bound");
        let web_apps = self.web_apps.iter().map(|(name, _)| name);
        let simulated = self.apps.iter().chain(web_apps).map(|name| SimulatedApp {
            appid: TestGateway::appid(name),
            secret: Secret::new(APP_SECRET),
            open_platform: self.open_platform.then(|| "open-platform".to_owned()),
        });
        let world = Simulator::new(simulated.collect(), self.clock.clone());
        tokio::spawn(world.serve(listener, std::future::pending()));
        address
    }

    pub(crate) fn toml(
        &self,
        folder: &TempDir,
        upstream: SocketAddr,
        simulator: SocketAddr,
    ) -> String {
        let folder = folder.path().display();
        let more = |section: &str| -> String {
            let lines = self.sections.iter().filter(|(name, _)| *name == section);
            lines.map(|(_, lines)| format!("{lines}\n")).collect()
        };
        let unless_given = |section: &str, key: &str, value: String| {
            let given = more(section).lines().any(|line| line.starts_with(key));
            if given { String::new() } else { value }
        };
        let listen = unless_given("server", "listen", "listen = [\"127.0.0.1:0\"]".to_owned());
        let control = unless_given("control", "listen", "listen = \"127.0.0.1:0\"".to_owned());
        let api_base = format!("api_base = \"http://{simulator}\"");
        let api_base = unless_given("wechat", "api_base", api_base);
        let open_base = format!("open_base = \"http://{simulator}\"");
        let open_base = unless_given("wechat", "open_base", open_base);
        // All clients of a test are one address.
        let refused = unless_given("login", "refused", "refused_per_minute = 0".to_owned());
        let refreshes = "refreshes_per_minute = 0".to_owned();
        let refreshes = unless_given("login", "refreshes", refreshes);
        let mut text = format!(
            "[server]\n{listen}\n{}\n\
             [control]\n{control}\n{}\n\
             [wechat]\n{api_base}\n{open_base}\n{}\n\
             [login]\n{refused}\n{refreshes}\n{}\n\
             [token]\nkeys_dir = '{folder}/keys'\n{}\n\
             [session]\npath = '{folder}/data'\n{}\n\
             [cache]\n{}\n[headers]\n{}\n[cors]\n{}\n[relay]\n{}\n[web]\n{}\n[log]\n{}\n[traces]\n{}\n\
             [[upstream]]\nname = \"api\"\nservers = [\"{upstream}\"]\n{}\n{}\n{}\n",
            more("server"),
            more("control"),
            more("wechat"),
            more("login"),
            more("token"),
            more("session"),
            more("cache"),
            more("headers"),
            more("cors"),
            more("relay"),
            more("web"),
            more("log"),
            more("traces"),
            more("upstream"),
            self.upstreams,
            self.routes,
        );
        let secret = unless_given("app", "secret", "secret_env = \"APP_SECRET\"".to_owned());
        for name in &self.apps {
            let appid = TestGateway::appid(name);
            text.push_str(&format!(
                "[[app]]\nname = \"{name}\"\nkind = \"mini_program\"\nappid = \"{appid}\"\n\
                 {secret}\n{}\n",
                more("app")
            ));
        }
        for (name, lines) in &self.web_apps {
            let appid = TestGateway::appid(name);
            text.push_str(&format!(
                "[[app]]\nname = \"{name}\"\nappid = \"{appid}\"\nsecret_env = \"APP_SECRET\"\n{lines}\n"
            ));
        }
        text
    }
}

impl TestGateway {
    /// Starts a gateway with one app, `shop`, and the default routes.
    pub async fn start() -> Self {
        Builder::default().start().await
    }

    /// Starts a gateway before one server; see [`Builder::start_before`].
    pub async fn start_before(server: impl ToString, lines: &str) -> Self {
        Self::builder().start_before(server, lines).await
    }

    /// Starts to describe a gateway with these lines of `[server]`.
    pub fn configure_server(lines: &str) -> Builder {
        Self::builder().section("server", lines)
    }

    /// Starts to describe a gateway.
    pub fn builder() -> Builder {
        menshen::app::install_crypto();
        Builder::default()
    }

    /// Returns the appid that belongs to an app's name.
    pub fn appid(name: &str) -> String {
        let hex: String = name.bytes().map(|byte| format!("{byte:02x}")).collect();
        format!("wx{hex:0<16.16}")
    }

    /// Returns a URL of the gateway.
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// Starts a GET.
    pub fn get(&self, path: &str) -> RequestBuilder {
        self.http.get(self.url(path))
    }

    /// Starts a request with any method.
    pub fn request(&self, method: &str, path: &str) -> RequestBuilder {
        let method = Method::from_bytes(method.as_bytes()).expect("a method");
        self.http.request(method, self.url(path))
    }

    /// Starts a request to the private listener.
    pub fn control(&self, method: &str, path: &str) -> RequestBuilder {
        let method = Method::from_bytes(method.as_bytes()).expect("a method");
        let address = self.control.expect("a private listener");
        self.http.request(method, format!("http://{address}{path}"))
    }

    /// Reads the metrics.
    pub async fn read_metrics(&self) -> String {
        let reply = Reply::of(self.control("GET", "/metrics")).await;
        assert_eq!(reply.status, 200, "{}", reply.text());
        reply.text()
    }

    /// Sends JSON with POST.
    pub async fn post(&self, path: &str, body: Value) -> Reply {
        Reply::of(self.http.post(self.url(path)).json(&body)).await
    }

    /// Sends a GET with a token.
    pub async fn get_as(&self, path: &str, token: &str) -> Reply {
        Reply::of(self.get(path).bearer_auth(token)).await
    }

    fn simulated_wechat(&self) -> Simulated<'_> {
        Simulated {
            address: self.simulator,
            http: &self.http,
        }
    }

    /// Drives the simulator.
    pub async fn simulate(&self, path: &str, body: Value) -> Value {
        self.simulated_wechat().drive(path, body).await
    }

    /// Says how the simulator's pages behave for an app; `agrees` is a user who agrees without a page.
    pub async fn set_up(&self, app: &str, mut settings: Value) {
        settings["appid"] = json!(Self::appid(app));
        self.simulate("oauth", settings).await;
    }

    /// Returns the host of the gateway, with its port.
    pub fn host(&self) -> String {
        self.address.to_string()
    }

    /// Returns what the simulator tells of itself.
    pub async fn simulated(&self, path: &str) -> Value {
        self.simulated_wechat().read(path).await
    }

    /// Plans a fault of WeChat's code2Session.
    pub async fn fault(&self, plan: Value) {
        self.fault_at("/sns/jscode2session", plan).await;
    }

    /// Plans a fault of WeChat's at a path, until [`TestGateway::heal`].
    pub async fn fault_at(&self, path: &str, plan: Value) {
        self.simulated_wechat().plan_fault(path, plan).await;
    }

    /// Forgets the faults that were planned.
    pub async fn heal(&self) {
        self.simulated_wechat().forget_faults().await;
    }

    /// Returns how often WeChat was asked to redeem a code.
    pub async fn redeemed(&self) -> u64 {
        self.calls("/sns/jscode2session").await
    }

    /// Returns how often WeChat was called at a path.
    pub async fn calls(&self, path: &str) -> u64 {
        self.simulated_wechat().count_calls(path).await
    }

    /// Has WeChat give another access_token of `shop`, as somebody else who forces it does; the one before is over at once.
    pub async fn force_access_token(&self) -> String {
        let asked = json!({
            "grant_type": "client_credential", "appid": Self::appid("shop"),
            "secret": self.secret, "force_refresh": true,
        });
        let url = format!("http://{}/cgi-bin/stable_token", self.simulator);
        let given = Reply::of(self.http.post(url).json(&asked)).await.json();
        given["access_token"].as_str().expect("a token").to_owned()
    }

    /// Logs in with a code.
    pub async fn redeem(&self, code: &str) -> Reply {
        self.post("/_auth/login", json!({"code": code})).await
    }

    /// Does what `wx.login` does in the app `shop`.
    pub async fn code(&self, user: &str) -> String {
        self.code_in("shop", user).await
    }

    /// Does what `wx.login` does in an app.
    pub async fn code_in(&self, app: &str, user: &str) -> String {
        self.simulated_wechat().make_code(app, user).await
    }

    /// Logs a user in to the app `shop`.
    pub async fn log_in(&self, user: &str) -> Grant {
        self.log_in_to("shop", user).await
    }

    /// Tries to log a user in to the app `shop`.
    pub async fn try_log_in(&self, user: &str) -> Reply {
        self.redeem(&self.code(user).await).await
    }

    /// Logs somebody in and sends a GET of theirs.
    pub async fn log_in_and_get(&self, path: &str) -> Reply {
        let token = self.log_in("alice").await.token;
        self.get_as(path, &token).await
    }

    /// Logs a user in to an app.
    pub async fn log_in_to(&self, app: &str, user: &str) -> Grant {
        let code = self.code_in(app, user).await;
        let reply = self
            .post("/_auth/login", json!({"code": code, "app": app}))
            .await;
        assert_eq!(reply.status, 200, "{}", reply.text());
        Grant::of(reply.json())
    }

    /// Exchanges a refresh token for its successor.
    pub async fn refresh(&self, refresh_token: &str) -> Reply {
        let body = json!({"refresh_token": refresh_token});
        self.post("/_auth/refresh", body).await
    }

    /// Exchanges a refresh token for its successor, which must go well.
    pub async fn refreshed(&self, refresh_token: &str) -> Grant {
        let reply = self.refresh(refresh_token).await;
        assert_eq!(reply.status, 200, "{}", reply.text());
        Grant::of(reply.json())
    }

    /// Checks that a session lives: its token is good, and its refresh token too.
    pub async fn check_session_lives(&self, grant: &Grant) {
        assert_eq!(self.get_as("/orders", &grant.token).await.status, 200);
        assert_eq!(self.refresh(&grant.refresh_token).await.status, 200);
    }

    /// Checks that a session has ended, for whatever its tokens are shown.
    pub async fn check_session_ended(&self, grant: &Grant) {
        let over = (401, "session_ended".to_owned());
        assert_eq!(self.get_as("/orders", &grant.token).await.refusal(), over);
        assert_eq!(self.get_as("/optional", &grant.token).await.refusal(), over);
        assert_eq!(self.refresh(&grant.refresh_token).await.refusal(), over);
        let shown = self.get_as("/_auth/session", &grant.token).await;
        assert_eq!(shown.json(), json!({"logged_in": false}));
    }

    /// Ends the session of a token.
    pub async fn log_out(&self, token: &str) {
        let reply = Reply::of(self.request("POST", "/_auth/logout").bearer_auth(token)).await;
        assert_eq!(reply.status, 204, "{}", reply.text());
    }

    /// Ends all sessions of a token's user.
    pub async fn log_out_everywhere(&self, token: &str) {
        let request = self.request("POST", "/_auth/logout").bearer_auth(token);
        let reply = Reply::of(request.json(&json!({"everywhere": true}))).await;
        assert_eq!(reply.status, 204, "{}", reply.text());
    }

    /// Returns what `GET /_auth/session` tells a token's user.
    pub async fn who(&self, token: &str) -> Value {
        let reply = self.get_as("/_auth/session", token).await;
        assert_eq!(reply.status, 200, "{}", reply.text());
        reply.json()
    }

    /// Returns the id of a token's session.
    pub async fn session_id(&self, token: &str) -> String {
        let who = self.who(token).await;
        who["session"].as_str().expect("an id").to_owned()
    }

    /// Returns the openid of a token's user.
    pub async fn openid(&self, token: &str) -> String {
        let who = self.who(token).await;
        who["openid"].as_str().expect("an openid").to_owned()
    }

    /// Returns the claims that a token for this user and app would have, for a session that does not exist.
    pub fn claims(&self, user: &str) -> Value {
        let now = self.clock.unix_secs();
        json!({
            "iss": "menshen", "aud": Self::appid("shop"), "sub": user, "app": "shop",
            "sid": "AAAAAAAAAAAAAAAAAAAAAA", "src": "wx_client",
            "iat": now, "nbf": now, "exp": now + 600,
        })
    }

    /// Returns the signing key's file and its id.
    pub fn key_file(&self) -> (PathBuf, String) {
        let mut files: Vec<_> = std::fs::read_dir(self.folder.path().join("keys"))
            .expect("keys")
            .map(|entry| entry.expect("an entry").path())
            .filter(|path| path.is_file())
            .collect();
        files.sort();
        let path = files.pop().expect("a key");
        let name = path.file_name().expect("a name").to_string_lossy();
        let kid = name.split('.').next().expect("a kid").to_owned();
        (path, kid)
    }

    /// Signs claims with the gateway's own ES256 key.
    pub fn sign(&self, claims: &Value) -> String {
        let (path, kid) = self.key_file();
        let mut header = jsonwebtoken::Header::new(jsonwebtoken::Algorithm::ES256);
        header.kid = Some(kid);
        self.sign_as(&header, claims, &path)
    }

    /// Signs claims with the gateway's own ES256 key and any header.
    pub fn sign_as(
        &self,
        header: &jsonwebtoken::Header,
        claims: &Value,
        path: &std::path::Path,
    ) -> String {
        let pem = std::fs::read(path).expect("a key");
        let key = jsonwebtoken::EncodingKey::from_ec_pem(&pem).expect("an ES256 key");
        jsonwebtoken::encode(header, claims, &key).expect("a token")
    }

    /// Checks a JWT as a backend would, with the published keys, and returns its header and claims.
    ///
    /// Nothing is said about its time, which is the clock's.
    pub async fn verified(&self, jwt: &str, audience: &str) -> (jsonwebtoken::Header, Value) {
        let published = Reply::of(self.get("/_auth/jwks.json")).await;
        let keys: jsonwebtoken::jwk::JwkSet =
            serde_json::from_slice(&published.body).expect("a JWKS");
        let header = jsonwebtoken::decode_header(jwt).expect("a JWT");
        let kid = header.kid.as_deref().expect("a kid");
        let jwk = keys.find(kid).expect("the key should be published");
        let said = jwk.common.key_algorithm.map(|alg| alg.to_string());
        assert_eq!(said, Some(format!("{:?}", header.alg)));
        let mut validation = jsonwebtoken::Validation::new(header.alg);
        validation.set_audience(&[audience]);
        validation.set_issuer(&["menshen"]);
        validation.validate_exp = false;
        let key = jsonwebtoken::DecodingKey::from_jwk(jwk).expect("a public key");
        #[expect(
            clippy::disallowed_methods,
            reason = "a test is the backend that checks it"
        )]
        let checked = jsonwebtoken::decode(jwt, &key, &validation).expect("should verify");
        (checked.header, checked.claims)
    }

    /// Stops the gateway and waits until it has.
    pub async fn stop(&mut self) {
        drop(self.stop.take());
        if let Some(serving) = self.serving.take() {
            serving.await.expect("it stops");
        }
    }

    /// Tells the gateway to stop, and does not wait.
    pub fn begin_stop(&mut self) {
        drop(self.stop.take());
    }
}

impl Grant {
    /// Reads the answer of a login or a refresh.
    pub fn of(json: Value) -> Self {
        let text = |name: &str| json[name].as_str().expect("a text").to_owned();
        Self {
            token: text("token"),
            refresh_token: text("refresh_token"),
            json: json.clone(),
        }
    }
}
