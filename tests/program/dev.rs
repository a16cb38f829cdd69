//! `menshen dev` shows a login to somebody who has nothing but curl, and leaves nothing behind.
#![expect(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test may panic"
)]

use std::fs;
use std::net::TcpListener;

use menshen_test_support::{Program, Upstream, address_in};
use tempfile::TempDir;
use tokio::process::Command;

const MENSHEN: &str = env!("CARGO_BIN_EXE_menshen");

/// A running `menshen dev`, and the folder in which it may make temporary files.
struct Dev {
    program: Program,
    temporary: TempDir,
}

impl Dev {
    async fn start(arguments: &[&str]) -> Self {
        let temporary = tempfile::tempdir().unwrap();
        let program = Program::start(dev(&temporary, arguments));
        program.prints("curl -s http://127.0.0.1:").await;
        Self { program, temporary }
    }

    /// Returns the lines to paste.
    async fn lines(&self) -> Vec<String> {
        // The last of them.
        self.program.prints("Bearer $TOKEN").await;
        let printed = self.program.stdout();
        let lines = printed
            .lines()
            .skip_while(|line| !line.starts_with("CODE="));
        lines
            .filter(|line| !line.is_empty())
            .map(str::to_owned)
            .collect()
    }

    /// Pastes the lines into a shell and returns what it shows.
    async fn pasted(&self) -> String {
        let script = self.lines().await.join("\n");
        bash(&script).await
    }
}

fn dev(temporary: &TempDir, arguments: &[&str]) -> Command {
    let listen = ["dev", "--listen", "127.0.0.1:0"];
    let mut command = Program::command(MENSHEN, &[&listen[..], arguments].concat());
    command
        .env("TMPDIR", temporary.path())
        .current_dir(temporary);
    command
}

async fn bash(script: &str) -> String {
    for tool in ["bash", "curl"] {
        let version = Command::new(tool).arg("--version").output().await;
        version.unwrap_or_else(|error| panic!("{tool} is needed for this test: {error}"));
    }
    let mut shell = Command::new("bash");
    let shell = shell.args(["-c", script]).env("no_proxy", "127.0.0.1");
    let ended = shell.output().await.expect("bash should start");
    assert_eq!(String::from_utf8_lossy(&ended.stderr), "");
    String::from_utf8(ended.stdout).unwrap()
}

#[tokio::test]
async fn the_printed_lines_log_somebody_in() {
    let dev = Dev::start(&[]).await;
    assert_eq!(dev.lines().await.len(), 3);
    let shown = dev.pasted().await;
    let (_, openid) = shown
        .split_once("You are o")
        .unwrap_or_else(|| panic!("{shown}"));
    assert_eq!(openid.find(" in app demo"), Some(27), "{shown}");
    assert!(shown.contains("\"x-wx-source\": \"wx_client\""), "{shown}");
    assert!(!shown.contains("\"authorization\""), "{shown}");
}

#[tokio::test]
async fn the_printed_lines_can_be_pasted_again() {
    let dev = Dev::start(&[]).await;
    let (first, second) = (dev.pasted().await, dev.pasted().await);
    let greeting = |shown: &str| {
        shown
            .lines()
            .find(|line| line.contains("hello"))
            .map(str::to_owned)
    };
    assert!(
        greeting(&first).is_some_and(|line| line.contains("You are")),
        "{first}"
    );
    assert_eq!(greeting(&first), greeting(&second));
}

#[tokio::test]
async fn nobody_gets_in_without_a_login() {
    let dev = Dev::start(&[]).await;
    let lines = dev.lines().await;
    let (get, _) = lines.last().unwrap().split_once(" -H ").unwrap();
    let shown = bash(get).await;
    assert!(shown.contains("token_missing"), "{shown}");
}

#[tokio::test]
async fn a_backend_of_ones_own_gets_the_requests() {
    let upstream = Upstream::start().await;
    for url in [
        format!("http://{}", upstream.address),
        format!("http://{}/", upstream.address),
        format!("http://localhost:{}", upstream.address.port()),
    ] {
        let before = upstream.requests();
        let dev = Dev::start(&["--upstream", &url]).await;
        assert_eq!(dev.pasted().await, "ok", "{url}");
        assert_eq!(upstream.requests(), before + 1);
        let received = upstream.last();
        assert_eq!(received.target, "/hello");
        assert!(received.only("x-wx-openid").unwrap().starts_with('o'));
        assert_eq!(received.only("x-menshen-app"), Some("demo"));
    }
}

#[tokio::test]
async fn a_signal_ends_it_and_leaves_nothing_behind() {
    for signal in ["TERM", "INT"] {
        let dev = Dev::start(&[]).await;
        dev.pasted().await;
        assert_ne!(fs::read_dir(&dev.temporary).unwrap().count(), 0);
        dev.program.signal(signal).await;
        let ended = dev.program.ended().await;
        assert_eq!(ended.code, Some(0), "{}", ended.said());
        assert_eq!(fs::read_dir(&dev.temporary).unwrap().count(), 0);
    }
}

#[tokio::test]
async fn a_signal_right_after_the_announcement_leaves_nothing_behind() {
    let dev = Dev::start(&[]).await;
    dev.program.signal("TERM").await;
    let ended = dev.program.ended().await;
    assert_eq!(ended.code, Some(0), "{}", ended.said());
    assert_eq!(fs::read_dir(&dev.temporary).unwrap().count(), 0);
}

#[tokio::test]
async fn a_port_in_use_is_named_and_leaves_nothing_behind() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let temporary = tempfile::tempdir().unwrap();
    let mut command = Program::command(MENSHEN, &["dev", "--listen", &address]);
    command.env("TMPDIR", temporary.path());
    let ended = Program::run(command).await;
    assert_eq!((ended.code, ended.stdout.as_str()), (Some(2), ""));
    assert_eq!(ended.stderr.lines().count(), 1, "{}", ended.stderr);
    assert!(ended.stderr.contains(&address), "{}", ended.stderr);
    assert_eq!(fs::read_dir(&temporary).unwrap().count(), 0);
}

#[tokio::test]
async fn a_temporary_folder_with_an_odd_name_will_do() {
    let parent = tempfile::tempdir().unwrap();
    for name in ["it's here", "a \"b\" c", "back\\slash"] {
        let folder = parent.path().join(name);
        fs::create_dir(&folder).unwrap();
        let mut command = Program::command(MENSHEN, &["dev", "--listen", "127.0.0.1:0"]);
        command.env("TMPDIR", folder);
        let program = Program::start(command);
        address_in(&program.prints("Menshen listens").await);
    }
}

#[tokio::test]
async fn a_temporary_folder_that_is_missing_is_a_failure() {
    let temporary = tempfile::tempdir().unwrap();
    let mut command = dev(&temporary, &[]);
    command.env("TMPDIR", temporary.path().join("missing"));
    let ended = Program::run(command).await;
    assert_eq!((ended.code, ended.stdout.as_str()), (Some(1), ""));
    assert_eq!(ended.stderr.lines().count(), 1, "{}", ended.stderr);
}
