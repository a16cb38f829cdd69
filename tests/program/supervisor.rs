//! What the program tells its supervisor (`sd_notify`), and the order in which it starts, stops and is succeeded.
#![expect(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test may panic"
)]

use std::time::{Duration, Instant};

use menshen_test_support::{
    Builder, Node, Nodes, Program, Reply, TestGateway, address_in, make_client,
};
use tokio::net::{TcpStream, UnixDatagram};
use tokio::time::timeout;

const MENSHEN: &str = env!("CARGO_BIN_EXE_menshen");
const PATIENCE: Duration = Duration::from_secs(20);

/// A supervisor, as far as its socket goes.
struct Supervisor {
    nodes: Nodes,
    socket: UnixDatagram,
}

impl Supervisor {
    async fn new(builder: Builder) -> Self {
        let mut nodes = Nodes::new(builder).await;
        let path = nodes.site.folder.path().join("notify");
        let socket = UnixDatagram::bind(&path).unwrap();
        nodes.set_env("NOTIFY_SOCKET", path.to_str().unwrap());
        Self { nodes, socket }
    }

    /// Returns the next words, each `NAME=VALUE`.
    async fn hears(&self) -> Vec<String> {
        let mut bytes = [0; 4096];
        let heard = timeout(PATIENCE, self.socket.recv(&mut bytes)).await;
        let length = heard.expect("the program should say something").unwrap();
        let text = std::str::from_utf8(bytes.get(..length).unwrap()).unwrap();
        text.lines().map(str::to_owned).collect()
    }

    /// Checks that the next words hold this one, and returns them.
    async fn hears_next(&self, word: &str) -> Vec<String> {
        let heard = self.hears().await;
        assert!(heard.iter().any(|said| said == word), "{word}: {heard:?}");
        heard
    }

    /// Starts a program that has said that it is ready.
    async fn start(&self) -> Node {
        let program = Program::start(self.nodes.command(MENSHEN));
        self.hears_next("READY=1").await;
        self.nodes.join(program).await
    }
}

async fn readiness(node: &Node) -> Option<(u16, String)> {
    let control = node.program.find_control_address().await;
    let http = make_client();
    let asked = http.get(format!("http://{control}/readyz"));
    let reply = Node::attempt(asked).await?;
    let state = reply.json()["state"].as_str().unwrap().to_owned();
    Some((reply.status, state))
}

fn value<'w>(words: &'w [String], name: &str) -> &'w str {
    let mut values = words.iter().filter_map(|word| word.strip_prefix(name));
    values.next().unwrap_or_else(|| panic!("{name}: {words:?}"))
}

#[tokio::test]
async fn it_is_ready_when_it_answers_and_not_before() {
    let supervisor = Supervisor::new(TestGateway::builder()).await;
    let program = Program::start(supervisor.nodes.command(MENSHEN));
    supervisor.hears_next("READY=1").await;
    // No waiting: whoever is told may ask.
    let said = program.stderr();
    let listening = said.lines().find(|line| line.contains("listening"));
    let address = match listening {
        Some(line) => address_in(line),
        // The log is written by a thread of its own.
        None => program.find_address().await,
    };
    assert!(TcpStream::connect(address).await.is_ok());
    let node = supervisor.nodes.join(program).await;
    assert_eq!(readiness(&node).await, Some((200, "ready".to_owned())));
    node.log_in("alice").await;
}

#[tokio::test]
async fn one_that_cannot_start_is_never_ready() {
    let supervisor = Supervisor::new(TestGateway::builder()).await;
    supervisor.nodes.site.change("[cache]", "[cash]");
    let ended = Program::run(supervisor.nodes.command(MENSHEN)).await;
    assert_eq!(ended.code, Some(2));
    let said = supervisor.socket.try_recv(&mut [0; 64]);
    assert_eq!(said.unwrap_err().kind(), std::io::ErrorKind::WouldBlock);
}

#[tokio::test]
async fn a_reload_begins_and_ends_also_where_the_file_is_refused() {
    let supervisor = Supervisor::new(TestGateway::builder()).await;
    let node = supervisor.start().await;
    node.program.signal("HUP").await;
    let began = supervisor.hears_next("RELOADING=1").await;
    let micros: u64 = value(&began, "MONOTONIC_USEC=").parse().unwrap();
    assert!(micros > 0);
    let ready = supervisor.hears_next("READY=1").await;
    assert_eq!(value(&ready, "STATUS="), "serving");
    supervisor.nodes.site.change("[cache]", "[cash]");
    node.program.signal("HUP").await;
    supervisor.hears_next("RELOADING=1").await;
    let ready = supervisor.hears_next("READY=1").await;
    assert!(value(&ready, "STATUS=").contains("refused"), "{ready:?}");
}

#[tokio::test]
async fn a_stop_is_announced_before_connections_are_refused_and_then_drains() {
    let lines = "shutdown_delay = \"2s\"\ndrain = \"1h\"";
    let builder = TestGateway::builder().section("server", lines);
    let supervisor = Supervisor::new(builder).await;
    let node = supervisor.start().await;
    let (told, path) = (Instant::now(), "/public/hold");
    node.program.signal("TERM").await;
    supervisor.hears_next("STOPPING=1").await;
    // Not ready, and everybody is served.
    let draining = Some((503, "draining".to_owned()));
    assert_eq!(readiness(&node).await, draining);
    let late = tokio::spawn(Reply::of(node.request("GET", path)));
    supervisor.nodes.upstream.arrived(1).await;
    while TcpStream::connect(node.address).await.is_ok() {
        assert!(told.elapsed() < PATIENCE, "it should stop accepting");
        tokio::task::yield_now().await;
    }
    assert!(told.elapsed() >= Duration::from_secs(2));
    // What is in flight goes on, and whoever asks still learns that nobody should come.
    assert_eq!(readiness(&node).await, draining);
    supervisor.nodes.upstream.release();
    assert_eq!(late.await.unwrap().status, 200);
    assert_eq!(node.program.ended().await.code, Some(0));
}

