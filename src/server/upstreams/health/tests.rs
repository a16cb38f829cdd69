//! Tests of health checks and of servers that are left alone for a while.

use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use super::super::names::tests::{Resolver, names};
use super::super::{Attempts, Upstreams};
use super::*;
use crate::config::{Balance, OwnListeners, Protocol, ServerAddress, Upstream};

const SECOND: Duration = Duration::from_secs(1);

/// Answers 200 to everything, or closes at once.
async fn server(address: &str, lives: bool) -> std::net::SocketAddr {
    let listener = TcpListener::bind(address).await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            if lives {
                tokio::spawn(async move {
                    let _ = stream.read(&mut [0; 4096]).await;
                    let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
                    let _ = stream.write_all(answer).await;
                });
            }
        }
    });
    address
}

fn upstreams(names: ResolvedNames) -> Upstreams {
    let config = Upstream {
        name: "api".to_owned(),
        servers: vec![ServerAddress::Tcp("api.test:80".to_owned())],
        balance: Balance::RoundRobin,
        protocol: Protocol::Http1,
        tls: None,
        health: Some(Health {
            path: "/healthz".to_owned(),
            interval: Duration::from_millis(5),
            timeout: SECOND,
            healthy_after: 2,
            unhealthy_after: 3,
        }),
        max_fails: 0,
        fail_timeout: SECOND,
        timeouts: UpstreamTimeouts {
            connect: SECOND,
            read: SECOND,
            write: SECOND,
        },
        keepalive: SECOND,
    };
    let mut upstreams = Upstreams::new(&[config], 10, 100, OwnListeners::default()).unwrap();
    upstreams.names = Arc::new(names);
    upstreams
}

/// Returns where ten exchanges in a row would go first.
async fn choices(upstreams: &Upstreams) -> Vec<String> {
    let wanted = Wanted {
        openid: None,
        upgrade: false,
        repeatable: true,
        upload: Unread::NONE,
        timeouts: UpstreamTimeouts::default(),
    };
    let mut chosen = Vec::new();
    for _ in 0..10 {
        let mut attempts = Attempts::default();
        let group = &upstreams.groups[0];
        let choice = group.choose(&upstreams.names, &wanted, &mut attempts).await;
        chosen.push(choice.unwrap().1.to_string());
    }
    chosen.sort();
    chosen.dedup();
    chosen
}

/// Returns whether the only server is thought to be up.
fn is_up(upstreams: &Upstreams) -> bool {
    let group = upstreams.groups.first().unwrap();
    let health = &group.servers.first().unwrap().health;
    health.is_up(std::time::Instant::now())
}

async fn settles(upstreams: &Upstreams, expected: &[String]) {
    let settling = async {
        while choices(upstreams).await != expected {
            tokio::task::yield_now().await;
        }
    };
    timeout(10 * SECOND, settling).await.unwrap();
}

#[tokio::test]
async fn a_dead_address_of_a_name_is_left_out_while_another_lives() {
    let (live, dead) = (
        server("127.0.0.1:0", true).await,
        server("127.0.0.1:0", false).await,
    );
    let (names, _) = names(Resolver::Says(vec![live, dead]));
    let upstreams = upstreams(names);
    let mut both = [live.to_string(), dead.to_string()];
    both.sort();
    assert_eq!(choices(&upstreams).await, both);
    let watching = upstreams.watch();
    settles(&upstreams, &[live.to_string()]).await;
    assert!(is_up(&upstreams));
    drop(watching);
}

#[tokio::test(start_paused = true)]
async fn a_name_that_moves_takes_its_exchanges_along() {
    let at = |address: &str| Resolver::Says(vec![address.parse().unwrap()]);
    let (names, resolver) = names(at("10.0.0.1:80"));
    let upstreams = upstreams(names);
    assert_eq!(choices(&upstreams).await, ["10.0.0.1:80"]);
    resolver.lock().unwrap().0 = at("10.0.0.2:80");
    tokio::time::advance(10 * SECOND).await;
    assert_eq!(choices(&upstreams).await, ["10.0.0.2:80"]);
    resolver.lock().unwrap().0 = Resolver::IsSilent;
    tokio::time::advance(10 * SECOND).await;
    let begun = tokio::time::Instant::now();
    assert_eq!(choices(&upstreams).await, ["10.0.0.2:80"]);
    // connect_timeout, once, and what the clock rounds up.
    assert!(begun.elapsed() < SECOND + Duration::from_millis(5));
}

#[tokio::test]
async fn a_server_without_a_living_address_is_down() {
    let (one, two) = (
        server("127.0.0.1:0", false).await,
        server("127.0.0.1:0", false).await,
    );
    let (names, _) = names(Resolver::Says(vec![one, two]));
    let upstreams = upstreams(names);
    let _watching = upstreams.watch();
    let settling = async {
        while is_up(&upstreams) {
            tokio::task::yield_now().await;
        }
    };
    timeout(10 * SECOND, settling).await.unwrap();
}
