//! Makes a connection to WeChat, through a proxy where there is one.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::Uri;
use hyper_util::client::proxy::matcher::Matcher;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use rustls_platform_verifier::BuilderVerifierExt as _;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpStream, lookup_host};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use crate::config::{Proxy, WeChat};
use crate::wechat::connections::trusting;
use crate::wechat::resolver::Unresolved;
use crate::wechat::{CallError, ClientError, UnreachableCause};

/// The longest answer of a proxy to CONNECT, in bytes.
const MOST_OF_PROXY: usize = 8 * 1024;

/// Bytes to and from a server.
pub(super) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

/// A connection on which requests can be sent.
pub(super) struct Connected {
    pub(super) stream: Box<dyn Stream>,
    /// Whether a proxy reads the requests, so that they name their host, and what it asks for.
    pub(super) by_proxy: Option<Option<String>>,
}

/// Makes connections.
pub(super) struct Connector {
    host: String,
    port: u16,
    tls: Option<TlsConnector>,
    base: Uri,
    proxies: Option<Matcher>,
    auth: Option<String>,
    timeout: Duration,
}

/// Why there is no connection.
#[derive(Debug)]
pub(super) struct NoConnection {
    pub(super) cause: UnreachableCause,
    pub(super) detail: Option<String>,
}

impl Connector {
    pub(super) fn new(config: &WeChat) -> Result<Self, ClientError> {
        let unusable = || ClientError::Address;
        let base: Uri = config.api_base.parse().map_err(|_| unusable())?;
        let host = base.host().ok_or_else(unusable)?.to_owned();
        let is_tls = base.scheme_str() == Some("https");
        let proxies = match &config.proxy {
            Proxy::None => None,
            Proxy::Url(url) => Some(Matcher::builder().all(url.as_str()).build()),
            Proxy::Environment => Some(Matcher::from_env()),
        };
        let auth = config.proxy_auth.as_ref();
        Ok(Self {
            port: base.port_u16().unwrap_or(if is_tls { 443 } else { 80 }),
            host: host.trim_matches(['[', ']']).to_owned(),
            tls: is_tls.then(|| tls(config)).transpose()?,
            base,
            proxies,
            auth: auth.map(|auth| format!("Basic {}", STANDARD.encode(auth.expose()))),
            timeout: config.connect_timeout,
        })
    }

    /// Returns where the API is.
    pub(super) fn base(&self) -> &Uri {
        &self.base
    }

    pub(super) async fn connect(&self) -> Result<Connected, NoConnection> {
        match timeout(self.timeout, self.attempt()).await {
            Ok(connected) => connected,
            Err(_) => Err(NoConnection {
                cause: UnreachableCause::Slow,
                detail: None,
            }),
        }
    }

    async fn attempt(&self) -> Result<Connected, NoConnection> {
        let proxies = self.proxies.as_ref();
        let Some(proxy) = proxies.and_then(|proxies| proxies.intercept(&self.base)) else {
            let stream = dial(&self.host, self.port).await?;
            return Ok(Connected {
                stream: self.secure(stream).await?,
                by_proxy: None,
            });
        };
        let auth = proxy.basic_auth().and_then(|auth| auth.to_str().ok());
        let auth = self.auth.clone().or(auth.map(str::to_owned));
        let at = proxy.uri();
        let host = at.host().unwrap_or_default().trim_matches(['[', ']']);
        let mut stream = dial(host, at.port_u16().unwrap_or(80)).await?;
        if self.tls.is_none() {
            let stream = Box::new(stream);
            let by_proxy = Some(auth);
            return Ok(Connected { stream, by_proxy });
        }
        self.tunnel(&mut stream, auth.as_deref()).await?;
        Ok(Connected {
            stream: self.secure(stream).await?,
            by_proxy: None,
        })
    }

    /// Has a proxy connect to WeChat.
    async fn tunnel(&self, stream: &mut TcpStream, auth: Option<&str>) -> Result<(), NoConnection> {
        let proxy = |error: io::Error| NoConnection {
            cause: UnreachableCause::Proxy,
            detail: Some(error.to_string()),
        };
        let authority = match self.host.contains(':') {
            true => format!("[{}]:{}", self.host, self.port),
            false => format!("{}:{}", self.host, self.port),
        };
        let auth = auth.map_or(String::new(), |auth| {
            format!("Proxy-Authorization: {auth}\r\n")
        });
        let request = format!("CONNECT {authority} HTTP/1.1\r\nHost: {authority}\r\n{auth}\r\n");
        stream.write_all(request.as_bytes()).await.map_err(proxy)?;
        let mut answer = Vec::new();
        // Byte by byte: what comes behind it is TLS's.
        while !answer.ends_with(b"\r\n\r\n") && answer.len() < MOST_OF_PROXY {
            answer.push(stream.read_u8().await.map_err(proxy)?);
        }
        let status = answer.split(|byte| *byte == b' ').nth(1);
        let cause = match status {
            Some([b'2', ..]) => return Ok(()),
            Some(b"407") => UnreachableCause::ProxyAuth,
            Some(_) | None => UnreachableCause::Proxy,
        };
        Err(NoConnection {
            cause,
            detail: None,
        })
    }

    async fn secure(&self, stream: TcpStream) -> Result<Box<dyn Stream>, NoConnection> {
        let Some(tls) = &self.tls else {
            return Ok(Box::new(stream));
        };
        let name = ServerName::try_from(self.host.clone()).map_err(|_| NoConnection {
            cause: UnreachableCause::OtherName,
            detail: None,
        })?;
        match tls.connect(name, stream).await {
            Ok(stream) => Ok(Box::new(stream)),
            Err(error) => Err(NoConnection::of(&error)),
        }
    }
}

impl NoConnection {
    fn of(error: &io::Error) -> Self {
        let (cause, detail) = UnreachableCause::of_io(error);
        Self {
            cause,
            detail: Some(detail),
        }
    }
}

impl From<&NoConnection> for CallError {
    fn from(error: &NoConnection) -> Self {
        Self::Unreachable(error.cause)
    }
}

async fn dial(host: &str, port: u16) -> Result<TcpStream, NoConnection> {
    let found = lookup_host((host, port)).await.map_err(Unresolved);
    let found = found.map_err(|Unresolved(error)| NoConnection {
        cause: UnreachableCause::Name,
        detail: Some(error.to_string()),
    })?;
    let mut last = io::Error::from(io::ErrorKind::AddrNotAvailable);
    for address in found {
        match TcpStream::connect(address).await {
            Ok(stream) => {
                // Only a slower call if it fails.
                let _ = stream.set_nodelay(true);
                return Ok(stream);
            }
            Err(error) => last = error,
        }
    }
    Err(NoConnection::of(&last))
}

fn tls(config: &WeChat) -> Result<TlsConnector, ClientError> {
    let builder = ClientConfig::builder();
    let config = match &config.ca_file {
        Some(file) => trusting(file)?,
        None => builder
            .with_platform_verifier()
            .map_err(|_| ClientError::Tls)?,
    };
    Ok(TlsConnector::from(Arc::new(config.with_no_client_auth())))
}
