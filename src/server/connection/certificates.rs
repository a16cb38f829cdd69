//! The certificates: chosen by SNI, and read again when their files change.
//!
//! Files are looked at every two seconds, and not in handshakes, so that a hanging disk delays no client.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use webpki::EndEntityCert;
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer as _;

use crate::config::Tls;
use crate::server::file_state::FileState;

/// Why a certificate cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read or holds no PEM of the right kind.
    #[error("{}: {cause}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        cause: pem::Error,
    },
    /// Certificate and key do not go together, or are of a kind that is not understood.
    #[error("{}: {cause}", path.display())]
    Pair {
        /// The certificate's file.
        path: PathBuf,
        /// What is wrong.
        cause: rustls::Error,
    },
}

/// All certificates.
#[derive(Debug)]
pub(super) struct Certificates {
    files: Mutex<Vec<WatchedPair>>,
    current: ArcSwap<ByName>,
}

/// The certificates by name, from which a handshake chooses.
#[derive(Debug)]
struct ByName {
    /// By name in lower case; a name such as `*.example.com` is for one label more.
    names: HashMap<String, Arc<CertifiedKey>>,
    /// For clients that ask for another name, or for none.
    first: Arc<CertifiedKey>,
}

/// A pair of files, and the certificate last read from them.
#[derive(Debug)]
struct WatchedPair {
    files: Tls,
    key: Arc<CertifiedKey>,
    /// The state of the files when they were last read, with success or not.
    seen: FileState,
}

impl Certificates {
    /// Reads the files; `None` if there are none.
    pub(super) fn load(files: &[Tls]) -> Result<Option<Self>, TlsError> {
        let files: Vec<_> = files
            .iter()
            .map(WatchedPair::load)
            .collect::<Result<_, _>>()?;
        Ok(ByName::of(&files).map(|by_name| Self {
            files: Mutex::new(files),
            current: ArcSwap::from_pointee(by_name),
        }))
    }

    /// Returns until when each certificate is good, in seconds since the Unix epoch, by its file.
    pub(super) fn expiries(&self) -> Vec<(PathBuf, i64)> {
        let files = self.files.lock().unwrap_or_else(PoisonError::into_inner);
        let expiry = |watched: &WatchedPair| {
            let (_, leaf) = X509Certificate::from_der(watched.key.cert.first()?).ok()?;
            let until = leaf.validity().not_after.timestamp();
            Some((watched.files.cert_file.clone(), until))
        };
        files.iter().filter_map(expiry).collect()
    }

    /// Reads the files that changed. A pair that cannot be used is logged once, and the previous one stays.
    pub(super) fn reload_changed(&self) {
        let mut files = self.files.lock().unwrap_or_else(PoisonError::into_inner);
        let mut changed = false;
        for watched in files.iter_mut() {
            let seen = watched.files.state();
            if seen == watched.seen {
                continue;
            }
            watched.seen = seen;
            let path = watched.files.cert_file.display();
            match read(&watched.files) {
                Ok(key) => {
                    tracing::info!(
                        target: "menshen::audit",
                        event = "certificate",
                        outcome = "renewed",
                        certificate = %path,
                        "a certificate was read again"
                    );
                    watched.key = key;
                    changed = true;
                }
                Err(error) => {
                    tracing::error!(
                        target: "menshen::audit",
                        event = "certificate",
                        outcome = "refused",
                        certificate = %path,
                        %error,
                        "a changed certificate cannot be used; the previous one stays in use"
                    );
                }
            }
        }
        if let Some(by_name) = ByName::of(&files).filter(|_| changed) {
            self.current.store(Arc::new(by_name));
        }
    }
}

impl ResolvesServerCert for Certificates {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let current = self.current.load();
        let found = hello.server_name().and_then(|name| current.find(name));
        Some(Arc::clone(found.unwrap_or(&current.first)))
    }
}

impl ByName {
    fn of(files: &[WatchedPair]) -> Option<Self> {
        let mut names = HashMap::new();
        for watched in files {
            for name in names_of(&watched.key) {
                // Of two certificates for a name, the first in the configuration wins.
                names
                    .entry(name)
                    .or_insert_with(|| Arc::clone(&watched.key));
            }
        }
        let first = Arc::clone(&files.first()?.key);
        Some(Self { names, first })
    }

    fn find(&self, name: &str) -> Option<&Arc<CertifiedKey>> {
        let name = name.to_ascii_lowercase();
        self.names.get(&name).or_else(|| {
            let (_, parent) = name.split_once('.')?;
            self.names.get(&format!("*.{parent}"))
        })
    }
}

impl WatchedPair {
    fn load(files: &Tls) -> Result<Self, TlsError> {
        let seen = files.state();
        Ok(Self {
            files: files.clone(),
            key: read(files)?,
            seen,
        })
    }
}

impl Tls {
    fn state(&self) -> FileState {
        FileState::of([&*self.cert_file, &*self.key_file])
    }
}

/// Returns the DNS names of a certificate.
fn names_of(key: &CertifiedKey) -> Vec<String> {
    let leaf = key.cert.first().map(EndEntityCert::try_from);
    let Some(Ok(leaf)) = leaf else {
        return Vec::new();
    };
    leaf.valid_dns_names()
        .map(str::to_ascii_lowercase)
        .collect()
}

fn read(files: &Tls) -> Result<Arc<CertifiedKey>, TlsError> {
    let file = |path: &Path, cause| TlsError::File {
        path: path.to_owned(),
        cause,
    };
    let chain = CertificateDer::pem_file_iter(&files.cert_file)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|cause| file(&files.cert_file, cause))?;
    let key = PrivateKeyDer::from_pem_file(&files.key_file)
        .map_err(|cause| file(&files.key_file, cause))?;
    let pair = |cause| TlsError::Pair {
        path: files.cert_file.clone(),
        cause,
    };
    if chain.is_empty() {
        return Err(pair(rustls::Error::NoCertificatesPresented));
    }
    CertifiedKey::from_der(chain, key, &aws_lc_rs::default_provider())
        .map(Arc::new)
        .map_err(pair)
}
