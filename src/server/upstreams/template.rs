//! How to connect to the servers of an upstream, in pingora's words.

use std::time::Duration;

use pingora::protocols::ALPN;
use pingora::protocols::l4::socket::SocketAddr;
use pingora::upstreams::peer::{HttpPeer, PeerOptions, Scheme};
use rustls::ClientConfig;

use super::server::Server;
use super::tls::{Encryption, UpstreamError};
use super::wanted::Wanted;
use crate::config::{Protocol, Upstream, UpstreamTimeouts};

/// How a handshake calls what may be spoken.
const HTTP1: &[u8] = b"http/1.1";
const HTTP2: &[u8] = b"h2";

/// What all connections of an upstream have in common.
#[derive(Debug)]
pub(super) struct Template {
    options: PeerOptions,
    protocol: Protocol,
    timeouts: UpstreamTimeouts<Duration>,
    tls: Option<Encryption>,
}

/// What may be spoken on a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Speaks {
    Http1,
    Http2,
    /// What the TLS handshake chooses.
    Either,
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
        options.verify_cert = !skips;
        options.verify_hostname = !skips;
        Ok(Self {
            options,
            protocol: config.protocol,
            timeouts: config.timeouts,
            tls,
        })
    }

    /// Returns what encrypts the connections, where there are files that may change.
    pub(super) fn renewable(&self) -> Option<&Encryption> {
        self.tls.as_ref().filter(|tls| tls.has_files())
    }

    /// Returns how often those files have changed: connections made before are not used again.
    pub(super) fn revision(&self) -> u32 {
        self.tls.as_ref().map_or(0, |tls| tls.current().0)
    }

    /// Returns the limits of an exchange.
    pub(super) fn timeouts(&self, wanted: &Wanted<'_>) -> UpstreamTimeouts<Duration> {
        self.timeouts.under(wanted.timeouts)
    }

    /// Returns what an exchange may speak.
    pub(super) fn speaks(&self, wanted: &Wanted<'_>) -> Speaks {
        match self.protocol {
            // Only HTTP/1.1 can be left for another protocol.
            Protocol::Auto if self.tls.is_some() && !wanted.upgrade => Speaks::Either,
            Protocol::Auto | Protocol::Http1 => Speaks::Http1,
            Protocol::Http2 => Speaks::Http2,
        }
    }

    /// Describes a new connection to a server at one of its addresses.
    pub(super) fn peer(
        &self,
        server: &Server,
        place: &SocketAddr,
        speaks: Speaks,
        limit: Duration,
    ) -> HttpPeer {
        let mut options = self.options.clone();
        options.connection_timeout = Some(limit);
        options.total_connection_timeout = Some(limit);
        options.alpn = match speaks {
            Speaks::Http1 => ALPN::H1,
            Speaks::Http2 => ALPN::H2,
            Speaks::Either => ALPN::H2H1,
        };
        let trust = self.tls.as_ref().map(Encryption::current);
        let trust = trust.as_deref().map(|(_, trust)| trust);
        // A server whose authority or certificate the operator named is verified in our own handshake.
        let by_pingora = trust.is_some_and(|trust| trust.named.is_none());
        HttpPeer {
            _address: place.clone(),
            scheme: Scheme::from_tls_bool(by_pingora),
            sni: self.server_name(server).to_owned(),
            proxy: None,
            client_cert_key: trust.and_then(|trust| trust.client.clone()),
            group_key: 0,
            options,
        }
    }

    /// Returns what does the handshakes, where the operator named certificates to trust.
    pub(super) fn handshakes(&self, speaks: Speaks) -> Option<ClientConfig> {
        let trust = self.tls.as_ref()?.current();
        let named = trust.1.named.as_ref()?;
        // A clone, since what is offered differs; sessions to resume are shared.
        let mut config = ClientConfig::clone(named);
        config.alpn_protocols = match speaks {
            Speaks::Http1 => vec![HTTP1.to_vec()],
            Speaks::Http2 => vec![HTTP2.to_vec()],
            Speaks::Either => vec![HTTP2.to_vec(), HTTP1.to_vec()],
        };
        Some(config)
    }

    /// Returns whether connections are encrypted.
    pub(super) fn is_tls(&self) -> bool {
        self.tls.is_some()
    }

    /// Returns the name expected; never an empty one with TLS, for which pingora would verify nothing.
    pub(super) fn server_name<'s>(&'s self, server: &'s Server) -> &'s str {
        let Some(tls) = &self.tls else {
            return "";
        };
        let host = tls.config.server_name.as_deref().or(server.address.host());
        host.unwrap_or("invalid")
    }
}
