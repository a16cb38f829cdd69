//! The smallest proxy on `pingora-proxy`: `bare PORT BACKEND SETTINGS TLS_PORT CERT KEY` passes everything on.
#![expect(clippy::unwrap_used, reason = "a program for a benchmark may panic")]

use async_trait::async_trait;
use pingora::listeners::tls::TlsSettings;
use pingora::prelude::{HttpPeer, Opt, ProxyHttp, Result, Server, Session, http_proxy_service};
use pingora::server::configuration::ServerConf;

#[cfg(feature = "mimalloc")]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

struct Bare {
    backend: u16,
}

#[async_trait]
impl ProxyHttp for Bare {
    type CTX = ();

    fn new_ctx(&self) {}

    async fn upstream_peer(&self, _: &mut Session, _: &mut ()) -> Result<Box<HttpPeer>> {
        let peer = HttpPeer::new(("127.0.0.1", self.backend), false, String::new());
        Ok(Box::new(peer))
    }
}

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let port = |index: usize| -> u16 { arguments.get(index).unwrap().parse().unwrap() };
    let conf = ServerConf {
        threads: 1,
        work_stealing: arguments.get(3).unwrap() != "best",
        ..ServerConf::default()
    };
    let mut server = Server::new_with_opt_and_conf(None::<Opt>, conf);
    server.bootstrap();
    let bare = Bare { backend: port(2) };
    let mut service = http_proxy_service(&server.configuration, bare);
    service.add_tcp(&format!("127.0.0.1:{}", port(1)));
    let file = |index: usize| arguments.get(index).unwrap().as_str();
    let mut tls = TlsSettings::intermediate(file(5), file(6)).unwrap();
    tls.enable_h2();
    service.add_tls_with_settings(&format!("127.0.0.1:{}", port(4)), None, tls);
    server.add_service(service);
    server.run_forever();
}
