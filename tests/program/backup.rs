//! `menshen backup` and `menshen restore`: what was answered before a backup began is in it, however busy the process is.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use menshen_test_support::{
    APP_SECRET, Builder, CONTROL_SECRET, Ended, Node, Nodes, Program, Reply, TestGateway, read_mode,
};

const MENSHEN: &str = env!("CARGO_BIN_EXE_menshen");

struct Place {
    nodes: Nodes,
}

impl Place {
    async fn new(builder: Builder) -> Self {
        let place = Self {
            nodes: Nodes::new(builder).await,
        };
        // The process has a port of the system's choice, where the command could not find it.
        let socket = place.folder().join("control.sock");
        let listen = format!("listen = \"unix:{}\"", socket.display());
        place.nodes.site.change(
            "[control]\nlisten = \"127.0.0.1:0\"",
            &format!("[control]\n{listen}"),
        );
        place
    }

    fn folder(&self) -> &Path {
        self.nodes.site.folder.path()
    }

    fn state(&self) -> [PathBuf; 2] {
        ["keys", "data"].map(|name| self.folder().join(name))
    }

    /// Runs a command as somebody whose environment has no secret.
    async fn run(&self, arguments: &[&str]) -> Ended {
        let mut command = self.nodes.command_to(MENSHEN, arguments);
        command
            .env_remove("APP_SECRET")
            .env_remove("CONTROL_SECRET");
        Program::run(command).await
    }

    async fn done(&self, arguments: &[&str]) -> String {
        let ended = self.run(arguments).await;
        assert_eq!(ended.code, Some(0), "{}", ended.said());
        ended.said()
    }

    async fn refused(&self, arguments: &[&str]) -> String {
        let ended = self.run(arguments).await;
        assert_eq!(ended.code, Some(1), "{}", ended.said());
        ended.stderr
    }

    fn lose(&self) {
        for folder in self.state() {
            fs::remove_dir_all(folder).unwrap();
        }
    }
}

async fn stop(node: Node) {
    assert_eq!(node.program.stop().await.code, Some(0));
}

/// Lists every file below a folder.
fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path));
        } else {
            found.push(path);
        }
    }
    found
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_answered_before_a_backup_under_load_is_there_when_it_is_restored() {
    let place = Arc::new(Place::new(TestGateway::builder()).await);
    let node = Arc::new(place.nodes.serve(MENSHEN).await);
    let mut before = Vec::new();
    for user in 0..40 {
        before.push(node.log_in(&format!("before-{user}")).await);
    }
    // One session has ended by then.
    let ended = before.pop().unwrap();
    let out = node
        .request("POST", "/_auth/logout")
        .bearer_auth(&ended.token);
    assert_eq!(Reply::of(out).await.status, 204);
    let (over, count) = (
        Arc::new(AtomicBool::new(false)),
        Arc::new(AtomicUsize::new(0)),
    );
    let load: Vec<_> = (0..4)
        .map(|client| {
            let (node, over, count) = (Arc::clone(&node), Arc::clone(&over), Arc::clone(&count));
            tokio::spawn(async move {
                let mut turn = 0;
                while !over.load(Ordering::Relaxed) {
                    let grant = node.log_in(&format!("during-{client}-{turn}")).await;
                    node.refreshed(&grant.refresh_token).await;
                    turn += 1;
                    count.fetch_add(1, Ordering::Relaxed);
                }
            })
        })
        .collect();
    let mut taken = Vec::new();
    for number in 0..3 {
        let reached = count.load(Ordering::Relaxed) + 10;
        while count.load(Ordering::Relaxed) < reached {
            tokio::task::yield_now().await;
        }
        let folder = place.folder().join(format!("backup-{number}"));
        let said = place.done(&["backup", folder.to_str().unwrap()]).await;
        assert!(
            said.contains("1 signing key") && said.contains("sessions"),
            "{said}"
        );
        taken.push(folder);
    }
    over.store(true, Ordering::Relaxed);
    for client in load {
        client.await.unwrap();
    }
    let after = node.log_in("after").await;
    let Ok(node) = Arc::try_unwrap(node) else {
        unreachable!("nobody else has it")
    };
    stop(node).await;
    // Nothing is left of what the process copied.
    let left = files(&place.state()[1]);
    assert_eq!(left.len(), 2, "{left:?}");

    let last = taken.pop().unwrap();
    place.lose();
    place.done(&["restore", last.to_str().unwrap()]).await;
    let node = place.nodes.serve(MENSHEN).await;
    for grant in &before {
        assert_eq!(node.get("/orders", &grant.token).await.status, 200);
        node.refreshed(&grant.refresh_token).await;
    }
    // The end of a session is kept as well, and what came later is not there.
    for (grant, code) in [(&ended, "session_ended"), (&after, "session_ended")] {
        let refused = node.refresh(&grant.refresh_token).await;
        assert_eq!(refused.refusal(), (401, code.to_owned()));
    }
    let refused = node.get("/orders", &ended.token).await;
    assert_eq!(refused.refusal(), (401, "session_ended".to_owned()));
    node.log_in("again").await;
    stop(node).await;
}

