//! What Redis lost is completed, by no more work than that takes.

use std::time::{Duration, Instant};

use super::connect::Connector;
use super::deployed::calls;
use super::servers;
use super::stream::Stream;
use super::{Names, RedisMode, Server, fill_stream, soon};
use crate::clock::Clock;
use crate::session::SessionId;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_redis_lost_is_added_once_however_many_nodes_know_it() {
    const MANY: usize = 5000;
    let (mut server, clock) = (Server(servers::Redis::start(&[])), Clock::system());
    fill_stream(&server.0, MANY);
    let nodes = [
        server.sessions(&clock).await,
        server.sessions(&clock).await,
        server.sessions(&clock).await,
    ];
    // It kept nothing on its disk, and all connect at the same time.
    server.0.kill();
    server.0.restart();
    let length = || {
        let length = server.0.ask(&["XLEN", "menshen:revoked"]);
        length.parse::<usize>().unwrap()
    };
    soon(async || length() >= MANY).await;
    // Every one of them has read the whole by then, or adds what it knows.
    let since = Instant::now();
    while since.elapsed() < Duration::from_secs(2) {
        assert_eq!(length(), MANY);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(nodes.iter().all(|node| node.revoked().len() == MANY));
}

#[tokio::test]
async fn what_several_nodes_found_lacking_at_the_same_time_is_added_once() {
    const LOST: usize = 300;
    let (server, clock) = (Server::start().await, Clock::system());
    let node = server.sessions(&clock).await;
    let connector = Connector::new(&server.config()).unwrap();
    let stream = Stream::new(&Names::new("menshen:", &RedisMode::Single));
    let ids = (0..LOST as u128).map(|n| SessionId::from_bytes(n.to_be_bytes()));
    let lost: Vec<_> = ids.map(|id| (id, 4_000_000_000)).collect();
    let length = || server.0.ask(&["XLEN", "menshen:revoked"]);
    for _ in 0..2 {
        for _ in 0..3 {
            let mut connection = connector.connect().await.unwrap();
            let add = stream.add_again(&lost);
            let _: redis::Value = add.make_on(&mut connection).await.unwrap();
        }
        assert_eq!(length(), LOST.to_string());
        soon(async || node.revoked().len() == LOST).await;
        // What was added again is lost again: the node that runs adds what it knows, and others what they know.
        server.0.ask(&["XTRIM", "menshen:revoked", "MAXLEN", "0"]);
        soon(async || length() == LOST.to_string()).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ended_sessions_are_looked_for_when_redis_may_have_brought_some_back_and_only_then() {
    const MANY: u64 = 3000;
    let (mut server, clock) = (Server::start().await, Clock::system());
    fill_stream(&server.0, MANY as usize);
    let _node = server.sessions(&clock).await;
    soon(async || calls(&server.0, "exists") >= MANY).await;
    for _ in 0..3 {
        let before = calls(&server.0, "xrange");
        server.0.ask(&["CLIENT", "KILL", "TYPE", "normal"]);
        // The whole stream is read again.
        soon(async || calls(&server.0, "xrange") >= before + MANY / 1000).await;
        let passes = calls(&server.0, "info");
        soon(async || calls(&server.0, "info") > passes + 1).await;
    }
    let looked = calls(&server.0, "exists");
    assert!(looked < 2 * MANY, "{looked}");
    server.0.kill();
    server.0.restart();
    soon(async || calls(&server.0, "exists") >= MANY).await;
}
