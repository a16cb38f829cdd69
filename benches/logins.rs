//! What a login costs on top of WeChat's own answer, through the program as a process of its own with its embedded store.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a benchmark may panic"
)]

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::future::join_all;
use menshen_test_support::{APP_SECRET, Node, Nodes, TestGateway, bench};
use reqwest::RequestBuilder;
use serde_json::{Value, json};

/// Logins under way at a time.
const TOGETHER: usize = 64;
const ROUNDS: usize = 4;
/// Logins in a round, and as many calls to WeChat alone.
const LOGINS: usize = 6_400;
/// How long the simulator takes for an answer, which is about what WeChat does. With none, the two cores would have nothing
/// to wait for, and what is measured would be how long a queue of 64 is.
const WECHAT_TAKES: Duration = Duration::from_millis(100);
const MOST_AT_MEDIAN: Duration = Duration::from_micros(1500);
const MOST_AT_P99: Duration = Duration::from_millis(5);

/// What is asked: WeChat itself, or Menshen, which asks WeChat.
#[derive(Clone, Copy)]
enum Way {
    Direct,
    Through,
}

/// A running program and the WeChat behind it.
struct Scene {
    /// Keeps connections, which the nodes' own does not.
    http: reqwest::Client,
    nodes: Nodes,
    node: Node,
}

impl Scene {
    async fn start() -> Self {
        let builder = TestGateway::builder().section("login", "refused_per_minute = 0");
        let nodes = Nodes::new(builder).await;
        let node = nodes
            .serve(&bench::program(env!("CARGO_BIN_EXE_menshen")))
            .await;
        let http = reqwest::Client::builder().no_proxy().build().unwrap();
        Self { http, nodes, node }
    }

    /// Does what `wx.login` does, for a user of its own.
    async fn code(&self) -> String {
        let user = format!("user-{}", fastrand::u64(..));
        let asked = json!({"appid": TestGateway::appid("shop"), "user": user});
        let url = format!("http://{}/_sim/login", self.nodes.simulator());
        let answer = self.http.post(url).json(&asked).send().await.unwrap();
        let answer: Value = answer.json().await.unwrap();
        answer["code"].as_str().unwrap().to_owned()
    }

    async fn codes(&self, count: usize) -> Vec<String> {
        let mut codes = Vec::with_capacity(count);
        while codes.len() < count {
            codes.extend(join_all((0..TOGETHER).map(|_| self.code())).await);
        }
        codes
    }

    fn request(&self, way: Way, code: &str) -> RequestBuilder {
        match way {
            Way::Direct => {
                let url = format!("http://{}/sns/jscode2session", self.nodes.simulator());
                self.http.get(url).query(&[
                    ("appid", TestGateway::appid("shop").as_str()),
                    ("secret", APP_SECRET),
                    ("js_code", code),
                    ("grant_type", "authorization_code"),
                ])
            }
            Way::Through => {
                let url = format!("http://{}/_auth/login", self.node.address);
                self.http.post(url).json(&json!({ "code": code }))
            }
        }
    }

    /// Sends one code after the other, and returns how long each took.
    async fn one_by_one(&self, way: Way, codes: &[String]) -> Vec<Duration> {
        let sign_of_success = match way {
            Way::Direct => "openid",
            Way::Through => "token",
        };
        let mut times = Vec::with_capacity(codes.len());
        for code in codes {
            let request = self.request(way, code);
            let sent = Instant::now();
            let answer = request.send().await.unwrap().bytes().await.unwrap();
            times.push(sent.elapsed());
            let answer: Value = serde_json::from_slice(&answer).unwrap();
            assert!(answer.get(sign_of_success).is_some(), "{answer}");
        }
        times
    }
}