#[tokio::test]
async fn only_its_owner_can_read_a_backup_and_the_log_says_nothing_of_what_is_in_it() {
    let place = Place::new(TestGateway::builder()).await;
    let node = place.nodes.serve(MENSHEN).await;
    node.log_in("alice").await;
    let folder = place.folder().join("backup");
    place.done(&["backup", folder.to_str().unwrap()]).await;
    assert_eq!(read_mode(&folder), 0o700);
    let found = files(&folder);
    assert_eq!(found.len(), 3, "{found:?}");
    for file in &found {
        assert_eq!(read_mode(file), 0o600, "{}", file.display());
    }
    let seal_key = fs::read_to_string(folder.join("data/seal.key")).unwrap();
    node.program.logs("copied for a backup").await;
    let said = node.program.stderr();
    assert!(!said.contains(seal_key.trim()), "{said}");
    assert!(!said.contains(APP_SECRET), "{said}");
}

#[tokio::test]
async fn where_nothing_runs_the_files_are_copied_and_nothing_that_is_there_is_written_over() {
    let place = Place::new(TestGateway::builder()).await;
    let node = place.nodes.serve(MENSHEN).await;
    let grant = node.log_in("alice").await;
    stop(node).await;
    let folder = place.folder().join("backup");
    let name = folder.to_str().unwrap();
    let said = place.done(&["backup", name]).await;
    assert!(said.contains("1 signing key, 1 sessions"), "{said}");
    let said = place.refused(&["backup", name]).await;
    assert!(said.contains("is there already"), "{said}");
    let said = place.refused(&["restore", name]).await;
    assert!(said.contains("keys is there already"), "{said}");
    fs::remove_dir_all(&place.state()[0]).unwrap();
    let said = place.refused(&["restore", name]).await;
    assert!(said.contains("sessions.redb is there already"), "{said}");
    assert!(!place.state()[0].exists());
    fs::remove_dir_all(&place.state()[1]).unwrap();
    place.done(&["restore", name]).await;
    let node = place.nodes.serve(MENSHEN).await;
    node.refreshed(&grant.refresh_token).await;
}

#[tokio::test]
async fn a_backup_without_its_seal_key_or_its_keys_is_not_restored() {
    let place = Place::new(TestGateway::builder()).await;
    let node = place.nodes.serve(MENSHEN).await;
    node.log_in("alice").await;
    stop(node).await;
    let folder = place.folder().join("backup");
    let name = folder.to_str().unwrap();
    place.done(&["backup", name]).await;
    place.lose();
    let seal_key = folder.join("data/seal.key");
    fs::rename(&seal_key, place.folder().join("elsewhere")).unwrap();
    let said = place.refused(&["restore", name]).await;
    assert!(said.contains("seal.key is missing"), "{said}");
    fs::rename(place.folder().join("elsewhere"), seal_key).unwrap();
    fs::remove_dir_all(folder.join("keys")).unwrap();
    let said = place.refused(&["restore", name]).await;
    assert!(said.contains("keys"), "{said}");
    for folder in place.state() {
        assert!(!folder.exists(), "{}", folder.display());
    }
}

#[tokio::test]
async fn a_process_that_gives_no_copy_is_named_and_leaves_nothing_behind() {
    let place = Place::new(TestGateway::builder().require_control_secret()).await;
    let node = place.nodes.serve(MENSHEN).await;
    node.log_in("alice").await;
    let folder = place.folder().join("backup");
    let name = folder.to_str().unwrap();
    let said = place.refused(&["backup", name]).await;
    assert!(said.contains("refuses with 401 token_invalid"), "{said}");
    let left = fs::read_dir(place.folder()).unwrap();
    let left: Vec<_> = left
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    assert!(!left.iter().any(|name| name.contains("backup")), "{left:?}");
    // Whoever has the secret gets it.
    let mut command = place.nodes.site.command(MENSHEN, &["backup", name]);
    command.env("CONTROL_SECRET", CONTROL_SECRET);
    let ended = Program::run(command).await;
    assert_eq!(ended.code, Some(0), "{}", ended.said());
    assert!(!ended.said().contains(CONTROL_SECRET));
    // Without a private listener there is nobody to ask.
    let text = fs::read_to_string(&place.nodes.site.config).unwrap();
    let (head, _) = text.split_once("listen = \"unix:").unwrap();
    let (_, rest) = text.split_once(".sock\"").unwrap();
    fs::write(
        &place.nodes.site.config,
        format!("{head}listen = \"\"{rest}"),
    )
    .unwrap();
    let said = place.refused(&["backup", "other"]).await;
    assert!(said.contains("control.listen"), "{said}");
}

#[tokio::test]
async fn of_a_node_over_redis_the_keys_are_kept_and_it_is_said_what_is_not() {
    let nodes = Nodes::over("redis://127.0.0.1:1/", "").await;
    let made = Program::run(nodes.site.command(MENSHEN, &["keys", "new", "--now"])).await;
    assert_eq!(made.code, Some(0), "{}", made.said());
    let place = Place { nodes };
    let folder = place.folder().join("backup");
    let said = place.done(&["backup", folder.to_str().unwrap()]).await;
    assert!(
        said.contains("1 signing key, no sessions, which are Redis's to keep"),
        "{said}"
    );
    assert!(
        said.contains("the configured seal key is not in it"),
        "{said}"
    );
    fs::remove_dir_all(&place.state()[0]).unwrap();
    place.done(&["restore", folder.to_str().unwrap()]).await;
    let listed = place.done(&["keys", "list"]).await;
    assert!(listed.contains(made.stdout.trim()), "{listed}");
}
