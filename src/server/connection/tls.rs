//! The TLS side of the listener.

use std::path::PathBuf;
use std::sync::Arc;

use pingora::listeners::tls::Acceptor;
use rustls::ServerConfig;

use super::certificates::{Certificates, TlsError};
use crate::config::Tls;
use crate::server::file_state;

/// The TLS configuration of the listeners.
#[derive(Clone, Debug)]
pub struct Encryption {
    config: Arc<ServerConfig>,
    certificates: Arc<Certificates>,
}

impl Encryption {
    /// Reads the certificates and keys, and offers HTTP/2 before HTTP/1.1; `None` without a certificate.
    pub fn load(files: &[Tls]) -> Result<Option<Self>, TlsError> {
        let Some(certificates) = Certificates::load(files)?.map(Arc::new) else {
            return Ok(None);
        };
        let resolver = Arc::clone(&certificates);
        let mut config = ServerConfig::builder()
            .with_no_client_auth()
            .with_cert_resolver(resolver);
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(Some(Self {
            config: Arc::new(config),
            certificates,
        }))
    }

    /// Returns until when each certificate is good, in seconds since the Unix epoch, by its file.
    pub fn expiries(&self) -> Vec<(PathBuf, i64)> {
        self.certificates.expiries()
    }

    /// Returns the acceptor of a listener's handshakes.
    pub(in crate::server) fn acceptor(&self) -> Acceptor {
        Acceptor::from_server_config(Arc::clone(&self.config))
    }

    /// Reads certificates again when their files change, for ever.
    pub(in crate::server) async fn renew(self) {
        let mut ticks = tokio::time::interval(file_state::POLL_INTERVAL);
        loop {
            ticks.tick().await;
            let certificates = Arc::clone(&self.certificates);
            // On a thread of its own, since a disk may hang.
            let _ = tokio::task::spawn_blocking(move || certificates.reload_changed()).await;
        }
    }
}
