//! TLS to the servers: who they must prove to be, who Menshen proves to be, and what is spoken inside.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use menshen::{app, config};
use menshen_test_support::{ByHand, Nodes, Program, Reply, TestGateway, Upstream, Wire};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use tempfile::TempDir;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

const NAME: &str = "api.internal";
const LIMIT: Duration = Duration::from_secs(15);

/// An authority with what it signs, as files in a folder.
struct Authority {
    issuer: Issuer<'static, KeyPair>,
    root: CertificateDer<'static>,
    folder: TempDir,
}

impl Authority {
    fn new() -> Self {
        app::install_crypto();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let root = params.self_signed(&key).unwrap();
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("ca.pem"), root.pem()).unwrap();
        let issuer = Issuer::new(params, key);
        let root = root.der().clone();
        Self {
            issuer,
            root,
            folder,
        }
    }

    /// Signs a certificate and writes it down as `FILE.pem` and `FILE-key.pem`.
    fn sign(&self, name: &str, file: &str) -> (CertificateDer<'static>, PrivateKeyDer<'static>) {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new([name.to_owned()]).unwrap();
        let signed = params.signed_by(&key, &self.issuer).unwrap();
        std::fs::write(self.file(&format!("{file}.pem")), signed.pem()).unwrap();
        std::fs::write(self.file(&format!("{file}-key.pem")), key.serialize_pem()).unwrap();
        let der = PrivatePkcs8KeyDer::from(key.serialize_der());
        (signed.der().clone(), PrivateKeyDer::from(der))
    }

    fn file(&self, name: &str) -> std::path::PathBuf {
        self.folder.path().join(name)
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }
}

/// What a handshake said.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Shake {
    name: Option<String>,
    protocol: Option<String>,
    has_certificate: bool,
}

/// A server that takes TLS off and passes the rest on.
struct Front {
    address: SocketAddr,
    shakes: Arc<Mutex<Vec<Shake>>>,
}

impl Front {
    async fn start(
        authority: &Authority,
        ask: bool,
        protocols: &[&str],
        behind: SocketAddr,
    ) -> Self {
        let (cert, key) = authority.sign(NAME, "server");
        let builder = ServerConfig::builder();
        let builder = if ask {
            let mut roots = RootCertStore::empty();
            roots.add(authority.root.clone()).unwrap();
            let verifier = WebPkiClientVerifier::builder(Arc::new(roots))
                .build()
                .unwrap();
            builder.with_client_cert_verifier(verifier)
        } else {
            builder.with_no_client_auth()
        };
        let mut config = builder.with_single_cert(vec![cert], key).unwrap();
        config.alpn_protocols = protocols.iter().map(|p| p.as_bytes().to_vec()).collect();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let front = Self {
            address: listener.local_addr().unwrap(),
            shakes: Arc::default(),
        };
        let shakes = Arc::clone(&front.shakes);
        tokio::spawn(async move {
            while let Ok((tcp, _)) = listener.accept().await {
                let (acceptor, shakes) = (acceptor.clone(), Arc::clone(&shakes));
                tokio::spawn(async move {
                    let Ok(mut tls) = acceptor.accept(tcp).await else {
                        return;
                    };
                    let said = tls.get_ref().1;
                    let protocol = said.alpn_protocol();
                    let shake = Shake {
                        name: said.server_name().map(str::to_owned),
                        protocol: protocol.map(|p| String::from_utf8_lossy(p).into_owned()),
                        has_certificate: said.peer_certificates().is_some(),
                    };
                    shakes.lock().unwrap().push(shake);
                    let mut server = TcpStream::connect(behind).await.unwrap();
                    let _ = tokio::io::copy_bidirectional(&mut tls, &mut server).await;
                });
            }
        });
        front
    }

    fn shakes(&self) -> Vec<Shake> {
        self.shakes.lock().unwrap().clone()
    }
}

/// An `[[upstream]]` with TLS to an address, and these lines.
fn upstream(name: &str, address: SocketAddr, lines: &str) -> String {
    format!(
        "[[upstream]]\nname = \"{name}\"\nservers = [\"{address}\"]\ntls.enabled = true\n{lines}\n"
    )
}

fn trusting(authority: &Authority) -> String {
    format!(
        "tls.server_name = \"{NAME}\"\ntls.ca_file = '{}/ca.pem'\n",
        authority.path().display()
    )
}

async fn gateway(upstreams: &str, routes: &[(&str, &str)]) -> TestGateway {
    let route = |(path, upstream): &(&str, &str)| {
        format!("[[route]]\npath = \"{path}\"\nupstream = \"{upstream}\"\nauth = \"public\"\n")
    };
    let routes: String = routes.iter().map(route).collect();
    let builder = TestGateway::builder().upstreams(upstreams);
    builder.routes(&routes).start().await
}

