//! What ended stays ended when Redis loses the writes that ended it.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use super::deployed::{admit, as_user, knows_no_end, node};
use super::servers::{self, Cluster, Group};
use super::{Names, RULES, RedisMode, SKEW_SECS, Server, log_in, outlast_revocations, soon};
use crate::clock::Clock;
use crate::session::contract::apps;
use crate::session::{Opened, RefreshError, SessionId, Sessions};

/// Says that a session is over for good, also when nobody knows of its revocation any more.
async fn stays_ended(nodes: &[&Sessions], clock: &Clock, opened: &Opened) {
    let has_ended = async |node: &Sessions| {
        let refused = node.refresh(&opened.refresh, &apps()).await;
        assert!(matches!(refused, Err(RefreshError::Ended)), "{refused:?}");
    };
    for node in nodes {
        soon(async || node.is_available()).await;
        assert!(node.revoked().contains(&opened.session.id));
    }
    // Nobody asks about it meanwhile, who would remove it.
    soon(async || matches!(nodes[0].session(opened.session.id).await, Ok(None))).await;
    outlast_revocations(nodes, clock).await;
    for node in nodes {
        has_ended(node).await;
    }
}

fn copy(from: &Path, to: &Path) {
    let copied = Command::new("cp").arg("-a").arg(from).arg(to).status();
    assert!(copied.unwrap().success());
}

/// Ends a session that both nodes know of, kills the server, and puts a copy of its file back that is older than the end.
async fn end_and_lose(server: &mut Server, [one, other]: [&Sessions; 2], id: SessionId) {
    let (kept, own) = (
        tempfile::tempdir().unwrap(),
        server.0.folder().join("appendonlydir"),
    );
    copy(&own, kept.path());
    one.end(id).await.unwrap();
    soon(async || other.revoked().contains(&id)).await;
    server.0.kill();
    std::fs::remove_dir_all(&own).unwrap();
    copy(&kept.path().join("appendonlydir"), server.0.folder());
}

#[tokio::test]
async fn a_session_that_an_older_copy_of_the_file_brings_back_stays_ended() {
    let (mut server, clock) = (Server::start().await, Clock::system());
    admit(&server.0);
    let config = as_user(server.config());
    let (one, other) = (node(&config, &clock).await, node(&config, &clock).await);
    let opened = log_in(&one, "a").await;
    end_and_lose(&mut server, [&one, &other], opened.session.id).await;
    server.0.restart();
    knows_no_end(&server.0, &config.mode, opened.session.id);
    admit(&server.0);
    stays_ended(&[&one, &other], &clock, &opened).await;
}

#[tokio::test]
async fn a_session_that_comes_back_when_its_revocation_would_be_over_stays_ended() {
    let (mut server, clock) = (Server::start().await, Clock::system());
    let (one, other) = (server.sessions(&clock).await, server.sessions(&clock).await);
    let opened = log_in(&one, "a").await;
    end_and_lose(&mut server, [&one, &other], opened.session.id).await;
    for node in [&one, &other] {
        soon(async || !node.is_available()).await;
    }
    clock.advance(RULES.token_ttl + Duration::from_secs(60 + SKEW_SECS + 2));
    server.0.restart();
    soon(async || matches!(one.session(opened.session.id).await, Ok(None))).await;
    for node in [&one, &other] {
        let refused = node.refresh(&opened.refresh, &apps()).await;
        assert!(matches!(refused, Err(RefreshError::Ended)), "{refused:?}");
    }
}

#[tokio::test]
async fn a_session_that_older_copies_of_a_clusters_files_bring_back_stays_ended() {
    let (mut cluster, clock) = (Cluster::start(3, &[]), Clock::system());
    cluster.nodes.iter().for_each(admit);
    let config = as_user(cluster.config());
    let (one, other) = (node(&config, &clock).await, node(&config, &clock).await);
    let (home, opened) = log_in_elsewhere(&cluster, &one).await;
    for server in &cluster.nodes {
        assert_eq!(server.ask(&["SAVE"]), "OK");
    }
    one.end(opened.session.id).await.unwrap();
    soon(async || other.revoked().contains(&opened.session.id)).await;
    cluster.nodes.iter_mut().for_each(servers::Redis::kill);
    cluster.nodes.iter_mut().for_each(servers::Redis::restart);
    cluster.works();
    knows_no_end(&cluster.nodes[home], &config.mode, opened.session.id);
    let stream = &cluster.nodes[cluster.home("menshen:revoked")];
    assert_eq!(stream.ask(&["XLEN", "menshen:revoked"]), "0");
    cluster.nodes.iter().for_each(admit);
    stays_ended(&[&one, &other], &clock, &opened).await;
}

