//! The connections to WeChat, through a proxy where there is one, of which none is used again after a call that was lost on one of them.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use reqwest::redirect::Policy;
use rustls::client::WantsClientCert;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::{ClientConfig, ConfigBuilder};
use tokio::task::spawn_blocking;

use super::client::ClientError;
use super::resolver::Resolver;
use crate::config::{Proxy, WeChat};
use crate::trust::client_trusting;

/// The connections to WeChat.
#[derive(Debug)]
pub(super) struct Connections {
    current: ArcSwap<reqwest::Client>,
    /// Whether new ones are being made.
    renewing: AtomicBool,
    means: Means,
}

/// What a client is made of.
#[derive(Debug)]
struct Means {
    config: WeChat,
    /// Makes handshakes with whoever the operator's certificates vouch for; `None` means the system's authorities.
    named: Option<ClientConfig>,
}

impl Connections {
    pub(super) fn new(config: &WeChat) -> Result<Self, ClientError> {
        let means = Means::of(config)?;
        Ok(Self {
            current: ArcSwap::from_pointee(means.client()?),
            renewing: AtomicBool::new(false),
            means,
        })
    }

    /// Returns what calls are made with.
    pub(super) fn current(&self) -> Arc<reqwest::Client> {
        self.current.load_full()
    }

    /// Makes new connections in a moment, where these are still the ones in use; calls on them may end.
    ///
    /// A wire that went dead tells nobody: each idle connection would swallow another code.
    pub(super) fn leave(self: &Arc<Self>, used: &Arc<reqwest::Client>) {
        let is_current = Arc::ptr_eq(&self.current.load(), used);
        if !is_current || self.renewing.swap(true, Ordering::AcqRel) {
            return;
        }
        let (connections, used) = (Arc::clone(self), Arc::clone(used));
        // Certificates are read for it, and whoever learns from the lost call must not wait for that.
        spawn_blocking(move || connections.renew(&used));
    }

    fn renew(&self, used: &Arc<reqwest::Client>) {
        match self.means.client() {
            Ok(new) => {
                self.current.compare_and_swap(used, Arc::new(new));
            }
            Err(error) => {
                tracing::warn!(%error, "connections to WeChat stay in use after a call was lost");
            }
        }
        self.renewing.store(false, Ordering::Release);
    }
}

impl Means {
    fn of(config: &WeChat) -> Result<Self, ClientError> {
        let named = match &config.ca_file {
            Some(file) => Some(trusting(file)?.with_no_client_auth()),
            None => None,
        };
        Ok(Self {
            config: config.clone(),
            named,
        })
    }

    fn client(&self) -> Result<reqwest::Client, ClientError> {
        let mut builder = reqwest::Client::builder()
            .connect_timeout(self.config.connect_timeout)
            .timeout(self.config.timeout)
            .pool_idle_timeout(Duration::from_secs(30))
            .dns_resolver(Resolver)
            // A redirect would carry the secret to somebody else.
            .redirect(Policy::none())
            .referer(false);
        // Without a word in the file, the environment decides nothing, and least of all who else sees the secret.
        if self.config.proxy != Proxy::Environment {
            builder = builder.no_proxy();
        }
        if let Proxy::Url(url) = &self.config.proxy {
            builder = builder.proxy(self.proxy(url)?);
        }
        if let Some(named) = &self.named {
            builder = builder.tls_backend_preconfigured(named.clone());
        }
        let client = builder.build();
        client.map_err(|error| ClientError::Http(error.without_url()))
    }

    fn proxy(&self, url: &str) -> Result<reqwest::Proxy, ClientError> {
        let proxy = reqwest::Proxy::all(url).map_err(ClientError::Http)?;
        let auth = self.config.proxy_auth.as_ref();
        let auth = auth.and_then(|auth| auth.expose().split_once(':'));
        Ok(match auth {
            Some((user, password)) => proxy.basic_auth(user, password),
            None => proxy,
        })
    }
}

/// Begins a TLS client that believes whoever the certificates of a file vouch for.
pub(in crate::wechat) fn trusting(
    file: &Path,
) -> Result<ConfigBuilder<ClientConfig, WantsClientCert>, ClientError> {
    let named = CertificateDer::pem_file_iter(file)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(ClientError::Authorities)?;
    client_trusting(named).map_err(ClientError::Named)
}
