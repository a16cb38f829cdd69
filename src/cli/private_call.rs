//! Asks the private listener of a running process, over its address or its socket.

use std::io::{self, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use serde::de::DeserializeOwned;
use serde_json::Value;
use zeroize::Zeroizing;

use crate::config::PrivateAddress;
use crate::secret::Secret;

/// Many sessions take long to copy.
const PATIENCE: Duration = Duration::from_secs(600);
const MOST_BYTES: u64 = 64 * 1024;

/// Why there is no answer to use.
#[derive(Debug, thiserror::Error)]
pub(super) enum CallError {
    /// It cannot be reached.
    #[error("{0} cannot be asked: {1}")]
    Away(PrivateAddress, #[source] io::Error),
    /// It refuses.
    #[error("{0} refuses with {1}{2}")]
    Refused(PrivateAddress, u16, String),
    /// It says something else.
    #[error("{0} gives no answer of Menshen's")]
    Foreign(PrivateAddress),
}

/// Posts to a path, and reads what is answered.
pub(super) fn post<T: DeserializeOwned>(
    address: &PrivateAddress,
    path: &str,
    secret: Option<&Secret>,
) -> Result<T, CallError> {
    let mut request = Zeroizing::new(String::with_capacity(1024));
    request.push_str("POST ");
    request.push_str(path);
    request.push_str(" HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: 0\r\n");
    if let Some(secret) = secret {
        request.push_str("Authorization: Bearer ");
        request.push_str(secret.expose());
        request.push_str("\r\n");
    }
    request.push_str("\r\n");
    let answer = exchange(address, &request);
    let answer = answer.map_err(|error| CallError::Away(address.clone(), error))?;
    let foreign = || CallError::Foreign(address.clone());
    let (head, body) = answer.split_once("\r\n\r\n").ok_or_else(foreign)?;
    let status = head
        .split(' ')
        .nth(1)
        .and_then(|status| status.parse().ok());
    match status.ok_or_else(foreign)? {
        200 => serde_json::from_str(body).map_err(|_| foreign()),
        status => Err(CallError::Refused(address.clone(), status, error_in(body))),
    }
}

fn error_in(body: &str) -> String {
    let body: Option<Value> = serde_json::from_str(body).ok();
    let error = body.as_ref().and_then(|body| body.get("error")?.as_str());
    error.map(|error| format!(" {error}")).unwrap_or_default()
}

fn exchange(address: &PrivateAddress, request: &str) -> io::Result<String> {
    match address {
        PrivateAddress::Tcp(address) => {
            let stream = TcpStream::connect_timeout(&reachable(*address), Duration::from_secs(5))?;
            stream.set_read_timeout(Some(PATIENCE))?;
            talk(stream, request)
        }
        PrivateAddress::Unix(path) => {
            let stream = UnixStream::connect(path)?;
            stream.set_read_timeout(Some(PATIENCE))?;
            talk(stream, request)
        }
    }
}

/// Returns where a listener on every address is found on this machine.
fn reachable(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::from([127, 0, 0, 1]),
        IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::from([0, 0, 0, 0, 0, 0, 0, 1]),
        ip @ (IpAddr::V4(_) | IpAddr::V6(_)) => ip,
    };
    SocketAddr::new(ip, address.port())
}

fn talk(mut stream: impl Read + Write, request: &str) -> io::Result<String> {
    stream.write_all(request.as_bytes())?;
    let mut answer = String::new();
    stream.take(MOST_BYTES).read_to_string(&mut answer)?;
    Ok(answer)
}
