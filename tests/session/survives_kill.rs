//! What was answered before a kill, of Menshen or of its Redis, holds after it.
//!
//! `SOAK_SECS` makes it go on for longer than the suite has time.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test may panic"
)]

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use futures::future::join_all;
use menshen_test_support::redis::Redis;
use menshen_test_support::{Grant, Node, Nodes, TestGateway};
use reqwest::RequestBuilder;

const MENSHEN: &str = env!("CARGO_BIN_EXE_menshen");
const WORKERS: usize = 8;
/// Of the sessions of earlier rounds, as many are looked at after a kill; after the last, all.
const SAMPLE: usize = 100;

fn soak() -> Duration {
    let asked = std::env::var("SOAK_SECS");
    Duration::from_secs(asked.map_or(8, |secs| secs.parse().unwrap()))
}

/// What was answered.
#[derive(Default)]
struct Ledger {
    living: Vec<Grant>,
    ended: Vec<Grant>,
    logins: usize,
    refreshes: usize,
    logouts: usize,
}

impl Ledger {
    fn append(&mut self, mut other: Self) {
        self.living.append(&mut other.living);
        self.ended.append(&mut other.ended);
        self.logins += other.logins;
        self.refreshes += other.refreshes;
        self.logouts += other.logouts;
    }

    /// Looks at the last sessions and at others by chance.
    async fn holds(&mut self, node: &Node, last: usize) {
        fastrand::shuffle(&mut self.ended);
        let older = self.living.len().saturating_sub(last);
        if let Some(older) = self.living.get_mut(..older) {
            fastrand::shuffle(older);
        }
        let skipped = older.saturating_sub(SAMPLE);
        for grants in self.living[skipped..].chunks_mut(WORKERS) {
            join_all(grants.iter_mut().map(|grant| lives(node, grant))).await;
        }
        let ended = &self.ended[..self.ended.len().min(last + SAMPLE)];
        for grants in ended.chunks(WORKERS) {
            join_all(grants.iter().map(|grant| has_ended(node, grant))).await;
        }
    }

    async fn all_hold(&mut self, node: &Node) {
        self.holds(node, usize::MAX - SAMPLE).await;
    }

    fn summary(&self, kills: usize) -> String {
        let Self {
            logins,
            refreshes,
            logouts,
            ..
        } = self;
        format!(
            "{kills} kills: {logins} logins, {refreshes} refreshes and {logouts} logouts were answered, none was lost"
        )
    }
}

async fn lives(node: &Node, grant: &mut Grant) {
    assert_eq!(node.get_as(&grant.token).await.status, 200);
    *grant = node.refreshed(&grant.refresh_token).await;
}

async fn has_ended(node: &Node, grant: &Grant) {
    let over = (401, "session_ended".to_owned());
    assert_eq!(node.get_as(&grant.token).await.refusal(), over);
    assert_eq!(node.refresh(&grant.refresh_token).await.refusal(), over);
}

/// Logs in, refreshes and logs out as fast as it can until told to stop, and returns what was answered.
async fn work(node: &Node, name: &str, stop: &AtomicBool) -> Ledger {
    let mut ledger = Ledger::default();
    for n in 0_u64.. {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let Some(mut grant) = granted(node.login(&format!("{name}-{n}")).await).await else {
            continue;
        };
        ledger.logins += 1;
        if n % 2 == 0 {
            // Without an answer the token that was sent is still good, whether it was replaced or not.
            if let Some(successor) = granted(node.refreshing(&grant.refresh_token)).await {
                grant = successor;
                ledger.refreshes += 1;
            }
        }
        if n % 3 == 0 {
            let reply = Node::attempt(node.logout(&grant.token)).await;
            if reply.is_some_and(|reply| reply.status == 204) {
                ledger.ended.push(grant);
                ledger.logouts += 1;
            }
        } else {
            ledger.living.push(grant);
        }
    }
    ledger
}

/// Returns what was answered, if anything was.
async fn granted(request: RequestBuilder) -> Option<Grant> {
    let reply = Node::attempt(request).await?;
    if reply.status == 503 {
        reply.refused(503, "store_unavailable");
        return None;
    }
    if reply.status == 504 {
        // The store went away between the call to WeChat and the session.
        reply.refused(504, "login_not_stored");
        return None;
    }
    assert_eq!(reply.status, 200, "{}", reply.text());
    Some(Grant::of(reply.json()))
}

/// Has everybody work until `kill` has done what it does, at a moment that nobody chose.
async fn work_until_killed(node: &Node, round: usize, kill: impl AsyncFnOnce()) -> Ledger {
    let stop = AtomicBool::new(false);
    let names: Vec<String> = (0..WORKERS).map(|n| format!("user-{round}-{n}")).collect();
    let workers = names.iter().map(|name| work(node, name, &stop));
    let killer = async {
        let moment = fastrand::u64(100..1200);
        tokio::time::sleep(Duration::from_millis(moment)).await;
        kill().await;
        stop.store(true, Ordering::Relaxed);
    };
    let (ledgers, ()) = tokio::join!(join_all(workers), killer);
    let mut all = Ledger::default();
    ledgers.into_iter().for_each(|ledger| all.append(ledger));
    all
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_was_answered_holds_after_the_program_was_killed() {
    let nodes = Nodes::new(TestGateway::builder()).await;
    let (started, mut ledger, mut kills) = (Instant::now(), Ledger::default(), 0);
    while started.elapsed() < soak() {
        let node = nodes.serve(MENSHEN).await;
        let answered = work_until_killed(&node, kills, async || node.program.signal("KILL").await);
        let answered = answered.await;
        let last = answered.logins;
        ledger.append(answered);
        node.program.ended().await;
        kills += 1;
        let node = nodes.serve(MENSHEN).await;
        ledger.holds(&node, last).await;
        node.program.signal("KILL").await;
        node.program.ended().await;
        kills += 1;
    }
    ledger.all_hold(&nodes.serve(MENSHEN).await).await;
    println!("{}", ledger.summary(kills));
    assert!(kills > 1 && ledger.logouts > 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_was_answered_holds_after_a_redis_that_syncs_was_killed() {
    let mut redis = Redis::durable();
    let nodes = Nodes::over(&redis.url(), "redis_timeout = \"1s\"").await;
    let node = nodes.serve(MENSHEN).await;
    let (started, mut ledger, mut kills) = (Instant::now(), Ledger::default(), 0);
    while started.elapsed() < soak() {
        let answered = work_until_killed(&node, kills, async || {
            tokio::task::block_in_place(|| redis.kill());
        });
        let answered = answered.await;
        let last = answered.logins;
        ledger.append(answered);
        kills += 1;
        tokio::task::block_in_place(|| redis.restart());
        while granted(node.login("anybody").await).await.is_none() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        ledger.holds(&node, last).await;
    }
    // One that knows nothing but what Redis kept.
    let later = nodes.serve(MENSHEN).await;
    ledger.all_hold(&later).await;
    println!("{}", ledger.summary(kills));
    assert!(kills > 1 && ledger.logouts > 0);
}