async fn status(t: &TestGateway, path: &str) -> u16 {
    let reply = Reply::of(t.get(path)).await;
    if reply.status == 502 {
        let error = reply.json();
        assert_eq!(error.get("error").unwrap(), "upstream_unreachable");
    }
    reply.status
}

#[tokio::test]
async fn a_server_is_asked_for_by_its_name_and_believed_for_its_authority() {
    let (authority, backend) = (Authority::new(), Upstream::start().await);
    let front = Front::start(&authority, false, &[], backend.address).await;
    let t = gateway(
        &upstream("api2", front.address, &trusting(&authority)),
        &[("/", "api2")],
    )
    .await;
    assert_eq!((status(&t, "/x").await, status(&t, "/x").await), (200, 200));
    let shake = Shake {
        name: Some(NAME.to_owned()),
        protocol: None,
        has_certificate: false,
    };
    assert_eq!(front.shakes(), [shake], "one connection is used twice");
    assert_eq!(backend.last().only("x-forwarded-proto"), Some("http"));
}

#[tokio::test]
async fn a_server_that_cannot_prove_who_it_is_gets_no_request() {
    let (authority, other) = (Authority::new(), Authority::new());
    let backend = Upstream::start().await;
    let front = Front::start(&authority, false, &[], backend.address).await;
    let wrong_name = trusting(&authority).replace(NAME, "other.internal");
    let system = format!("tls.server_name = \"{NAME}\"");
    let ca_only = format!("tls.ca_file = '{}/ca.pem'", authority.path().display());
    for lines in [trusting(&other), wrong_name, system, ca_only, String::new()] {
        let t = gateway(&upstream("api2", front.address, &lines), &[("/", "api2")]).await;
        assert_eq!(status(&t, "/x").await, 502, "{lines}");
    }
    assert_eq!(backend.requests(), 0);
}

#[tokio::test]
async fn an_upstream_that_verifies_nobody_shares_no_connection_with_one_that_does() {
    let (authority, other) = (Authority::new(), Authority::new());
    let backend = Upstream::start().await;
    let front = Front::start(&authority, false, &[], backend.address).await;
    let skip = format!("tls.server_name = \"{NAME}\"\ntls.danger_skip_verify = true");
    let upstreams = [
        upstream("anybody", front.address, &skip),
        upstream("right", front.address, &trusting(&authority)),
        upstream("wrong", front.address, &trusting(&other)),
    ];
    let routes = [
        ("/anybody", "anybody"),
        ("/right", "right"),
        ("/wrong", "wrong"),
    ];
    let t = gateway(&upstreams.concat(), &routes).await;
    for _ in 0..2 {
        assert_eq!(status(&t, "/anybody").await, 200);
        assert_eq!(status(&t, "/right").await, 200);
        assert_eq!(status(&t, "/wrong").await, 502);
    }
}

#[tokio::test]
async fn menshen_shows_its_certificate_to_a_server_that_asks() {
    let (authority, backend) = (Authority::new(), Upstream::start().await);
    let front = Front::start(&authority, true, &[], backend.address).await;
    authority.sign("menshen", "client");
    let folder = authority.path().display();
    let client = format!(
        "{}tls.cert_file = '{folder}/client.pem'\ntls.key_file = '{folder}/client-key.pem'",
        trusting(&authority)
    );
    let t = gateway(&upstream("api2", front.address, &client), &[("/", "api2")]).await;
    assert_eq!(status(&t, "/x").await, 200);
    assert!(front.shakes().iter().all(|shake| shake.has_certificate));
    let t = gateway(
        &upstream("api2", front.address, &trusting(&authority)),
        &[("/", "api2")],
    )
    .await;
    // With TLS 1.3 the server's refusal comes after the handshake.
    assert_eq!(Reply::of(t.get("/x")).await.status, 502);
    assert_eq!(backend.requests(), 1);
}

#[tokio::test]
async fn what_is_spoken_is_agreed_on_where_both_sides_choose() {
    let (authority, backend) = (Authority::new(), Upstream::start().await);
    for (offered, protocol, agreed) in [
        (&["http/1.1"][..], "auto", Some("http/1.1")),
        (&[][..], "auto", None),
        (&["h2", "http/1.1"][..], "http1", Some("http/1.1")),
    ] {
        let front = Front::start(&authority, false, offered, backend.address).await;
        let lines = format!("{}protocol = \"{protocol}\"", trusting(&authority));
        let t = gateway(&upstream("api2", front.address, &lines), &[("/", "api2")]).await;
        assert_eq!(status(&t, "/x").await, 200);
        let said = front.shakes().pop().unwrap().protocol;
        assert_eq!(said.as_deref(), agreed);
    }
}

