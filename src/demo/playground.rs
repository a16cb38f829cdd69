//! The playground of `menshen dev`: a page that logs in, calls the backend and opens a WebSocket from any browser.

use std::future::Future;
use std::io;
use std::sync::LazyLock;

use aws_lc_rs::digest::{SHA256, digest};
use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::{Html, IntoResponse, Response};
use axum::routing::get;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures::{SinkExt as _, StreamExt as _};
use http::StatusCode;
use http::header::{
    CACHE_CONTROL, CONNECTION, CONTENT_SECURITY_POLICY, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY,
    UPGRADE,
};
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::Role;

use crate::page::escape;

const PAGE: &str = include_str!("playground.html");
const STYLE: &str = include_str!("playground.css");
const SCRIPT: &str = include_str!("playground.js");

/// What a browser may do with the page: run its own script, and talk to where it came from.
static POLICY: LazyLock<String> = LazyLock::new(|| {
    let hash = |text: &str| STANDARD.encode(digest(&SHA256, text.as_bytes()));
    format!(
        "default-src 'none'; connect-src 'self'; style-src 'sha256-{}'; script-src 'sha256-{}'; base-uri 'none'; \
         form-action 'none'; frame-ancestors 'none'",
        hash(STYLE),
        hash(SCRIPT)
    )
});

/// Which app the page logs in to.
#[derive(Clone, Debug)]
pub struct Playground {
    /// Its appid.
    pub appid: String,
    /// Whether WeChat is simulated, so that the page can get codes itself.
    pub simulated: bool,
}

impl Playground {
    /// Serves the page at `/_dev` and a WebSocket that sends everything back at `/_dev/websocket`, until `shutdown`.
    pub async fn serve(
        self,
        listener: TcpListener,
        shutdown: impl Future<Output = ()> + Send + 'static,
    ) -> io::Result<()> {
        let app = Router::new()
            .route("/_dev", get(page))
            .route("/_dev/websocket", get(echo))
            .with_state(self);
        axum::serve(listener, app)
            .with_graceful_shutdown(shutdown)
            .await
    }
}

async fn page(State(playground): State<Playground>) -> impl IntoResponse {
    let simulated = playground.simulated.to_string();
    let html = PAGE
        .replace("@STYLE@", STYLE)
        .replace("@SCRIPT@", SCRIPT)
        .replace("@APP@", &escape(&playground.appid))
        .replace("@SIMULATED@", &simulated);
    let headers = [
        (CONTENT_SECURITY_POLICY, POLICY.as_str()),
        (CACHE_CONTROL, "no-store"),
    ];
    (headers, Html(html))
}

/// Accepts a WebSocket handshake, and sends back what it gets.
async fn echo(mut request: Request) -> Response {
    let Some(key) = request.headers().get(SEC_WEBSOCKET_KEY) else {
        return StatusCode::UPGRADE_REQUIRED.into_response();
    };
    let accept = derive_accept_key(key.as_bytes());
    let upgrade = hyper::upgrade::on(&mut request);
    tokio::spawn(async move {
        let Ok(upgraded) = upgrade.await else {
            return;
        };
        let stream = TokioIo::new(upgraded);
        let socket = WebSocketStream::from_raw_socket(stream, Role::Server, None).await;
        let (mut write, mut read) = socket.split();
        while let Some(Ok(message)) = read.next().await {
            let is_data = message.is_text() || message.is_binary();
            // Pings and closes are answered by the crate.
            if is_data && write.send(message).await.is_err() {
                return;
            }
        }
    });
    let headers = [
        (CONNECTION, "Upgrade"),
        (UPGRADE, "websocket"),
        (SEC_WEBSOCKET_ACCEPT, &*accept),
    ];
    (StatusCode::SWITCHING_PROTOCOLS, headers, Body::empty()).into_response()
}
