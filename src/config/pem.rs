//! Certificates and keys in PEM files, looked into at start-up so that the listener does not find out later.

use std::path::Path;

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use super::contents::{contents, secret_contents};

/// Checks that a file holds certificates; the error is a problem's message.
pub(super) fn check_certificates(path: &Path) -> Result<(), String> {
    let pem = contents(path).map_err(|reason| format!("cannot be read: {reason}"))?;
    // What the parser says is left out: it quotes the file.
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    match chain {
        Ok(chain) if !chain.is_empty() => Ok(()),
        _ => Err("must name a PEM file with a certificate in it".to_owned()),
    }
}

/// Checks that a file holds a private key; the error is a problem's message.
pub(super) fn check_private_key(path: &Path) -> Result<(), String> {
    let pem = secret_contents(path)?;
    PrivateKeyDer::from_pem_slice(&pem)
        .map(|_| ())
        .map_err(|_| "must name a PEM file with a private key in it".to_owned())
}
