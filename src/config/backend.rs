//! What a checked `[[upstream]]` holds.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

/// A group of servers that run the same backend.
#[derive(Clone, Debug, PartialEq)]
pub struct Upstream {
    /// The name used in routes and as the audience of assertions.
    pub name: String,
    /// Where its servers listen, at least one.
    pub servers: Vec<ServerAddress>,
    /// Which server is asked.
    pub balance: Balance,
    /// What the servers speak.
    pub protocol: Protocol,
    /// `None` means without TLS.
    pub tls: Option<UpstreamTls>,
    /// `None` means that nobody asks the servers how they are.
    pub health: Option<Health>,
    /// How many failures in a row take a server out; 0 means never.
    pub max_fails: u32,
    /// How long they take it out for.
    pub fail_timeout: Duration,
    /// UpstreamTimeouts where a route has none of its own.
    pub timeouts: UpstreamTimeouts<Duration>,
    /// How long an idle connection is kept.
    pub keepalive: Duration,
}

/// Where a server listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ServerAddress {
    /// `host:port`; the host may be a name, which is looked up again and again.
    Tcp(String),
    /// The path of a Unix socket.
    Unix(String),
}

/// How one of several servers is chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Balance {
    /// One after the other.
    RoundRobin,
    /// The one with the fewest exchanges in flight.
    LeastConnections,
    /// Always the same one for the same openid, as long as it is up; one after the other for nobody.
    Hash,
}

/// What a server speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// HTTP/1.1.
    Http1,
    /// HTTP/2, without TLS by prior knowledge.
    Http2,
    /// What the TLS handshake agrees on; HTTP/1.1 without TLS.
    Auto,
}

/// How a server proves who it is, and how Menshen does.
#[derive(Clone, Debug, PartialEq)]
pub struct UpstreamTls {
    /// The name asked for and expected; `None` means the host of each server.
    pub server_name: Option<String>,
    /// The authorities trusted instead of the system's, as a PEM file.
    pub ca_file: Option<PathBuf>,
    /// What Menshen shows, as PEM files: the chain and its key.
    pub client: Option<(PathBuf, PathBuf)>,
    /// Whether any certificate is taken for the right one.
    pub danger_skip_verify: bool,
}

/// How servers are asked how they are.
#[derive(Clone, Debug, PartialEq)]
pub struct Health {
    /// The target of a GET.
    pub path: String,
    /// The pause between two questions.
    pub interval: Duration,
    /// Limit for an answer.
    pub timeout: Duration,
    /// How many good answers in a row bring a server back.
    pub healthy_after: u32,
    /// How many bad ones take it out.
    pub unhealthy_after: u32,
}

/// The limits on waiting for a server; of a route each is an `Option`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct UpstreamTimeouts<T> {
    /// For connecting.
    pub connect: T,
    /// Between two reads.
    pub read: T,
    /// Between two writes.
    pub write: T,
}

impl ServerAddress {
    /// Reads `host:port` that was checked, or `unix:/path`.
    pub(super) fn of(text: &str) -> Self {
        match text.strip_prefix("unix:") {
            Some(path) => Self::Unix(path.to_owned()),
            None => Self::Tcp(text.to_owned()),
        }
    }

    /// Returns the host without its port; `None` for a Unix socket.
    pub fn host(&self) -> Option<&str> {
        match self {
            Self::Tcp(server) => {
                let (host, _) = server.rsplit_once(':')?;
                Some(host.trim_matches(['[', ']']))
            }
            Self::Unix(_) => None,
        }
    }
}

impl fmt::Display for ServerAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(server) => f.write_str(server),
            Self::Unix(path) => write!(f, "unix:{path}"),
        }
    }
}

impl UpstreamTimeouts<Duration> {
    /// Returns the limits of a route, and these where it has none.
    pub fn under(self, route: UpstreamTimeouts<Option<Duration>>) -> Self {
        Self {
            connect: route.connect.unwrap_or(self.connect),
            read: route.read.unwrap_or(self.read),
            write: route.write.unwrap_or(self.write),
        }
    }
}
