//! Several servers: which one is asked, and who is asked next when one cannot be reached.

use std::net::SocketAddr;

use menshen_test_support::{
    Builder, Reply, TestGateway, Upstream, find_closed_address, find_free_port,
};
use tokio::net::{TcpListener, UnixListener};

const ROUTES: &str = "[[route]]\nupstream = \"many\"\nauth = \"optional\"\n";

/// A gateway whose only upstream is `many`, with these servers and lines.
fn gateway(servers: &[String], lines: &str) -> Builder {
    let upstream = format!("[[upstream]]\nname = \"many\"\nservers = {servers:?}\n{lines}\n");
    TestGateway::builder().upstreams(&upstream).routes(ROUTES)
}

async fn backends(count: usize) -> (Vec<Upstream>, Vec<String>) {
    let mut backends = Vec::new();
    for _ in 0..count {
        backends.push(Upstream::start().await);
    }
    let servers = backends.iter().map(|b| b.address.to_string()).collect();
    (backends, servers)
}

fn requests(backends: &[Upstream]) -> Vec<usize> {
    backends.iter().map(Upstream::requests).collect()
}

#[tokio::test]
async fn servers_are_asked_in_turn() {
    let (backends, servers) = backends(3).await;
    let t = gateway(&servers, "").start().await;
    for _ in 0..9 {
        assert_eq!(Reply::of(t.get("/x")).await.status, 200);
    }
    assert_eq!(requests(&backends), [3, 3, 3]);
}

#[tokio::test]
async fn the_server_with_the_fewest_exchanges_in_flight_is_asked() {
    let (backends, servers) = backends(2).await;
    let balance = "balance = \"least_connections\"";
    let t = gateway(&servers, balance).start().await;
    let held = tokio::spawn(Reply::of(t.get("/hold")));
    backends[0].arrived(1).await;
    for _ in 0..6 {
        assert_eq!(Reply::of(t.get("/x")).await.status, 200);
    }
    assert_eq!(requests(&backends), [1, 6]);
    backends[0].release();
    assert_eq!(held.await.unwrap().status, 200);
    for _ in 0..4 {
        assert_eq!(Reply::of(t.get("/x")).await.status, 200);
    }
    assert_eq!(requests(&backends), [3, 8]);
}

#[tokio::test]
async fn a_user_stays_with_a_server_and_strangers_take_turns() {
    let (backends, servers) = backends(4).await;
    let t = gateway(&servers, "balance = \"hash\"").start().await;
    let mut used = std::collections::BTreeSet::new();
    for user in 0..12 {
        let token = t.log_in(&format!("user-{user}")).await.token;
        let before = requests(&backends);
        for _ in 0..3 {
            assert_eq!(t.get_as("/x", &token).await.status, 200);
        }
        let after = requests(&backends);
        let grown = (0..4).filter(|at| after[*at] > before[*at]);
        let grown: Vec<usize> = grown.collect();
        assert_eq!(grown.len(), 1, "{before:?} {after:?}");
        used.extend(grown);
    }
    assert!(used.len() > 1, "users should be spread");
    let before = requests(&backends);
    for _ in 0..4 {
        assert_eq!(Reply::of(t.get("/x")).await.status, 200);
    }
    let after = requests(&backends);
    assert!((0..4).all(|at| after[at] == before[at] + 1), "{after:?}");
}

#[tokio::test]
async fn a_user_whose_server_is_gone_is_served_by_another() {
    let (backends, mut servers) = backends(1).await;
    servers.push(find_closed_address().to_string());
    let lines = "balance = \"hash\"\nmax_fails = 0";
    let t = gateway(&servers, lines).start().await;
    for user in 0..8 {
        let token = t.log_in(&format!("user-{user}")).await.token;
        assert_eq!(t.get_as("/x", &token).await.status, 200);
    }
    assert_eq!(backends[0].requests(), 8);
}

#[tokio::test]
async fn a_server_that_cannot_be_reached_is_passed_over_whatever_the_method() {
    let (backends, mut servers) = backends(1).await;
    servers.push(find_closed_address().to_string());
    let t = gateway(&servers, "max_fails = 0").start().await;
    for _ in 0..4 {
        let request = t.request("POST", "/x").body("one order");
        assert_eq!(Reply::of(request).await.status, 200);
    }
    let received = backends[0].received();
    assert_eq!(received.len(), 4);
    assert!(received.iter().all(|r| r.body == b"one order"));
}

