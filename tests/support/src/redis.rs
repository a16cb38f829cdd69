//! Redis servers of a test's own on 127.0.0.1: one, a group that Sentinels watch, or a Cluster.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher as _;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// How long a server or a group may take to be ready.
const PATIENCE: Duration = Duration::from_secs(30);
const BETWEEN_LOOKS: Duration = Duration::from_millis(20);

/// The name by which Sentinels know the master.
pub const MASTER: &str = "shared";

/// A redis-server, a Valkey, or a Sentinel; it is killed when dropped.
#[derive(Debug)]
pub struct Redis {
    program: PathBuf,
    port: u16,
    arguments: Vec<String>,
    folder: TempDir,
    child: Child,
}

impl Redis {
    /// Starts one that has written everything to the disk before it answers.
    pub fn durable() -> Self {
        Self::start(&["--appendonly", "yes", "--appendfsync", "always"])
    }

    /// Starts a Valkey that keeps everything in memory.
    pub fn valkey() -> Self {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        // Of this file's crate, or of the one that includes it.
        let mut roots = root.ancestors();
        let program = roots.find_map(|root| {
            let program = root.join("target/test-backends/valkey/valkey-server");
            program.exists().then_some(program)
        });
        let program = program.expect("valkey-server, which tests/setup.sh installs");
        Self::launch_of(&program, |port, _| in_memory(port, &[]))
    }

    /// Starts one that keeps everything in memory, with more arguments.
    pub fn start(arguments: &[&str]) -> Self {
        Self::launch(|port, _| in_memory(port, arguments))
    }

    /// Starts one that also speaks TLS, 10,000 ports above, with `server.pem`, `server.key` and `ca.pem` of a folder, and
    /// with nobody who shows no certificate of that authority.
    pub fn with_tls(folder: &Path) -> Self {
        Self::with_tls_and(folder, |_| Vec::new())
    }

