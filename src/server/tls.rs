//! The TLS side of the listener.

use std::path::PathBuf;
use std::sync::Arc;

use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem};

use crate::config::Tls;

/// Why the certificate cannot be used.
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

/// Reads certificate and key, and offers HTTP/2 before HTTP/1.1.
pub fn server_config(tls: &Tls) -> Result<Arc<ServerConfig>, TlsError> {
    let file = |path: &PathBuf, cause| TlsError::File {
        path: path.clone(),
        cause,
    };
    let chain = CertificateDer::pem_file_iter(&tls.cert_file)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|cause| file(&tls.cert_file, cause))?;
    let key =
        PrivateKeyDer::from_pem_file(&tls.key_file).map_err(|cause| file(&tls.key_file, cause))?;
    let mut config = ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .map_err(|cause| TlsError::Pair {
            path: tls.cert_file.clone(),
            cause,
        })?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}
