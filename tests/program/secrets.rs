//! No secret is told: not in logs of the finest level, not in answers, not in the store's file.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::fs;
use std::net::SocketAddr;

use menshen_test_support::{
    APP_SECRET, Collector, Program, Relay, Reply, Secrets, Site, TestGateway, Upstream,
    make_client, raw,
};
use serde_json::{Value, json};

const MENSHEN: &str = env!("CARGO_BIN_EXE_menshen");
/// Stands in bodies that nobody but their backend should see.
const BODY: &str = "w0rds-of-a-body-that-is-the-backends-business";
/// What [`Upstream`] answers where it is asked for garbage.
const NO_HTTP: &str = "this is not HTTP";

/// What the collector of traces asks for.
const COLLECTOR_TOKEN: &str = "c0llect0r-t0ken-that-is-nobody-elses";

/// A gateway in a process of its own that has seen everything, and what it has let out.
struct Life {
    secrets: Secrets,
    log: String,
    answers: Vec<u8>,
    /// What the collector of traces received.
    traces: Collector,
    site: Site,
}

/// The gateway while it lives.
struct Living {
    address: SocketAddr,
    control: SocketAddr,
    simulator: SocketAddr,
    http: reqwest::Client,
    secrets: Secrets,
    answers: Vec<u8>,
}

impl Living {
    /// Sends bytes and keeps the answer, without the tokens that it is there to bring.
    async fn ask(&mut self, request: impl AsRef<[u8]>) -> Value {
        let answer = raw(self.address, request.as_ref()).await;
        let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
        let json: Value = serde_json::from_str(body).unwrap_or(Value::Null);
        let header = |name: &str| {
            let lines = head.lines().filter_map(|line| line.split_once(": "));
            let mut values = lines.filter(|(known, _)| known.eq_ignore_ascii_case(name));
            values.next().map(|(_, value)| value)
        };
        let field = |name| json.get(name).and_then(Value::as_str);
        let mut rest = answer.clone();
        for token in [field("token"), header("menshen-token")]
            .into_iter()
            .flatten()
        {
            self.secrets.add_token(token);
            rest = rest.replacen(token, "", 1);
        }
        let refresh = [field("refresh_token"), header("menshen-refresh-token")];
        for token in refresh.into_iter().flatten() {
            self.secrets.add_refresh_token(token);
            rest = rest.replacen(token, "", 1);
        }
        if field("openid").is_some() {
            for openid in ["openid", "unionid"].map(|name| field(name).unwrap()) {
                self.secrets.add("an openid", openid);
                rest = rest.replacen(openid, "", 1);
            }
        }
        self.answers.extend(rest.into_bytes());
        json
    }

    async fn get(&mut self, target: &str, lines: &str) -> Value {
        let request =
            format!("GET {target} HTTP/1.1\r\nHost: here\r\nConnection: close\r\n{lines}\r\n");
        self.ask(request).await
    }

    async fn post(&mut self, target: &str, lines: &str, body: &str) -> Value {
        let length = body.len();
        let request = format!(
            "POST {target} HTTP/1.1\r\nHost: here\r\nConnection: close\r\n\
             Content-Length: {length}\r\n{lines}\r\n{body}"
        );
        self.ask(request).await
    }

    async fn log_in_with(&mut self, code: &str) -> Value {
        self.post("/_auth/login", "", &json!({"code": code}).to_string())
            .await
    }

    async fn simulate(&self, path: &str, body: Value) -> Value {
        let url = format!("http://{}/_sim/{path}", self.simulator);
        Reply::of(self.http.post(url).json(&body)).await.json()
    }

    async fn code(&mut self, user: &str) -> String {
        let asked = json!({"appid": TestGateway::appid("shop"), "user": user});
        let answer = self.simulate("login", asked).await;
        let code = answer.get("code").unwrap().as_str().unwrap().to_owned();
        self.secrets.add("a code", code.as_str());
        code
    }

    async fn log_in(&mut self, user: &str) -> (String, String) {
        let code = self.code(user).await;
        let grant = self.log_in_with(&code).await;
        let text = |name| grant.get(name).unwrap().as_str().unwrap().to_owned();
        (text("token"), text("refresh_token"))
    }

