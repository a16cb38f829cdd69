//! A disk that takes no more, and a database file that is damaged: it is said in one sentence, nothing is destroyed, and
//! with space again everything goes on by itself.
#![expect(clippy::expect_used, reason = "a test may panic")]

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use menshen_test_support::{Grant, Node, Nodes, Program, Reply, TestGateway};
use tokio::process::Command;

const MENSHEN: &str = env!("CARGO_BIN_EXE_menshen");
const PATIENCE: Duration = Duration::from_secs(20);

fn store(nodes: &Nodes) -> PathBuf {
    nodes.site.folder.path().join("data/sessions.redb")
}

/// Starts a program that is told of a write beyond its limit, and not killed for it.
async fn serve_with_limits(nodes: &Nodes) -> Node {
    let mut command = Command::new("sh");
    let script = "trap '' XFSZ; exec \"$0\" serve --config \"$1\"";
    command
        .args(["-c", script, MENSHEN])
        .arg(&nodes.site.config);
    command
        .current_dir(&nodes.site.folder)
        .env("APP_SECRET", menshen_test_support::APP_SECRET);
    nodes.join(Program::start(command)).await
}

/// Says how far into a file the program may write from now on.
async fn limit(node: &Node, bytes: &str) {
    let mut command = Command::new("prlimit");
    command
        .arg(format!("--pid={}", node.program.id()))
        .arg(format!("--fsize={bytes}:"));
    let set = command.status().await;
    assert!(set.expect("prlimit of util-linux").success());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disk_that_takes_no_more_stops_logins_only_and_for_no_longer_than_that() {
    let nodes = Nodes::new(TestGateway::builder()).await;
    let node = serve_with_limits(&nodes).await;
    let (alice, bob) = (node.log_in("alice").await, node.log_in("bob").await);
    let ended = node.log_in("mallory").await;
    node.log_out(&ended.token).await;
    for _ in 0..2 {
        limit(&node, "4096").await;
        for attempt in 0..3 {
            let login = node.try_log_in("carol").await;
            if attempt == 0 {
                // Its code was spent before anybody knew; only a new one helps.
                login.refused(504, "login_not_stored");
            } else {
                login.refused(503, "store_unavailable");
                assert!(login.retry_after().unwrap() > 0);
            }
            let refresh = node.refresh(&alice.refresh_token).await;
            refresh.refused(503, "store_unavailable");
            let logout = Reply::of(node.logout(&bob.token)).await;
            logout.refused(503, "store_unavailable");
            assert_eq!(node.get_as(&alice.token).await.status, 200);
            assert_eq!(node.get_as(&ended.token).await.status, 401);
        }
        limit(&node, "unlimited").await;
        let since = Instant::now();
        while node.refresh(&bob.refresh_token).await.status == 503 {
            assert!(since.elapsed() < PATIENCE, "it does not recover");
        }
        node.log_in("carol").await;
        println!("it was back after {:?}", since.elapsed());
    }
    let line = node.program.logs("sessions could not be written").await;
    println!("{line}");
    let alice = node.refreshed(&alice.refresh_token).await;
    node.program.signal("KILL").await;
    node.program.ended().await;
    let node = nodes.serve(MENSHEN).await;
    for grant in [&alice, &bob] {
        assert_eq!(node.get_as(&grant.token).await.status, 200);
        node.refreshed(&grant.refresh_token).await;
    }
    assert_eq!(node.get_as(&ended.token).await.status, 401);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_login_spends_no_code_while_nothing_can_be_written_and_works_with_it_afterwards() {
    let nodes = Nodes::new(TestGateway::builder()).await;
    let node = serve_with_limits(&nodes).await;
    node.log_in("alice").await;
    limit(&node, "4096").await;
    let before = node.redeemed().await;
    let first = node.try_log_in("bob").await;
    first.refused(504, "login_not_stored");
    assert!(first.text().contains("call wx.login again"));
    assert_eq!(node.redeemed().await, before + 1);
    let login = node.login("carol").await;
    for _ in 0..3 {
        let refused = Reply::of(login.try_clone().expect("a login")).await;
        refused.refused(503, "store_unavailable");
        assert!(!refused.text().contains("wx.login"));
    }
    assert_eq!(node.redeemed().await, before + 1);
    limit(&node, "unlimited").await;
    let since = Instant::now();
    // Nobody asks for a write meanwhile: the store finds out by itself.
    while Reply::of(login.try_clone().expect("a login")).await.status == 503 {
        assert!(since.elapsed() < PATIENCE, "it does not recover");
    }
    assert_eq!(node.redeemed().await, before + 2);
    node.log_in("carol").await;
}

/// Fills a store and stops the program.
async fn filled(nodes: &Nodes, signal: &str) -> Vec<Grant> {
    let node = nodes.serve(MENSHEN).await;
    let mut grants = Vec::new();
    for n in 0..50 {
        grants.push(node.log_in(&format!("user-{n}")).await);
    }
    node.program.signal(signal).await;
    node.program.ended().await;
    grants
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_damaged_file_is_named_and_left_as_it_is() {
    for signal in ["TERM", "KILL"] {
        let nodes = Nodes::new(TestGateway::builder()).await;
        let grants = filled(&nodes, signal).await;
        let good = fs::read(store(&nodes)).unwrap();
        let mut beginning = good.clone();
        beginning[..512].fill(0xA5);
        let half = good[..good.len() / 2].to_vec();
        for damaged in [beginning, half, Vec::from(b"rubbish")] {
            fs::write(store(&nodes), &damaged).unwrap();
            let ended = Program::run(nodes.command(MENSHEN)).await;
            ended.check_failed(2);
            assert!(ended.stderr.contains("is damaged"), "{}", ended.stderr);
            let path = store(&nodes);
            assert!(
                ended.stderr.contains(path.to_str().unwrap()),
                "{}",
                ended.stderr
            );
            let left = fs::read(path).unwrap();
            assert_eq!(left.len(), damaged.len());
            // In its first page the engine may write down that it began to look.
            let kept = |bytes: &[u8]| bytes.get(4096..).map(<[u8]>::to_vec);
            assert!(kept(&left) == kept(&damaged), "it was changed");
        }
        fs::write(store(&nodes), &good).unwrap();
        let node = nodes.serve(MENSHEN).await;
        for grant in grants {
            node.refreshed(&grant.refresh_token).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn damage_in_the_middle_is_found_at_the_start() {
    let nodes = Nodes::new(TestGateway::builder()).await;
    filled(&nodes, "TERM").await;
    let mut damaged = fs::read(store(&nodes)).unwrap();
    for byte in damaged.iter_mut().skip(8192).step_by(97) {
        *byte ^= 0xA5;
    }
    fs::write(store(&nodes), &damaged).unwrap();
    let ended = Program::run(nodes.command(MENSHEN)).await;
    ended.check_failed(2);
    assert!(ended.stderr.contains("is damaged"), "{}", ended.stderr);
    assert!(
        fs::read(store(&nodes)).unwrap() == damaged,
        "it was changed"
    );
}