#[tokio::test]
async fn a_server_that_does_not_choose_http_2_where_it_must_gets_no_request_and_the_log_says_why() {
    let (authority, backend) = (Authority::new(), Upstream::start().await);
    for offered in [&["http/1.1"][..], &[]] {
        let front = Front::start(&authority, false, offered, backend.address).await;
        let lines = format!("{}protocol = \"http2\"", trusting(&authority));
        let routes = "[[route]]\npath = \"/\"\nupstream = \"api2\"\nauth = \"public\"\n";
        let builder = TestGateway::builder().upstreams(&upstream("api2", front.address, &lines));
        let nodes = Nodes::new(builder.routes(routes)).await;
        let node = nodes.serve(env!("CARGO_BIN_EXE_menshen")).await;
        for _ in 0..2 {
            let reply = Reply::of(node.request("GET", "/x")).await;
            reply.refused(502, "upstream_unreachable");
        }
        let line = node.program.logs("did not choose HTTP/2").await;
        assert!(line.contains("WARN") && line.contains("auto"), "{line}");
        let log = node.program.stderr();
        assert_eq!(log.matches("did not choose HTTP/2").count(), 1, "{log}");
    }
    assert_eq!(backend.requests(), 0);
}

#[tokio::test]
async fn http_2_is_preferred_but_not_for_a_websocket() {
    let (authority, backend) = (Authority::new(), ByHand::start().await);
    let both = ["h2", "http/1.1"];
    let front = Front::start(&authority, false, &both, backend.address).await;
    let lines = format!("{}protocol = \"auto\"", trusting(&authority));
    let t = gateway(&upstream("api2", front.address, &lines), &[("/", "api2")]).await;
    let request = tokio::spawn(t.get("/x").send());
    let mut wire = backend.accept().await;
    wire.read_to("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await;
    request.abort();
    let mut client = Wire::connect(t.address).await;
    let handshake = "GET /x HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
        Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n";
    client.send(handshake).await;
    let mut wire = backend.accept().await;
    assert!(wire.message().await.starts_with("GET /x HTTP/1.1"));
    let switched = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\
        Connection: Upgrade\r\n\r\n";
    wire.send(switched).await;
    assert!(client.message().await.starts_with("HTTP/1.1 101"));
    let protocols: Vec<_> = front.shakes().into_iter().map(|s| s.protocol).collect();
    let expected = [Some("h2".to_owned()), Some("http/1.1".to_owned())];
    assert_eq!(protocols, expected);
}

#[tokio::test]
async fn over_http_2_requests_that_cannot_be_repeated_share_a_connection() {
    let (authority, backend) = (Authority::new(), ByHand::start().await);
    let front = Front::start(&authority, false, &["h2"], backend.address).await;
    let lines = format!("{}protocol = \"auto\"", trusting(&authority));
    let t = gateway(&upstream("api2", front.address, &lines), &[("/", "api2")]).await;
    tokio::spawn(async move {
        loop {
            let (_, stream) = backend.accept().await.into_parts();
            tokio::spawn(async move {
                let mut connection = h2::server::handshake(stream).await.unwrap();
                while let Some(Ok((_, mut respond))) = connection.accept().await {
                    let answer = http::Response::new(());
                    respond.send_response(answer, true).unwrap();
                }
            });
        }
    });
    for _ in 0..5 {
        assert_eq!(Reply::of(t.request("POST", "/x")).await.status, 200);
    }
    assert_eq!(front.shakes().len(), 1);
}

#[tokio::test]
async fn checks_of_health_are_encrypted_as_well() {
    let (authority, backend) = (Authority::new(), Upstream::start().await);
    let front = Front::start(&authority, false, &[], backend.address).await;
    let lines = format!("{}health.path = \"/healthz\"\n", trusting(&authority));
    let _t = gateway(&upstream("api2", front.address, &lines), &[("/", "api2")]).await;
    backend.arrived(1).await;
    assert_eq!(backend.last().only("host"), Some(NAME));
    assert_eq!(front.shakes().len(), 1);
}

#[tokio::test]
async fn whoever_verifies_nobody_is_warned_at_the_start() {
    let backend = Upstream::start().await;
    let lines = "tls.enabled = true\ntls.danger_skip_verify = true";
    let builder = TestGateway::builder().section("upstream", lines);
    let site = builder.site(backend.address, builder.simulator().await);
    let program = Program::start(site.command(env!("CARGO_BIN_EXE_menshen"), &["serve"]));
    let line = program.logs("danger_skip_verify").await;
    assert!(line.contains("WARN") && line.contains("api"), "{line}");
}

#[test]
fn a_key_that_is_not_the_certificates_is_found_before_the_start() {
    let authority = Authority::new();
    authority.sign("one", "one");
    authority.sign("two", "two");
    let folder = authority.path().display();
    let text = format!(
        "[server]\nlisten = [\"127.0.0.1:0\"]\n[token]\nkeys_dir = '{folder}/keys'\n\
         [session]\npath = '{folder}/data'\n[[app]]\nname = \"shop\"\nkind = \"mini_program\"\n\
         appid = \"wx1\"\nsecret_env = \"S\"\n[[route]]\nupstream = \"api\"\n[[upstream]]\n\
         name = \"api\"\nservers = [\"127.0.0.1:1\"]\ntls.enabled = true\n\
         tls.cert_file = '{folder}/one.pem'\ntls.key_file = '{folder}/two-key.pem'\n"
    );
    let env = |_: &str| Some("0123456789abcdef".to_owned());
    let config = config::parse(&text, "test.toml", &env).unwrap();
    let problems = app::check(&config);
    let [(key, problem)] = problems.as_slice() else {
        unreachable!("{problems:?}")
    };
    assert_eq!(*key, "upstream");
    let problem = problem.to_string();
    assert!(
        problem.starts_with(&format!("upstream api: {folder}/one.pem: ")),
        "{problem}"
    );
}

/// Waits until the answer has this status.
async fn becomes(t: &TestGateway, path: &str, expected: u16) {
    let began = Instant::now();
    // With TLS 1.3 a server's refusal comes after the handshake.
    while Reply::of(t.get(path)).await.status != expected {
        assert!(began.elapsed() < LIMIT, "{path} should become {expected}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn authorities_that_change_are_trusted_from_the_next_request_even_where_a_connection_was_kept()
 {
    let (authority, other) = (Authority::new(), Authority::new());
    let backend = Upstream::start().await;
    let front = Front::start(&authority, false, &[], backend.address).await;
    let trusted = tempfile::tempdir().unwrap();
    let ca = trusted.path().join("ca.pem");
    std::fs::copy(authority.file("ca.pem"), &ca).unwrap();
    let lines = format!(
        "tls.server_name = \"{NAME}\"\ntls.ca_file = '{}'",
        ca.display()
    );
    let t = gateway(&upstream("api2", front.address, &lines), &[("/", "api2")]).await;
    assert_eq!((status(&t, "/x").await, status(&t, "/x").await), (200, 200));
    assert_eq!(front.shakes().len(), 1, "one connection is used twice");
    std::fs::copy(other.file("ca.pem"), &ca).unwrap();
    becomes(&t, "/x", 502).await;
    std::fs::copy(authority.file("ca.pem"), &ca).unwrap();
    becomes(&t, "/x", 200).await;
}

#[tokio::test]
async fn a_client_certificate_that_is_renewed_is_shown_to_servers() {
    let (authority, other) = (Authority::new(), Authority::new());
    let backend = Upstream::start().await;
    let front = Front::start(&authority, true, &[], backend.address).await;
    other.sign("menshen", "client");
    let lines = format!(
        "{}tls.cert_file = '{cert}'\ntls.key_file = '{key}'",
        trusting(&authority),
        cert = other.file("client.pem").display(),
        key = other.file("client-key.pem").display(),
    );
    let t = gateway(&upstream("api2", front.address, &lines), &[("/", "api2")]).await;
    assert_eq!(Reply::of(t.get("/x")).await.status, 502);
    authority.sign("menshen", "client");
    std::fs::copy(
        authority.file("client-key.pem"),
        other.file("client-key.pem"),
    )
    .unwrap();
    std::fs::copy(authority.file("client.pem"), other.file("client.pem")).unwrap();
    becomes(&t, "/x", 200).await;
}

#[tokio::test]
async fn files_that_cannot_be_used_change_nothing() {
    let authority = Authority::new();
    let backend = Upstream::start().await;
    let front = Front::start(&authority, false, &[], backend.address).await;
    for broken in [
        "",
        "nonsense",
        "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
    ] {
        let files = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
        let ca = |at: usize| files[at].path().join("ca.pem");
        let of = |at: usize| {
            std::fs::copy(authority.file("ca.pem"), ca(at)).unwrap();
            let path = ca(at).display().to_string();
            format!("tls.server_name = \"{NAME}\"\ntls.ca_file = '{path}'")
        };
        let upstreams = [
            upstream("broken", front.address, &of(0)),
            upstream("changed", front.address, &of(1)),
        ];
        let routes = [("/broken", "broken"), ("/changed", "changed")];
        let t = gateway(&upstreams.concat(), &routes).await;
        std::fs::write(ca(0), broken).unwrap();
        std::fs::copy(Authority::new().file("ca.pem"), ca(1)).unwrap();
        // The files are looked at in the order of the upstreams.
        becomes(&t, "/changed", 502).await;
        assert_eq!(status(&t, "/broken").await, 200);
    }
}