    /// Logins that go well, and those that do not.
    async fn logins(&mut self) {
        let used = self.code("alice").await;
        for _ in 0..2 {
            self.log_in_with(&used).await;
        }
        let made_up = "0madeupbyaclientwhocannotguess00";
        self.secrets.add("a code", made_up);
        self.log_in_with(made_up).await;
        for odd in ["\"", "&secret=", "\r\n", "#", "\0"] {
            self.log_in_with(&format!("{made_up}{odd}")).await;
        }
        for plan in [
            json!({"fault": "hang", "spend": true}),
            json!({"fault": "close_after"}),
            json!({"fault": "truncate"}),
            json!({"fault": "html"}),
            json!({"fault": "status", "status": 502}),
            json!({"fault": "redirect"}),
            json!({"fault": "raw_control"}),
            json!({"fault": "huge"}),
            json!({"fault": "missing_openid"}),
            json!({"fault": "empty_openid"}),
            json!({"fault": "errcode", "errcode": 40125}),
            json!({"fault": "errcode", "errcode": -1, "errmsg": APP_SECRET}),
        ] {
            let mut plan = plan;
            for (key, value) in [("path", json!("/sns/jscode2session")), ("times", json!(2))] {
                plan.as_object_mut().unwrap().insert(key.to_owned(), value);
            }
            self.simulate("faults", plan).await;
            let (one, other) = (self.code("alice").await, self.code("bob").await);
            self.log_in_with(&one).await;
            self.get("/orders", &format!("X-WX-Code: {other}\r\n"))
                .await;
            // Five in a row would be an outage, in which nobody is sent to WeChat.
            self.log_in("carol").await;
        }
        for target in ["/orders?a=b", "/status/500", "/garbage", "/close"] {
            let code = self.code("bob").await;
            self.get(target, &format!("X-WX-Code: {code}\r\n")).await;
        }
    }

    /// Sessions from their first refresh to their end.
    async fn sessions(&mut self) {
        let (token, first) = self.log_in("alice").await;
        self.get("/_auth/session", &bearer(&token)).await;
        let refresh = |token: &str| json!({"refresh_token": token}).to_string();
        let mut last = first.clone();
        for _ in 0..65 {
            let renewed = self.post("/_auth/refresh", "", &refresh(&last)).await;
            let next = renewed.get("refresh_token").unwrap();
            last = next.as_str().unwrap().to_owned();
        }
        // So far behind that somebody else must hold it.
        let reused = self.post("/_auth/refresh", "", &refresh(&first)).await;
        assert_eq!(reused.get("error").unwrap(), "refresh_reused");
        self.post("/_auth/refresh", "", &refresh(&format!("{first}x")))
            .await;
        self.get("/orders", &bearer(&token)).await;

        let (token, _) = self.log_in("bob").await;
        self.get("/orders", &bearer(&token)).await;
        let everywhere = r#"{"everywhere":true}"#;
        self.post("/_auth/logout", &bearer(&token), everywhere)
            .await;
        self.get("/orders", &bearer(&token)).await;
    }

    /// What backends have done with a session_key, and what goes wrong with it.
    async fn vault(&mut self) {
        let (token, _) = self.log_in("alice").await;
        let session = self.get("/_auth/session", &bearer(&token)).await;
        let user = session.get("openid").unwrap().as_str().unwrap().to_owned();
        let appid = TestGateway::appid("shop");
        let asked = json!({"appid": appid, "user": "alice", "data": {"note": BODY}});
        let data = self.simulate("encrypt", asked).await;
        let field = |name| data.get(name).unwrap().as_str().unwrap();
        let (encrypted, iv, signature) = (field("encryptedData"), field("iv"), field("signature"));
        let opened = self.on_vault(
            &user,
            "decrypt",
            json!({"encrypted_data": encrypted, "iv": iv}),
        );
        assert!(opened.await.contains(BODY));
        for (call, body) in [
            (
                "decrypt",
                json!({"encrypted_data": encrypted, "iv": "AAAAAAAAAAAAAAAAAAAAAA=="}),
            ),
            (
                "decrypt",
                json!({"encrypted_data": encrypted, "iv": "MQ=="}),
            ),
            ("decrypt", json!({"encrypted_data": [encrypted], "iv": iv})),
            (
                "verify",
                json!({"raw_data": field("rawData"), "signature": signature}),
            ),
            ("verify", json!({"raw_data": BODY, "signature": "0"})),
            ("sign", json!({"data": BODY})),
            ("check-session", json!({})),
            ("reset-session-key", json!({})),
        ] {
            let answer = self.on_vault(&user, call, body).await;
            self.answers
                .extend(answer.replacen(&user, "", 1).into_bytes());
        }
        for path in [
            "/cgi-bin/stable_token",
            "/wxa/checksession",
            "/wxa/resetusersessionkey",
        ] {
            for fault in [
                json!({"fault": "hang"}),
                json!({"fault": "truncate"}),
                json!({"fault": "html"}),
                json!({"fault": "redirect"}),
                json!({"fault": "raw_control"}),
                json!({"fault": "errcode", "errcode": 40001}),
                json!({"fault": "errcode", "errcode": 40164, "errmsg": "invalid ip 192.0.2.1"}),
                json!({"fault": "errcode", "errcode": -1, "errmsg": APP_SECRET}),
            ] {
                let mut plan = fault;
                for (key, value) in [("path", json!(path)), ("times", json!(2))] {
                    plan.as_object_mut().unwrap().insert(key.to_owned(), value);
                }
                self.simulate("faults", plan).await;
                for call in ["check-session", "reset-session-key"] {
                    let answer = self.on_vault(&user, call, json!({})).await;
                    self.answers.extend(answer.into_bytes());
                }
            }
        }
    }

