//! The simulator and its faults over real sockets.

mod api;
mod faults;
mod web;
mod wechat;

use reqwest::redirect::Policy;
use reqwest::{Client, Response, StatusCode};
use serde_json::{Value, json};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::*;

const PATH: &str = "/sns/jscode2session";
const APPID: &str = "wx0123456789abcdef";
const SECRET: &str = "s3cret";

struct TestWeChat {
    address: String,
    client: Client,
    stop: CancellationToken,
    server: JoinHandle<io::Result<()>>,
}

impl TestWeChat {
    async fn start() -> Self {
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let app = format!("{APPID}:{SECRET}").parse().unwrap();
        let simulator = Simulator::new(vec![app], Clock::system());
        let stop = CancellationToken::new();
        let stopped = stop.clone().cancelled_owned();
        Self {
            address,
            client: Client::builder().redirect(Policy::none()).build().unwrap(),
            stop,
            server: tokio::spawn(simulator.serve(listener, stopped)),
        }
    }

    /// Starts one on which the next exchange goes wrong.
    async fn with_fault(plan: Value) -> Self {
        let wechat = Self::start().await;
        wechat.plan(plan).await;
        wechat
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    async fn control(&self, path: &str, body: Value) -> Response {
        let call = self.client.post(self.url(path)).body(body.to_string());
        call.send().await.unwrap()
    }

    async fn plan(&self, mut plan: Value) {
        plan["path"] = json!(PATH);
        plan["times"] = json!(1);
        let reply = self.control("/_sim/faults", plan).await;
        assert_eq!(reply.status(), StatusCode::OK);
    }

    async fn code(&self) -> String {
        let user = json!({ "appid": APPID, "user": "alice" });
        let reply: Value = json_of(self.control("/_sim/login", user).await).await;
        reply["code"].as_str().unwrap().to_owned()
    }

    async fn redeem(&self, code: &str) -> reqwest::Result<Response> {
        let call = self.client.get(self.url(PATH)).query(&params(code));
        call.send().await
    }

    async fn redeem_new(&self) -> Response {
        self.redeem(&self.code().await).await.unwrap()
    }

    async fn errcode(&self, code: &str) -> Value {
        json_of(self.redeem(code).await.unwrap()).await["errcode"].take()
    }

    async fn calls(&self) -> Value {
        let reply = self.client.get(self.url("/_sim/calls")).send().await;
        json_of(reply.unwrap()).await
    }
}

fn params(code: &str) -> [(&str, &str); 4] {
    [
        ("appid", APPID),
        ("secret", SECRET),
        ("js_code", code),
        ("grant_type", "authorization_code"),
    ]
}

async fn json_of(reply: Response) -> Value {
    reply.json().await.unwrap()
}
