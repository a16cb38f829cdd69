//! Sends bytes that no HTTP client would.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// Sends `request` on a connection of its own and returns what comes back until the other side closes.
///
/// The request should say `Connection: close`; an answer that takes longer than ten seconds fails the test.
pub async fn raw(address: SocketAddr, request: &[u8]) -> String {
    let mut stream = TcpStream::connect(address).await.expect("connects");
    // The gateway may refuse and close before it has read everything.
    let _ = stream.write_all(request).await;
    let mut answer = Vec::new();
    let read = async {
        let mut part = [0; 4096];
        while let Ok(length @ 1..) = stream.read(&mut part).await {
            answer.extend_from_slice(&part[..length]);
        }
    };
    tokio::time::timeout(Duration::from_secs(10), read)
        .await
        .expect("the gateway should answer and close");
    String::from_utf8_lossy(&answer).into_owned()
}

/// Sends a request without a body, such as `GET /orders`, on a connection of its own and returns what comes back.
///
/// Its header lines are `Host`, then `lines`, then `Connection: close` unless they hold a `Connection`.
pub async fn raw_request(
    address: SocketAddr,
    request: &str,
    lines: &[(impl AsRef<str>, impl AsRef<str>)],
) -> String {
    let mut text = format!("{request} HTTP/1.1\r\nHost: {address}\r\n");
    let mut closes = false;
    for (name, value) in lines {
        closes |= name.as_ref().eq_ignore_ascii_case("connection");
        text.push_str(&format!("{}: {}\r\n", name.as_ref(), value.as_ref()));
    }
    text.push_str(if closes {
        "\r\n"
    } else {
        "Connection: close\r\n\r\n"
    });
    raw(address, text.as_bytes()).await
}

/// Returns the status of an answer from [`raw`], or 0 when it is none.
pub fn status(answer: &str) -> u16 {
    let code = answer
        .strip_prefix("HTTP/1.1 ")
        .and_then(|rest| rest.get(..3));
    code.and_then(|code| code.parse().ok()).unwrap_or(0)
}