    /// What backends have called at WeChat, and what goes wrong with that.
    async fn relay(&mut self) {
        const SEND: &str = "/cgi-bin/message/subscribe/send";
        let message = json!({"touser": "o1", "template_id": "t1", "data": {"note": BODY}});
        let token = self.control_post("/v1/apps/shop/access-token", None).await;
        let token = token
            .get("access_token")
            .unwrap()
            .as_str()
            .unwrap()
            .to_owned();
        self.secrets.add("an access_token", token.as_str());
        let appid = TestGateway::appid("shop");
        let query = format!("grant_type=client_credential&appid={appid}&secret={APP_SECRET}");
        let own = format!("/wechat/shop/cgi-bin/token?{query}");
        let own = self.control_post(&own, None).await;
        let own = own
            .get("access_token")
            .unwrap()
            .as_str()
            .unwrap()
            .to_owned();
        self.secrets.add("a token of the relay's", own.as_str());
        let send = format!("/wechat/shop{SEND}");
        let stale = json!({"stale": token});
        let refresh = "/v1/apps/shop/access-token/refresh";
        for fault in [
            json!({"fault": "hang"}),
            json!({"fault": "truncate"}),
            json!({"fault": "html"}),
            json!({"fault": "redirect"}),
            json!({"fault": "errcode", "errcode": 40001}),
            json!({"fault": "errcode", "errcode": -1}),
            json!({"fault": "errcode", "errcode": 40164, "errmsg": "invalid ip 192.0.2.1"}),
        ] {
            for path in [SEND, "/cgi-bin/stable_token", "/cgi-bin/openapi/quota/get"] {
                let mut plan = fault.clone();
                for (key, value) in [("path", json!(path)), ("times", json!(1))] {
                    plan.as_object_mut().unwrap().insert(key.to_owned(), value);
                }
                self.simulate("faults", plan).await;
            }
            for (target, body) in [
                (send.clone(), &message),
                (format!("{send}?access_token={own}"), &message),
                (format!("{send}?cloudbase_access_token={own}x"), &message),
                (format!("/wechat/nobody{SEND}?access_token={own}"), &message),
                (format!("/wechat/shop/sns/jscode2session?{query}"), &message),
                (format!("/wechat/shop/wxa/..%2f?{query}"), &message),
                (
                    format!("{send}?{query}"),
                    &json!({"secret": APP_SECRET, "access_token": token}),
                ),
                (refresh.to_owned(), &stale),
                ("/readyz".to_owned(), &message),
            ] {
                let answer = self.control_post(&target, Some(body)).await;
                let answer = answer.to_string().replacen(&token, "", 1);
                self.answers.extend(answer.into_bytes());
            }
        }
        for target in ["/orders", "/_auth/session"] {
            self.get(target, &bearer(&own)).await;
        }
    }

    /// Asks the private listener; without a body, with GET.
    async fn control_post(&self, target: &str, body: Option<&Value>) -> Value {
        let url = format!("http://{}{target}", self.control);
        let call = match body {
            Some(body) => self.http.post(url).json(body),
            None => self.http.get(url),
        };
        let reply = Reply::of(call).await;
        serde_json::from_slice(&reply.body).unwrap_or(json!(reply.text()))
    }

    /// Asks the private listener for something about a user.
    async fn on_vault(&self, user: &str, call: &str, body: Value) -> String {
        let url = format!("http://{}/v1/apps/shop/users/{user}/{call}", self.control);
        Reply::of(self.http.post(url).json(&body)).await.text()
    }

