//! An outbound proxy between the gateway and WeChat, as companies have them.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};

/// A proxy that leads every connection to one address, whatever host it is asked for; clones share it.
#[derive(Clone, Debug)]
pub struct ForwardProxy {
    /// Where it listens.
    pub address: SocketAddr,
    target: SocketAddr,
    /// The user and password that it asks for.
    auth: Option<String>,
    /// What it answers in place of the target.
    refusal: Option<String>,
    /// The head of each request.
    asked: Arc<Mutex<Vec<String>>>,
}

impl ForwardProxy {
    /// Starts a proxy that lets everybody through.
    pub async fn start(target: SocketAddr) -> Self {
        Self::serve(target, None, None).await
    }

    /// Starts one that asks for `user:password`.
    pub async fn asking_for(auth: &str, target: SocketAddr) -> Self {
        Self::serve(target, Some(auth), None).await
    }

    /// Starts one that gives every request the same answer.
    pub async fn answering(answer: &str, target: SocketAddr) -> Self {
        Self::serve(target, None, Some(answer)).await
    }

    /// Returns the heads of the requests so far.
    pub fn asked(&self) -> Vec<String> {
        self.asked.lock().expect("is not poisoned").clone()
    }

    async fn serve(target: SocketAddr, auth: Option<&str>, refusal: Option<&str>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("binds");
        let proxy = Self {
            address: listener.local_addr().expect("is bound"),
            target,
            auth: auth.map(|auth| format!("Basic {}", STANDARD.encode(auth))),
            refusal: refusal.map(str::to_owned),
            asked: Arc::default(),
        };
        let accepting = proxy.clone();
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(accepting.clone().pass(client));
            }
        });
        proxy
    }

    async fn pass(self, mut client: TcpStream) -> Option<()> {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(client.read_u8().await.ok()?);
        }
        let head = String::from_utf8_lossy(&head).into_owned();
        self.asked
            .lock()
            .expect("is not poisoned")
            .push(head.clone());
        let given = head.lines().find_map(|line| {
            let (name, value) = line.split_once(": ")?;
            name.eq_ignore_ascii_case("proxy-authorization")
                .then_some(value)
        });
        let answer = match (&self.auth, self.refusal) {
            (Some(auth), _) if given != Some(auth) => Some(
                "HTTP/1.1 407 Proxy Authentication Required\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
                    .to_owned(),
            ),
            (_, refusal) => refusal,
        };
        if let Some(answer) = answer {
            client.write_all(answer.as_bytes()).await.ok()?;
            return client.shutdown().await.ok();
        }
        let mut target = TcpStream::connect(self.target).await.ok()?;
        if head.starts_with("CONNECT ") {
            client
                .write_all(b"HTTP/1.1 200 Connection established\r\n\r\n")
                .await
                .ok()?;
        } else {
            // The target closes behind its answer, so that no second request comes on this connection.
            let ends = head.replacen("\r\n", "\r\nConnection: close\r\n", 1);
            target.write_all(ends.as_bytes()).await.ok()?;
        }
        copy_bidirectional(&mut client, &mut target).await.ok()?;
        Some(())
    }
}
