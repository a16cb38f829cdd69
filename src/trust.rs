//! Certificates that an operator trusts by name: authorities, and certificates that a server shows as its own.
//!
//! `openssl req -x509` marks what it makes as an authority's, and often names the host in the common name only. webpki
//! refuses a server that shows such a certificate as its own; nginx and curl accept it from a file of authorities. Here a
//! server is accepted that shows one of the named certificates, byte for byte, if the certificate is valid now and for
//! the host's name and the server has its key. That gives nothing away: whoever has the key could as well sign another
//! certificate. The common name counts only if there is no alternative name, as with OpenSSL. Everything else is verified
//! by webpki. Certificates of version 1 are refused.

use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{
    CertificateError, ClientConfig, ConfigBuilder, DigitallySignedStruct, Error, RootCertStore,
    SignatureScheme,
};
use webpki::EndEntityCert;
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::FromDer as _;

/// Verifies servers by the certificates that were named.
#[derive(Debug)]
struct Trust {
    named: Vec<CertificateDer<'static>>,
    authorities: Arc<WebPkiServerVerifier>,
}

/// Begins a client that believes these certificates and nobody else.
pub fn client_trusting(
    named: Vec<CertificateDer<'static>>,
) -> Result<ConfigBuilder<ClientConfig, rustls::client::WantsClientCert>, Error> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let trust = Trust::new(named, &provider)?;
    let builder =
        ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    let builder = builder.dangerous();
    Ok(builder.with_custom_certificate_verifier(Arc::new(trust)))
}

impl Trust {
    fn new(
        named: Vec<CertificateDer<'static>>,
        provider: &Arc<CryptoProvider>,
    ) -> Result<Self, Error> {
        let mut roots = RootCertStore::empty();
        for certificate in &named {
            roots.add(certificate.clone())?;
        }
        let authorities =
            WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(provider));
        let authorities = authorities
            .build()
            .map_err(|error| Error::General(error.to_string()))?;
        Ok(Self { named, authorities })
    }
}

impl ServerCertVerifier for Trust {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        if !self.named.iter().any(|named| named == end_entity) {
            return self.authorities.verify_server_cert(
                end_entity,
                intermediates,
                server_name,
                ocsp_response,
                now,
            );
        }
        verify_named(end_entity, server_name, now)?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.authorities.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.authorities.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.authorities.supported_verify_schemes()
    }
}

/// Checks what is left to check of a certificate that was named itself: its time, and for whom it is.
fn verify_named(
    certificate: &CertificateDer<'_>,
    server_name: &ServerName<'_>,
    now: UnixTime,
) -> Result<(), CertificateError> {
    let (_, parsed) =
        X509Certificate::from_der(certificate).map_err(|_| CertificateError::BadEncoding)?;
    let now = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
    if now < parsed.validity().not_before.timestamp() {
        return Err(CertificateError::NotValidYet);
    }
    if now > parsed.validity().not_after.timestamp() {
        return Err(CertificateError::Expired);
    }
    let by_alternatives = EndEntityCert::try_from(certificate)
        .is_ok_and(|parsed| parsed.verify_is_valid_for_subject_name(server_name).is_ok());
    if by_alternatives || !has_alternatives(&parsed) && has_common_name(&parsed, server_name) {
        return Ok(());
    }
    Err(CertificateError::NotValidForName)
}

/// Returns whether a certificate names hosts where they belong; what is unreadable counts as such.
fn has_alternatives(parsed: &X509Certificate<'_>) -> bool {
    match parsed.subject_alternative_name() {
        Ok(None) => false,
        Ok(Some(names)) => names
            .value
            .general_names
            .iter()
            .any(|name| matches!(name, GeneralName::DNSName(_) | GeneralName::IPAddress(_))),
        Err(_) => true,
    }
}

