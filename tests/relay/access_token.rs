//! The app's access_token in one place: kept over a restart, shared by nodes, renewed before its end, and rotated by nobody's complaint.

use std::time::Duration;

use futures::future::join_all;
use menshen_test_support::redis::Redis;
use menshen_test_support::{Builder, Reply, SEAL_KEY, TestGateway};
use serde_json::{Value, json};
use tempfile::TempDir;

const STABLE: &str = "/cgi-bin/stable_token";
const CLASSIC: &str = "/cgi-bin/token";
const PROBE: &str = "/cgi-bin/openapi/quota/get";
const PATIENCE: Duration = Duration::from_secs(10);
const HOUR: Duration = Duration::from_secs(3600);

fn classic() -> Builder {
    TestGateway::builder().section("app", "access_token = \"classic\"")
}

async fn ask(t: &TestGateway) -> Reply {
    Reply::of(t.control("GET", "/v1/apps/shop/access-token")).await
}

async fn token(t: &TestGateway) -> String {
    let reply = ask(t).await;
    assert_eq!(reply.status, 200, "{}", reply.text());
    let json = reply.json();
    assert!(json["expires_in"].as_u64().unwrap() <= 7200, "{json}");
    json["access_token"].as_str().unwrap().to_owned()
}

async fn report(t: &TestGateway, stale: &str) -> String {
    let path = "/v1/apps/shop/access-token/refresh";
    let reply = Reply::of(t.control("POST", path).json(&json!({"stale": stale}))).await;
    assert_eq!(reply.status, 200, "{}", reply.text());
    reply.json()["access_token"].as_str().unwrap().to_owned()
}

async fn works(t: &TestGateway, token: &str) -> bool {
    let url = format!("http://{}{PROBE}?access_token={token}", t.simulator);
    let body = json!({"cgi_path": "/x"});
    let answer = Reply::of(t.http.post(url).json(&body)).await.json();
    answer["errcode"] == 0
}

/// Waits until another token is given than this one.
async fn changed(t: &TestGateway, old: &str) -> String {
    let changed = async {
        loop {
            let new = token(t).await;
            if new != old {
                return new;
            }
        }
    };
    tokio::time::timeout(PATIENCE, changed).await.unwrap()
}

async fn ready(t: &TestGateway) -> Value {
    Reply::of(t.control("GET", "/readyz")).await.json()
}

#[tokio::test]
async fn one_token_is_given_to_all_and_asked_for_once() {
    for (builder, path) in [(TestGateway::builder(), STABLE), (classic(), CLASSIC)] {
        let t = builder.start().await;
        let tokens = join_all((0..50).map(|_| token(&t))).await;
        assert!(tokens.iter().all(|other| *other == tokens[0]));
        assert!(works(&t, &tokens[0]).await);
        assert_eq!(t.calls(path).await, 1);
    }
}

#[tokio::test]
async fn the_old_token_is_given_while_another_is_on_its_way() {
    for (builder, path) in [(TestGateway::builder(), STABLE), (classic(), CLASSIC)] {
        let t = builder.start().await;
        let first = token(&t).await;
        t.clock.advance(2 * HOUR - Duration::from_secs(50));
        let slow = json!({"fault": "delay", "by": "300ms", "times": 1});
        t.fault_at(path, slow).await;
        assert_eq!(token(&t).await, first);
        let second = changed(&t, &first).await;
        assert!(works(&t, &first).await && works(&t, &second).await);
        assert_eq!(t.calls(path).await, 2);
    }
}

#[tokio::test]
async fn a_token_outlives_a_restart() {
    for (builder, path) in [(TestGateway::builder(), STABLE), (classic(), CLASSIC)] {
        let first = builder.clone().start().await;
        let address = format!("api_base = \"http://{}\"", first.simulator);
        let builder = builder.section("wechat", &address);
        let mut t = builder.clone().start().await;
        let before = token(&t).await;
        t.stop().await;
        let folder = std::mem::replace(&mut t.folder, TempDir::new().unwrap());
        let t = builder.start_in(folder).await;
        assert_eq!(token(&t).await, before);
        assert_eq!(first.calls(path).await, 1);
    }
}

