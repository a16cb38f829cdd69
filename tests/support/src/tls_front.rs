//! TLS in front of a server that speaks none.

use std::net::SocketAddr;
use std::sync::Arc;

use rustls::ServerConfig;
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use crate::Certificate;

/// Starts it on a port that the system chooses, with this certificate, and returns where it listens.
pub async fn tls_front(certificate: &Certificate, target: SocketAddr) -> SocketAddr {
    let (chain, key) = certificate.pair();
    let config = ServerConfig::builder().with_no_client_auth();
    let config = config
        .with_single_cert(vec![chain], key)
        .expect("a certificate and its key");
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("binds");
    let address = listener.local_addr().expect("is bound");
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                // Who does not trust the certificate goes away.
                let mut client = acceptor.accept(client).await.ok()?;
                let mut target = TcpStream::connect(target).await.ok()?;
                copy_bidirectional(&mut client, &mut target).await.ok()
            });
        }
    });
    address
}
