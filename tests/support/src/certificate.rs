//! A certificate that signed itself, in files as a gateway wants them.

use std::fs;
use std::path::Path;
use std::process::Command;

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};
use tempfile::TempDir;

/// The certificate; its files are gone with it.
#[derive(Debug)]
pub struct Certificate {
    /// What a client trusts.
    pub trusted: CertificateDer<'static>,
    folder: TempDir,
}

impl Certificate {
    /// Makes one for a name.
    pub fn new(name: &str) -> Self {
        Self::with(name, |_| {})
    }

    /// Makes one that has expired.
    pub fn expired(name: &str) -> Self {
        Self::with(name, |made| {
            made.not_after = rcgen::date_time_ymd(2020, 1, 1)
        })
    }

    /// Makes one that is not valid yet.
    pub fn of_the_future(name: &str) -> Self {
        Self::with(name, |made| {
            made.not_before = rcgen::date_time_ymd(4000, 1, 1)
        })
    }

    /// Makes one that another certificate signed, which is not in the files.
    pub fn issued(name: &str) -> Self {
        let params = CertificateParams::new([name.to_owned()]).expect("a name");
        let mut above = CertificateParams::new([]).expect("no names");
        above.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        above
            .distinguished_name
            .push(DnType::CommonName, "an authority");
        let issuer = Issuer::new(above, KeyPair::generate().expect("a key"));
        let key = KeyPair::generate().expect("a key");
        let cert = params.signed_by(&key, &issuer).expect("is made");
        Self::of(&cert, &key)
    }

    /// Makes one with two authorities above it, the nearer one first, as PEM; they are not in the files.
    pub fn issued_by_two(name: &str) -> (Self, [String; 2]) {
        let authority = |name: &str| {
            let mut params = CertificateParams::new([]).expect("no names");
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
            params.distinguished_name.push(DnType::CommonName, name);
            (params, KeyPair::generate().expect("a key"))
        };
        let (root, root_key) = authority("a root");
        let (between, between_key) = authority("an intermediate");
        let root_cert = root.self_signed(&root_key).expect("is made");
        let root = Issuer::new(root, root_key);
        let between_cert = between.signed_by(&between_key, &root).expect("is made");
        let between = Issuer::new(between, between_key);
        let key = KeyPair::generate().expect("a key");
        let params = CertificateParams::new([name.to_owned()]).expect("a name");
        let cert = params.signed_by(&key, &between).expect("is made");
        (Self::of(&cert, &key), [between_cert.pem(), root_cert.pem()])
    }

    /// Makes one with OpenSSL: marked as an authority's, and with the name either where names belong or only as the common
    /// name.
    ///
    /// Some more arguments may say more, such as for how long it is valid.
    pub fn by_openssl(name: &str, has_alternative: bool, more: &[&str]) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let mut openssl = Command::new("openssl");
        openssl
            .current_dir(&folder)
            .args(["req", "-x509", "-newkey", "ec", "-pkeyopt"])
            .args(["ec_paramgen_curve:prime256v1", "-nodes"])
            .args(["-keyout", "key.pem", "-out", "cert.pem"])
            .arg("-subj")
            .arg(format!("/CN={name}"))
            .args(more);
        if has_alternative {
            let alternative = format!("subjectAltName=DNS:{name}");
            openssl.args(["-addext", &alternative]);
        }
        let ran = openssl.output().expect("openssl is installed");
        let said = String::from_utf8_lossy(&ran.stderr);
        assert!(ran.status.success(), "{said}");
        let trusted = CertificateDer::from_pem_file(folder.path().join("cert.pem"));
        let trusted = trusted.expect("a certificate");
        Self { trusted, folder }
    }

    fn with(name: &str, change: impl FnOnce(&mut CertificateParams)) -> Self {
        let mut params = CertificateParams::new([name.to_owned()]).expect("a name");
        change(&mut params);
        let key = KeyPair::generate().expect("a key");
        let cert = params.self_signed(&key).expect("is made");
        Self::of(&cert, &key)
    }

    fn of(cert: &rcgen::Certificate, key: &KeyPair) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let write = |file: &str, text: String| fs::write(folder.path().join(file), text);
        write("cert.pem", cert.pem()).expect("is written");
        write("key.pem", key.serialize_pem()).expect("is written");
        let trusted = cert.der().clone();
        Self { trusted, folder }
    }

    /// Returns it with its private key, as a server wants them.
    pub fn pair(&self) -> (CertificateDer<'static>, PrivateKeyDer<'static>) {
        let key = PrivateKeyDer::from_pem_file(self.folder().join("key.pem"));
        (self.trusted.clone(), key.expect("a key"))
    }

    /// Returns where `cert.pem` and `key.pem` are.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Returns the lines that have a listener show it.
    pub fn lines(&self) -> String {
        let folder = self.folder.path().display();
        format!("tls.cert_file = '{folder}/cert.pem'\ntls.key_file = '{folder}/key.pem'")
    }

    /// Returns what a client trusts that trusts nothing else.
    pub fn roots(&self) -> RootCertStore {
        let mut roots = RootCertStore::empty();
        roots.add(self.trusted.clone()).expect("is trusted");
        roots
    }

    /// Returns a client that trusts nothing else.
    pub fn client(&self) -> ClientConfig {
        let builder = ClientConfig::builder();
        let builder = builder.with_root_certificates(self.roots());
        builder.with_no_client_auth()
    }
}