#[tokio::test]
async fn ten_thousand_complaints_about_a_good_token_cause_no_other() {
    for (builder, path) in [(TestGateway::builder(), STABLE), (classic(), CLASSIC)] {
        let t = builder.start().await;
        let good = token(&t).await;
        for _ in 0..100 {
            let reported = join_all((0..100).map(|_| report(&t, &good))).await;
            assert!(reported.iter().all(|token| *token == good));
            t.clock.advance(Duration::from_secs(10));
        }
        assert!(works(&t, &good).await);
        // WeChat is asked for its word now and then, and never to replace the token.
        let (asked, probed) = (t.calls(path).await, t.calls(PROBE).await);
        assert!(asked <= 102 && probed <= 36, "{asked} {probed}");
        assert_eq!(forced_calls(&t).await, 0);
    }
}

/// Returns how many tokens came by force, as the metrics say.
async fn forced_calls(t: &TestGateway) -> u64 {
    let metrics = t.read_metrics().await;
    let line = "menshen_access_token_renewals_total{app=\"shop\",reason=\"forced\"} ";
    let count = metrics.lines().find_map(|found| found.strip_prefix(line));
    count.map_or(0, |count| count.parse().unwrap())
}

#[tokio::test]
async fn a_complaint_about_a_token_that_is_over_brings_the_newer_one() {
    let t = TestGateway::start().await;
    let first = token(&t).await;
    assert_eq!(report(&t, "90_made-up").await, first);
    let forced = t.force_access_token().await;
    assert_eq!(report(&t, &first).await, forced);
    assert_eq!(forced_calls(&t).await, 0);
}

#[tokio::test]
async fn what_wechat_revoked_is_replaced_by_force_and_not_without_end() {
    for builder in [TestGateway::builder(), classic()] {
        let t = builder.start().await;
        let mut last = token(&t).await;
        let revoke = json!({"appid": TestGateway::appid("shop")});
        for round in 1..=3 {
            t.simulate("revoke", revoke.clone()).await;
            let next = report(&t, &last).await;
            assert!(next != last && works(&t, &next).await, "{round}");
            assert_eq!(forced_calls(&t).await, round);
            last = next;
            t.clock.advance(Duration::from_secs(60));
        }
        // Within half a minute there is no other one.
        t.simulate("revoke", revoke.clone()).await;
        let next = report(&t, &last).await;
        t.simulate("revoke", revoke.clone()).await;
        assert_eq!(report(&t, &next).await, next);
        // A day has ten for stable ones.
        for _ in 0..60 {
            t.clock.advance(Duration::from_secs(60));
            report(&t, &token(&t).await).await;
            t.simulate("revoke", revoke.clone()).await;
        }
        let forced = forced_calls(&t).await;
        let most = if t.calls(STABLE).await > 0 { 20 } else { 100 };
        assert!((4..=most).contains(&forced), "{forced}");
    }
}

#[tokio::test]
async fn readyz_and_metrics_tell_age_time_left_and_what_went_wrong() {
    let t = TestGateway::start().await;
    assert!(ready(&t).await.get("access_tokens").is_none());
    token(&t).await;
    t.clock.advance(Duration::from_secs(100));
    let told = ready(&t).await["access_tokens"]["shop"].take();
    assert_eq!(told["kind"], "stable");
    assert!(
        (100..=110).contains(&told["age"].as_u64().unwrap()),
        "{told}"
    );
    assert!(
        (7090..=7100).contains(&told["left"].as_u64().unwrap()),
        "{told}"
    );
    let metrics = t.read_metrics().await;
    for line in [
        "menshen_access_token_age_seconds{app=\"shop\"} 1",
        "menshen_access_token_left_seconds{app=\"shop\"} 70",
        "menshen_access_token_renewals_total{app=\"shop\",reason=\"first\"} 1",
    ] {
        assert!(metrics.contains(line), "{line}\n{metrics}");
    }
}

#[tokio::test]
async fn a_refused_address_is_named_with_what_to_do() {
    for (errcode, errmsg, advice) in [
        (
            40164,
            "invalid ip 192.0.2.7 ipv6 ::ffff:192.0.2.7, not in whitelist",
            "whitelist",
        ),
        (
            89503,
            "this ip must be confirmed, ip: [192.0.2.7]",
            "administrator",
        ),
    ] {
        let t = TestGateway::start().await;
        let plan = json!({"fault": "errcode", "errcode": errcode, "errmsg": errmsg});
        t.fault_at(STABLE, plan).await;
        let reply = ask(&t).await;
        let told = reply.refused(502, "wechat_misconfigured");
        assert_eq!(told["errcode"], errcode);
        let message = told["message"].as_str().unwrap();
        assert!(
            message.contains("192.0.2.7") && message.contains(advice),
            "{message}"
        );
        let ready = ready(&t).await;
        assert_eq!(ready["degraded"], json!(["access_token"]));
        let error = &ready["access_tokens"]["shop"]["last_error"];
        assert_eq!(
            (&error["errcode"], &error["address"]),
            (&json!(errcode), &json!("192.0.2.7"))
        );
        assert!(
            error["advice"].as_str().unwrap().contains(advice),
            "{error}"
        );
        let metrics = t.read_metrics().await;
        let line = format!("menshen_access_token_error{{app=\"shop\",error=\"{errcode}\"}} 1");
        assert!(metrics.contains(&line), "{metrics}");
    }
}

