//! What is counted for those who run Menshen, in the text form that Prometheus reads.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use prometheus_client::encoding::{EncodeLabelSet, text};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Metric, Registry};

/// The counters; clones share them. Every label has few values: names from the configuration and words of ours.
#[derive(Clone)]
pub struct Metrics {
    counted: Arc<Counted>,
}

/// Looks something up that is not counted as it happens.
type Look = Box<dyn Fn(&Metrics) + Send>;

struct Counted {
    /// What is looked up whenever everything is written down.
    looks: Mutex<Vec<Look>>,
    registry: Registry,
    logins: Family<Login, Counter>,
    calls: Family<Call, Counter>,
    replays: Family<App, Counter>,
    waiting: Family<App, Gauge>,
    kept_back: Family<KeptBack, Gauge>,
    token_age: Family<App, Gauge>,
    token_left: Family<App, Gauge>,
    token_error: Family<TokenError, Gauge>,
    token_renewals: Family<Renewal, Counter>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct App {
    app: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Login {
    app: String,
    outcome: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Call {
    app: String,
    endpoint: &'static str,
    result: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct KeptBack {
    app: String,
    reason: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct TokenError {
    app: String,
    error: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Renewal {
    app: String,
    reason: &'static str,
}

impl Default for Metrics {
    fn default() -> Self {
        let mut registry = Registry::with_prefix("menshen");
        let of = &mut registry;
        let counted = Counted {
            looks: Mutex::default(),
            logins: registered(of, "logins", "Logins by what the client was told"),
            calls: registered(of, "wechat_calls", "Calls to WeChat by what came of them"),
            replays: registered(
                of,
                "login_replays",
                "Codes that were sent again and brought the same session",
            ),
            waiting: registered(of, "login_waiting", "Logins that wait for their turn"),
            kept_back: registered(
                of,
                "login_kept_back",
                "Whether calls are kept back, by reason",
            ),
            token_age: registered(
                of,
                "access_token_age_seconds",
                "How long the access_token has been kept here",
            ),
            token_left: registered(
                of,
                "access_token_left_seconds",
                "How long the access_token is good for",
            ),
            token_error: registered(
                of,
                "access_token_error",
                "Why the last try to renew the access_token failed, by errcode",
            ),
            token_renewals: registered(
                of,
                "access_token_renewals",
                "Other access_tokens that came, by reason",
            ),
            registry,
        };
        Self {
            counted: Arc::new(counted),
        }
    }
}

/// Makes a metric that a registry knows.
fn registered<M: Metric + Clone + Default>(registry: &mut Registry, name: &str, help: &str) -> M {
    let metric = M::default();
    registry.register(name, help, metric.clone());
    metric
}

impl Metrics {
    /// Counts a login; `outcome` is "ok" or the code of a refusal.
    pub fn login(&self, app: &str, outcome: &'static str) {
        let app = app.to_owned();
        self.counted
            .logins
            .get_or_create(&Login { app, outcome })
            .inc();
    }

    /// Counts a call to WeChat; `result` is one of few words or an errcode that is known.
    pub fn call(&self, app: &str, endpoint: &'static str, result: String) {
        let app = app.to_owned();
        let call = Call {
            app,
            endpoint,
            result,
        };
        self.counted.calls.get_or_create(&call).inc();
    }

    /// Counts a code that brought the session that it had brought before.
    pub fn replay(&self, app: &str) {
        let app = app.to_owned();
        self.counted.replays.get_or_create(&App { app }).inc();
    }

    /// Has this done whenever everything is written down, to say how many wait and what is kept back at that moment.
    pub fn look(&self, look: impl Fn(&Self) + Send + 'static) {
        let looks = self.counted.looks.lock();
        let mut looks = looks.unwrap_or_else(PoisonError::into_inner);
        looks.push(Box::new(look));
    }

    /// Says how many logins of an app wait.
    pub fn waiting(&self, app: &str, count: usize) {
        let app = app.to_owned();
        let count = i64::try_from(count).unwrap_or(i64::MAX);
        self.counted.waiting.get_or_create(&App { app }).set(count);
    }

    /// Says whether calls of an app are kept back for this reason.
    pub fn kept_back(&self, app: &str, reason: &'static str, so: bool) {
        let app = app.to_owned();
        let kept_back = KeptBack { app, reason };
        let gauge = self.counted.kept_back.get_or_create(&kept_back);
        gauge.set(i64::from(so));
    }

    /// Counts another access_token.
    pub fn access_token_renewed(&self, app: &str, reason: &'static str) {
        let app = app.to_owned();
        let renewal = Renewal { app, reason };
        self.counted.token_renewals.get_or_create(&renewal).inc();
    }

    /// Says how it stands with the access_token of an app.
    pub fn access_token(
        &self,
        app: &str,
        age: Option<u64>,
        left: Option<u64>,
        error: Option<&str>,
    ) {
        let counted = &self.counted;
        let label = App {
            app: app.to_owned(),
        };
        for (gauge, secs) in [(&counted.token_age, age), (&counted.token_left, left)] {
            if let Some(secs) = secs {
                let secs = i64::try_from(secs).unwrap_or(i64::MAX);
                gauge.get_or_create(&label).set(secs);
            }
        }
        if let Some(error) = error {
            let (app, error) = (label.app, error.to_owned());
            let label = TokenError { app, error };
            counted.token_error.get_or_create(&label).set(1);
        }
    }

    /// Writes everything down.
    pub fn text(&self) -> String {
        let Counted { looks, .. } = &*self.counted;
        // Held to the end: what another asks for meanwhile would be cleared in between.
        let looks = looks.lock().unwrap_or_else(PoisonError::into_inner);
        if !looks.is_empty() {
            self.counted.waiting.clear();
            self.counted.kept_back.clear();
            self.counted.token_age.clear();
            self.counted.token_left.clear();
            self.counted.token_error.clear();
        }
        for look in looks.iter() {
            look(self);
        }
        let mut out = String::new();
        // Nothing that is written to a String fails.
        let _ = text::encode(&mut out, &self.counted.registry);
        out
    }
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Metrics")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_counted_can_be_read() {
        let metrics = Metrics::default();
        metrics.login("shop", "ok");
        metrics.login("shop", "wechat_busy");
        metrics.clone().login("shop", "ok");
        metrics.call("shop", "jscode2session", "40029".to_owned());
        metrics.replay("shop");
        metrics.waiting("shop", 3);
        metrics.kept_back("shop", "day", true);
        let text = metrics.text();
        for line in [
            r#"menshen_logins_total{app="shop",outcome="ok"} 2"#,
            r#"menshen_logins_total{app="shop",outcome="wechat_busy"} 1"#,
            r#"menshen_wechat_calls_total{app="shop",endpoint="jscode2session",result="40029"} 1"#,
            r#"menshen_login_replays_total{app="shop"} 1"#,
            r#"menshen_login_waiting{app="shop"} 3"#,
            r#"menshen_login_kept_back{app="shop",reason="day"} 1"#,
        ] {
            assert!(text.lines().any(|found| found == line), "{line}\n{text}");
        }
    }
}
