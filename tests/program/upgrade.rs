//! A newer program takes the place of the one that runs, and no request is lost on the way.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::fs;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use futures::StreamExt as _;
use menshen::server::{HandOverError, Predecessor};
use menshen_test_support::{
    Grant, NOBODYS_UID, Nodes, Program, Reply, TestGateway, Upstream, check_socket_lives,
    copy_program, open_socket, set_mode,
};
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpStream, UnixStream};
use tokio_tungstenite::tungstenite::Message;

const MENSHEN: &str = env!("CARGO_BIN_EXE_menshen");

/// What programs serve one after the other.
struct Place {
    nodes: Nodes,
    /// Keeps its connections.
    http: reqwest::Client,
}

impl Place {
    async fn new() -> Self {
        Self::with("").await
    }

    /// The same with more lines in `[server]`.
    async fn with(lines: &str) -> Self {
        let nodes = Nodes::new(TestGateway::builder()).await;
        let place = Self {
            nodes,
            http: reqwest::Client::new(),
        };
        let keys = format!("upgrade_socket = '{}'", place.socket().display());
        let site = &place.nodes.site;
        site.change("[server]", &format!("[server]\n{lines}\n{keys}"));
        place
    }

    fn socket(&self) -> PathBuf {
        self.nodes.site.folder.path().join("upgrade.sock")
    }

    /// Asks the program that runs for its sockets, as soon as it can be asked.
    async fn predecessor(&self) -> (Predecessor, Vec<OwnedFd>) {
        loop {
            if let Some(found) = Predecessor::find(&self.socket()).await.unwrap() {
                return found;
            }
            tokio::task::yield_now().await;
        }
    }

    /// Starts a program and returns where it listens.
    async fn start(&self, arguments: &[&str]) -> (Program, SocketAddr) {
        let arguments = [&["serve"], arguments].concat();
        let program = Program::start(self.nodes.site.command(MENSHEN, &arguments));
        let address = program.find_address().await;
        (program, address)
    }

    async fn get(&self, address: SocketAddr, path: &str, token: &str) -> Reply {
        let url = format!("http://{address}{path}");
        Reply::of(self.http.get(url).bearer_auth(token)).await
    }

    async fn refreshed(&self, address: SocketAddr, refresh_token: &str) -> Grant {
        let url = format!("http://{address}/_auth/refresh");
        let body = json!({ "refresh_token": refresh_token });
        let reply = Reply::of(self.http.post(url).json(&body)).await;
        assert_eq!(reply.status, 200, "{}", reply.text());
        Grant::of(reply.json())
    }