    fn with_tls_and(folder: &Path, more: impl Fn(u16) -> Vec<(&'static str, String)>) -> Self {
        Self::launch(|port, _| {
            let more = more(port);
            let file = |name: &str| folder.join(name).display().to_string();
            let (port, tls_port) = (port.to_string(), (port + 10_000).to_string());
            let words = [
                ("--port", port),
                ("--tls-port", tls_port),
                ("--bind", "127.0.0.1".to_owned()),
                ("--save", String::new()),
                ("--tls-cert-file", file("server.pem")),
                ("--tls-key-file", file("server.key")),
                ("--tls-ca-cert-file", file("ca.pem")),
                ("--tls-auth-clients", "yes".to_owned()),
            ];
            words
                .into_iter()
                .chain(more)
                .flat_map(|(key, value)| [key.to_owned(), value])
                .collect()
        })
    }

    /// Starts a Sentinel that watches a master alone.
    pub fn sentinel_of(master: &Self) -> Self {
        Self::sentinel(master.port, 1, |_| String::new())
    }

    /// Starts a Sentinel that takes a master for dead after half a second, when `quorum` Sentinels do; `more` are lines of
    /// its own.
    fn sentinel(master: u16, quorum: usize, more: impl Fn(u16) -> String) -> Self {
        Self::launch(|port, folder| {
            let file = folder.join("sentinel.conf");
            let text = format!(
                "port {port}\nbind 127.0.0.1\ndir {}\n{}\
                 sentinel monitor {MASTER} 127.0.0.1 {master} {quorum}\n\
                 sentinel down-after-milliseconds {MASTER} 500\n\
                 sentinel failover-timeout {MASTER} 3000\n",
                folder.display(),
                more(port),
            );
            std::fs::write(&file, text).expect("a file");
            vec![file.display().to_string(), "--sentinel".to_owned()]
        })
    }

    fn launch(arguments: impl Fn(u16, &Path) -> Vec<String>) -> Self {
        Self::launch_of(Path::new("redis-server"), arguments)
    }

    fn launch_of(program: &Path, arguments: impl Fn(u16, &Path) -> Vec<String>) -> Self {
        // Another process may take the port before Redis does; then there is another.
        for _ in 0..20 {
            let port = find_free_port();
            let folder = tempfile::tempdir().expect("a folder");
            let arguments = arguments(port, folder.path());
            let mut server = Self {
                child: spawn(program, &arguments, folder.path()),
                program: program.to_owned(),
                port,
                arguments,
                folder,
            };
            if server.comes_up() {
                return server;
            }
        }
        panic!("{} does not start", program.display());
    }

    /// Returns where it listens.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Returns its URL.
    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// Returns where its files are.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Kills it with -9.
    pub fn kill(&mut self) {
        self.child.kill().expect("it should still run");
        self.child.wait().expect("is a child");
    }

    /// Starts it again, with what it had written, and waits until it answers.
    pub fn restart(&mut self) {
        self.child = spawn(&self.program, &self.arguments, self.folder.path());
        assert!(self.comes_up(), "redis-server does not start again");
    }

    /// Sends it a signal, such as `STOP`.
    pub fn signal(&self, name: &str) {
        let kill = format!("kill -s {name} {}", self.child.id());
        let sent = Command::new("sh").args(["-c", &kill]).status();
        assert!(sent.expect("sh should start").success(), "{kill}");
    }

    /// Asks it one thing and returns the answer as `redis-cli` prints it, without the last line's end.
    pub fn ask(&self, words: &[&str]) -> String {
        let port = self.port.to_string();
        let mut asked = Command::new("redis-cli");
        asked.args(["-p", &port]).args(words);
        let answer = asked.output().unwrap_or_else(|error| {
            panic!("redis-cli cannot be run (Debian's package redis-tools): {error}")
        });
        String::from_utf8_lossy(&answer.stdout)
            .trim_end_matches('\n')
            .to_owned()
    }

    /// Returns a number that `INFO` tells, or 0.
    pub fn info(&self, section: &str, name: &str) -> u64 {
        let info = self.ask(&["INFO", section]);
        let lines = info.lines().filter_map(|line| line.split_once(':'));
        let mut found = lines.filter(|(key, _)| *key == name);
        found
            .next()
            .and_then(|(_, value)| value.trim().parse().ok())
            .unwrap_or(0)
    }

    fn comes_up(&mut self) -> bool {
        let limit = Instant::now() + PATIENCE;
        while Instant::now() < limit {
            if self.child.try_wait().expect("is a child").is_some() {
                return false;
            }
            if self.ask(&["PING"]) == "PONG" {
                return true;
            }
            std::thread::sleep(BETWEEN_LOOKS);
        }
        false
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A master with its replicas, and the Sentinels that watch them.
#[derive(Debug)]
pub struct Group {
    /// The servers; the first is the master at the start.
    pub servers: Vec<Redis>,
    /// The Sentinels.
    pub sentinels: Vec<Redis>,
}

impl Group {
    /// Starts them and waits until all know each other.
    pub fn start(replicas: usize, sentinels: usize) -> Self {
        let master = Redis::start(&["--repl-diskless-sync-delay", "0"]);
        let of = format!("127.0.0.1 {}", master.port);
        let mut servers = vec![master];
        for _ in 0..replicas {
            servers.push(Redis::start(&["--replicaof", &of]));
        }
        await_so("replicas should follow", || {
            servers[1..]
                .iter()
                .all(|server| server.info("replication", "master_sync_in_progress") == 0)
                && servers[0].info("replication", "connected_slaves") == replicas as u64
        });
        let quorum = sentinels / 2 + 1;
        let sentinels: Vec<Redis> = (0..sentinels)
            .map(|_| Redis::sentinel(servers[0].port, quorum, |_| String::new()))
            .collect();
        await_so("Sentinels should know all", || {
            sentinels.iter().all(|sentinel| {
                let told = sentinel.ask(&["SENTINEL", "MASTER", MASTER]);
                let told: Vec<&str> = told.lines().collect();
                let number = |name: &str| {
                    let mut pairs = told.chunks(2).filter(|pair| pair[0] == name);
                    pairs.next().and_then(|pair| pair[1].parse::<usize>().ok())
                };
                number("num-slaves") == Some(replicas)
                    && number("num-other-sentinels") == Some(sentinels.len() - 1)
            })
        });
        Self { servers, sentinels }
    }

    /// Starts a master and a Sentinel that speak TLS with each other and with everybody; see [`Redis::with_tls`].
    pub fn with_tls(folder: &Path) -> Self {
        let master = Redis::with_tls_and(folder, |_| vec![("--tls-replication", "yes".to_owned())]);
        let own = folder.display();
        let sentinel = Redis::sentinel(master.port + 10_000, 1, |port| {
            format!(
                "tls-port {}\ntls-replication yes\ntls-cert-file {own}/server.pem\n\
                 tls-key-file {own}/server.key\ntls-ca-cert-file {own}/ca.pem\ntls-auth-clients yes\n",
                port + 10_000
            )
        });
        Self {
            servers: vec![master],
            sentinels: vec![sentinel],
        }
    }

    /// Has the Sentinels replace the master only when they are asked to: on a busy machine a server may not answer for half a second,
    /// and its replica may not be up to date by then.
    pub fn fails_over_by_request_only(&self) {
        for sentinel in &self.sentinels {
            for (name, value) in [
                ("down-after-milliseconds", "60000"),
                ("failover-timeout", "20000"),
            ] {
                assert_eq!(
                    sentinel.ask(&["SENTINEL", "SET", MASTER, name, value]),
                    "OK"
                );
            }
        }
    }

    /// Returns which server is the master, as the first Sentinel says.
    pub fn master(&self) -> usize {
        let told = self.sentinels[0].ask(&["SENTINEL", "GET-MASTER-ADDR-BY-NAME", MASTER]);
        let port = told.lines().nth(1).and_then(|port| port.parse().ok());
        let mut ports = self.servers.iter().map(|server| Some(server.port));
        ports
            .position(|own| own == port)
            .expect("one of the servers")
    }

    /// Waits until all other servers are replicas of the master and have everything that it has.
    pub fn replicate(&self) {
        let offset = |server: &Redis, name| server.info("replication", name);
        let at = self.master();
        let master = &self.servers[at];
        let length = offset(master, "master_repl_offset");
        let port = master.port.to_string();
        // The offset of a replica that is not connected is one of another history.
        let follows = |replica: &Redis| {
            let role = replica.ask(&["ROLE"]);
            let role: Vec<&str> = role.lines().collect();
            matches!(role[..], ["slave", _, of, "connected", ..] if of == port)
        };
        let complete =
            |replica: &Redis| follows(replica) && offset(replica, "slave_repl_offset") >= length;
        let replicas = || {
            let servers = self.servers.iter().enumerate();
            servers.filter(|(other, _)| *other != at)
        };
        let limit = Instant::now() + PATIENCE;
        while !replicas().all(|(_, replica)| complete(replica)) {
            let told: Vec<String> = replicas()
                .map(|(_, replica)| replica.ask(&["INFO", "replication"]))
                .collect();
            let late = Instant::now() > limit;
            assert!(!late, "replicas of {port} should have {length}: {told:?}");
            std::thread::sleep(BETWEEN_LOOKS);
        }
    }
}

/// A Cluster of masters, and perhaps of a replica.
#[derive(Debug)]
pub struct Cluster {
    /// Its servers.
    pub nodes: Vec<Redis>,
}

impl Cluster {
    /// Starts it, with more arguments for every server, and waits until it works.
    pub fn start(count: usize, arguments: &[&str]) -> Self {
        let own = ["--cluster-enabled", "yes", "--cluster-node-timeout", "1500"];
        let arguments = [&own[..], arguments].concat();
        let nodes = (0..count).map(|_| Redis::start(&arguments)).collect();
        Self::of(nodes, |port| vec![port.to_string()])
    }

    /// Starts one that speaks TLS with everybody; see [`Redis::with_tls`].
    pub fn with_tls(count: usize, folder: &Path) -> Self {
        let node = |_| {
            Redis::with_tls_and(folder, |port| {
                vec![
                    ("--cluster-enabled", "yes".to_owned()),
                    ("--cluster-node-timeout", "1500".to_owned()),
                    ("--tls-cluster", "yes".to_owned()),
                    ("--cluster-port", (port + 20_000).to_string()),
                ]
            })
        };
        let nodes = (0..count).map(node).collect();
        Self::of(nodes, |port| {
            vec![(port + 10_000).to_string(), (port + 20_000).to_string()]
        })
    }

    /// Makes a Cluster of servers that others reach at what `ports` says.
    fn of(nodes: Vec<Redis>, ports: impl Fn(u16) -> Vec<String>) -> Self {
        let count = nodes.len();
        for (at, node) in nodes.iter().enumerate() {
            let (first, next) = (at * 16384 / count, (at + 1) * 16384 / count);
            let (first, last) = (first.to_string(), (next - 1).to_string());
            node.ask(&["CLUSTER", "SET-CONFIG-EPOCH", &(at + 1).to_string()]);
            node.ask(&["CLUSTER", "ADDSLOTSRANGE", &first, &last]);
            let other = ports(nodes[0].port);
            let other = other.iter().map(String::as_str);
            let meet = ["CLUSTER", "MEET", "127.0.0.1"].into_iter().chain(other);
            node.ask(&meet.collect::<Vec<&str>>());
        }
        let cluster = Self { nodes };
        cluster.works();
        cluster
    }

    /// Waits until every server says that the whole Cluster works.
    pub fn works(&self) {
        await_so("the Cluster should work", || {
            self.nodes.iter().all(|node| {
                let told = node.ask(&["CLUSTER", "INFO"]);
                let says = |line: &str| told.lines().any(|told| told.trim() == line);
                says("cluster_state:ok")
                    && says("cluster_slots_ok:16384")
                    && says(&format!("cluster_known_nodes:{}", self.nodes.len()))
            })
        });
    }

    /// Adds a server that is a replica of another, and waits until it has everything.
    pub fn add_replica(&mut self, of: usize) {
        let own = ["--cluster-enabled", "yes", "--cluster-node-timeout", "1500"];
        let replica = Redis::start(&own);
        let (master, port) = (
            self.nodes[of].ask(&["CLUSTER", "MYID"]),
            self.nodes[of].port,
        );
        replica.ask(&["CLUSTER", "MEET", "127.0.0.1", &port.to_string()]);
        self.nodes.push(replica);
        self.works();
        let replica = &self.nodes[self.nodes.len() - 1];
        assert_eq!(replica.ask(&["CLUSTER", "REPLICATE", &master]), "OK");
        await_so("the replica should follow", || {
            replica.info("replication", "master_sync_in_progress") == 0
                && self.nodes[of].info("replication", "connected_slaves") == 1
                && replica
                    .ask(&["INFO", "replication"])
                    .contains("master_link_status:up")
        });
        // Who does not know of it yet would not vote for it.
        await_so("all should know the replica", || {
            let all = self.nodes.iter();
            all.map(|node| node.ask(&["CLUSTER", "REPLICAS", &master]))
                .all(|replicas| replicas.contains("connected"))
        });
    }

    /// Waits until the replica that was added is the master and every other server takes it for one.
    pub fn took_over(&self, dead: usize) {
        let replica = self.nodes.len() - 1;
        await_so("the replica should take over", || {
            self.nodes[replica].ask(&["ROLE"]).starts_with("master")
                && self.nodes.iter().enumerate().all(|(at, node)| {
                    at == dead || node.ask(&["CLUSTER", "INFO"]).contains("cluster_state:ok")
                })
        });
    }

    /// Waits until every server but one says that the Cluster does not work.
    pub fn lacks_a_part(&self, dead: usize) {
        await_so("the Cluster should notice", || {
            let mut others = self.nodes.iter().enumerate().filter(|(at, _)| *at != dead);
            others.all(|(_, node)| {
                node.ask(&["CLUSTER", "INFO"])
                    .contains("cluster_state:fail")
            })
        });
    }

    /// Waits until every server but one says that the Cluster works without that one.
    pub fn works_without(&self, dead: usize) {
        await_so("the Cluster should work without it", || {
            let mut others = self.nodes.iter().enumerate().filter(|(at, _)| *at != dead);
            others.all(|(_, node)| {
                let told = node.ask(&["CLUSTER", "INFO"]);
                let says = |line: &str| told.lines().any(|told| told.trim() == line);
                says("cluster_state:ok") && !says("cluster_slots_fail:0")
            })
        });
    }

    /// Returns which server has a key.
    pub fn home(&self, key: &str) -> usize {
        let slot: usize = self.nodes[0]
            .ask(&["CLUSTER", "KEYSLOT", key])
            .parse()
            .expect("a slot");
        let count = self.nodes.len();
        (0..count)
            .rfind(|at| at * 16384 / count <= slot)
            .expect("has a home")
    }
}

fn await_so(what: &str, mut is_so: impl FnMut() -> bool) {
    let limit = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < limit, "{what}");
        std::thread::sleep(BETWEEN_LOOKS);
    }
}

fn in_memory(port: u16, more: &[&str]) -> Vec<String> {
    let port = port.to_string();
    let own = ["--port", &port, "--bind", "127.0.0.1", "--save", ""];
    let words = own.iter().chain(more);
    words.map(|text| (*text).to_owned()).collect()
}

fn spawn(program: &Path, arguments: &[String], folder: &Path) -> Child {
    Command::new(program)
        .args(arguments)
        .current_dir(folder)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap_or_else(|error| {
            panic!(
                "{} cannot be run (Debian's package redis-server): {error}",
                program.display()
            )
        })
}

/// Finds a port that is free, as is the one 10,000 above, where a Cluster talks to itself. Both are below those that the
/// system gives to clients, so that nobody has them when a server that was stopped comes back.
pub fn find_free_port() -> u16 {
    let random = RandomState::new();
    for attempt in 0..1000_u32 {
        let port = 10_000 + (random.hash_one(attempt) % 12_000) as u16;
        let free = |port| TcpListener::bind(("127.0.0.1", port)).is_ok();
        if free(port) && free(port + 10_000) {
            return port;
        }
    }
    panic!("no port is free");
}
