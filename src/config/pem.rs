//! Certificates and keys in PEM files, looked into at start-up so that the listener does not find out later.

use std::path::{Path, PathBuf};

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use super::contents::{contents, secret_contents};
use super::kind::TEXT;
use super::reader::Table;

/// Reads a key that names such a file and may be left out; `None` means that it was, or that a problem was noted.
pub(super) fn file(
    table: &mut Table<'_, '_>,
    key: &'static str,
    check: fn(&Path) -> Result<(), String>,
) -> Option<PathBuf> {
    let file = table.optional(key, &TEXT)?;
    let file = table.located(file);
    check(&file)
        .map_err(|message| table.refuse(key, message))
        .ok()?;
    Some(file)
}

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
