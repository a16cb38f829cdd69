//! Three nodes over one server, Sentinels or a Cluster under random faults: whatever their clients are answered keeps the rules, for a
//! minute or for as long as `MENSHEN_FAULT_SECS` says; `MENSHEN_FAULT_SEED` has the same faults come again. The faults lose no write
//! that Redis acknowledged, but for entries of the stream of revocations.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test may panic"
)]

use std::env;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use fastrand::Rng;
use futures::future::{JoinAll, join_all};
use menshen_test_support::history::{Answered, Asked, History, Operation, RECOVERY};
use menshen_test_support::redis::{Cluster, Group, MASTER, Redis};
use menshen_test_support::{Grant, Node, Nodes, Reply};
use reqwest::RequestBuilder;
use serde_json::json;
use tokio::sync::RwLock;
use tokio::task::JoinHandle;

const MENSHEN: &str = env!("CARGO_BIN_EXE_menshen");
const STREAM: &str = "menshen:revoked";
const NODES: usize = 3;
const CLIENTS: usize = 9;
/// How many ended sessions each client asks for in a quiet time.
const MOST_ASKED: usize = 8;
/// Faults that come one after the other before it is quiet.
const FAULTS: usize = 3;
/// Whoever got no answer must get one within this, or the token ends the session.
const GRACE: Duration = Duration::from_secs(12);
const SECOND: Duration = Duration::from_secs(1);
/// What must come about sooner or later has done so by then.
const PATIENCE: Duration = Duration::from_secs(30);

fn number(name: &str) -> Option<u64> {
    env::var(name).ok()?.parse().ok()
}

/// What the clients share.
struct World {
    shared: Nodes,
    /// A node that is killed is replaced by another.
    nodes: Vec<RwLock<Node>>,
    history: History,
    sessions: AtomicU64,
    /// Counts the quiet times, in each of which everybody asks for what must be refused.
    quiet: AtomicU64,
    over: AtomicBool,
}

/// A session as its client knows it.
#[derive(Clone)]
struct Session {
    number: u64,
    grant: Grant,
    /// Tokens that were replaced, and when.
    replaced: Vec<(String, Instant)>,
}

impl Session {
    /// Returns a token whose use ends the session.
    fn reusable(&self) -> Option<&str> {
        let mut replaced = self.replaced.iter();
        let found = replaced.find(|(_, at)| at.elapsed() > GRACE + GRACE / 2);
        found.map(|(token, _)| token.as_str())
    }
}

impl World {
    fn new(shared: Nodes, nodes: Vec<Node>) -> Self {
        Self {
            shared,
            nodes: nodes.into_iter().map(RwLock::new).collect(),
            history: History::default(),
            sessions: AtomicU64::new(0),
            quiet: AtomicU64::new(0),
            over: AtomicBool::new(false),
        }
    }

    /// Asks a node, and records what came of it.
    async fn ask(
        &self,
        (user, session, node): (usize, u64, usize),
        asked: Asked,
        request: impl FnOnce(&Node) -> RequestBuilder,
    ) -> Option<Reply> {
        let request = request(&*self.nodes[node].read().await);
        let begun = Instant::now();
        let reply = Node::attempt(request).await;
        let during = (begun, Instant::now());
        let answered = match &reply {
            Some(reply) if reply.status < 300 => {
                let brought = reply.json()["refresh_token"].as_str().map(str::to_owned);
                Answered::Done(brought.unwrap_or_default())
            }
            Some(reply) if reply.status == 401 => Answered::Refused(reply.error()),
            Some(reply) => {
                let passing = [
                    "store_unavailable",
                    "login_not_stored",
                    "wechat_busy",
                    "wechat_timeout",
                ];
                assert!(
                    passing.contains(&reply.error().as_str()),
                    "{}",
                    reply.text()
                );
                Answered::Unknown
            }
            None => Answered::Unknown,
        };
        self.history.record(Operation {
            session,
            user,
            node,
            asked,
            answered,
            during,
        });
        reply
    }

