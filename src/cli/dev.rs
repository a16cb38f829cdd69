//! `menshen dev`: everything in one process, to try it.

use std::future::Future;
use std::net::{Ipv4Addr, SocketAddr};

use http::Uri;
use tokio::sync::watch;

use super::{Outcome, complain, runtime, say, signals, warn};
use crate::app::App;
use crate::clock::Clock;
use crate::config::{Config, Store, parse};
use crate::secret::Secret;
use crate::server::{BindError, Listening, Workers};
use crate::simulator::{SimulatedApp, Simulator};
use crate::{demo, log};

const APPID: &str = "wx00000000000000aa";
const ACCOUNT_APPID: &str = "wx00000000000000bb";
const SITE_APPID: &str = "wx00000000000000cc";
const SECRET_ENV: &str = "MENSHEN_DEV_SECRET";

/// Runs simulator, backend and proxy until a signal stops them.
pub(super) fn run(upstream: Option<&str>, listen: SocketAddr) -> Outcome {
    let upstream = match upstream.map(server_of).transpose() {
        Ok(upstream) => upstream,
        Err(problem) => return complain(&problem),
    };
    let (runtime, folder) = match (runtime(0), tempfile::tempdir()) {
        (Ok(runtime), Ok(folder)) => (runtime, folder),
        (Err(error), _) | (_, Err(error)) => {
            warn(&error);
            return Outcome::Failed;
        }
    };
    runtime.block_on(async {
        let parts = match bind(upstream) {
            Ok(parts) => parts,
            Err(error) => return complain(&error),
        };
        let secret = format!("{:032x}", fastrand::u128(..));
        let config = match parts.config(listen, folder.path(), &secret) {
            Ok(config) => config,
            Err(problem) => return complain(&problem),
        };
        let stderr = match log::start(&config.log) {
            Ok(stderr) => stderr,
            Err(error) => return complain(&error),
        };
        let app = match App::build(config, &Clock::system()).await {
            Ok(app) => app,
            Err(error) => return complain(&error),
        };
        let stop = signals::stop();
        let proxy = app.addresses().first().copied().unwrap_or(listen);
        if let Some(address) = app.control_address() {
            tracing::info!(%address, "open for control");
        }
        say(&what_to_try(proxy, parts.simulator.1));
        serve(app, parts, secret, stop, &stderr).await;
        Outcome::Done
    })
}

/// The listeners beside the proxy's, each with its address.
struct Parts {
    simulator: (tokio::net::TcpListener, SocketAddr),
    backend: Option<tokio::net::TcpListener>,
    upstream: String,
}

fn bind(upstream: Option<String>) -> Result<Parts, BindError> {
    let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let address = |listener: &tokio::net::TcpListener| listener.local_addr().unwrap_or(any);
    let simulator = Listening::bind_one(any)?;
    let backend = match upstream {
        Some(_) => None,
        None => Some(Listening::bind_one(any)?),
    };
    let upstream = upstream.unwrap_or_else(|| backend.as_ref().map_or(any, address).to_string());
    Ok(Parts {
        simulator: (simulator, any),
        backend,
        upstream,
    }
    .with_address())
}

impl Parts {
    fn with_address(mut self) -> Self {
        if let Ok(address) = self.simulator.0.local_addr() {
            self.simulator.1 = address;
        }
        self
    }

    fn config(
        &self,
        listen: SocketAddr,
        folder: &std::path::Path,
        secret: &str,
    ) -> Result<Config, String> {
        let (simulator, upstream) = (self.simulator.1, &self.upstream);
        let text = format!(
            r#"
[server]
listen = ["{listen}"]
drain = "2s"
[control]
listen = "127.0.0.1:0"
[wechat]
api_base = "http://{simulator}"
open_base = "http://{simulator}"
[[app]]
name = "demo"
kind = "mini_program"
appid = "{APPID}"
secret_env = "{SECRET_ENV}"
[[app]]
name = "demo-account"
kind = "official_account"
appid = "{ACCOUNT_APPID}"
secret_env = "{SECRET_ENV}"
scope = "snsapi_userinfo"
[[app]]
name = "demo-site"
kind = "website"
appid = "{SITE_APPID}"
secret_env = "{SECRET_ENV}"
[headers]
profile = true
[[upstream]]
name = "backend"
servers = ["{upstream}"]
[[route]]
path = "/"
upstream = "backend"
[[route]]
path = "/web"
upstream = "backend"
on_missing = "redirect"
[[route]]
path = "/files"
upstream = "backend"
auth = "signed_url"
"#
        );
        let env = |name: &str| (name == SECRET_ENV).then(|| secret.to_owned());
        let mut config =
            parse(&text, "menshen dev", &env).map_err(|problems| problems.to_string())?;
        // Not by way of the text, where a folder's name would have to be quoted.
        config.token.keys_dir = folder.join("keys");
        config.session.store = Store::Embedded(folder.join("data"));
        Ok(config)
    }
}

async fn serve(
    app: App,
    parts: Parts,
    secret: String,
    stop: impl Future<Output = ()>,
    stderr: &log::Stderr,
) {
    let (stopping, stopped) = watch::channel(false);
    let wait = |mut stopped: watch::Receiver<bool>| async move {
        let _ = stopped.wait_for(|&stop| stop).await;
    };
    let simulated = [APPID, ACCOUNT_APPID, SITE_APPID].map(|appid| SimulatedApp {
        appid: appid.to_owned(),
        secret: Secret::new(secret.as_str()),
        open_platform: Some("open-platform".to_owned()),
    });
    let simulator = Simulator::new(simulated.to_vec(), Clock::system());
    let simulator = tokio::spawn(simulator.serve(parts.simulator.0, wait(stopped.clone())));
    let backend = parts
        .backend
        .map(|listener| tokio::spawn(demo::serve(listener, wait(stopped))));
    if let Err(error) = app.serve(&Workers::here(), stop, || {}).await {
        stderr.print(&format_args!("what was bound cannot be served: {error}"));
    }
    let _ = stopping.send(true);
    let _ = simulator.await;
    if let Some(backend) = backend {
        let _ = backend.await;
    }
}

/// Returns the `host:port` of a URL such as `http://127.0.0.1:3000`.
fn server_of(url: &str) -> Result<String, String> {
    let wrong = || format!("--upstream: must be a URL such as http://127.0.0.1:3000, not {url:?}");
    let uri: Uri = url.parse().map_err(|_| wrong())?;
    let plain = uri.scheme_str() == Some("http")
        && matches!(uri.path(), "" | "/")
        && uri.authority().is_some_and(|a| !a.as_str().contains('@'));
    let host = uri.host().filter(|_| plain).ok_or_else(wrong)?;
    Ok(format!("{host}:{}", uri.port_u16().unwrap_or(80)))
}

fn what_to_try(proxy: SocketAddr, simulator: SocketAddr) -> String {
    format!(
        r#"Menshen listens on http://{proxy} (WeChat is simulated on http://{simulator}).

Paste this into a browser, and click:

http://{proxy}/web/hello

Paste these into a shell:

CODE=$(curl -s http://{simulator}/_sim/login -d '{{"appid":"{APPID}","user":"alice"}}' | sed 's/.*"code":"\([^"]*\)".*/\1/')
TOKEN=$(curl -s http://{proxy}/_auth/login -d "{{\"code\":\"$CODE\"}}" | sed 's/.*"token":"\([^"]*\)".*/\1/')
curl -s http://{proxy}/hello -H "Authorization: Bearer $TOKEN"
"#
    )
}