/// Redeems so many codes, [`TOGETHER`] at a time that begin evenly within `spread`, and returns how long each took.
async fn redeem(scene: &Arc<Scene>, way: Way, count: usize, spread: Duration) -> Vec<Duration> {
    let codes = scene.codes(count).await;
    let clients = codes
        .chunks(count.div_ceil(TOGETHER))
        .enumerate()
        .map(|(number, codes)| {
            let (scene, codes) = (Arc::clone(scene), codes.to_vec());
            let begins = spread * u32::try_from(number).unwrap() / u32::try_from(TOGETHER).unwrap();
            tokio::spawn(async move {
                tokio::time::sleep(begins).await;
                scene.one_by_one(way, &codes).await
            })
        });
    let times = join_all(clients).await.into_iter();
    times.flat_map(Result::unwrap).collect()
}

/// Returns the median and the 99th percentile.
fn quantiles(mut times: Vec<Duration>) -> [Duration; 2] {
    times.sort();
    let last = times.len() - 1;
    [times[last / 2], times[last * 99 / 100]]
}

fn say(line: &str) {
    println!("{line}");
}

/// Logs in while WeChat takes its time, and returns what that adds to it.
async fn overhead(scene: &Arc<Scene>, rounds: usize, logins: usize) -> [Duration; 2] {
    let by = format!("{}ms", WECHAT_TAKES.as_millis());
    scene.node.fault(json!({"fault": "delay", "by": by})).await;
    for way in [Way::Direct, Way::Through] {
        redeem(scene, way, TOGETHER, Duration::ZERO).await;
    }
    let (mut direct, mut through) = (Vec::new(), Vec::new());
    // In turns, so that what else the machine does falls on both.
    for _ in 0..rounds {
        direct.extend(redeem(scene, Way::Direct, logins, WECHAT_TAKES).await);
        through.extend(redeem(scene, Way::Through, logins, WECHAT_TAKES).await);
    }
    let count = through.len();
    let (direct, through) = (quantiles(direct), quantiles(through));
    // What WeChat's own answers differ by is counted as ours.
    let added = through.map(|time| time.saturating_sub(direct[0]));
    say(&format!(
        "{count} logins, {TOGETHER} at a time, WeChat's answer in {WECHAT_TAKES:?}: {:?} added at the median \
         (at most {MOST_AT_MEDIAN:?}) and {:?} at p99 (at most {MOST_AT_P99:?}); {direct:?} without and {through:?} \
         with Menshen, median and p99",
        added[0], added[1],
    ));
    added
}

/// Logs in while WeChat answers at once, which is as fast as it goes.
async fn at_once(scene: &Arc<Scene>, logins: usize) {
    scene.node.heal().await;
    for (name, way) in [("WeChat alone", Way::Direct), ("logins", Way::Through)] {
        let times = redeem(scene, way, logins, Duration::ZERO).await;
        let whole: Duration = times.iter().sum();
        let each_second = times.len() as f64 / (whole.as_secs_f64() / TOGETHER as f64);
        let [median, p99] = quantiles(times);
        say(&format!(
            "{name}, {TOGETHER} at a time, WeChat's answer at once: {each_second:.0} a second, {median:?} each at the \
             median, {p99:?} at p99"
        ));
    }
}

fn main() {
    let asked = std::env::var("LOGINS").ok();
    let asked: Option<usize> = asked.map(|count| count.parse().unwrap());
    let (rounds, logins) = asked.map_or((ROUNDS, LOGINS), |count| (1, count));
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    let runtime = runtime.enable_all().build().unwrap();
    runtime.block_on(async {
        let limit = Duration::from_secs(300);
        let all = async {
            let scene = Arc::new(Scene::start().await);
            let added = overhead(&scene, rounds, logins).await;
            at_once(&scene, logins).await;
            if asked.is_none() {
                assert!(added[0] <= MOST_AT_MEDIAN, "{added:?}");
                assert!(added[1] <= MOST_AT_P99, "{added:?}");
            }
        };
        if tokio::time::timeout(limit, all).await.is_err() {
            panic!("should end within {limit:?}");
        }
    });
}
