//! Servers are asked how they are, and those that are not well get no requests while others are.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::time::Duration;

use menshen_test_support::{Builder, ByHand, Reply, TestGateway, Upstream};

const LIMIT: Duration = Duration::from_secs(10);
const CHECKS: &str = "health.path = \"/healthz?deep=1\"\nhealth.interval = \"10ms\"\n\
    health.timeout = \"5s\"\nhealth.healthy_after = 2\nhealth.unhealthy_after = 2";

/// How many requests arrived that were not checks.
fn requests(backend: &Upstream) -> usize {
    let received = backend.received();
    received.iter().filter(|r| r.target == "/x").count()
}

/// Sends requests until ten in a row have gone as expected.
async fn settles(t: &TestGateway, a: &Upstream, b: &Upstream, expected: fn(usize, usize) -> bool) {
    let settling = async {
        loop {
            let before = (requests(a), requests(b));
            for _ in 0..10 {
                assert_eq!(Reply::of(t.get("/x")).await.status, 200);
            }
            if expected(requests(a) - before.0, requests(b) - before.1) {
                return;
            }
        }
    };
    tokio::time::timeout(LIMIT, settling).await.unwrap();
}

fn gateway(servers: &[&Upstream], lines: &str) -> Builder {
    let servers: Vec<_> = servers.iter().map(|server| server.address).collect();
    TestGateway::builder().public_upstream(&servers, lines)
}

#[tokio::test]
async fn a_server_that_is_not_well_gets_no_requests_until_it_is() {
    let (a, b) = (Upstream::start().await, Upstream::start().await);
    let t = gateway(&[&a, &b], CHECKS).start().await;
    settles(&t, &a, &b, |a, b| (a, b) == (5, 5)).await;
    a.set_health(503);
    settles(&t, &a, &b, |a, b| (a, b) == (0, 10)).await;
    a.set_health(204);
    settles(&t, &a, &b, |a, b| (a, b) == (5, 5)).await;
}

#[tokio::test]
async fn a_check_is_a_get_of_the_path_with_a_host() {
    let a = Upstream::start().await;
    let _t = gateway(&[&a], CHECKS).start().await;
    a.arrived(2).await;
    let check = a.last();
    assert_eq!(
        (check.method.as_str(), check.target.as_str()),
        ("GET", "/healthz?deep=1")
    );
    assert_eq!(check.only("host"), Some("127.0.0.1"));
    assert_eq!(check.only("user-agent"), Some("menshen-health"));
}

#[tokio::test]
async fn when_no_server_is_well_they_are_asked_all_the_same() {
    let a = Upstream::start().await;
    a.set_health(500);
    let t = gateway(&[&a], CHECKS).start().await;
    a.arrived(5).await;
    assert_eq!(Reply::of(t.get("/x")).await.status, 200);
}

#[tokio::test]
async fn checks_end_with_the_gateway() {
    let backend = ByHand::start().await;
    let address = backend.address;
    let upstream = format!("[[upstream]]\nname = \"hand\"\nservers = [\"{address}\"]\n{CHECKS}\n");
    let mut t = TestGateway::builder().upstreams(&upstream).start().await;
    let mut check = backend.accept().await;
    assert!(
        check
            .message()
            .await
            .starts_with("GET /healthz?deep=1 HTTP/1.1")
    );
    t.stop().await;
    assert_eq!(check.rest().await, "");
    let another = tokio::time::timeout(Duration::from_millis(200), backend.accept()).await;
    assert!(another.is_err());
}

#[tokio::test]
async fn a_check_that_gets_no_answer_in_time_is_a_bad_one() {
    let (a, b) = (ByHand::start().await, Upstream::start().await);
    let servers = [a.address.to_string(), b.address.to_string()];
    let upstream = format!(
        "[[upstream]]\nname = \"many\"\nservers = {servers:?}\nhealth.path = \"/healthz\"\n\
         health.interval = \"10ms\"\nhealth.timeout = \"20ms\"\nhealth.unhealthy_after = 1\n"
    );
    let routes = "[[route]]\nupstream = \"many\"\nauth = \"public\"\nread_timeout = \"100ms\"\n";
    let builder = TestGateway::builder().upstreams(&upstream);
    let t = builder.routes(routes).start().await;
    let settling = async {
        let mut in_a_row = 0;
        while in_a_row < 10 {
            let fine = Reply::of(t.get("/x")).await.status == 200;
            in_a_row = if fine { in_a_row + 1 } else { 0 };
        }
    };
    tokio::time::timeout(LIMIT, settling).await.unwrap();
}
