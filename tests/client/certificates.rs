//! Several certificates on one listener: which client gets which, and what happens when their files change.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test may panic"
)]

use std::fs;
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::time::{Duration, Instant};

use menshen_test_support::{Builder, Nodes, TestGateway};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{aws_lc_rs, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, DigitallySignedStruct, Error, SignatureScheme};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::process::Command;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

const LIMIT: Duration = Duration::from_secs(20);

/// Trusts every certificate, since the tests look themselves at which one they are shown.
#[derive(Debug)]
struct Anyone;

impl ServerCertVerifier for Anyone {
    fn verify_server_cert(
        &self,
        _leaf: &CertificateDer<'_>,
        _chain: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let provider = aws_lc_rs::default_provider();
        verify_tls12_signature(
            message,
            leaf,
            signed,
            &provider.signature_verification_algorithms,
        )
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let provider = aws_lc_rs::default_provider();
        verify_tls13_signature(
            message,
            leaf,
            signed,
            &provider.signature_verification_algorithms,
        )
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        let provider = aws_lc_rs::default_provider();
        provider
            .signature_verification_algorithms
            .supported_schemes()
    }
}

/// Writes a certificate for these names, and returns it.
fn write(folder: &Path, file: &str, names: &[&str]) -> CertificateDer<'static> {
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let made = rcgen::generate_simple_self_signed(names).unwrap();
    fs::write(
        folder.join(format!("{file}-key.pem")),
        made.signing_key.serialize_pem(),
    )
    .unwrap();
    fs::write(folder.join(format!("{file}.pem")), made.cert.pem()).unwrap();
    made.cert.der().clone()
}

/// A gateway with these certificates, the first under `server.tls`.
fn gateway(folder: &TempDir, files: &[&str]) -> Builder {
    let at = folder.path().display();
    let pair =
        |file: &str| format!("cert_file = '{at}/{file}.pem', key_file = '{at}/{file}-key.pem'");
    let more: Vec<String> = files[1..]
        .iter()
        .map(|file| format!("{{ {} }}", pair(file)))
        .collect();
    let lines = format!(
        "tls = {{ {} }}\ncertificate = [{}]",
        pair(files[0]),
        more.join(", ")
    );
    TestGateway::builder().section("server", &lines)
}

async fn connect(
    t: &TestGateway,
    name: &str,
    version: &'static rustls::SupportedProtocolVersion,
) -> TlsStream<TcpStream> {
    let builder = ClientConfig::builder_with_protocol_versions(&[version]);
    let config = builder
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Anyone))
        .with_no_client_auth();
    let stream = TcpStream::connect(t.address).await.unwrap();
    let name = ServerName::try_from(name.to_owned()).unwrap();
    let connector = TlsConnector::from(Arc::new(config));
    let handshake = connector.connect(name, stream);
    tokio::time::timeout(LIMIT, handshake)
        .await
        .unwrap()
        .unwrap()
}

/// Returns the certificate that a client is shown which asks for this name.
async fn shown(t: &TestGateway, name: &str) -> CertificateDer<'static> {
    let stream = connect(t, name, &TLS13).await;
    stream.get_ref().1.peer_certificates().unwrap()[0].clone()
}

