//! The TLS side of the connections to servers.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;
use pingora::utils::tls::CertKey;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem};
use rustls::{ClientConfig, RootCertStore};

use crate::config::{Upstream, UpstreamTls};
use crate::server::file_state::FileState;
use crate::trust::client_trusting;

/// Why an upstream's certificates cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum UpstreamError {
    /// A file cannot be read or holds no PEM of the right kind.
    #[error("upstream {upstream}: {}: {cause}", path.display())]
    File {
        /// The upstream's name.
        upstream: String,
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        cause: pem::Error,
    },
    /// A certificate is malformed, or does not go with its key.
    #[error("upstream {upstream}: {}: {cause}", path.display())]
    Certificate {
        /// The upstream's name.
        upstream: String,
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        cause: rustls::Error,
    },
}

/// What a handshake needs.
#[derive(Clone, Debug)]
pub(super) struct Trust {
    /// Makes handshakes with whoever the operator's certificates vouch for; `None` means the system's authorities.
    pub(super) named: Option<Arc<ClientConfig>>,
    pub(super) client: Option<Arc<CertKey>>,
}

/// What the handshakes of an upstream need, read again when its files change.
#[derive(Debug)]
pub(super) struct Encryption {
    pub(super) config: UpstreamTls,
    current: ArcSwap<(u32, Trust)>,
    seen: Mutex<FileState>,
}

impl Encryption {
    pub(super) fn read(upstream: &Upstream, tls: &UpstreamTls) -> Result<Self, UpstreamError> {
        let seen = state(tls);
        Ok(Self {
            current: ArcSwap::from_pointee((0, Trust::read(upstream, tls)?)),
            seen: Mutex::new(seen),
            config: tls.clone(),
        })
    }

    /// Returns what new connections need, and how often that has changed.
    pub(super) fn current(&self) -> Arc<(u32, Trust)> {
        self.current.load_full()
    }

    /// Returns whether there is anything to read again.
    pub(super) fn has_files(&self) -> bool {
        files(&self.config).next().is_some()
    }

    /// Reads files that changed. What cannot be used is reported once, and what was read before stays.
    pub(super) fn renew(&self, upstream: &Upstream) {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let now = state(&self.config);
        if *seen == now {
            return;
        }
        *seen = now;
        match Trust::read(upstream, &self.config) {
            Ok(trust) => {
                let upstream = upstream.name.as_str();
                tracing::info!(upstream, "an upstream's certificates were read again");
                let times = self.current.load().0.wrapping_add(1);
                self.current.store(Arc::new((times, trust)));
            }
            Err(error) => {
                tracing::error!(%error, "certificates changed and cannot be used; those before stay");
            }
        }
    }
}

fn state(tls: &UpstreamTls) -> FileState {
    FileState::of(files(tls))
}

fn files(tls: &UpstreamTls) -> impl Iterator<Item = &Path> {
    let client = tls.client.iter().flat_map(|(cert, key)| [cert, key]);
    tls.ca_file.iter().chain(client).map(PathBuf::as_path)
}

impl Trust {
    /// Reads the files and checks that they go together, since pingora would find out in a handshake, or panic.
    pub(super) fn read(upstream: &Upstream, tls: &UpstreamTls) -> Result<Self, UpstreamError> {
        let files = Files { upstream };
        let named = match &tls.ca_file {
            Some(path) if !tls.danger_skip_verify => {
                Some(Arc::new(files.trusting(path, tls.client.as_ref())?))
            }
            Some(_) | None => None,
        };
        let client = match &tls.client {
            Some((cert, key)) => Some(Arc::new(files.pair(cert, key)?)),
            None => None,
        };
        Ok(Self { named, client })
    }
}

/// Reads the files of one upstream.
struct Files<'u> {
    upstream: &'u Upstream,
}

impl Files<'_> {
    /// Reads certificates, each of which is well formed.
    fn certificates(&self, path: &Path) -> Result<Vec<CertificateDer<'static>>, UpstreamError> {
        let chain = CertificateDer::pem_file_iter(path)
            .and_then(Iterator::collect::<Result<Vec<_>, _>>)
            .map_err(|cause| self.file(path, cause))?;
        if chain.is_empty() {
            // It may still have to be written.
            return Err(self.certificate(path, rustls::Error::NoCertificatesPresented));
        }
        let mut parsed = RootCertStore::empty();
        for certificate in &chain {
            parsed
                .add(certificate.clone())
                .map_err(|cause| self.certificate(path, cause))?;
        }
        Ok(chain)
    }

    /// Prepares for handshakes with servers that the certificates of a file vouch for.
    fn trusting(
        &self,
        path: &Path,
        client: Option<&(PathBuf, PathBuf)>,
    ) -> Result<ClientConfig, UpstreamError> {
        let builder = client_trusting(self.certificates(path)?)
            .map_err(|cause| self.certificate(path, cause))?;
        let Some((cert, key)) = client else {
            return Ok(builder.with_no_client_auth());
        };
        let private = PrivateKeyDer::from_pem_file(key).map_err(|cause| self.file(key, cause))?;
        builder
            .with_client_auth_cert(self.certificates(cert)?, private)
            .map_err(|cause| self.certificate(cert, cause))
    }

    fn pair(&self, cert: &Path, key: &Path) -> Result<CertKey, UpstreamError> {
        let chain = self.certificates(cert)?;
        let private = PrivateKeyDer::from_pem_file(key).map_err(|cause| self.file(key, cause))?;
        let der = chain.iter().map(|certificate| certificate.to_vec());
        let pair = CertKey::new(der.collect(), private.secret_der().to_vec());
        ClientConfig::builder()
            .with_root_certificates(RootCertStore::empty())
            .with_client_auth_cert(chain, private)
            .map_err(|cause| self.certificate(cert, cause))?;
        Ok(pair)
    }

    fn file(&self, path: &Path, cause: pem::Error) -> UpstreamError {
        UpstreamError::File {
            upstream: self.upstream.name.clone(),
            path: path.to_path_buf(),
            cause,
        }
    }

    fn certificate(&self, path: &Path, cause: rustls::Error) -> UpstreamError {
        UpstreamError::Certificate {
            upstream: self.upstream.name.clone(),
            path: path.to_path_buf(),
            cause,
        }
    }
}
