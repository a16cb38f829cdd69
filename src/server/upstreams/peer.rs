//! How to connect to a server, in pingora's words.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use pingora::protocols::ALPN;
use pingora::protocols::l4::socket::SocketAddr;
use pingora::upstreams::peer::{HttpPeer, PeerOptions, Scheme};

use super::Wanted;
use super::keeping::Connections;
use super::server::Server;
use super::tls::{Encryption, UpstreamError};
use crate::config::{Patience, Protocol, Upstream};

/// The most exchanges on one connection of HTTP/2.
const MOST_STREAMS: usize = 100;

/// As short as pingora's timer can be: in its first millisecond it fails at no time at all.
const AT_ONCE: Duration = Duration::from_millis(1);

/// Set in the keys of connections that are not everybody's.
const APART: u64 = 1 << 63;

/// No two upstreams ever have the same key, and those before and after a reload are two.
static NEXT_KEY: AtomicU32 = AtomicU32::new(1);

/// What all connections of an upstream have in common.
#[derive(Debug)]
pub(super) struct Template {
    options: PeerOptions,
    protocol: Protocol,
    patience: Patience<Duration>,
    tls: Option<Encryption>,
    /// Keeps connections of different upstreams apart: pingora does not tell them apart by what they trust.
    group_key: u32,
}

impl Template {
    pub(super) fn new(config: &Upstream) -> Result<Self, UpstreamError> {
        let tls = match &config.tls {
            Some(tls) => Some(Encryption::read(config, tls)?),
            None => None,
        };
        let skips = tls
            .as_ref()
            .is_some_and(|tls| tls.config.danger_skip_verify);
        if skips {
            let upstream = config.name.as_str();
            tracing::warn!(
                upstream,
                "DANGER: tls.danger_skip_verify takes anybody for this upstream"
            );
        }
        let mut options = PeerOptions::new();
        options.idle_timeout = Some(config.keepalive.max(AT_ONCE));
        options.max_h2_streams = MOST_STREAMS;
        options.verify_cert = !skips;
        options.verify_hostname = !skips;
        Ok(Self {
            options,
            protocol: config.protocol,
            patience: config.patience,
            tls,
            group_key: NEXT_KEY.fetch_add(1, Ordering::Relaxed),
        })
    }

    /// Returns what encrypts the connections, where there are files that may change.
    pub(super) fn renewable(&self) -> Option<&Encryption> {
        self.tls.as_ref().filter(|tls| tls.has_files())
    }

    /// Returns how long it may take to connect, and before that to find out where.
    pub(super) fn connect_limit(&self, wanted: &Wanted<'_>) -> Duration {
        self.patience.under(wanted.patience).connect
    }

    /// Describes the connection to a server at one of its addresses.
    pub(super) fn peer(
        &self,
        server: &Server,
        place: &SocketAddr,
        wanted: &Wanted<'_>,
        connections: Connections,
    ) -> HttpPeer {
        let mut options = self.options.clone();
        let patience = self.patience.under(wanted.patience);
        options.connection_timeout = Some(patience.connect);
        options.total_connection_timeout = Some(patience.connect);
        options.read_timeout = Some(patience.read);
        options.write_timeout = Some(patience.write);
        options.alpn = match self.protocol {
            Protocol::Http2 => ALPN::H2,
            Protocol::Auto if self.tls.is_some() && !wanted.upgrade => ALPN::H2H1,
            Protocol::Auto | Protocol::Http1 => ALPN::H1,
        };
        let trust = self.tls.as_ref().map(Encryption::current);
        let trust = trust.as_deref();
        // Nor are connections used again that were made before the files changed.
        let times = trust.map_or(0, |(times, _)| *times);
        let mut apart = u64::from(times) << 32 & !APART;
        let connector = wanted.handshake.connector();
        if let Some(connector) = connector.filter(|_| options.alpn == ALPN::H1) {
            options.custom_l4 = Some(Arc::new(connector));
        }
        let connections = match options.custom_l4 {
            // pingora keeps connections by their file descriptors, and sees none of one that is ours.
            Some(_) => Connections::New,
            None => connections,
        };
        let number = match connections {
            Connections::Any => None,
            Connections::New => {
                options.idle_timeout = Some(AT_ONCE);
                // A key that nobody had before finds no kept connection, and nobody would find this one later.
                Some(fastrand::u32(..))
            }
            Connections::Apart(number) => Some(number ^ times),
        };
        if let Some(number) = number {
            apart = APART | u64::from(number) << 32;
        }
        let group_key = u64::from(self.group_key) | apart;
        let trust = trust.map(|(_, trust)| trust);
        options.ca = trust.and_then(|trust| trust.authorities.clone());
        HttpPeer {
            _address: place.clone(),
            scheme: Scheme::from_tls_bool(trust.is_some()),
            sni: self.server_name(server),
            proxy: None,
            client_cert_key: trust.and_then(|trust| trust.client.as_ref().map(Arc::clone)),
            group_key,
            options,
        }
    }

    /// Returns the name expected; never an empty one with TLS, for which pingora would verify nothing.
    fn server_name(&self, server: &Server) -> String {
        let Some(tls) = &self.tls else {
            return String::new();
        };
        let host = tls.config.server_name.as_deref().or(server.address.host());
        host.unwrap_or("invalid").to_owned()
    }
}
