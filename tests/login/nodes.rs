//! One code is one call to WeChat also where it is sent to several processes over one Redis.

use std::time::{Duration, Instant};

use futures::future::join_all;
use menshen_test_support::redis::Redis;
use menshen_test_support::{Grant, Node, Nodes, Reply, TestGateway};
use reqwest::RequestBuilder;
use serde_json::json;

const MENSHEN: &str = env!("CARGO_BIN_EXE_menshen");
const PATIENCE: Duration = Duration::from_secs(20);

async fn two(login: &str) -> (Redis, Nodes, [Node; 2]) {
    let redis = Redis::durable();
    let builder = TestGateway::builder().section("login", login);
    let nodes = Nodes::over_with(builder, &redis.url()).await;
    let running = [nodes.serve(MENSHEN).await, nodes.serve(MENSHEN).await];
    (redis, nodes, running)
}

async fn delay(node: &Node, by: &str) {
    node.fault(json!({"fault": "delay", "by": by, "times": 1}))
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_code_that_is_sent_to_two_nodes_at_once_is_one_call_and_one_session() {
    let (_redis, _nodes, running) = two("").await;
    delay(&running[0], "400ms").await;
    let code = running[0].code("alice").await;
    let logins = (0..6).map(|n| Reply::of(running[n % 2].login_with(&code)));
    let mut tokens: Vec<String> = Vec::new();
    for reply in join_all(logins).await {
        assert_eq!(reply.status, 200, "{}", reply.text());
        tokens.push(Grant::of(reply.json()).refresh_token);
    }
    tokens.dedup();
    assert_eq!((tokens.len(), running[0].redeemed().await), (1, 1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_code_that_is_sent_to_another_node_later_brings_the_same_session_until_it_is_refreshed() {
    let (redis, _nodes, [one, other]) = two("").await;
    let code = one.code("alice").await;
    let first = Grant::of(Reply::of(one.login_with(&code)).await.json());
    let second = Grant::of(Reply::of(other.login_with(&code)).await.json());
    assert_eq!(first.refresh_token, second.refresh_token);
    other.refreshed(&second.refresh_token).await;
    for node in [&one, &other] {
        let reply = Reply::of(node.login_with(&code)).await;
        reply.refused(401, "code_used");
    }
    assert_eq!(one.redeemed().await, 1);
    let kept = redis.ask(&["--scan", "--pattern", "menshen:*:c:*"]);
    let lasts: u64 = redis.ask(&["TTL", &kept]).parse().unwrap();
    assert!(lasts <= 60, "{lasts}");
    let kept = redis.ask(&["GET", &kept]);
    assert!(!kept.contains(&code) && !kept.contains(&first.refresh_token));
}

/// Begins a login with a nonce, where one is given, from an address that a proxy names.
fn login_from(node: &Node, code: &str, nonce: Option<&str>, address: &str) -> RequestBuilder {
    let body = json!({"code": code, "app": "shop", "nonce": nonce});
    let request = node.request("POST", "/_auth/login").json(&body);
    request.header("X-Forwarded-For", address)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_node_gives_a_session_again_to_the_codes_first_sender_alone() {
    let redis = Redis::durable();
    let builder = TestGateway::builder().trust_local_proxies();
    let nodes = Nodes::over_with(builder, &redis.url()).await;
    let [one, other] = [nodes.serve(MENSHEN).await, nodes.serve(MENSHEN).await];
    let [nonce, wrong] = ["a-nonce-0123456789", "another-0123456789"].map(Some);
    let [home, elsewhere] = ["192.0.2.1", "198.51.100.1"];
    for (first, again, others, lasts) in [
        (
            (nonce, home),
            (nonce, elsewhere),
            [(wrong, home), (None, home)],
            60,
        ),
        (
            (None, home),
            (None, home),
            [(None, elsewhere), (nonce, elsewhere)],
            10,
        ),
    ] {
        let (code, before) = (one.code("alice").await, one.redeemed().await);
        let send = async |node: &Node, (nonce, address)| {
            Reply::of(login_from(node, &code, nonce, address)).await
        };
        let granted = Grant::of(send(&one, first).await.json());
        let kept = redis.ask(&["--scan", "--pattern", "menshen:*:c:*"]);
        let since = Instant::now();
        let mut value = redis.ask(&["GET", &kept]);
        // It is written behind the answer, in place of the claim.
        while value.starts_with('c') {
            assert!(since.elapsed() < PATIENCE, "it should be kept");
            value = redis.ask(&["GET", &kept]);
        }
        assert!(!value.contains("a-nonce") && !value.contains(home));
        let left: u64 = redis.ask(&["TTL", &kept]).parse().unwrap();
        assert!(left <= lasts, "{left}");
        // Whoever asks another node first leaves nothing there that would keep the first sender out.
        for sender in others {
            let refused = send(&other, sender).await;
            assert!(refused.refused(401, "code_used")["errcode"].is_null());
        }
        let same = Grant::of(send(&other, again).await.json());
        assert_eq!(same.refresh_token, granted.refresh_token);
        for sender in others {
            send(&other, sender).await.refused(401, "code_used");
        }
        assert_eq!(one.redeemed().await - before, 1);
        redis.ask(&["DEL", &kept]);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_code_that_was_not_spent_on_one_node_is_good_on_another() {
    let (_redis, _nodes, [one, other]) = two("").await;
    one.fault(json!({"fault": "errcode", "errcode": -1, "times": 3}))
        .await;
    let code = one.code("alice").await;
    let busy = Reply::of(one.login_with(&code)).await;
    busy.refused(503, "wechat_busy");
    assert_eq!(Reply::of(other.login_with(&code)).await.status, 200);
    assert_eq!(one.redeemed().await, 4);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_code_whose_node_was_killed_is_not_sent_again() {
    let (_redis, _nodes, [one, other]) = two("timeout = \"1s\"\nqueue_timeout = \"500ms\"").await;
    delay(&one, "5s").await;
    let code = one.code("alice").await;
    let login = tokio::spawn(one.login_with(&code).send());
    let since = Instant::now();
    while one.redeemed().await == 0 {
        assert!(since.elapsed() < PATIENCE, "the code should go to WeChat");
    }
    one.program.signal("KILL").await;
    assert!(login.await.unwrap().is_err());
    loop {
        let reply = Reply::of(other.login_with(&code)).await;
        if reply.status != 503 {
            reply.refused(504, "wechat_timeout");
            break;
        }
        reply.refused(503, "wechat_busy");
        assert!(since.elapsed() < PATIENCE, "it should be given up");
    }
    assert_eq!(other.redeemed().await, 1);
    other.log_in("bob").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_node_gives_a_session_again_for_no_longer_than_the_first() {
    let (redis, _nodes, [one, other]) = two("").await;
    let code = one.code("alice").await;
    assert_eq!(Reply::of(one.login_with(&code)).await.status, 200);
    let kept = redis.ask(&["--scan", "--pattern", "menshen:*:c:*"]);
    redis.ask(&["PEXPIRE", &kept, "2000"]);
    let since = Instant::now();
    assert_eq!(Reply::of(other.login_with(&code)).await.status, 200);
    loop {
        let reply = Reply::of(other.login_with(&code)).await;
        if reply.status != 200 {
            reply.refused(401, "code_used");
            break;
        }
        assert!(since.elapsed() < PATIENCE, "it should be forgotten");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_waits_at_another_node_gets_the_session_also_without_a_replay() {
    let (_redis, _nodes, running) = two("replay = \"0s\"").await;
    delay(&running[0], "400ms").await;
    let code = running[0].code("alice").await;
    let logins = running.iter().map(|node| Reply::of(node.login_with(&code)));
    for reply in join_all(logins).await {
        assert_eq!(reply.status, 200, "{}", reply.text());
    }
    assert_eq!(running[0].redeemed().await, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_code_that_wechat_refused_is_refused_on_every_node_without_another_call() {
    let (redis, _nodes, [one, other]) = two("").await;
    let mut calls = 0;
    for (errcode, status, error) in [
        (40029, 401, "code_invalid"),
        (40163, 401, "code_used"),
        (40226, 403, "user_blocked"),
    ] {
        let plan = json!({"fault": "errcode", "errcode": errcode, "times": 1});
        one.fault(plan).await;
        let code = one.code("alice").await;
        calls += 1;
        for node in [&one, &other, &one, &other] {
            let reply = Reply::of(node.login_with(&code)).await;
            assert_eq!(reply.refused(status, error)["errcode"], errcode);
            assert_eq!(one.redeemed().await, calls, "{errcode}");
        }
    }
    let kept = redis.ask(&["--scan", "--pattern", "menshen:*:c:*"]);
    assert_eq!(kept.lines().count(), 3, "{kept}");
    for kept in kept.lines() {
        let lasts: u64 = redis.ask(&["TTL", kept]).parse().unwrap();
        assert!(lasts <= 60, "{lasts}");
    }
    other.log_in("alice").await;
}
