//! WebSockets as clients open them.

use std::net::SocketAddr;
use std::time::Duration;

use futures::{SinkExt as _, StreamExt as _};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{WebSocketStream, client_async};

/// How long the other end may take to say what it heard.
const PATIENCE: Duration = Duration::from_secs(10);

/// A client's end of a WebSocket.
pub type Socket = WebSocketStream<TcpStream>;

/// Opens a WebSocket to `/chat` with a token.
pub async fn open_socket(address: SocketAddr, token: &str) -> Socket {
    let opened = try_open_socket(address, "/chat", Some(token)).await;
    opened.expect("a WebSocket")
}

/// Tries to open a WebSocket, with a token if there is one.
pub async fn try_open_socket(
    address: SocketAddr,
    path: &str,
    token: Option<&str>,
) -> Result<Socket, Error> {
    let mut request = format!("ws://{address}{path}").into_client_request()?;
    if let Some(token) = token {
        let bearer = format!("Bearer {token}").parse()?;
        request.headers_mut().insert("authorization", bearer);
    }
    let opened = client_async(request, TcpStream::connect(address).await?).await?;
    Ok(opened.0)
}

/// Checks that both ends of a WebSocket hear each other.
pub async fn check_socket_lives(socket: &mut Socket) {
    let text = Message::text("still here?");
    socket.send(text.clone()).await.expect("is sent");
    let heard = tokio::time::timeout(PATIENCE, socket.next()).await;
    let heard = heard.expect("it should be heard in time");
    assert_eq!(heard.expect("is open").expect("a message"), text);
}
