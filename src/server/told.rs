//! What a client's stream that wraps another tells about itself: all that the one below it tells.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use pingora::protocols::raw_connect::ProxyDigest;
use pingora::protocols::tls::{SslDigest, TlsRef};
use pingora::protocols::{
    ALPN, GetProxyDigest, GetSocketDigest, GetTimingDigest, Peek, SocketDigest, Ssl, TimingDigest,
    UniqueID, UniqueIDType,
};

use super::sockets::Closable;
use super::watched::Watched;

/// Makes a type tell what its field `stream` tells.
macro_rules! tells {
    ($outer:ty) => {
        #[async_trait]
        impl Peek for $outer {
            async fn try_peek(&mut self, buf: &mut [u8]) -> io::Result<bool> {
                self.stream.try_peek(buf).await
            }
        }

        impl UniqueID for $outer {
            fn id(&self) -> UniqueIDType {
                self.stream.id()
            }
        }

        impl Ssl for $outer {
            fn get_ssl(&self) -> Option<&TlsRef> {
                self.stream.get_ssl()
            }

            fn get_ssl_digest(&self) -> Option<Arc<SslDigest>> {
                self.stream.get_ssl_digest()
            }

            fn selected_alpn_proto(&self) -> Option<ALPN> {
                self.stream.selected_alpn_proto()
            }
        }

        impl GetTimingDigest for $outer {
            fn get_timing_digest(&self) -> Vec<Option<TimingDigest>> {
                self.stream.get_timing_digest()
            }

            fn get_read_pending_time(&self) -> Duration {
                self.stream.get_read_pending_time()
            }

            fn get_write_pending_time(&self) -> Duration {
                self.stream.get_write_pending_time()
            }
        }

        impl GetProxyDigest for $outer {
            fn get_proxy_digest(&self) -> Option<Arc<ProxyDigest>> {
                self.stream.get_proxy_digest()
            }

            fn set_proxy_digest(&mut self, digest: ProxyDigest) {
                self.stream.set_proxy_digest(digest);
            }
        }

        impl GetSocketDigest for $outer {
            fn get_socket_digest(&self) -> Option<Arc<SocketDigest>> {
                self.stream.get_socket_digest()
            }

            fn set_socket_digest(&mut self, digest: SocketDigest) {
                self.stream.set_socket_digest(digest);
            }
        }
    };
}

tells!(Closable);
tells!(Watched);