    /// Tokens that are not good, or not where they belong.
    async fn bad_tokens(&mut self) {
        let (token, refresh) = self.log_in("alice").await;
        for text in [
            format!("{token}x"),
            format!(" {token} {token}"),
            token.split_once('.').unwrap().1.to_owned(),
            refresh.clone(),
        ] {
            self.get("/orders", &bearer(&text)).await;
        }
        let twice = bearer(&token).repeat(2);
        self.get("/orders", &twice).await;
        self.get("/orders", &format!("{}X-WX-Code: 0abc\r\n", bearer(&token)))
            .await;
        self.get("/public", &bearer(&token)).await;
        self.get("/orders", &format!("Authorization: Basic {APP_SECRET}\r\n"))
            .await;
        self.get(
            "/orders",
            &format!("Cookie: token={token}\r\nX-WX-OPENID: {token}\r\n"),
        )
        .await;
        let protocol = format!("menshen.bearer.{token}");
        let socket = "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
                      Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
        self.get(
            "/orders",
            &format!("{socket}Sec-WebSocket-Protocol: {protocol}\r\n"),
        )
        .await;
        for target in [
            format!("/orders?access_token={token}"),
            format!("/_auth/session?token={token}"),
            format!("/_auth/nowhere?refresh_token={refresh}"),
            format!("http://{token}@here/orders"),
        ] {
            self.get(&target, "").await;
        }
    }

    /// Bodies that are not what belongs there, to see whether anybody repeats them.
    async fn odd_bodies(&mut self) {
        let (token, refresh) = self.log_in("alice").await;
        for body in [
            json!({"code": "0abc", "app": refresh}).to_string(),
            json!({"code": {"x": refresh}}).to_string(),
            json!({"refresh_token": [refresh], "everywhere": refresh}).to_string(),
            format!("{{\"code\":\"{refresh}\",\"refresh_token\":\"{refresh}\"}}x"),
            format!("code={refresh}"),
            refresh.repeat(400),
        ] {
            for path in ["/_auth/login", "/_auth/refresh", "/_auth/logout"] {
                self.post(path, &bearer(&token), &body).await;
            }
        }
        // One of them was read as a logout.
        let (token, refresh) = self.log_in("bob").await;
        for path in ["/_auth/login", "/_auth/refresh", "/public", "/orders"] {
            for body in [
                format!("{BODY}\r\n{refresh}\r\n"),
                format!("-1\r\n{refresh}{BODY}\r\n0\r\n\r\n"),
                format!("5\r\n{BODY}{refresh}\r\n0\r\n\r\n"),
                format!(
                    "{:x}\r\n{BODY}\r\n0\r\n{BODY}: {refresh}\r\n\r\n",
                    BODY.len()
                ),
            ] {
                let lines = format!("{}Transfer-Encoding: chunked\r\n", bearer(&token));
                let head = format!("POST {path} HTTP/1.1\r\nHost: here\r\nConnection: close\r\n");
                self.ask(format!("{head}{lines}\r\n{body}")).await;
            }
            self.post(path, &bearer(&token), BODY).await;
        }
    }

    /// What is hardly HTTP.
    async fn garbage(&mut self) {
        let (token, refresh) = self.log_in("alice").await;
        let authorization = bearer(&token);
        for request in [
            format!(
                "GET /orders HTTP/1.1\r\nHost: here\r\nConnection: close\r\n{authorization}no colon {refresh}\r\n\r\n"
            ),
            format!(
                "GET /orders HTTP/1.1\r\nHost: here\r\nConnection: close\r\n{authorization}x y: z\r\n\r\n"
            ),
            format!("GET /orders?{token} HTTP/9.9\r\n{authorization}\r\n"),
            format!("{refresh}\r\n\r\n"),
            format!("CONNECT {token}:443 HTTP/1.1\r\nHost: here\r\nConnection: close\r\n\r\n"),
            format!("GET /%00?{token} HTTP/1.1\r\nHost: {refresh}\r\nConnection: close\r\n\r\n"),
            format!(
                "GET / HTTP/1.1\r\nHost: here\r\nX: {}\r\nConnection: close\r\n\r\n",
                token.repeat(500)
            ),
            format!(
                "GET / HTTP/1.1\r\nHost: here\r\nConnection: close\r\nContent-Length: {token}\r\n{authorization}\r\n"
            ),
            format!("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n{token}{refresh}"),
            format!("\u{16}\u{3}\u{1}\u{2}\0{token}"),
        ] {
            self.ask(request).await;
        }
        let http2 = reqwest::Client::builder()
            .no_proxy()
            .http2_prior_knowledge();
        let http2 = http2.build().unwrap();
        for (path, token) in [("orders", &token), ("orders", &refresh), ("close", &token)] {
            let get = http2.get(format!("http://{}/{path}?{token}", self.address));
            let reply = Reply::of(get.bearer_auth(token).header("x-more", &refresh)).await;
            self.answers
                .extend(format!("{:?}", reply.headers).into_bytes());
            self.answers.extend(reply.body);
        }
    }
}

