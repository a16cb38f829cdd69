//! What is wrong with certificates whose form is right: their time, and what should stand behind them.
//!
//! A file of authorities is told of only where all in it are over: the system's own files have some that are. It is no problem but a
//! warning, since only a server that shows the certificate itself is refused for its time.

use std::path::Path;
use std::time::{Duration, UNIX_EPOCH};

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::ParsedExtension;
use x509_parser::prelude::FromDer as _;

use super::contents::contents;
use super::model::{Config, Store};
use super::shared_store::RedisServer;

impl Config {
    /// Returns each certificate of ours that nobody would trust at a time, in seconds since the Unix epoch; one line each.
    pub fn certificates_out_of_date(&self, now: u64) -> Vec<String> {
        let files = self.own_certificates();
        let told = files.filter_map(|(key, file)| {
            let flaw = read(file, |chain| out_of_date(chain, now))??;
            Some(format!("{key}: {}: {flaw}", file.display()))
        });
        // What is shown to Redis was read with the configuration.
        let redis = self.shared_store().and_then(|redis| {
            let (pem, _) = redis.client_certificate.as_ref()?;
            let flaw = parse(pem, |chain| out_of_date(chain, now))??;
            Some(format!("session.redis_cert_file: {flaw}"))
        });
        told.chain(redis).collect()
    }

    /// Returns each file of authorities that are all out of date at a time, in seconds since the Unix epoch; one line each.
    pub fn authorities_out_of_date(&self, now: u64) -> Vec<String> {
        let tls = self
            .upstreams
            .iter()
            .filter_map(|upstream| Some(("upstream.tls.ca_file", upstream.tls.as_ref()?)));
        let upstreams = tls.filter_map(|(key, tls)| Some((key, tls.ca_file.as_deref()?)));
        let wechat = self.wechat.ca_file.as_deref();
        let files = wechat.map(|file| ("wechat.ca_file", file));
        let traces = self.traces.ca_file.as_deref();
        let traces = traces.map(|file| ("traces.ca_file", file));
        let told = files
            .into_iter()
            .chain(upstreams)
            .chain(traces)
            .filter_map(|(key, file)| {
                let flaw = read(file, |all| all_out_of_date(all, now))??;
                Some(format!("{key}: {}: {flaw}", file.display()))
            });
        let redis = self.shared_store().and_then(|redis| {
            let flaw = parse(redis.ca.as_ref()?, |all| all_out_of_date(all, now))??;
            Some(format!("session.redis_ca_file: {flaw}"))
        });
        told.chain(redis).collect()
    }

    /// Returns each certificate that clients may not trust because its issuer does not stand behind it.
    pub(super) fn certificates_without_chain(&self) -> Vec<String> {
        let files = self.own_certificates();
        let told = files.filter_map(|(key, file)| {
            let flaw = read(file, broken_chain)??;
            Some(format!("{key}: {}: {flaw}", file.display()))
        });
        told.collect()
    }

    fn shared_store(&self) -> Option<&RedisServer> {
        match &self.session.store {
            Store::Redis(redis) => Some(redis),
            Store::Embedded(_) => None,
        }
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
    parse(&contents(file).ok()?, look)
}

/// Looks at certificates in PEM in the same way.
fn parse<T>(pem: &[u8], look: impl FnOnce(&[X509Certificate<'_>]) -> T) -> Option<T> {
    let chain: Vec<_> = CertificateDer::pem_slice_iter(pem)
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

/// Says that no certificate is good for anything any more, or yet.
fn all_out_of_date(all: &[X509Certificate<'_>], now: u64) -> Option<String> {
    let flaw = all
        .iter()
        .map(|one| out_of_date(std::slice::from_ref(one), now));
    // With several of them the first stands for all.
    flaw.collect::<Option<Vec<_>>>()?.into_iter().next()
}

/// Says which certificate of a chain is not followed by the one that issued it; a root at the end may be left out.
fn broken_chain(chain: &[X509Certificate<'_>]) -> Option<String> {
    if let [alone] = chain {
        let is_alone = alone.issuer().as_raw() != alone.subject().as_raw();
        return is_alone.then(|| {
            "holds the certificate alone; unless a root issued it, clients need the intermediate certificates behind it"
                .to_owned()
        });
    }
    let mut pairs = chain.iter().zip(chain.iter().skip(1));
    let broken = pairs.position(|(one, next)| !is_issuer(next, one))?;
    Some(format!(
        "certificate {} in it did not issue the one before it; clients need the certificate, then the one that issued it, and so on",
        broken + 2
    ))
}

/// Returns whether a certificate is that of another one's issuer, as far as their names and key identifiers tell.
fn is_issuer(certificate: &X509Certificate<'_>, of: &X509Certificate<'_>) -> bool {
    let is_named = certificate.subject().as_raw() == of.issuer().as_raw();
    let is_another = certificate.tbs_certificate.as_ref() != of.tbs_certificate.as_ref();
    let own = certificate.iter_extensions().find_map(|extension| {
        if let ParsedExtension::SubjectKeyIdentifier(key) = extension.parsed_extension() {
            return Some(key.0);
        }
        None
    });
    let asked = of.iter_extensions().find_map(|extension| {
        if let ParsedExtension::AuthorityKeyIdentifier(key) = extension.parsed_extension() {
            return Some(key.key_identifier.as_ref()?.0);
        }
        None
    });
    let is_of_the_key = own.zip(asked).is_none_or(|(own, asked)| own == asked);
    is_named && is_another && is_of_the_key
}

/// Writes a time down; one before 1970 or after the year 9999 as near as can be.
fn time(unix_secs: i64) -> humantime::Rfc3339Timestamp {
    const LATEST: u64 = 253_402_300_799;
    let secs = u64::try_from(unix_secs).unwrap_or(0).min(LATEST);
    humantime::format_rfc3339_seconds(UNIX_EPOCH + Duration::from_secs(secs))
}
