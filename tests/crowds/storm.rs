//! Far more users than WeChat's quota lets in get in at its pace, whoever came first before the others, and nobody who is in notices.
//!
//! `STORM=full` has ten thousand come within a minute, which takes five more.
#![expect(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test may panic"
)]

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use menshen_test_support::{Grant, Node, Nodes, Reply, TestGateway};
use serde_json::json;
use tokio::runtime::Builder;
use tokio::sync::watch;
use tokio::task::spawn_blocking;
use tokio::time::{Instant, sleep, sleep_until, timeout};

const MENSHEN: &str = env!("CARGO_BIN_EXE_menshen");
/// Of the quota, as much is used while somebody wants in.
const USED: f64 = 0.95;
/// A user with a code that is older calls `wx.login` again.
const CODE_LASTS: Duration = Duration::from_secs(290);
/// Those who are logged in before the others come.
const WATCHERS: usize = 10;

/// How many come, within what time, and how many WeChat lets in.
#[derive(Clone, Copy)]
struct Storm {
    users: u32,
    within: Duration,
    per_minute: u32,
    /// How much of the quota must be used: a short one counts what is not used before the last users come back for more.
    used: f64,
    /// How much later than by the arithmetic somebody may be in: whoever loses their place in line to somebody who came before,
    /// after five seconds at most, comes behind those who came meanwhile.
    slack: Duration,
    /// How much longer than five times as long requests of others may take, at the median and at p99: while other tests run,
    /// only what waits for logins is told from what waits for a core.
    noise: [Duration; 2],
}

/// What a user who keeps trying sends on another try.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Code {
    Same,
    New,
}

/// A user who got in.
struct Served {
    came: Instant,
    at: Instant,
    tries: u32,
    session: String,
}

/// How long requests took of those who are logged in.
type Times = Vec<Duration>;

impl Storm {
    fn wanted() -> Self {
        match std::env::var("STORM").as_deref() {
            Ok("full") => Self {
                users: 10_000,
                within: Duration::from_secs(60),
                per_minute: 2_000,
                used: USED,
                slack: Duration::from_secs(30),
                noise: [20, 500].map(Duration::from_millis),
            },
            _ => Self {
                users: 400,
                within: Duration::from_secs(4),
                per_minute: 1_500,
                used: 0.75,
                slack: Duration::from_secs(10),
                noise: [200, 2_000].map(Duration::from_millis),
            },
        }
    }

    /// Returns in what time WeChat's quota lets so many in, where 95 % of it are used.
    fn takes(&self, users: u32) -> Duration {
        Duration::from_secs(60).mul_f64(f64::from(users) / f64::from(self.per_minute) / USED)
    }

    /// Lets everybody come, and returns when each was served, in the order in which they came.
    async fn blow(&self, node: &Node, start: Instant, code: Code) -> Vec<Served> {
        let users = (0..self.users).map(|number| {
            let comes = start + self.within * number / self.users;
            user(node, number, comes, code)
        });
        let limit = self.takes(self.users) + self.within + self.slack * 4;
        let all = timeout(limit, join_all(users)).await;
        all.unwrap_or_else(|_| panic!("all should be in within {limit:?}"))
    }
}

/// Comes at that time, and does as told until it is in.
async fn user(node: &Node, number: u32, comes: Instant, kind: Code) -> Served {
    sleep_until(comes).await;
    let name = format!("user-{number}");
    let [_, high, middle, low] = number.to_be_bytes();
    let address = format!("10.{high}.{middle}.{low}");
    let came = Instant::now();
    let (mut code, mut fetched) = (node.code(&name).await, came);
    for tries in 1.. {
        let request = node.login_with(&code).header("X-Forwarded-For", &address);
        let reply = Reply::of(request).await;
        if reply.status == 200 {
            return Served {
                came,
                at: Instant::now(),
                tries,
                session: Grant::of(reply.json()).refresh_token,
            };
        }
        let told = reply.refused(503, "wechat_busy");
        assert_eq!(told["errcode"].as_i64(), None, "WeChat should not be asked");
        let after: u64 = reply.retry_after().unwrap();
        sleep(Duration::from_secs(after)).await;
        if kind == Code::New || fetched.elapsed() > CODE_LASTS {
            (code, fetched) = (node.code(&name).await, Instant::now());
        }
    }
    unreachable!("it tries for ever");
}

/// Uses the gateway until told to stop, as somebody who is logged in.
async fn watch(node: &Node, mut grant: Grant, mut stop: watch::Receiver<bool>) -> Times {
    let mut times = Vec::new();
    while !*stop.borrow() {
        let sent = Instant::now();
        assert_eq!(node.get_as(&grant.token).await.status, 200);
        times.push(sent.elapsed());
        if times.len().is_multiple_of(50) {
            grant = node.refreshed(&grant.refresh_token).await;
        }
        let _ = timeout(Duration::from_millis(100), stop.changed()).await;
    }
    times
}