fn bearer(token: &str) -> String {
    format!("Authorization: Bearer {token}\r\n")
}

impl Life {
    /// Lives a whole life with logs of this format.
    async fn live(format: &str) -> Self {
        let (relay, traces) = (Relay::start().await, Collector::start().await);
        let traced = "sample = 1\nheaders_file = \"collector.txt\"";
        let wechat = format!(
            "api_base = \"http://{}\"\ntimeout = \"300ms\"",
            relay.address
        );
        let builder = TestGateway::builder()
            .section("log", &format!("level = \"trace\"\nformat = \"{format}\""))
            .section("server", "client_timeout = \"500ms\"")
            .section("wechat", &wechat)
            .section("headers", "assertion = true\nrelay_token = true")
            .section("traces", &format!("{}\n{traced}", traces.line()));
        let simulator = builder.simulator().await;
        relay.lead_to(simulator);
        let site = builder.site(Upstream::start().await.address, simulator);
        let header = format!("Authorization: Bearer {COLLECTOR_TOKEN}\n");
        fs::write(site.folder.path().join("collector.txt"), header).unwrap();
        let program = Program::start(site.command(MENSHEN, &["serve"]));
        let mut living = Living {
            address: program.find_address().await,
            control: program.find_control_address().await,
            simulator,
            http: make_client(),
            secrets: Secrets::default(),
            answers: Vec::new(),
        };
        living.logins().await;
        living.sessions().await;
        living.vault().await;
        living.relay().await;
        living.bad_tokens().await;
        living.odd_bodies().await;
        living.garbage().await;
        living.get("/_auth/jwks.json", "").await;
        let ended = program.stop().await;
        assert_eq!(ended.code, Some(0), "{}", ended.said());

        let mut secrets = living.secrets;
        secrets.add("the AppSecret", "app5ecret");
        secrets.add("a body", BODY);
        secrets.add("the collector's token", COLLECTOR_TOKEN);
        secrets.add("an answer", NO_HTTP);
        let found = secrets.add_keys_of_wechat(&relay.answers());
        assert!(found > 3, "WeChat should have given session_keys");
        secrets.add_keys(site.folder.path());
        Self {
            secrets,
            log: ended.said(),
            answers: living.answers,
            traces,
            site,
        }
    }
}

async fn log_tells_nothing(format: &str) {
    let life = Life::live(format).await;
    assert!(life.log.contains("DEBUG"), "the finest level should be on");
    let told = life.secrets.told_in(life.log.as_bytes(), |_| true);
    assert!(told.is_empty(), "{}", told.join("\n\n"));
}

#[tokio::test]
async fn a_log_of_text_tells_nothing() {
    log_tells_nothing("text").await;
}

#[tokio::test]
async fn a_log_of_json_tells_nothing() {
    log_tells_nothing("json").await;
}

#[tokio::test]
async fn an_answer_tells_nothing_but_the_token_it_brings() {
    let life = Life::live("text").await;
    let told = life.secrets.told_in(&life.answers, |_| true);
    assert!(told.is_empty(), "{}", told.join("\n\n"));
}

#[tokio::test]
async fn a_collector_of_traces_is_told_nothing_but_its_own_token() {
    let life = Life::live("text").await;
    let spans = life.traces.spans();
    let named = |name: &str| spans.iter().filter(|span| span.name == name).count();
    for name in ["POST /_auth/login", "login", "GET jscode2session", "GET /"] {
        assert!(named(name) > 10, "{name}");
    }
    let bytes = life.traces.bytes();
    let told = life
        .secrets
        .told_in(&bytes, |what| what != "the collector's token");
    assert!(told.is_empty(), "{}", told.join("\n\n"));
    let own = life
        .secrets
        .told_in(&bytes, |what| what == "the collector's token");
    assert!(!own.is_empty(), "it should be readable at all");
}

#[tokio::test]
async fn the_store_holds_nothing_with_which_somebody_could_get_in() {
    let life = Life::live("text").await;
    let store = fs::read(life.site.folder.path().join("data/sessions.redb")).unwrap();
    // Whose a session is must stand there.
    let told = life.secrets.told_in(&store, |what| what != "an openid");
    assert!(told.is_empty(), "{}", told.join("\n\n"));
    let known = life.secrets.told_in(&store, |what| what == "an openid");
    assert!(!known.is_empty(), "it should be readable at all");
}
