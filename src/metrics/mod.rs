//! What is counted for those who run Menshen, in the text form that Prometheus reads.
//!
//! # Layout
//! [`Metrics`] has what happens seldom, and writes everything down. `traffic` counts each exchange, with `shards` and `durations`,
//! which cost a few additions; `totals` sums them up, and `hour` keeps the sums of an hour. `observed` is what is looked up when
//! somebody asks, `process` what the system says. `samples` reads what was written down.

mod durations;
mod hour;
mod observed;
mod process;
mod samples;
mod shards;
mod totals;
mod traffic;

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use prometheus_client::encoding::{EncodeLabelSet, text};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Metric, Registry, Unit};
use tokio::sync::Mutex as Turn;
use tokio::task::spawn_blocking;

pub use self::durations::{Durations, Snapshot};
pub use self::hour::{Counters, Hour, Step};
use self::observed::Observed;
pub use self::observed::{Labels, Page};
pub use self::samples::Sample;
pub use self::shards::{Count, Sharded, count_as};
pub use self::totals::Totals;
pub use self::traffic::{Course, Ended, RouteTraffic, Traffic, UpstreamTraffic, Words};

/// The bounds of what waits for people or for WeChat, in seconds.
const SLOW: [f64; 12] = [
    0.005, 0.025, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0,
];

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
    /// Held by whoever has everything written down on a thread of its own.
    turn: Arc<Turn<()>>,
    registry: Registry,
    /// What all programs have, without a name of ours before it.
    common: Registry,
    observed: Arc<Observed>,
    logins: Family<Login, Counter>,
    login_times: Family<Login, Histogram, Times>,
    waits: Family<App, Histogram, Times>,
    calls: Family<Call, Counter>,
    call_times: Family<Endpoint, Histogram, Times>,
    quota_left: Family<App, Gauge>,
    reloads: Family<Reload, Counter>,
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
struct Endpoint {
    app: String,
    endpoint: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Reload {
    result: &'static str,
}

type Times = fn() -> Histogram;

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
        let observed = Arc::<Observed>::default();
        registry.register_collector(Box::new(Arc::clone(&observed)));
        let common_observed = Arc::<Observed>::default();
        common_observed.add(Box::new(process::show));
        let mut common = Registry::default();
        common.register_collector(Box::new(common_observed));
        let of = &mut registry;
        let counted = Counted {
            looks: Mutex::default(),
            turn: Arc::default(),
            logins: registered(of, "logins", "Logins by what the client was told"),
            login_times: timed(of, "login_duration", "The time of a login in all"),
            waits: timed(
                of,
                "login_wait",
                "The time that a login waited for its turn",
            ),
            call_times: timed(of, "wechat_call_duration", "The time of a call to WeChat"),
            quota_left: registered(
                of,
                "login_quota_left",
                "Calls that the configured quota leaves for this minute",
            ),
            reloads: registered(of, "reloads", "Reloads of the configuration by result"),
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
            common,
            observed,
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

/// Makes a histogram that a registry knows.
fn timed<L>(registry: &mut Registry, name: &str, help: &str) -> Family<L, Histogram, Times>
where
    L: Clone + std::hash::Hash + Eq + EncodeLabelSet + fmt::Debug + Send + Sync + 'static,
{
    let times: Times = || Histogram::new(SLOW);
    let metric = Family::new_with_constructor(times);
    registry.register_with_unit(name, help, Unit::Seconds, metric.clone());
    metric
}

impl Metrics {
    /// Counts a login; `outcome` is "ok" or the code of a refusal.
    pub fn login(&self, app: &str, outcome: &'static str, took: Duration) {
        let app = app.to_owned();
        let login = Login { app, outcome };
        self.counted.logins.get_or_create(&login).inc();
        let times = self.counted.login_times.get_or_create(&login);
        times.observe(took.as_secs_f64());
    }

    /// Counts how long a login waited for its turn.
    pub fn waited(&self, app: &str, waited: Duration) {
        let app = app.to_owned();
        let waits = self.counted.waits.get_or_create(&App { app });
        waits.observe(waited.as_secs_f64());
    }

    /// Counts a reload; `result` is "ok" or "refused".
    pub fn reload(&self, result: &'static str) {
        let reload = Reload { result };
        self.counted.reloads.get_or_create(&reload).inc();
    }

    /// Has this asked for values whenever everything is written down.
    pub fn observe(&self, observer: impl Fn(&mut Page<'_>) + Send + 'static) {
        self.counted.observed.add(Box::new(observer));
    }

    /// Counts a call to WeChat; `result` is one of few words or an errcode that is known.
    pub fn call(&self, app: &str, endpoint: &'static str, result: String, took: Option<Duration>) {
        let app = app.to_owned();
        let place = Endpoint {
            app: app.clone(),
            endpoint,
        };
        if let Some(took) = took {
            let times = self.counted.call_times.get_or_create(&place);
            times.observe(took.as_secs_f64());
        }
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

    /// Registers a callback that runs before each scrape, for gauges such as how many wait.
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

    /// Says how many calls the quota of an app leaves for this minute.
    pub fn quota_left(&self, app: &str, left: u32) {
        let app = app.to_owned();
        let gauge = self.counted.quota_left.get_or_create(&App { app });
        gauge.set(i64::from(left));
    }

    /// Returns whether calls of an app are kept back for this reason.
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

    /// Runs a scrape on a thread that serves no connections, one at a time, because it is slow and must delay nobody's request.
    /// `None` when the runtime stops.
    pub async fn aside<T, F>(&self, make: F) -> Option<T>
    where
        T: Send + 'static,
        F: FnOnce(&Self) -> T + Send + 'static,
    {
        let turn = Arc::clone(&self.counted.turn).lock_owned().await;
        let metrics = self.clone();
        let made = spawn_blocking(move || {
            let made = make(&metrics);
            // Also when whoever asked has left meanwhile, it is the next one's turn only now.
            drop(turn);
            made
        });
        made.await.ok()
    }

    /// Writes everything down.
    pub fn text(&self) -> String {
        let Counted { looks, .. } = &*self.counted;
        // Held to the end: what another asks for meanwhile would be cleared in between.
        let looks = looks.lock().unwrap_or_else(PoisonError::into_inner);
        if !looks.is_empty() {
            self.counted.waiting.clear();
            self.counted.kept_back.clear();
            self.counted.quota_left.clear();
            self.counted.token_age.clear();
            self.counted.token_left.clear();
            self.counted.token_error.clear();
        }
        for look in looks.iter() {
            look(self);
        }
        let mut out = String::new();
        // Nothing that is written to a String fails.
        let _ = text::encode_registry(&mut out, &self.counted.registry);
        let _ = text::encode_registry(&mut out, &self.counted.common);
        let _ = text::encode_eof(&mut out);
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
    fn what_is_looked_up_is_one_line_whatever_its_labels_hold() {
        let metrics = Metrics::default();
        let label = || vec![("file", "/a\"b\\c\nd".to_owned())];
        metrics.observe(move |page| page.gauge("things", "Things", [(label(), 1_u64)]));
        let text = metrics.text();
        assert!(
            text.lines()
                .any(|line| line == r#"menshen_things{file="/a\"b\\c\nd"} 1"#),
            "{text}"
        );
        assert!(text.ends_with("\n# EOF\n"), "{text}");
        assert_eq!(text.matches("# EOF").count(), 1);
    }

    #[tokio::test]
    async fn the_thread_of_whoever_asks_goes_on_while_everything_is_written_down() {
        let metrics = Metrics::default();
        let (begun, mut begins) = tokio::sync::mpsc::unbounded_channel();
        let (goes_on, gone_on) = std::sync::mpsc::channel();
        metrics.look(move |_| {
            begun.send(()).unwrap();
            gone_on.recv_timeout(Duration::from_secs(20)).unwrap();
        });
        let asked = tokio::spawn(async move { metrics.aside(Metrics::text).await });
        begins.recv().await.unwrap();
        goes_on.send(()).unwrap();
        assert!(asked.await.unwrap().is_some());
    }

    #[tokio::test]
    async fn one_who_has_left_keeps_the_turn_until_what_was_begun_is_done() {
        let metrics = Metrics::default();
        let (begun, mut begins) = tokio::sync::mpsc::unbounded_channel();
        let (goes_on, gone_on) = std::sync::mpsc::channel();
        let leaving = metrics.clone();
        let left = tokio::spawn(async move {
            let make = move |_: &Metrics| {
                begun.send(()).unwrap();
                gone_on.recv_timeout(Duration::from_secs(20)).unwrap();
            };
            leaving.aside(make).await
        });
        begins.recv().await.unwrap();
        left.abort();
        assert!(left.await.is_err());
        assert!(metrics.counted.turn.try_lock().is_err());
        goes_on.send(()).unwrap();
        assert!(metrics.aside(Metrics::text).await.is_some());
    }

    #[test]
    fn what_is_counted_can_be_read() {
        let metrics = Metrics::default();
        let took = Duration::from_millis(40);
        metrics.login("shop", "ok", took);
        metrics.login("shop", "wechat_busy", took);
        metrics.clone().login("shop", "ok", took);
        metrics.call("shop", "jscode2session", "40029".to_owned(), Some(took));
        metrics.waited("shop", took);
        metrics.quota_left("shop", 7);
        metrics.replay("shop");
        metrics.waiting("shop", 3);
        metrics.kept_back("shop", "day", true);
        let text = metrics.text();
        for line in [
            r#"menshen_logins_total{app="shop",outcome="ok"} 2"#,
            r#"menshen_logins_total{app="shop",outcome="wechat_busy"} 1"#,
            r#"menshen_wechat_calls_total{app="shop",endpoint="jscode2session",result="40029"} 1"#,
            r#"menshen_login_duration_seconds_bucket{le="0.025",app="shop",outcome="ok"} 0"#,
            r#"menshen_login_duration_seconds_bucket{le="0.1",app="shop",outcome="ok"} 2"#,
            r#"menshen_wechat_call_duration_seconds_sum{app="shop",endpoint="jscode2session"} 0.04"#,
            r#"menshen_login_wait_seconds_count{app="shop"} 1"#,
            r#"menshen_login_quota_left{app="shop"} 7"#,
            r#"menshen_login_replays_total{app="shop"} 1"#,
            r#"menshen_login_waiting{app="shop"} 3"#,
            r#"menshen_login_kept_back{app="shop",reason="day"} 1"#,
        ] {
            assert!(text.lines().any(|found| found == line), "{line}\n{text}");
        }
    }
}
