//! A wire between the gateway and WeChat that remembers what went over it, and can go dead.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// A relay; clones share it.
#[derive(Clone, Debug)]
pub struct Relay {
    /// Where it listens.
    pub address: SocketAddr,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    target: Mutex<Option<SocketAddr>>,
    dead: watch::Sender<bool>,
    /// What was asked and answered on each connection.
    seen: Mutex<Vec<[Vec<u8>; 2]>>,
}

impl Relay {
    /// Starts a relay, which leads nowhere yet, on a port that the system chooses.
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("binds");
        let relay = Self {
            address: listener.local_addr().expect("is bound"),
            shared: Arc::new(Shared {
                target: Mutex::default(),
                dead: watch::Sender::new(false),
                seen: Mutex::default(),
            }),
        };
        let accepting = relay.clone();
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(accepting.clone().pass(client));
            }
        });
        relay
    }

    /// Says where the connections from now on lead.
    pub fn lead_to(&self, target: SocketAddr) {
        *self.shared.target.lock().expect("is not poisoned") = Some(target);
    }

    /// Swallows everything from now on. Connections that were open meanwhile never come back to life.
    pub fn die(&self) {
        self.shared.dead.send_replace(true);
    }

    /// Carries new connections again.
    pub fn revive(&self) {
        self.shared.dead.send_replace(false);
    }

    /// Returns what the gateway has asked since this was called before.
    pub fn requests(&self) -> Vec<String> {
        let mut seen = self.shared.seen.lock().expect("is not poisoned");
        let asked = seen
            .iter_mut()
            .map(|[asked, _]| text(&std::mem::take(asked)));
        asked.collect()
    }

    /// Returns what the other side has answered, one text for each connection, without parts that are all white space.
    pub fn answers(&self) -> Vec<String> {
        let seen = self.shared.seen.lock().expect("is not poisoned");
        seen.iter().map(|[_, answered]| text(answered)).collect()
    }

    async fn pass(self, client: TcpStream) {
        let target = *self.shared.target.lock().expect("is not poisoned");
        let mut dead = self.shared.dead.subscribe();
        let server = TcpStream::connect(target.expect("it should lead somewhere")).await;
        let Ok(server) = server else { return };
        let number = {
            let mut seen = self.shared.seen.lock().expect("is not poisoned");
            seen.push([Vec::new(), Vec::new()]);
            seen.len() - 1
        };
        let see = |direction: usize, part: &[u8]| {
            if !part.iter().all(u8::is_ascii_whitespace) {
                let mut seen = self.shared.seen.lock().expect("is not poisoned");
                seen[number][direction].extend_from_slice(part);
            }
        };
        let (mut from_client, mut to_client) = client.into_split();
        let (mut from_server, mut to_server) = server.into_split();
        let there = copy(&mut from_client, &mut to_server, |part| see(0, part));
        let back = copy(&mut from_server, &mut to_client, |part| see(1, part));
        tokio::select! {
            biased;
            _ = dead.wait_for(|&dead| dead) => {}
            () = there => return,
            () = back => return,
        }
        // A wire that is dead does not even say so: both sockets stay open.
        std::future::pending::<()>().await;
    }
}

async fn copy(from: &mut OwnedReadHalf, to: &mut OwnedWriteHalf, seen: impl Fn(&[u8])) {
    let mut part = [0; 16 * 1024];
    while let Ok(length @ 1..) = from.read(&mut part).await {
        seen(&part[..length]);
        if to.write_all(&part[..length]).await.is_err() {
            return;
        }
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