/// Has those who are logged in use the gateway while something goes on.
async fn watched<T>(node: &Arc<Node>, goes_on: impl Future<Output = T>) -> (T, Times) {
    let names: Vec<String> = (0..WATCHERS).map(|n| format!("watcher-{n}")).collect();
    let grants = join_all(names.iter().map(|name| node.log_in(name))).await;
    let stop = watch::Sender::new(false);
    let (watched, stopped) = (Arc::clone(node), stop.subscribe());
    // On a thread of their own, so that it is the gateway that keeps them waiting and not the crowd of this process.
    let watchers = spawn_blocking(move || {
        let all = grants
            .into_iter()
            .map(|grant| watch(&watched, grant, stopped.clone()));
        let runtime = Builder::new_current_thread().enable_all().build();
        runtime.unwrap().block_on(join_all(all))
    });
    let done = goes_on.await;
    stop.send_replace(true);
    let mut times: Times = watchers.await.unwrap().into_iter().flatten().collect();
    times.sort();
    (done, times)
}

fn quantile(times: &[Duration], share: f64) -> Duration {
    let last = times.len() - 1;
    times[(last as f64 * share) as usize]
}

async fn storm(code: Code) {
    let storm = Storm::wanted();
    let quota = format!("quota_per_minute = {}", storm.per_minute);
    let builder = TestGateway::builder()
        .section("login", &quota)
        .trust_local_proxies();
    let nodes = Nodes::new(builder).await;
    let node = Arc::new(nodes.serve(MENSHEN).await);
    let ((), calm) = watched(&node, sleep(Duration::from_secs(3))).await;
    let appid = TestGateway::appid("shop");
    let start = Instant::now() + Duration::from_secs(3);
    let ask = async {
        let asked = json!({"appid": appid, "per_minute": storm.per_minute});
        node.simulate("quota", asked).await;
        storm.blow(&node, start, code).await
    };
    let (served, during) = watched(&node, ask).await;
    report(&storm, code, start, &served, [&calm, &during], &node).await;
}

/// Prints what came of a storm, and checks it.
async fn report(
    storm: &Storm,
    code: Code,
    start: Instant,
    served: &[Served],
    [calm, during]: [&Times; 2],
    node: &Node,
) {
    let seen = node.simulated("quota").await;
    let seen = &seen[TestGateway::appid("shop")];
    let calls = node.simulated("calls").await;
    let outcomes = &calls["/sns/jscode2session"]["outcomes"];

    let mut at: Times = served.iter().map(|user| user.at - start).collect();
    at.sort();
    // Who comes back to the second may leave the last calls unused when hardly anybody is left.
    let wanting = at.len() - storm.per_minute as usize / 60;
    let used = wanting as f64 / storm.per_minute as f64 * 60.0 / at[wanting - 1].as_secs_f64();
    let longest = served.iter().map(|user| user.at - user.came).max();
    let mut late = Duration::ZERO;
    for (before, user) in (0..).zip(served) {
        // With another code on each try, nobody can know that somebody has come before.
        let before = if code == Code::Same {
            before
        } else {
            storm.users
        };
        let due = start + storm.takes(before);
        late = late.max(user.at.saturating_duration_since(due));
    }
    let mut tries: Vec<u32> = served.iter().map(|user| user.tries).collect();
    tries.sort_unstable();
    let [before, meanwhile] =
        [calm, during].map(|times| [0.5, 0.99].map(|share| quantile(times, share)));
    println!(
        "{} users within {:?}, {} a minute, {code:?} code on each try: all in after {:.1?}; {:.1} % of the quota used; \
         fullest minute {}, refused {}; longest wait {:.1?}, {late:.1?} more than by the arithmetic; \
         tries {} at the median, {} at most; who is logged in: {before:.1?} before, {meanwhile:.1?} meanwhile (median, p99)",
        storm.users,
        storm.within,
        storm.per_minute,
        at[at.len() - 1],
        used * 100.0,
        seen["fullest"],
        seen["refused"],
        longest.unwrap(),
        tries[tries.len() / 2],
        tries[tries.len() - 1],
    );

    assert_eq!(seen["refused"], 0);
    assert!(seen["fullest"].as_u64().unwrap() <= storm.per_minute.into());
    assert!(used >= storm.used, "{used}");
    assert!(late <= storm.slack, "{late:?}");
    let sessions: HashSet<&String> = served.iter().map(|user| &user.session).collect();
    assert_eq!(sessions.len(), served.len(), "everybody has a session");
    // Twice as many watchers logged in: for the time before, and for the storm.
    let redeemed = served.len() + 2 * WATCHERS;
    assert_eq!(
        *outcomes,
        json!({"ok": redeemed}),
        "no code was spent in vain"
    );
    for ((before, meanwhile), noise) in before.into_iter().zip(meanwhile).zip(storm.noise) {
        assert!(meanwhile <= before * 5 + noise, "{meanwhile:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_storm_of_users_who_keep_their_code_is_let_in_at_the_pace_of_the_quota() {
    storm(Code::Same).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_storm_of_users_with_a_new_code_on_each_try_is_let_in_at_the_pace_of_the_quota() {
    storm(Code::New).await;
}