    /// Logs a user in, with one code at two nodes after the other, until that goes well; `None` when it is all over.
    async fn log_in(&self, rng: &mut Rng, user: usize) -> Option<Session> {
        let number = self.sessions.fetch_add(1, Ordering::Relaxed);
        while !self.over.load(Ordering::Relaxed) {
            let code = self.nodes[0]
                .read()
                .await
                .code(&format!("user-{user}"))
                .await;
            for _ in 0..2 {
                let who = (user, number, rng.usize(0..NODES));
                let asked = Asked::Login(code.clone());
                let body = json!({"code": code, "app": "shop", "nonce": format!("{number:032}")});
                let login = |node: &Node| node.request("POST", "/_auth/login").json(&body);
                let reply = self.ask(who, asked, login).await;
                if let Some(reply) = reply.filter(|reply| reply.status == 200) {
                    return Some(Session {
                        number,
                        grant: Grant::of(reply.json()),
                        replaced: Vec::new(),
                    });
                }
            }
        }
        None
    }

    /// Refreshes until there is an answer; `false` says that the session is over.
    async fn refresh(&self, rng: &mut Rng, user: usize, session: &mut Session) -> bool {
        let begun = Instant::now();
        loop {
            let token = session.grant.refresh_token.clone();
            let who = (user, session.number, rng.usize(0..NODES));
            let refresh = |node: &Node| node.refreshing(&token);
            let reply = self.ask(who, Asked::Refresh(token.clone()), refresh).await;
            match reply {
                Some(reply) if reply.status == 200 => {
                    session.replaced.push((token, Instant::now()));
                    session.grant = Grant::of(reply.json());
                    return true;
                }
                Some(reply) if reply.status == 401 => return false,
                Some(_) | None => {
                    assert!(begun.elapsed() < PATIENCE, "a refresh gets no answer");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            }
        }
    }

    async fn uses(&self, node: usize, user: usize, session: &Session) {
        let who = (user, session.number, node);
        let with = |node: &Node| {
            let request = node.request("GET", "/orders");
            request.bearer_auth(&session.grant.token)
        };
        self.ask(who, Asked::Use, with).await;
    }

    /// Ends a session, or all of its user, or has it ended by a token that was replaced long before, and does not rest before that
    /// is acknowledged.
    async fn end(&self, rng: &mut Rng, user: usize, session: &Session) {
        let begun = Instant::now();
        let reused = session.reusable();
        let way = if reused.is_some() { 0 } else { rng.u8(1..3) };
        loop {
            let who = (user, session.number, rng.usize(0..NODES));
            let reply = match (way, reused) {
                (0, Some(token)) => {
                    let reuse = |node: &Node| node.refreshing(token);
                    self.ask(who, Asked::Refresh(token.to_owned()), reuse).await
                }
                (1, _) => {
                    let everywhere = |node: &Node| {
                        let logout = node.logout(&session.grant.token);
                        logout.json(&json!({"everywhere": true}))
                    };
                    self.ask(who, Asked::Everywhere, everywhere).await
                }
                _ => {
                    let logout = |node: &Node| node.logout(&session.grant.token);
                    self.ask(who, Asked::Logout, logout).await
                }
            };
            if reply.is_some_and(|reply| [204, 401].contains(&reply.status)) {
                return;
            }
            assert!(begun.elapsed() < PATIENCE, "an end gets no answer");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

type Lived = (Option<Session>, Vec<Session>);

/// Lives as a client does; returns the session that it has in the end, and those that ended.
async fn live(world: &World, seed: u64, user: usize) -> Lived {
    let mut rng = Rng::with_seed(seed + user as u64);
    let (mut own, mut ended): (Option<Session>, Vec<Session>) = (None, Vec::new());
    let mut asked = 0;
    while !world.over.load(Ordering::Relaxed) {
        let quiet = world.quiet.load(Ordering::Relaxed);
        if asked < quiet {
            asked = quiet;
            // The same tokens as in the quiet time before, and those of sessions that ended since.
            for other in ended.iter().rev().take(MOST_ASKED) {
                for node in 0..NODES {
                    world.uses(node, user, other).await;
                }
            }
        }
        let Some(session) = &mut own else {
            own = world.log_in(&mut rng, user).await;
            continue;
        };
        match rng.u8(0..100) {
            0..40 => world.uses(rng.usize(0..NODES), user, session).await,
            40..70 => {
                if !world.refresh(&mut rng, user, session).await {
                    ended.extend(own.take());
                }
            }
            // Every third waits until it has a token to use once more.
            70..74 if !user.is_multiple_of(3) || session.reusable().is_some() => {
                world.end(&mut rng, user, session).await;
                ended.extend(own.take());
            }
            74..80 if !ended.is_empty() => {
                let mut other = ended[rng.usize(0..ended.len())].clone();
                world.uses(rng.usize(0..NODES), user, &other).await;
                let _ = world.refresh(&mut rng, user, &mut other).await;
            }
            _ => tokio::time::sleep(Duration::from_millis(rng.u64(5..40))).await,
        }
    }
    (own, ended)
}

/// Has all clients live while the test goes on, whatever blocks it.
fn live_beside(world: &Arc<World>, seed: u64) -> JoinAll<JoinHandle<Lived>> {
    let clients = (0..CLIENTS).map(|user| {
        let world = Arc::clone(world);
        tokio::spawn(async move { live(&world, seed, user).await })
    });
    join_all(clients)
}

/// The Redis servers of a test.
enum Servers {
    Single(Redis),
    Group(Group),
    Cluster(Cluster),
}

impl Servers {
    /// Returns where nodes reach them, and what these must be told of it.
    fn access(&self) -> (String, String) {
        let (servers, mode) = match self {
            Self::Single(redis) => (std::slice::from_ref(redis), String::new()),
            Self::Group(group) => (
                group.sentinels.as_slice(),
                format!("redis_mode = \"sentinel\"\nredis_master = \"{MASTER}\""),
            ),
            Self::Cluster(cluster) => (
                cluster.nodes.as_slice(),
                "redis_mode = \"cluster\"".to_owned(),
            ),
        };
        let urls: Vec<String> = servers.iter().map(Redis::url).collect();
        (urls.join(","), mode)
    }

    fn masters(&self) -> &[Redis] {
        match self {
            Self::Single(redis) => std::slice::from_ref(redis),
            Self::Group(group) => std::slice::from_ref(&group.servers[group.master()]),
            Self::Cluster(cluster) => &cluster.nodes,
        }
    }

    fn of_stream(&self) -> &Redis {
        match self {
            Self::Single(_) | Self::Group(_) => &self.masters()[0],
            Self::Cluster(cluster) => &cluster.nodes[cluster.home(STREAM)],
        }
    }

    /// Kills a server that loses nothing, or has another take its place without a loss.
    fn fail(&mut self, rng: &mut Rng, a_while: Duration) -> &'static str {
        match self {
            Self::Single(redis) => {
                redis.kill();
                std::thread::sleep(a_while);
                redis.restart();
                "Redis was killed"
            }
            Self::Group(group) => {
                fail_over(group, a_while);
                "another server became the master"
            }
            Self::Cluster(cluster) => {
                let at = rng.usize(0..cluster.nodes.len());
                cluster.nodes[at].kill();
                std::thread::sleep(a_while);
                cluster.nodes[at].restart();
                cluster.works();
                "a server was killed"
            }
        }
    }

    /// Stops a server for a while.
    fn hang(&self, rng: &mut Rng, a_while: Duration) -> &'static str {
        let stopped = match self {
            Self::Single(redis) => redis,
            // A master that hangs would be replaced, and its last writes lost.
            Self::Group(group) => &group.sentinels[rng.usize(0..group.sentinels.len())],
            Self::Cluster(cluster) => &cluster.nodes[rng.usize(0..cluster.nodes.len())],
        };
        stopped.signal("STOP");
        std::thread::sleep(a_while);
        stopped.signal("CONT");
        if let Self::Cluster(cluster) = self {
            cluster.works();
        }
        "a server was stopped"
    }
}

/// Has the replica become the master when it has everything that the master acknowledged.
fn fail_over(group: &Group, a_while: Duration) {
    let begun = Instant::now();
    let waits = |what: &str| {
        assert!(begun.elapsed() < 2 * PATIENCE, "{what}");
        std::thread::sleep(Duration::from_millis(20));
    };
    // One that was stopped for more than two seconds does nothing for thirty (TILT).
    let acts = |sentinel: &&Redis| sentinel.info("sentinel", "sentinel_tilt") == 0;
    let sentinel = loop {
        match group.sentinels.iter().find(acts) {
            Some(sentinel) => break sentinel,
            None => waits("no Sentinel acts"),
        }
    };
    let before = group.master();
    let (old, new) = (&group.servers[before], &group.servers[1 - before]);
    // It has one replica, and so refuses every write. A pause of writes would also keep the Sentinels waiting, which publish.
    let least = |count| ["CONFIG", "SET", "min-replicas-to-write", count];
    assert_eq!(old.ask(&least("2")), "OK");
    group.replicate();
    let port = new.port().to_string();
    let named = |sentinel: &Redis| {
        let told = sentinel.ask(&["SENTINEL", "GET-MASTER-ADDR-BY-NAME", MASTER]);
        told.lines().any(|line| line == port)
    };
    while !group.sentinels.iter().all(named) {
        // One that gives up on a failover says so to nobody; one that is at it answers INPROG.
        if !named(sentinel) {
            sentinel.ask(&["SENTINEL", "FAILOVER", MASTER]);
        }
        waits("the failover does not end");
    }
    // The old master still answers; the Sentinels would let it for ten seconds.
    std::thread::sleep(a_while);
    assert_eq!(old.ask(&["REPLICAOF", "127.0.0.1", &port]), "OK");
    group.replicate();
    assert_eq!(old.ask(&least("0")), "OK");
}

/// Has something go wrong, and sees to it that it is over.
async fn go_wrong(world: &World, servers: &mut Servers, rng: &mut Rng) -> &'static str {
    let begun = Instant::now();
    let a_while = Duration::from_millis(rng.u64(100..2500));
    let name = match rng.u8(0..7) {
        0 => tokio::task::block_in_place(|| servers.fail(rng, a_while)),
        1 => tokio::task::block_in_place(|| servers.hang(rng, a_while)),
        2 | 3 => {
            for master in servers.masters() {
                master.ask(&["CLIENT", "KILL", "TYPE", "normal"]);
            }
            "all connections were cut"
        }
        4 => {
            let node = rng.usize(0..NODES);
            world.nodes[node].read().await.program.signal("KILL").await;
            let new = world.shared.serve(MENSHEN).await;
            *world.nodes[node].write().await = new;
            "a node was killed"
        }
        5 => {
            let node = rng.usize(0..NODES);
            world.nodes[node].read().await.program.signal("STOP").await;
            tokio::time::sleep(a_while).await;
            world.nodes[node].read().await.program.signal("CONT").await;
            "a node was stopped"
        }
        _ => {
            servers.of_stream().ask(&["XTRIM", STREAM, "MAXLEN", "1"]);
            "the stream was trimmed"
        }
    };
    world.history.fault(begun);
    name
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_goes_wrong_every_answer_keeps_the_rules() {
    every_answer_keeps_the_rules(Servers::Single(Redis::durable()), 60).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_goes_wrong_in_a_group_every_answer_keeps_the_rules() {
    let group = Group::start(1, 3);
    group.fails_over_by_request_only();
    every_answer_keeps_the_rules(Servers::Group(group), 30).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_goes_wrong_in_a_cluster_every_answer_keeps_the_rules() {
    let durable = ["--appendonly", "yes", "--appendfsync", "always"];
    every_answer_keeps_the_rules(Servers::Cluster(Cluster::start(3, &durable)), 30).await;
}

async fn every_answer_keeps_the_rules(mut servers: Servers, secs: u64) {
    let length = Duration::from_secs(number("MENSHEN_FAULT_SECS").unwrap_or(secs));
    let seed = number("MENSHEN_FAULT_SEED").unwrap_or_else(|| fastrand::u64(..) >> 16);
    println!("MENSHEN_FAULT_SEED={seed}");
    let (url, mode) = servers.access();
    let session = format!(
        "redis_timeout = \"1s\"\nrefresh_grace = \"{}s\"\n{mode}",
        GRACE.as_secs()
    );
    let shared = Nodes::over(&url, &session).await;
    let mut nodes = Vec::new();
    for _ in 0..NODES {
        nodes.push(shared.serve(MENSHEN).await);
    }
    let world = Arc::new(World::new(shared, nodes));
    let clients = live_beside(&world, seed);
    let mut rng = Rng::with_seed(seed);
    let begun = Instant::now();
    while begun.elapsed() < length {
        for _ in 0..FAULTS {
            let between = Duration::from_millis(rng.u64(300..1500));
            tokio::time::sleep(between).await;
            let name = go_wrong(&world, &mut servers, &mut rng).await;
            println!("{:?}: {name}", begun.elapsed());
        }
        // By then no fault excuses anybody any more.
        tokio::time::sleep(RECOVERY + SECOND).await;
        world.quiet.fetch_add(1, Ordering::Relaxed);
        tokio::time::sleep(2 * SECOND).await;
    }
    world.over.store(true, Ordering::Relaxed);
    let lived: Result<Vec<_>, _> = clients.await.into_iter().collect();
    keeps_the_rules(&world.history);
    all_know(&world, &lived.unwrap()).await;
    keeps_the_rules(&world.history);
    let counts = world.history.counts();
    let judged = world.history.judged();
    println!("{counts}\n{judged} of the uses had to be refused");
    assert!(judged > CLIENTS * NODES, "{judged}");
    for kind in [
        "login done",
        "refresh done",
        "use done",
        "logout done",
        "refresh refresh_reused",
    ] {
        let happens = counts.contains(kind) || length < Duration::from_secs(60);
        assert!(happens, "{kind} should happen: {counts}");
    }
}

/// The same clients, and no fault but that one node has another Redis, where it hears of no end and knows no session.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_keeps_none_of_the_rules_is_found_out() {
    let (redis, other) = (Redis::durable(), Redis::durable());
    let mut shared = Nodes::over(&redis.url(), "").await;
    let mut nodes = vec![shared.serve(MENSHEN).await, shared.serve(MENSHEN).await];
    shared.set_env("REDIS_URL", &other.url());
    nodes.push(shared.serve(MENSHEN).await);
    let world = Arc::new(World::new(shared, nodes));
    let clients = live_beside(&world, 1);
    for _ in 0..2 {
        tokio::time::sleep(2 * SECOND).await;
        world.quiet.fetch_add(1, Ordering::Relaxed);
    }
    tokio::time::sleep(SECOND).await;
    world.over.store(true, Ordering::Relaxed);
    for lived in clients.await {
        lived.unwrap();
    }
    let breaches = world.history.breaches();
    for rule in [
        "a token of an ended session passed",
        "somebody was logged out without a reason",
    ] {
        let found = breaches.iter().any(|breach| breach.starts_with(rule));
        assert!(found, "{rule}: {}", world.history.counts());
    }
}

fn keeps_the_rules(history: &History) {
    let breaches = history.breaches();
    assert!(breaches.is_empty(), "{}", breaches.join("\n"));
}

/// Says that in the end every node refuses what ended, and every session goes on that did not.
async fn all_know(world: &World, lived: &[Lived]) {
    let mut rng = Rng::new();
    for (user, (own, ended)) in lived.iter().enumerate() {
        for session in ended {
            for (at, node) in world.nodes.iter().enumerate() {
                let node = node.read().await;
                let since = Instant::now();
                loop {
                    let reply = node.get_as(&session.grant.token).await;
                    if reply.status == 401 {
                        break;
                    }
                    let accepted = || {
                        let of_session = world.history.of(session.number);
                        format!("node {at} accepts an ended session:\n{of_session}")
                    };
                    assert!(since.elapsed() < PATIENCE, "{}", accepted());
                }
            }
            let mut session = session.clone();
            assert!(!world.refresh(&mut rng, user, &mut session).await);
        }
        if let Some(session) = own {
            let mut session = session.clone();
            world.uses(0, user, &session).await;
            assert!(world.refresh(&mut rng, user, &mut session).await, "{user}");
        }
    }
}