#[tokio::test]
async fn a_session_that_a_failover_brings_back_stays_ended() {
    let (mut group, clock) = (Group::start(1, 1), Clock::system());
    admit(&group.servers[0]);
    let config = as_user(group.config());
    let (one, other) = (node(&config, &clock).await, node(&config, &clock).await);
    let opened = log_in(&one, "a").await;
    group.replicate();
    cut_off(&group.servers[0], &group.servers[1]);
    one.end(opened.session.id).await.unwrap();
    soon(async || other.revoked().contains(&opened.session.id)).await;
    group.servers[0].kill();
    group.servers[1].signal("CONT");
    soon(async || group.master() == 1 && group.servers[1].ask(&["ROLE"]).starts_with("master"))
        .await;
    knows_no_end(&group.servers[1], &config.mode, opened.session.id);
    admit(&group.servers[1]);
    stays_ended(&[&one, &other], &clock, &opened).await;
}

/// Has a replica hear nothing more: what was in its socket would still be read, so that it is stopped before its connection is cut.
fn cut_off(master: &servers::Redis, replica: &servers::Redis) {
    replica.signal("STOP");
    assert_eq!(master.ask(&["CLIENT", "KILL", "TYPE", "replica"]), "1");
}

#[tokio::test]
async fn a_session_that_a_failover_in_a_cluster_brings_back_stays_ended() {
    let (mut cluster, clock) = (Cluster::start(3, &[]), Clock::system());
    cluster.nodes.iter().for_each(admit);
    let config = as_user(cluster.config());
    let one = node(&config, &clock).await;
    let (home, opened) = log_in_elsewhere(&cluster, &one).await;
    cluster.add_replica(home);
    let replica = cluster.nodes.len() - 1;
    let other = node(&config, &clock).await;
    cut_off(&cluster.nodes[home], &cluster.nodes[replica]);
    one.end(opened.session.id).await.unwrap();
    soon(async || other.revoked().contains(&opened.session.id)).await;
    cluster.nodes[home].kill();
    cluster.nodes[replica].signal("CONT");
    cluster.took_over(home);
    knows_no_end(&cluster.nodes[replica], &config.mode, opened.session.id);
    admit(&cluster.nodes[replica]);
    // The stream was not cut, so that only another name of the data tells a node to search.
    stays_ended(&[&one, &other], &clock, &opened).await;
}

#[tokio::test]
async fn a_session_that_comes_back_while_another_server_of_a_cluster_is_down_stays_ended() {
    comes_back_beside_one_that_is_down(|cluster, home| {
        let stream = cluster.home("menshen:revoked");
        let mut all = 0..cluster.nodes.len();
        all.find(|at| *at != home && *at != stream).unwrap()
    })
    .await;
}

#[tokio::test]
async fn a_session_that_comes_back_while_the_server_of_the_revocations_is_down_stays_ended() {
    comes_back_beside_one_that_is_down(|cluster, _| cluster.home("menshen:revoked")).await;
}

/// Has one server of a Cluster bring a session back while another does not run, and looks whether it is ended again.
async fn comes_back_beside_one_that_is_down(other: impl Fn(&Cluster, usize) -> usize) {
    let without_one = ["--cluster-require-full-coverage", "no"];
    let (mut cluster, clock) = (Cluster::start(5, &without_one), Clock::system());
    cluster.nodes.iter().for_each(admit);
    let config = as_user(cluster.config());
    let node = node(&config, &clock).await;
    let (home, opened) = log_in_elsewhere(&cluster, &node).await;
    let session = Names::new("menshen:", &RedisMode::Cluster).session(opened.session.id);
    assert_eq!(cluster.nodes[home].ask(&["SAVE"]), "OK");
    node.end(opened.session.id).await.unwrap();
    let down = other(&cluster, home);
    cluster.nodes[down].kill();
    cluster.works_without(down);
    cluster.nodes[home].kill();
    cluster.nodes[home].restart();
    cluster.works_without(down);
    knows_no_end(&cluster.nodes[home], &config.mode, opened.session.id);
    admit(&cluster.nodes[home]);
    soon(async || cluster.nodes[home].ask(&["EXISTS", &session]) == "0").await;
    let refused = node.refresh(&opened.refresh, &apps()).await;
    assert!(matches!(refused, Err(RefreshError::Ended)), "{refused:?}");
}

/// Logs users in until one's session is not on the server that has the stream; returns which server has it.
pub(super) async fn log_in_elsewhere(cluster: &Cluster, store: &Sessions) -> (usize, Opened) {
    let names = Names::new("menshen:", &RedisMode::Cluster);
    let stream = cluster.home("menshen:revoked");
    for n in 0..1000 {
        let opened = log_in(store, &n.to_string()).await;
        let home = cluster.home(&names.session(opened.session.id));
        if home != stream {
            return (home, opened);
        }
    }
    panic!("all sessions are on one server");
}
