//! The simulated WeChat, as tests drive it.

use std::net::SocketAddr;

use serde_json::{Value, json};

use crate::{Reply, TestGateway};

/// A simulator, and the client by which it is asked.
pub(crate) struct Simulated<'h> {
    pub(crate) address: SocketAddr,
    pub(crate) http: &'h reqwest::Client,
}

impl Simulated<'_> {
    fn url(&self, path: &str) -> String {
        format!("http://{}/_sim/{path}", self.address)
    }

    /// Has it do something.
    pub(crate) async fn drive(&self, path: &str, body: Value) -> Value {
        let reply = Reply::of(self.http.post(self.url(path)).json(&body)).await;
        assert_eq!(reply.status, 200, "{}", reply.text());
        reply.json()
    }

    /// Returns what it tells of itself.
    pub(crate) async fn read(&self, path: &str) -> Value {
        Reply::of(self.http.get(self.url(path))).await.json()
    }

    /// Returns how often it was called at a path.
    pub(crate) async fn count_calls(&self, path: &str) -> u64 {
        let calls = self.read("calls").await;
        calls[path]["calls"].as_u64().unwrap_or(0)
    }

    /// Plans a fault at a path.
    pub(crate) async fn plan_fault(&self, path: &str, mut plan: Value) {
        plan["path"] = json!(path);
        self.drive("faults", plan).await;
    }

    /// Forgets the faults that were planned.
    pub(crate) async fn forget_faults(&self) {
        let reply = Reply::of(self.http.delete(self.url("faults"))).await;
        assert_eq!(reply.status, 200, "{}", reply.text());
    }

    /// Does what `wx.login` does in an app.
    pub(crate) async fn make_code(&self, app: &str, user: &str) -> String {
        let asked = json!({"appid": TestGateway::appid(app), "user": user});
        let code = self.drive("login", asked).await;
        code["code"].as_str().expect("a code").to_owned()
    }
}
