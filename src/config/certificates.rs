//! What is wrong with certificates whose form is right: their time, and what should stand behind them.

use std::path::Path;
use std::time::{Duration, UNIX_EPOCH};

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer as _;

use super::contents::contents;
use super::model::Config;

impl Config {
    /// Returns each certificate of ours that nobody would trust at a time, in seconds since the Unix epoch; one line each.
    pub fn certificates_out_of_date(&self, now: u64) -> Vec<String> {
        let files = self.own_certificates();
        let told = files.filter_map(|(key, file)| {
            let flaw = read(file, |chain| out_of_date(chain, now))??;
            Some(format!("{key}: {}: {flaw}", file.display()))
        });
        told.collect()
    }

    /// Returns each certificate that clients may not trust because nothing stands behind it.
    pub(super) fn certificates_without_chain(&self) -> Vec<String> {
        let files = self.own_certificates();
        let alone = files.filter(|(_, file)| read(file, is_alone) == Some(true));
        let told = alone.map(|(key, file)| {
            format!(
                "{key}: {}: holds the certificate alone; unless a root issued it, clients need the intermediate certificates behind it",
                file.display()
            )
        });
        told.collect()
    }

    /// Returns the certificates that are shown to clients and to servers.
    fn own_certificates(&self) -> impl Iterator<Item = (&'static str, &Path)> {
        let shown = self
            .server
            .tls
            .iter()
            .map(|tls| ("server.tls", &*tls.cert_file));
        let tls = self
            .upstreams
            .iter()
            .filter_map(|upstream| upstream.tls.as_ref());
        let client = tls.filter_map(|tls| tls.client.as_ref());
        shown.chain(client.map(|(file, _)| ("upstream.tls", &**file)))
    }
}

/// Looks at a file's certificates; `None` where they cannot be read, which is told elsewhere.
fn read<T>(file: &Path, look: impl FnOnce(&[X509Certificate<'_>]) -> T) -> Option<T> {
    let pem = contents(file).ok()?;
    let chain: Vec<_> = CertificateDer::pem_slice_iter(&pem)
        .collect::<Result<_, _>>()
        .ok()?;
    let parsed = chain.iter().map(|der| X509Certificate::from_der(der));
    let parsed: Vec<_> = parsed
        .map(|parsed| Some(parsed.ok()?.1))
        .collect::<Option<_>>()?;
    Some(look(&parsed))
}

fn out_of_date(chain: &[X509Certificate<'_>], now: u64) -> Option<String> {
    let now = i64::try_from(now).unwrap_or(i64::MAX);
    chain.iter().find_map(|certificate| {
        let validity = certificate.validity();
        let (from, until) = (
            validity.not_before.timestamp(),
            validity.not_after.timestamp(),
        );
        if until < now {
            Some(format!("a certificate in it has expired ({})", time(until)))
        } else if now < from {
            Some(format!(
                "a certificate in it is not valid yet (from {})",
                time(from)
            ))
        } else {
            None
        }
    })
}

fn is_alone(chain: &[X509Certificate<'_>]) -> bool {
    match chain {
        [alone] => alone.issuer().as_raw() != alone.subject().as_raw(),
        _ => false,
    }
}

/// Writes a time down; one before 1970 or after the year 9999 as near as can be.
fn time(unix_secs: i64) -> humantime::Rfc3339Timestamp {
    const LATEST: u64 = 253_402_300_799;
    let secs = u64::try_from(unix_secs).unwrap_or(0).min(LATEST);
    humantime::format_rfc3339_seconds(UNIX_EPOCH + Duration::from_secs(secs))
}