/// Three gateways over one Redis and one WeChat, with one clock.
async fn three(redis: &Redis, kind: &str) -> Vec<TestGateway> {
    let folder = redis.folder();
    let [url, key] = ["url", "key"].map(|name| folder.join(name));
    std::fs::write(&url, redis.url()).unwrap();
    std::fs::write(&key, SEAL_KEY).unwrap();
    let builder = TestGateway::builder()
        .section("app", &format!("access_token = \"{kind}\""))
        .section(
            "session",
            &format!(
                "store = \"redis\"\nredis_url_file = '{}'\nseal_key_file = '{}'",
                url.display(),
                key.display()
            ),
        );
    let simulator = builder.simulator().await;
    let builder = builder.section("wechat", &format!("api_base = \"http://{simulator}\""));
    let mut nodes = Vec::new();
    for _ in 0..3 {
        let mut node = builder.clone().start().await;
        node.simulator = simulator;
        nodes.push(node);
    }
    nodes
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_that_begin_together_have_one_token() {
    for (kind, path, most) in [("stable", STABLE, 3), ("classic", CLASSIC, 1)] {
        let redis = Redis::durable();
        let nodes = three(&redis, kind).await;
        let tokens = join_all(nodes.iter().map(token)).await;
        assert!(tokens.iter().all(|other| *other == tokens[0]), "{kind}");
        assert!(nodes[0].calls(path).await <= most, "{kind}");
        assert!(works(&nodes[0], &tokens[0]).await);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_holder_that_was_paused_replaces_nothing_that_came_meanwhile() {
    let redis = Redis::durable();
    let nodes = three(&redis, "classic").await;
    // Its answer comes when its turn has been another's for long.
    let late = json!({"fault": "delay", "by": "1500ms", "times": 1});
    nodes[0].fault_at(CLASSIC, late).await;
    let address = nodes[0].control.unwrap();
    let http = nodes[0].http.clone();
    let paused = tokio::spawn(async move {
        let url = format!("http://{address}/v1/apps/shop/access-token");
        Reply::of(http.get(url)).await.json()["access_token"].take()
    });
    let begun = async {
        while nodes[1].calls(CLASSIC).await == 0 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, begun).await.unwrap();
    nodes[0].clock.advance(Duration::from_secs(60));
    let meanwhile = token(&nodes[1]).await;
    assert!(works(&nodes[1], &meanwhile).await);
    let late = paused.await.unwrap();
    let late = late.as_str().unwrap();
    // Whose token is the latest nobody could know, so another one was asked for; all come to have it.
    nodes[0].clock.advance(Duration::from_secs(301));
    let all = join_all(nodes.iter().map(token)).await;
    assert!(all.iter().all(|token| token == late), "{late} {all:?}");
    assert!(works(&nodes[0], late).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_classic_token_is_not_asked_for_where_its_turns_cannot_be_taken() {
    let mut redis = Redis::durable();
    let nodes = three(&redis, "classic").await;
    let first = token(&nodes[0]).await;
    redis.kill();
    nodes[0].clock.advance(Duration::from_secs(60));
    assert_eq!(token(&nodes[0]).await, first);
    // A stable one needs no store at all.
    nodes[0].clock.advance(2 * HOUR);
    let refused = ask(&nodes[1]).await;
    refused.refused(503, "store_unavailable");
    assert_eq!(nodes[0].calls(CLASSIC).await, 1);
    redis.restart();
    nodes[0].clock.advance(Duration::from_secs(10));
    let back = async {
        while ask(&nodes[1]).await.status != 200 {
            nodes[0].clock.advance(Duration::from_secs(6));
        }
    };
    tokio::time::timeout(PATIENCE, back).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stable_token_is_had_without_the_store() {
    let mut redis = Redis::durable();
    let nodes = three(&redis, "stable").await;
    let first = token(&nodes[0]).await;
    redis.kill();
    nodes[0].clock.advance(2 * HOUR);
    let second = token(&nodes[0]).await;
    assert!(first != second && works(&nodes[0], &second).await);
    assert_eq!(token(&nodes[1]).await, second);
}