/// Waits until a client that asks for `name` is shown this certificate.
async fn becomes(t: &TestGateway, name: &str, certificate: &CertificateDer<'static>) {
    let began = Instant::now();
    while shown(t, name).await != *certificate {
        assert!(
            began.elapsed() < LIMIT,
            "the new certificate should be shown"
        );
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

async fn get(mut stream: TlsStream<TcpStream>) -> String {
    let request = b"GET /public HTTP/1.1\r\nHost: h\r\n\r\n";
    stream.write_all(request).await.unwrap();
    let mut answer = Vec::new();
    while !answer.ends_with(b"\r\n\r\nok") {
        answer.push(stream.read_u8().await.unwrap());
    }
    String::from_utf8(answer).unwrap()
}

#[tokio::test]
async fn the_name_that_a_client_asks_for_chooses_the_certificate() {
    let folder = tempfile::tempdir().unwrap();
    let first = write(folder.path(), "a", &["a.example"]);
    let second = write(folder.path(), "b", &["B.example", "www.b.example"]);
    let wild = write(folder.path(), "c", &["*.shop.example", "b.example"]);
    let t = gateway(&folder, &["a", "b", "c"]).start().await;
    for version in [&TLS12, &TLS13] {
        for (name, expected) in [
            ("a.example", &first),
            ("A.EXAMPLE", &first),
            // Two certificates have it, and the first of them is it.
            ("b.example", &second),
            ("www.b.example", &second),
            ("one.shop.example", &wild),
            // A wildcard is for one label.
            ("shop.example", &first),
            ("one.two.shop.example", &first),
            ("nobody.example", &first),
            // A client that connects to an address asks for no name.
            ("127.0.0.1", &first),
        ] {
            let stream = connect(&t, name, version).await;
            let connection = stream.get_ref().1;
            assert_eq!(connection.protocol_version(), Some(version.version));
            let shown = connection.peer_certificates().unwrap()[0].clone();
            assert_eq!(shown, *expected, "{name}");
            assert!(get(stream).await.starts_with("HTTP/1.1 200 "));
        }
    }
}

#[tokio::test]
async fn a_certificate_that_is_renewed_is_shown_to_the_next_client() {
    let folder = tempfile::tempdir().unwrap();
    let first = write(folder.path(), "a", &["a.example"]);
    write(folder.path(), "b", &["b.example"]);
    let t = gateway(&folder, &["a", "b"]).start().await;
    let before = connect(&t, "b.example", &TLS13).await;
    let renewed = write(folder.path(), "b", &["b.example", "new.example"]);
    becomes(&t, "b.example", &renewed).await;
    assert_eq!(shown(&t, "new.example").await, renewed);
    assert_eq!(shown(&t, "a.example").await, first);
    // Nobody loses a connection by it.
    assert!(get(before).await.starts_with("HTTP/1.1 200 "));
}

#[tokio::test]
async fn a_broken_file_changes_nothing_until_it_is_mended() {
    let folder = tempfile::tempdir().unwrap();
    let first = write(folder.path(), "a", &["a.example"]);
    write(folder.path(), "b", &["b.example"]);
    let t = gateway(&folder, &["a", "b"]).start().await;
    for broken in [
        "",
        "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
    ] {
        fs::write(folder.path().join("a.pem"), broken).unwrap();
        // The files are looked at together: once the other is new, the broken one has been seen.
        let renewed = write(folder.path(), "b", &["b.example"]);
        becomes(&t, "b.example", &renewed).await;
        assert_eq!(shown(&t, "a.example").await, first, "{broken:?}");
    }
    fs::remove_file(folder.path().join("a-key.pem")).unwrap();
    let renewed = write(folder.path(), "b", &["b.example"]);
    becomes(&t, "b.example", &renewed).await;
    assert_eq!(shown(&t, "a.example").await, first);
    let mended = write(folder.path(), "a", &["a.example"]);
    becomes(&t, "a.example", &mended).await;
}

#[tokio::test]
async fn a_name_that_is_no_hosts_is_turned_away_without_a_line_in_the_log() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), "a", &["a.example"]);
    write(folder.path(), "b", &["b.example"]);
    let nodes = Nodes::new(gateway(&folder, &["a", "b"])).await;
    let node = nodes.serve(env!("CARGO_BIN_EXE_menshen")).await;
    let ask = async |name: &str| {
        let mut openssl = Command::new("openssl");
        openssl
            .args(["s_client", "-connect", &node.address.to_string()])
            .args(["-servername", name])
            .stdin(Stdio::null());
        let asked = tokio::time::timeout(LIMIT, openssl.output()).await;
        let asked = asked.unwrap().unwrap();
        String::from_utf8_lossy(&[asked.stdout, asked.stderr].concat()).into_owned()
    };
    for name in ["localhost:443", "-a.test", "a..test", "[a.test]"] {
        let said = ask(name).await;
        assert!(said.contains("alert illegal parameter"), "{name}: {said}");
    }
    let said = ask("a.example").await;
    assert!(said.contains("BEGIN CERTIFICATE"), "{said}");
    let log = node.program.stderr();
    assert!(!log.contains("SNI") && !log.contains("rustls"), "{log}");
}
