//! A certificate that signed itself, in files as a gateway wants them.

use std::fs;
use std::path::Path;

use rustls::pki_types::CertificateDer;
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
        let made = rcgen::generate_simple_self_signed([name.to_owned()]).expect("is made");
        let folder = tempfile::tempdir().expect("a folder");
        let write = |file: &str, text: String| fs::write(folder.path().join(file), text);
        write("cert.pem", made.cert.pem()).expect("is written");
        write("key.pem", made.signing_key.serialize_pem()).expect("is written");
        let trusted = made.cert.der().clone();
        Self { trusted, folder }
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