#[tokio::test]
async fn a_stop_has_a_limit() {
    let lines = "shutdown_delay = \"100ms\"\ndrain = \"100ms\"";
    let builder = TestGateway::builder().section("server", lines);
    let supervisor = Supervisor::new(builder).await;
    let node = supervisor.start().await;
    let held = tokio::spawn(node.request("GET", "/public/hold").send());
    supervisor.nodes.upstream.arrived(1).await;
    node.program.signal("TERM").await;
    let (told, ended) = (Instant::now(), node.program.ended().await);
    assert_eq!(ended.code, Some(0));
    assert!(told.elapsed() < Duration::from_secs(10));
    assert!(ended.stderr.contains("still in flight"), "{}", ended.stderr);
    assert!(held.await.unwrap().is_err());
}

#[tokio::test]
async fn signs_of_life_come_where_they_are_wanted() {
    let mut supervisor = Supervisor::new(TestGateway::builder()).await;
    supervisor.nodes.set_env("WATCHDOG_USEC", "300000");
    let node = Program::start(supervisor.nodes.command(MENSHEN));
    let since = Instant::now();
    let mut signs = 0;
    while signs < 5 {
        let heard = supervisor.hears().await;
        signs += usize::from(heard == ["WATCHDOG=1"]);
    }
    // Three in each limit.
    assert!(since.elapsed() >= Duration::from_millis(400));
    // One that hangs gives none: a stopped process is the plainest of these.
    node.signal("STOP").await;
    while timeout(Duration::from_millis(600), supervisor.hears())
        .await
        .is_ok()
    {}
    node.signal("CONT").await;
    supervisor.hears_next("WATCHDOG=1").await;
}

#[tokio::test]
async fn another_process_watched_for_is_none_of_its_business() {
    let mut supervisor = Supervisor::new(TestGateway::builder()).await;
    supervisor.nodes.set_env("WATCHDOG_USEC", "1000");
    supervisor.nodes.set_env("WATCHDOG_PID", "1");
    let node = supervisor.start().await;
    node.log_in("alice").await;
    node.program.signal("HUP").await;
    supervisor.hears_next("RELOADING=1").await;
}

#[tokio::test]
async fn a_signal_starts_the_successor_and_the_supervisor_learns_which_process_it_is() {
    let supervisor = Supervisor::new(TestGateway::builder()).await;
    let socket = supervisor.nodes.site.folder.path().join("upgrade.sock");
    let key = format!("[server]\nupgrade_socket = '{}'", socket.display());
    supervisor.nodes.site.change("[server]", &key);
    let node = supervisor.start().await;
    let (first, address) = (node.program.id(), node.address);
    let grant = node.log_in("alice").await;
    node.program.signal("USR2").await;
    let heard = supervisor.hears().await;
    let second: u32 = value(&heard, "MAINPID=").parse().unwrap();
    assert_ne!(second, first);
    assert_eq!(supervisor.hears_next("READY=1").await.len(), 2);
    let ended = node.program.ended().await;
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    // It has the secrets that are in nobody's environment, the listener and the sessions.
    let environment = std::fs::read_to_string(format!("/proc/{second}/environ")).unwrap();
    assert!(!environment.contains("APP_SECRET="), "{environment}");
    let http = make_client();
    let asked = http.get(format!("http://{address}/orders"));
    assert_eq!(Reply::of(asked.bearer_auth(&grant.token)).await.status, 200);
    let login = supervisor.nodes.login_at(address, "bob").await;
    assert_eq!(Reply::of(login).await.status, 200);
    stop(second).await;
    supervisor.hears_next("STOPPING=1").await;
}

#[tokio::test]
async fn a_successor_that_cannot_start_leaves_everything_as_it_was() {
    let supervisor = Supervisor::new(TestGateway::builder()).await;
    let socket = supervisor.nodes.site.folder.path().join("upgrade.sock");
    let key = format!("[server]\nupgrade_socket = '{}'", socket.display());
    supervisor.nodes.site.change("[server]", &key);
    let node = supervisor.start().await;
    supervisor.nodes.site.change("[cache]", "[cash]");
    node.program.signal("USR2").await;
    let line = node.program.logs("no successor: going on").await;
    assert!(line.contains("exit status: 2"), "{line}");
    node.log_in("alice").await;
    // Another try may succeed.
    supervisor.nodes.site.change("[cash]", "[cache]");
    node.program.signal("USR2").await;
    let heard = supervisor.hears().await;
    let second: u32 = value(&heard, "MAINPID=").parse().unwrap();
    assert_eq!(node.program.ended().await.code, Some(0));
    stop(second).await;
}

/// Has a process end that is not this one's child.
async fn stop(process: u32) {
    let kill = format!("kill -s TERM {process}");
    let killed = tokio::process::Command::new("sh")
        .args(["-c", &kill])
        .status();
    assert!(killed.await.unwrap().success());
    let since = Instant::now();
    // Whoever adopted it may take long to ask for its exit status.
    let runs = || {
        let state = std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
        !state.is_empty() && !state.contains(") Z ")
    };
    while runs() {
        assert!(since.elapsed() < PATIENCE, "{process} should end");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