    async fn log_in(&self, address: SocketAddr, user: &str) -> Grant {
        let reply = Reply::of(self.nodes.login_at(address, user).await).await;
        assert_eq!(reply.status, 200, "{}", reply.text());
        Grant::of(reply.json())
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_loses_a_request_and_everybody_stays_logged_in() {
    let place = Arc::new(Place::new().await);
    let (mut running, address) = place.start(&[]).await;
    let token = place.log_in(address, "alice").await.token;
    let (over, served) = (
        Arc::new(AtomicBool::new(false)),
        Arc::new(AtomicUsize::new(0)),
    );
    let mut clients = Vec::new();
    for client in 0..7 {
        let (place, token) = (Arc::clone(&place), token.clone());
        let mut grant = place.log_in(address, "carol").await;
        let (over, served) = (Arc::clone(&over), Arc::clone(&served));
        clients.push(tokio::spawn(async move {
            let once = reqwest::Client::builder()
                .pool_max_idle_per_host(0)
                .build()
                .unwrap();
            while !over.load(Ordering::Relaxed) {
                match client {
                    // Connections that are kept, new ones for each request, refreshes, and logins.
                    0 | 1 => {
                        let reply = place.get(address, "/orders", &token).await;
                        assert_eq!(reply.status, 200, "{}", reply.text());
                    }
                    2 | 3 => {
                        let url = format!("http://{address}/orders");
                        let reply = Reply::of(once.get(url).bearer_auth(&token)).await;
                        assert_eq!(reply.status, 200, "{}", reply.text());
                    }
                    4 => {
                        grant = place.refreshed(address, &grant.refresh_token).await;
                        let reply = place.get(address, "/orders", &grant.token).await;
                        assert_eq!(reply.status, 200, "{}", reply.text());
                    }
                    _ => {
                        let grant = place.log_in(address, "bob").await;
                        let reply = place.get(address, "/orders", &grant.token).await;
                        assert_eq!(reply.status, 200, "{}", reply.text());
                    }
                }
                served.fetch_add(1, Ordering::Relaxed);
            }
        }));
    }
    for _ in 0..3 {
        let before = served.load(Ordering::Relaxed);
        let (next, same) = place.start(&["--upgrade"]).await;
        assert_eq!(same, address);
        let ended = running.ended().await;
        assert_eq!(ended.code, Some(0), "{}", ended.stderr);
        assert!(
            ended.stderr.contains("the successor serves"),
            "{}",
            ended.stderr
        );
        running = next;
        // The next one takes over from one that has served.
        while served.load(Ordering::Relaxed) < before + 20 {
            tokio::task::yield_now().await;
        }
    }
    over.store(true, Ordering::Relaxed);
    for client in clients {
        client.await.unwrap();
    }
}

#[tokio::test]
async fn the_private_listener_is_handed_over_too() {
    let place = Place::new().await;
    let (running, address) = place.start(&[]).await;
    let control = running.find_control_address().await;
    let url = format!("http://{control}/readyz");
    assert_eq!(Reply::of(place.http.get(&url)).await.status, 200);
    let (next, same) = place.start(&["--upgrade"]).await;
    assert_eq!(same, address);
    assert_eq!(next.find_control_address().await, control);
    assert_eq!(running.ended().await.code, Some(0));
    let ready = Reply::of(reqwest::Client::new().get(&url)).await;
    assert_eq!(ready.status, 200, "{}", ready.text());
    let session = place.log_in(address, "alice").await.json;
    assert!(session["token"].is_string());
}

#[tokio::test]
async fn an_answer_on_its_way_is_finished_by_the_one_that_began_it() {
    let place = Place::new().await;
    let (running, address) = place.start(&[]).await;
    let mut held = TcpStream::connect(address).await.unwrap();
    held.write_all(b"GET /public/hold HTTP/1.1\r\nHost: here\r\n\r\n")
        .await
        .unwrap();
    place.nodes.upstream.arrived(1).await;
    let (_next, _) = place.start(&["--upgrade"]).await;
    running.logs("the successor serves").await;
    assert_eq!(place.get(address, "/public/x", "").await.status, 200);
    place.nodes.upstream.release();
    let mut answer = String::new();
    held.read_to_string(&mut answer).await.unwrap();
    assert!(
        answer.starts_with("HTTP/1.1 200") && answer.ends_with("ok"),
        "{answer}"
    );
    assert_eq!(running.ended().await.code, Some(0));
}

#[tokio::test]
async fn whoever_waits_in_line_for_wechat_holds_no_successor_up() {
    let place = Place::new().await;
    let line = "[login]\nquota_per_minute = 6\nqueue_timeout = \"50s\"\ntimeout = \"60s\"";
    place.nodes.site.change("[login]", line);
    let (running, address) = place.start(&[]).await;
    place.log_in(address, "alice").await;
    let login = place.nodes.login_at(address, "bob").await;
    let again = login.try_clone().unwrap();
    let waiting = tokio::spawn(Reply::of(login));
    let control = running.find_control_address().await;
    let since = Instant::now();
    loop {
        let counted = place.http.get(format!("http://{control}/metrics"));
        let counted = Reply::of(counted).await.text();
        if counted.contains("menshen_login_waiting{app=\"shop\"} 1") {
            break;
        }
        assert!(since.elapsed() < Duration::from_secs(9), "{counted}");
    }
    let (_next, _) = place.start(&["--upgrade"]).await;
    waiting.await.unwrap().refused(503, "wechat_busy");
    assert_eq!(running.ended().await.code, Some(0));
    assert_eq!(Reply::of(again).await.status, 200);
}

#[tokio::test]
async fn a_successor_with_a_bad_configuration_changes_nothing() {
    let place = Place::new().await;
    let (_running, address) = place.start(&[]).await;
    place.nodes.site.change("[cache]", "[cash]");
    let failed = place.nodes.site.command(MENSHEN, &["serve", "--upgrade"]);
    assert_eq!(Program::run(failed).await.code, Some(2));
    place.log_in(address, "alice").await;
}

#[tokio::test]
async fn a_successor_that_dies_on_the_way_leaves_the_one_that_runs_as_it_was() {
    let place = Place::new().await;
    let (running, address) = place.start(&[]).await;
    let token = place.log_in(address, "alice").await.token;
    for times in 1..=2 {
        let (successor, sockets) = Predecessor::find(&place.socket()).await.unwrap().unwrap();
        // The public one and the private one.
        assert_eq!(sockets.len(), 2);
        let successor = successor.let_go().await.unwrap();
        // It had everything, and dies before it serves.
        drop((successor, sockets));
        running.logs_times("going on", times).await;
        assert_eq!(place.get(address, "/orders", &token).await.status, 200);
        place.log_in(address, "alice").await;
    }
    let (successor, _) = Predecessor::find(&place.socket()).await.unwrap().unwrap();
    drop(successor);
    running.logs("gave up").await;
    let (_next, _) = place.start(&["--upgrade"]).await;
    assert_eq!(running.ended().await.code, Some(0));
    assert_eq!(place.get(address, "/orders", &token).await.status, 200);
}

#[tokio::test]
async fn a_successor_that_comes_while_another_takes_over_waits_for_whoever_serves_then() {
    let place = Place::new().await;
    let (running, address) = place.start(&[]).await;
    let token = place.log_in(address, "alice").await.token;
    let (dying, sockets) = place.predecessor().await;
    let dying = dying.let_go().await.unwrap();
    let command = place.nodes.site.command(MENSHEN, &["serve", "--upgrade"]);
    let second = Program::start(command);
    // The socket is there while another has been let in.
    assert!(UnixStream::connect(place.socket()).await.is_ok());
    drop((dying, sockets));
    assert_eq!(second.find_address().await, address);
    assert_eq!(running.ended().await.code, Some(0));
    // It has the same socket, which stays with the one that follows.
    let (_third, same) = place.start(&["--upgrade"]).await;
    assert_eq!(same, address);
    assert_eq!(second.ended().await.code, Some(0));
    assert!(place.socket().exists());
    assert_eq!(place.get(address, "/orders", &token).await.status, 200);
    place.log_in(address, "bob").await;
}

#[tokio::test]
async fn a_folder_where_others_could_put_a_socket_of_their_own_is_refused() {
    let place = Place::new().await;
    let folder = place.nodes.site.folder.path();
    set_mode(folder, 0o777);
    for arguments in [&["serve"][..], &["serve", "--upgrade"], &["check"]] {
        let ended = Program::run(place.nodes.site.command(MENSHEN, arguments)).await;
        assert_ne!(ended.code, Some(0), "{}", ended.said());
        let named = format!("{}: must not be writable", folder.display());
        assert!(ended.stderr.contains(&named), "{}", ended.said());
    }
    // There only the owner of a file can replace it, as in /tmp.
    set_mode(folder, 0o1777);
    let (running, address) = place.start(&[]).await;
    let (_next, same) = place.start(&["--upgrade"]).await;
    assert_eq!(same, address);
    assert_eq!(running.ended().await.code, Some(0));
}

/// Runs a program as another user than this one where it can, which is as root.
fn as_another(command: &mut tokio::process::Command) -> bool {
    let root = fs::metadata("/proc/self").unwrap().uid() == 0;
    if root {
        command.uid(NOBODYS_UID);
    }
    root
}

#[tokio::test]
async fn a_process_of_another_user_is_neither_predecessor_nor_successor() {
    let place = Place::new().await;
    let folder = place.nodes.site.folder.path();
    set_mode(folder, 0o1777);
    // Where the program was built, another user may not even look.
    let program = folder.join("menshen");
    copy_program(MENSHEN, &program);
    let program = program.to_str().unwrap();
    let mut command = place.nodes.site.command(program, &["serve"]);
    let other = as_another(&mut command);
    let running = Program::start(command);
    let address = running.find_address().await;
    let mut command = place.nodes.site.command(program, &["serve", "--upgrade"]);
    if !other {
        // Nobody but root can be two users; what follows is tried as far as it goes with one.
        assert!(Predecessor::find(&place.socket()).await.unwrap().is_some());
        return;
    }
    let refused = Program::run(command).await;
    assert_eq!(refused.code, Some(1), "{}", refused.said());
    assert!(
        refused.stderr.contains("is another user's (65534)"),
        "{}",
        refused.said()
    );
    // It was asked for nothing, and goes on.
    assert_eq!(place.get(address, "/public", "").await.status, 200);
    assert_eq!(running.stop().await.code, Some(0));
    for name in ["keys", "data"] {
        fs::remove_dir_all(folder.join(name)).unwrap();
    }
    let (running, address) = place.start(&[]).await;
    // So that the other may at least connect.
    set_mode(&place.socket(), 0o777);
    command = place.nodes.site.command(program, &["serve", "--upgrade"]);
    as_another(&mut command);
    let refused = Program::run(command).await;
    assert_ne!(refused.code, Some(0), "{}", refused.said());
    running.logs("a successor could not be admitted").await;
    assert_eq!(place.get(address, "/public", "").await.status, 200);
}

#[tokio::test]
async fn a_successor_that_fails_ends_no_socket_neither_an_old_nor_a_new_one() {
    let place = Place::with("drain = \"500ms\"").await;
    let (running, address) = place.start(&[]).await;
    let token = place.log_in(address, "alice").await.token;
    let mut old = open_socket(address, &token).await;
    let (successor, sockets) = Predecessor::find(&place.socket()).await.unwrap().unwrap();
    drop((successor.let_go().await.unwrap(), sockets));
    running.logs("going on").await;
    let mut new = open_socket(address, &token).await;
    // Longer than exchanges may go on at the end of the program, and what ends them then.
    let since = Instant::now();
    while since.elapsed() < Duration::from_secs(2) {
        check_socket_lives(&mut old).await;
        check_socket_lives(&mut new).await;
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    check_socket_lives(&mut open_socket(address, &token).await).await;
    // At the end itself all of them are told.
    running.signal("TERM").await;
    for socket in [&mut old, &mut new] {
        let told = socket.next().await.unwrap().unwrap();
        let Message::Close(Some(close)) = &told else {
            panic!("{told}");
        };
        assert_eq!(u16::from(close.code), 1001);
    }
    assert_eq!(running.ended().await.code, Some(0));
}

#[tokio::test]
async fn where_none_runs_it_starts_as_always() {
    let place = Place::new().await;
    let (_running, address) = place.start(&["--upgrade"]).await;
    place.log_in(address, "alice").await;
}

#[tokio::test]
async fn without_a_socket_to_ask_at_it_says_what_is_missing() {
    let builder = TestGateway::builder();
    let simulator = builder.simulator().await;
    let site = builder.site(Upstream::start().await.address, simulator);
    let ended = Program::run(site.command(MENSHEN, &["serve", "--upgrade"])).await;
    assert_eq!(ended.code, Some(2));
    assert!(
        ended.stderr.contains("server.upgrade_socket"),
        "{}",
        ended.stderr
    );
}

#[tokio::test]
async fn a_successor_that_hangs_is_not_waited_for_long() {
    let place = Place::new().await;
    let (running, address) = place.start(&[]).await;
    let (hanging, _sockets) = place.predecessor().await;
    let hanging = hanging.let_go().await.unwrap();
    let since = Instant::now();
    let asked = tokio::time::timeout(Duration::from_secs(30), place.get(address, "/public", ""));
    assert_eq!(asked.await.unwrap().status, 200);
    assert!(since.elapsed() < Duration::from_secs(15));
    running.logs("no answer within 10 seconds").await;
    // When it wakes up, it learns that it is too late.
    let refused = hanging.dismiss().await.err().unwrap();
    assert!(matches!(refused, HandOverError::Kept), "{refused}");
}

#[tokio::test]
async fn a_stop_does_not_wait_for_a_successor_that_hangs() {
    let place = Place::new().await;
    let (running, _) = place.start(&[]).await;
    let (hanging, _sockets) = place.predecessor().await;
    let hanging = hanging.let_go().await.unwrap();
    let since = Instant::now();
    assert_eq!(running.stop().await.code, Some(0));
    assert!(since.elapsed() < Duration::from_secs(5));
    // Nobody else has the place now.
    hanging.dismiss().await.unwrap();
}

#[tokio::test]
async fn whoever_connects_and_says_nothing_is_in_nobodys_way() {
    let place = Place::new().await;
    let (running, address) = place.start(&[]).await;
    let silent = async || loop {
        if let Ok(stream) = tokio::net::UnixStream::connect(place.socket()).await {
            return stream;
        }
        tokio::task::yield_now().await;
    };
    let _silent = [silent().await, silent().await];
    let (next, same) = place.start(&["--upgrade"]).await;
    assert_eq!(same, address);
    assert_eq!(running.ended().await.code, Some(0));
    next.logs("listening").await;
    place.log_in(address, "alice").await;
    let since = Instant::now();
    let _silent = silent().await;
    assert_eq!(next.stop().await.code, Some(0));
    assert!(since.elapsed() < Duration::from_secs(5));
}

#[tokio::test]
async fn a_successor_serves_when_the_one_before_dies_while_it_hands_over() {
    let place = Place::new().await;
    let (running, address) = place.start(&[]).await;
    let token = place.log_in(address, "alice").await.token;
    let successor = Program::start(place.nodes.site.command(MENSHEN, &["serve", "--upgrade"]));
    // It is ready, and waits for the other to let go.
    running.logs("stopping").await;
    running.signal("KILL").await;
    assert_eq!(successor.find_address().await, address);
    assert_eq!(place.get(address, "/orders", &token).await.status, 200);
    place.log_in(address, "alice").await;
    successor.logs("has died").await;
}

#[tokio::test]
async fn sockets_are_told_to_come_back_where_their_sessions_can_be_ended() {
    let place = Place::new().await;
    let (running, address) = place.start(&[]).await;
    let token = place.log_in(address, "alice").await.token;
    let mut socket = open_socket(address, &token).await;
    let (_next, _) = place.start(&["--upgrade"]).await;
    let told = socket.next().await.unwrap().unwrap();
    assert!(
        matches!(&told, Message::Close(Some(close)) if u16::from(close.code) == 1001),
        "{told}"
    );
    check_socket_lives(&mut open_socket(address, &token).await).await;
    assert_eq!(running.ended().await.code, Some(0));
}

#[tokio::test]
async fn a_file_where_the_socket_should_be_is_named_and_kept() {
    let place = Place::new().await;
    fs::write(place.socket(), "somebody's work").unwrap();
    for arguments in [&["serve"][..], &["serve", "--upgrade"], &["check"]] {
        let ended = Program::run(place.nodes.site.command(MENSHEN, arguments)).await;
        assert_eq!(ended.code, Some(2), "{}", ended.said());
        let (path, why) = (place.socket(), "is not a socket");
        let named = ended.stderr.contains(path.to_str().unwrap());
        assert!(named && ended.stderr.contains(why), "{}", ended.stderr);
        assert_eq!(fs::read(place.socket()).unwrap(), b"somebody's work");
    }
}

#[tokio::test]
async fn a_folder_that_is_missing_is_named() {
    let place = Place::new().await;
    let site = &place.nodes.site;
    site.change("upgrade.sock", "missing/upgrade.sock");
    for arguments in [&["serve"][..], &["check"]] {
        let ended = Program::run(site.command(MENSHEN, arguments)).await;
        assert_eq!(ended.code, Some(2), "{}", ended.said());
        assert!(
            ended.stderr.contains("missing: no socket"),
            "{}",
            ended.said()
        );
    }
}

#[tokio::test]
async fn the_socket_is_gone_with_the_program_and_one_that_was_left_is_in_nobodys_way() {
    let place = Place::new().await;
    let (running, _) = place.start(&[]).await;
    assert_eq!(running.stop().await.code, Some(0));
    assert!(!place.socket().exists());
    drop(std::os::unix::net::UnixListener::bind(place.socket()).unwrap());
    let (_running, address) = place.start(&[]).await;
    place.log_in(address, "alice").await;
    assert!(Predecessor::find(&place.socket()).await.unwrap().is_some());
}