/// Compares with the common name, as OpenSSL does for a certificate that names hosts nowhere else.
fn has_common_name(parsed: &X509Certificate<'_>, server_name: &ServerName<'_>) -> bool {
    let expected = server_name.to_str();
    let mut names = parsed.subject().iter_common_name();
    names.any(|name| {
        let Ok(name) = name.as_str() else {
            return false;
        };
        if let Some(parent) = name.strip_prefix("*.")
            && let Some((_, rest)) = expected.split_once('.')
        {
            return matches!(server_name, ServerName::DnsName(_))
                && rest.eq_ignore_ascii_case(parent);
        }
        name.eq_ignore_ascii_case(&expected)
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, KeyPair};

    use super::*;

    /// Makes a certificate that signed itself and is marked as an authority's, as OpenSSL does.
    fn certificate(common_name: &str, alternatives: &[&str]) -> CertificateDer<'static> {
        let names: Vec<_> = alternatives.iter().map(|&name| name.to_owned()).collect();
        let mut params = CertificateParams::new(names).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params
            .distinguished_name
            .push(DnType::CommonName, common_name);
        params.not_before = rcgen::date_time_ymd(2020, 1, 1);
        params.not_after = rcgen::date_time_ymd(2030, 1, 1);
        let key = KeyPair::generate().unwrap();
        params.self_signed(&key).unwrap().der().clone()
    }

    /// Verifies what a server shows, in the year 2025 and some.
    fn verified(
        named: &CertificateDer<'static>,
        shown: &CertificateDer<'_>,
        name: &str,
        years: u64,
    ) -> Result<(), Error> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let trust = Trust::new(vec![named.clone()], &provider).unwrap();
        let name = ServerName::try_from(name.to_owned()).unwrap();
        let secs = (55 + years) * 31_557_600;
        let now = UnixTime::since_unix_epoch(Duration::from_secs(secs));
        let verified = trust.verify_server_cert(shown, &[], &name, &[], now);
        verified.map(|_| ())
    }

    fn refusal(reason: CertificateError) -> Result<(), Error> {
        Err(Error::InvalidCertificate(reason))
    }

    #[test]
    fn a_server_that_shows_a_named_certificate_is_believed_for_its_names() {
        let own = certificate("api", &["api.internal", "*.pool.internal", "10.1.2.3"]);
        for name in [
            "api.internal",
            "API.internal",
            "a.pool.internal",
            "10.1.2.3",
        ] {
            assert_eq!(verified(&own, &own, name, 0), Ok(()), "{name}");
        }
        let other = refusal(CertificateError::NotValidForName);
        // Its common name is of no account beside others.
        for name in ["other.internal", "api", "a.b.pool.internal", "10.1.2.4"] {
            assert_eq!(verified(&own, &own, name, 0), other, "{name}");
        }
    }

    #[test]
    fn the_common_name_counts_where_it_is_the_only_one() {
        let own = certificate("Api.internal", &[]);
        assert_eq!(verified(&own, &own, "api.internal", 0), Ok(()));
        let other = refusal(CertificateError::NotValidForName);
        assert_eq!(verified(&own, &own, "internal", 0), other);
        assert_eq!(verified(&own, &own, "x.api.internal", 0), other);
        let wild = certificate("*.internal", &[]);
        assert_eq!(verified(&wild, &wild, "api.internal", 0), Ok(()));
        assert_eq!(verified(&wild, &wild, "a.api.internal", 0), other);
        assert_eq!(verified(&wild, &wild, "internal", 0), other);
        let address = certificate("10.1.2.3", &[]);
        assert_eq!(verified(&address, &address, "10.1.2.3", 0), Ok(()));
    }

    #[test]
    fn a_named_certificate_is_believed_in_its_time_only() {
        let own = certificate("api.internal", &["api.internal"]);
        let expired = refusal(CertificateError::Expired);
        assert_eq!(verified(&own, &own, "api.internal", 10), expired);
        let provider = Arc::new(aws_lc_rs::default_provider());
        let trust = Trust::new(vec![own.clone()], &provider).unwrap();
        let name = ServerName::try_from("api.internal").unwrap();
        let past = UnixTime::since_unix_epoch(Duration::from_secs(0));
        let verified = trust.verify_server_cert(&own, &[], &name, &[], past);
        assert_eq!(verified.map(|_| ()), refusal(CertificateError::NotValidYet));
    }

    #[test]
    fn another_certificate_for_the_same_name_is_not_believed() {
        let own = certificate("api.internal", &["api.internal"]);
        let forged = certificate("api.internal", &["api.internal"]);
        assert!(verified(&own, &forged, "api.internal", 0).is_err());
    }
}
