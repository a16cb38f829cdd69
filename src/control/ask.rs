//! Asks a private listener, as the command line does.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use axum::body::{Body, to_bytes};
use futures::future::Either;
use http::header::{AUTHORIZATION, HOST};
use http::{HeaderValue, Method, Request};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::net::{TcpStream, UnixStream};
use tokio::time::timeout;

use crate::config::PrivateAddress;
use crate::secret::Secret;

/// No answer to a question of the command line's is longer.
const MOST_BYTES: usize = 256 * 1024;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    /// Nobody answers there.
    #[error("cannot be reached: {0}")]
    Unreachable(#[from] std::io::Error),
    /// What answers speaks something else.
    #[error("does not answer: {0}")]
    NoAnswer(#[from] hyper::Error),
    /// It took too long.
    #[error("does not answer in time")]
    Late,
    /// The secret or the path cannot be sent.
    #[error("cannot be asked: {0}")]
    Unsendable(#[from] http::Error),
    /// The answer is too long or broke off.
    #[error("does not answer in full: {0}")]
    Broken(#[from] axum::Error),
}

/// Sends a request without a body to a private listener, and returns the status and the body. The answer may take as long as `limit`.
pub async fn ask(
    address: &PrivateAddress,
    secret: Option<&Secret>,
    method: Method,
    path: &str,
    limit: Duration,
) -> Result<(u16, Vec<u8>), AskError> {
    let asked = timeout(limit, exchange(address, secret, method, path)).await;
    asked.unwrap_or(Err(AskError::Late))
}

async fn exchange(
    address: &PrivateAddress,
    secret: Option<&Secret>,
    method: Method,
    path: &str,
) -> Result<(u16, Vec<u8>), AskError> {
    let stream = match address {
        PrivateAddress::Tcp(address) => {
            Either::Left(TcpStream::connect(reachable(*address)).await?)
        }
        PrivateAddress::Unix(path) => Either::Right(UnixStream::connect(path).await?),
    };
    // A listener without a secret answers those only who ask for this machine.
    let mut request = Request::builder()
        .method(method)
        .uri(path)
        .header(HOST, "localhost");
    if let Some(secret) = secret {
        let value = format!("Bearer {}", secret.expose());
        let mut value = HeaderValue::try_from(value).map_err(http::Error::from)?;
        value.set_sensitive(true);
        request = request.header(AUTHORIZATION, value);
    }
    let request = request.body(Body::empty())?;
    let (status, body) = match stream {
        Either::Left(stream) => send(TokioIo::new(stream), request).await?,
        Either::Right(stream) => send(TokioIo::new(stream), request).await?,
    };
    Ok((status, to_bytes(body, MOST_BYTES).await?.to_vec()))
}

async fn send<S>(stream: S, request: Request<Body>) -> Result<(u16, Body), AskError>
where
    S: hyper::rt::Read + hyper::rt::Write + Send + Unpin + 'static,
{
    let (mut requests, connection) = http1::handshake(stream).await?;
    // It ends with what asks.
    tokio::spawn(connection);
    let response = requests.send_request(request).await?;
    Ok((response.status().as_u16(), Body::new(response.into_body())))
}

/// Returns the address by which this machine reaches a listener of its own.
fn reachable(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip @ (IpAddr::V4(_) | IpAddr::V6(_)) => ip,
    };
    SocketAddr::new(ip, address.port())
}