#[tokio::test]
async fn when_no_server_can_be_reached_the_client_is_told_so() {
    let servers = [
        find_closed_address().to_string(),
        find_closed_address().to_string(),
    ];
    let t = gateway(&servers, "").start().await;
    for _ in 0..8 {
        let reply = Reply::of(t.get("/x")).await;
        assert_eq!(reply.status, 502, "{}", reply.text());
        assert_eq!(reply.json()["error"], "upstream_unreachable");
    }
}

#[tokio::test]
async fn a_server_that_refuses_everybody_is_left_out_after_a_few_failures() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let broken = listener.local_addr().unwrap();
    let (backends, mut servers) = backends(1).await;
    servers.push(broken.to_string());
    let (sent, mut accepted) = tokio::sync::mpsc::unbounded_channel();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            drop(stream);
            let _ = sent.send(());
        }
    });
    let lines = "max_fails = 2\nfail_timeout = \"1h\"";
    let t = gateway(&servers, lines)
        .section("server", "trusted_proxies = [\"127.0.0.0/8\"]")
        .start()
        .await;
    let mut failed = 0;
    for client in 0..20 {
        // A connection that breaks off after the request was sent is not repeated, not even for GET.
        let address = format!("192.0.2.{client}");
        match Reply::of(t.get("/x").header("X-Forwarded-For", address))
            .await
            .status
        {
            200 => {}
            status => {
                assert_eq!(status, 502);
                failed += 1;
            }
        }
    }
    assert_eq!(failed, 2);
    assert_eq!(backends[0].requests(), 18);
    assert!(accepted.recv().await.is_some() && accepted.recv().await.is_some());
    assert!(accepted.try_recv().is_err());
}

#[tokio::test]
async fn a_server_that_was_left_out_is_asked_again_after_its_time() {
    let address = SocketAddr::from(([127, 0, 0, 1], find_free_port()));
    let (backends, mut servers) = backends(1).await;
    servers.push(address.to_string());
    let lines = "max_fails = 1\nfail_timeout = \"50ms\"";
    let t = gateway(&servers, lines).start().await;
    for _ in 0..4 {
        assert_eq!(Reply::of(t.get("/x")).await.status, 200);
    }
    assert_eq!(backends[0].requests(), 4);
    let back = TcpListener::bind(address).await.unwrap();
    let waiting = async {
        let accepting = back.accept();
        tokio::pin!(accepting);
        loop {
            tokio::select! {
                _ = &mut accepting => return,
                reply = t.get("/x").send() => drop(reply),
            }
        }
    };
    let limit = std::time::Duration::from_secs(10);
    tokio::time::timeout(limit, waiting).await.unwrap();
}

#[tokio::test]
async fn a_name_is_looked_up_and_each_of_its_addresses_is_tried() {
    let backend = Upstream::start().await;
    // It may be ::1 as well, where nobody listens.
    let server = format!("localhost:{}", backend.address.port());
    let t = gateway(&[server], "").start().await;
    for _ in 0..10 {
        assert_eq!(Reply::of(t.get("/x")).await.status, 200);
    }
    assert_eq!(backend.requests(), 10);
}

#[tokio::test]
async fn a_name_without_an_address_is_passed_over() {
    let (backends, mut servers) = backends(1).await;
    servers.push("nowhere.invalid:80".to_owned());
    let t = gateway(&servers, "").start().await;
    for _ in 0..4 {
        assert_eq!(Reply::of(t.get("/x")).await.status, 200);
    }
    assert_eq!(backends[0].requests(), 4);
}

#[tokio::test]
async fn a_server_may_be_a_unix_socket() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("api.sock");
    let backend = Upstream::start().await;
    let listener = UnixListener::bind(&path).unwrap();
    let address = backend.address;
    tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut server = tokio::net::TcpStream::connect(address).await.unwrap();
                let _ = tokio::io::copy_bidirectional(&mut client, &mut server).await;
            });
        }
    });
    let t = gateway(&[format!("unix:{}", path.display())], "")
        .start()
        .await;
    for _ in 0..3 {
        assert_eq!(Reply::of(t.get("/x")).await.status, 200);
    }
    assert_eq!((backend.requests(), backend.connections()), (3, 1));
}

#[tokio::test]
async fn a_unix_socket_that_is_not_there_is_unreachable() {
    let t = gateway(&["unix:/nowhere/api.sock".to_owned()], "")
        .start()
        .await;
    let reply = Reply::of(t.get("/x")).await;
    assert_eq!(reply.json()["error"], "upstream_unreachable");
}
