//! The private listener at a Unix socket: who may connect, what is in its place, and what is left when it ends.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use menshen_test_support::{CONTROL_SECRET, Ended, Nodes, Program, TestGateway, set_mode};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;

const MENSHEN: &str = env!("CARGO_BIN_EXE_menshen");

/// A site whose private listener is at a socket.
struct Place(Nodes);

impl Place {
    async fn new(lines: &str) -> Self {
        let lines = format!("listen = \"unix:control.sock\"\n{lines}");
        let builder = TestGateway::builder().section("control", &lines);
        let nodes = Nodes::new(builder).await;
        nodes
            .site
            .change("[server]", "[server]\nupgrade_socket = \"upgrade.sock\"");
        Self(nodes)
    }

    fn folder(&self) -> &Path {
        self.0.site.folder.path()
    }

    /// Returns where the socket is: relative to the configuration file.
    fn socket(&self) -> PathBuf {
        self.folder().join("control.sock")
    }

    async fn start(&self, arguments: &[&str]) -> Program {
        let arguments = [&["serve"], arguments].concat();
        let program = Program::start(self.0.site.command(MENSHEN, &arguments));
        program.logs("open for control").await;
        program
    }

    async fn check(&self) -> Ended {
        Program::run(self.0.site.command(MENSHEN, &["check"])).await
    }

    fn mode(&self) -> u32 {
        fs::symlink_metadata(self.socket()).unwrap().mode() & 0o777
    }

    /// Asks for a path, and returns the answer.
    async fn get(&self, path: &str, more: &str) -> std::io::Result<String> {
        let mut stream = UnixStream::connect(self.socket()).await?;
        let host = if more.contains("Host:") {
            ""
        } else {
            "Host: localhost\r\n"
        };
        let request = format!("GET {path} HTTP/1.1\r\n{host}{more}Connection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        Ok(answer)
    }

    async fn answers(&self, path: &str, more: &str, status: u16) -> String {
        let answer = self.get(path, more).await.unwrap();
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status} ")),
            "{answer}"
        );
        answer
    }
}

#[tokio::test]
async fn a_socket_is_its_owners_and_goes_with_the_program() {
    let place = Place::new("").await;
    let program = place.start(&[]).await;
    assert_eq!(place.mode(), 0o600);
    place.answers("/healthz", "", 200).await;
    place.answers("/metrics", "", 200).await;
    // A page that got a browser to ask is refused here too.
    place.answers("/metrics", "Origin: null\r\n", 403).await;
    // So is one whose name was made to lead to a port that is forwarded to the socket.
    let page = "Host: evil.example:9090\r\n";
    place.answers("/metrics", page, 400).await;
    let own = format!("{page}Origin: http://evil.example:9090\r\n");
    place.answers("/v1/status", &own, 400).await;
    let us = fs::metadata("/proc/self").unwrap().uid();
    program.logs(&format!("uid {us}")).await;
    program.signal("HUP").await;
    program.logs("the configuration was reloaded").await;
    place.answers("/readyz", "", 200).await;
    assert_eq!(program.stop().await.code, Some(0));
    assert!(!place.socket().exists());
}

#[tokio::test]
async fn a_socket_that_was_left_is_in_nobodys_way_and_a_file_is_kept() {
    let place = Place::new("").await;
    let program = place.start(&[]).await;
    program.signal("KILL").await;
    program.ended().await;
    assert!(place.socket().exists());
    assert!(place.check().await.code == Some(0));
    let again = place.start(&[]).await;
    place.answers("/healthz", "", 200).await;
    again.stop().await;
    fs::write(place.socket(), "precious").unwrap();
    let command = place.0.site.command(MENSHEN, &["serve"]);
    for ended in [place.check().await, Program::run(command).await] {
        assert_eq!(ended.code, Some(2), "{}", ended.said());
        assert!(
            ended.stderr.contains("is there and is not a socket"),
            "{}",
            ended.said()
        );
    }
    assert_eq!(fs::read(place.socket()).unwrap(), b"precious");
}

#[tokio::test]
async fn a_folder_where_others_could_put_a_socket_of_their_own_is_refused() {
    let place = Place::new("").await;
    let open = place.folder().join("open");
    fs::create_dir(&open).unwrap();
    set_mode(&open, 0o777);
    place
        .0
        .site
        .change("unix:control.sock", "unix:open/control.sock");
    let ended = place.check().await;
    assert_eq!(ended.code, Some(2), "{}", ended.said());
    let told = ended.stderr.starts_with("control.listen: ");
    assert!(
        told && ended.stderr.contains("must not be writable by other users"),
        "{}",
        ended.said()
    );
}

#[tokio::test]
async fn a_group_may_ask_where_the_mode_says_so_and_check_warns_without_a_secret() {
    let place = Place::new("socket_mode = \"0660\"").await;
    let checked = place.check().await;
    assert_eq!(checked.code, Some(0), "{}", checked.said());
    assert!(
        checked.stdout.contains("every user of its group"),
        "{}",
        checked.said()
    );
    let program = place.start(&[]).await;
    assert_eq!(place.mode(), 0o660);
    program.stop().await;
    place
        .0
        .site
        .change("socket_mode = \"0660\"", "socket_mode = \"0600\"");
    let checked = place.check().await;
    assert!(!checked.stdout.contains("may use it"), "{}", checked.said());
}

#[tokio::test]
async fn a_user_who_tries_secrets_out_is_refused_for_a_while() {
    let place = Place::new("secret_env = \"CONTROL_SECRET\"").await;
    let _program = place.start(&[]).await;
    let bearer = |secret: &str| format!("Authorization: Bearer {secret}\r\n");
    place.answers("/metrics", "", 401).await;
    place
        .answers("/metrics", &bearer(CONTROL_SECRET), 200)
        .await;
    for _ in 0..30 {
        place.answers("/metrics", &bearer("a-guess"), 401).await;
    }
    place
        .answers("/metrics", &bearer(CONTROL_SECRET), 429)
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_successor_answers_at_the_same_socket_and_nobody_is_refused_meanwhile() {
    let place = Arc::new(Place::new("").await);
    let first = place.start(&[]).await;
    let (over, asked) = (
        Arc::new(AtomicBool::new(false)),
        Arc::new(AtomicUsize::new(0)),
    );
    let asking = tokio::spawn({
        let (place, over, asked) = (Arc::clone(&place), Arc::clone(&over), Arc::clone(&asked));
        async move {
            while !over.load(Ordering::SeqCst) {
                place.answers("/healthz", "", 200).await;
                asked.fetch_add(1, Ordering::SeqCst);
            }
        }
    });
    let second = place.start(&["--upgrade"]).await;
    second.find_address().await;
    assert_eq!(first.ended().await.code, Some(0));
    let before = asked.load(Ordering::SeqCst);
    while asked.load(Ordering::SeqCst) < before + 3 && !asking.is_finished() {
        tokio::task::yield_now().await;
    }
    over.store(true, Ordering::SeqCst);
    asking.await.unwrap();
    assert_eq!(place.mode(), 0o600);
    assert_eq!(second.stop().await.code, Some(0));
    assert!(!place.socket().exists());
}

#[tokio::test]
async fn a_successor_that_listens_elsewhere_leaves_no_socket_behind() {
    let place = Place::new("").await;
    let first = place.start(&[]).await;
    place.0.site.change("unix:control.sock", "127.0.0.1:0");
    let second = place.start(&["--upgrade"]).await;
    assert_eq!(first.ended().await.code, Some(0));
    assert!(!place.socket().exists());
    second.stop().await;
}
