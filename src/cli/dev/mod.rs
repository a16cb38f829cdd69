//! `menshen dev`: everything in one process, to try it.

use std::future::Future;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;

use http::Uri;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;

use self::settings::{Addresses, WeChat};
use super::{Outcome, complain, runtime, say, signals, warn};
use crate::app::App;
use crate::clock::Clock;
use crate::demo::{self, Playground};
use crate::log;
use crate::server::{BindError, Listening, Workers};
use crate::simulator::Simulator;

mod settings;

/// What `menshen dev` is told on the command line.
#[derive(Debug, clap::Args)]
pub(super) struct Options {
    /// A backend of your own instead of the demonstration one, such as http://127.0.0.1:3000.
    #[arg(long)]
    upstream: Option<String>,
    /// Where the proxy listens.
    #[arg(long, default_value = "127.0.0.1:8080")]
    listen: SocketAddr,
    /// The appid of a mini-program of yours, to log in at WeChat itself. Its AppSecret is asked for on the terminal.
    #[arg(long, value_name = "APPID")]
    app: Option<String>,
    /// A file with the AppSecret, instead of the question on the terminal.
    #[arg(long, value_name = "FILE", requires = "app")]
    secret_file: Option<PathBuf>,
    /// Another address of WeChat's API, such as an outbound gateway's.
    #[arg(long, value_name = "URL", requires = "app")]
    api_base: Option<String>,
}

/// Runs simulator, backend, playground and proxy until a signal stops them.
pub(super) fn run(options: Options) -> Outcome {
    let upstream = match options.upstream.as_deref().map(server_of).transpose() {
        Ok(upstream) => upstream,
        Err(problem) => return complain(&problem),
    };
    let wechat = match settings::wechat(&options) {
        Ok(wechat) => wechat,
        Err(problem) => return complain(&problem),
    };
    let listen = options.listen;
    let (runtime, folder) = match (runtime(0), tempfile::tempdir()) {
        (Ok(runtime), Ok(folder)) => (runtime, folder),
        (Err(error), _) | (_, Err(error)) => {
            warn(&error);
            return Outcome::Failed;
        }
    };
    runtime.block_on(async {
        let parts = match Parts::bind(wechat, upstream) {
            Ok(parts) => parts,
            Err(error) => return complain(&error),
        };
        let config = match parts
            .addresses()
            .config(&parts.wechat, listen, folder.path())
        {
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
        say(&what_to_try(&parts, proxy, app.control_address()));
        serve(app, parts, stop, &stderr).await;
        Outcome::Done
    })
}

/// The listeners beside the proxy's.
struct Parts {
    wechat: WeChat,
    /// Where WeChat is simulated, if it is.
    simulator: Option<TcpListener>,
    playground: TcpListener,
    backend: Option<TcpListener>,
    /// The `host:port` of a backend of the developer's own.
    upstream: Option<String>,
}

impl Parts {
    fn bind(wechat: WeChat, upstream: Option<String>) -> Result<Self, BindError> {
        let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let bind = || Listening::bind_one(any);
        Ok(Self {
            simulator: wechat.is_simulated().then(bind).transpose()?,
            playground: bind()?,
            backend: upstream.is_none().then(bind).transpose()?,
            upstream,
            wechat,
        })
    }

    fn addresses(&self) -> Addresses {
        let address = |listener: &TcpListener| listener.local_addr().ok();
        let text = |listener| address(listener).map(|at: SocketAddr| at.to_string());
        let backend = self.backend.as_ref().and_then(text);
        Addresses {
            simulator: self.simulator.as_ref().and_then(address),
            playground: text(&self.playground).unwrap_or_default(),
            upstream: self.upstream.clone().or(backend).unwrap_or_default(),
        }
    }
}

async fn serve(app: App, parts: Parts, stop: impl Future<Output = ()>, stderr: &log::Stderr) {
    let (stopping, stopped) = watch::channel(false);
    let wait = |mut stopped: watch::Receiver<bool>| async move {
        let _ = stopped.wait_for(|&stop| stop).await;
    };
    let mut beside = JoinSet::new();
    if let Some(listener) = parts.simulator {
        let simulator = Simulator::new(parts.wechat.apps(), Clock::system());
        beside.spawn(simulator.serve(listener, wait(stopped.clone())));
    }
    let playground = Playground {
        simulated: parts.wechat.is_simulated(),
        appid: parts.wechat.appid().to_owned(),
    };
    beside.spawn(playground.serve(parts.playground, wait(stopped.clone())));
    if let Some(listener) = parts.backend {
        beside.spawn(demo::serve(listener, wait(stopped)));
    }
    if let Err(error) = app.serve(&Workers::here(), stop, || {}).await {
        stderr.print(&format_args!("what was bound cannot be served: {error}"));
    }
    let _ = stopping.send(true);
    while beside.join_next().await.is_some() {}
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

/// Returns where this machine reaches what listens there: nobody connects to "every address".
fn reached_at(listening: SocketAddr) -> SocketAddr {
    let mut reached = listening;
    if listening.ip().is_unspecified() {
        reached.set_ip(if listening.is_ipv4() {
            Ipv4Addr::LOCALHOST.into()
        } else {
            Ipv6Addr::LOCALHOST.into()
        });
    }
    reached
}

fn what_to_try(parts: &Parts, listening: SocketAddr, control: Option<SocketAddr>) -> String {
    let proxy = reached_at(listening);
    let control = control.map_or_else(String::new, |at| {
        format!("Its control listener is http://{at}; metrics are at /metrics.\n")
    });
    let control = if proxy == listening {
        control
    } else {
        let port = listening.port();
        format!(
            "{control}A phone reaches it at this machine's address in the local network, port {port}.\n"
        )
    };
    let playground = format!("Try it in a browser: http://{proxy}/_dev\n");
    let Some(simulator) = parts.addresses().simulator else {
        return format!(
            r#"Menshen listens on http://{proxy} and logs users in at WeChat itself.
{control}{playground}
In WeChat's developer tools, switch on "不校验合法域名" (Details, Local settings), and let the mini-program run this:

wx.login({{ success: ({{ code }}) => wx.request({{ url: 'http://{proxy}/_auth/login', method: 'POST', data: {{ code }}, success: console.log }}) }})
"#
        );
    };
    let appid = parts.wechat.appid();
    format!(
        r#"Menshen listens on http://{proxy} (WeChat is simulated on http://{simulator}).
{control}{playground}
Paste this into a browser, and click:

http://{proxy}/web/hello

Paste these into a shell:

CODE=$(curl -s http://{simulator}/_sim/login -d '{{"appid":"{appid}","user":"alice"}}' | sed 's/.*"code":"\([^"]*\)".*/\1/')
TOKEN=$(curl -s http://{proxy}/_auth/login -d "{{\"code\":\"$CODE\"}}" | sed 's/.*"token":"\([^"]*\)".*/\1/')
curl -s http://{proxy}/hello -H "Authorization: Bearer $TOKEN"
"#
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_address_is_reached_at_this_machines_own() {
        for (listening, reached) in [
            ("0.0.0.0:8080", "127.0.0.1:8080"),
            ("[::]:8080", "[::1]:8080"),
            ("192.168.1.5:8080", "192.168.1.5:8080"),
        ] {
            let shown = reached_at(listening.parse().unwrap()).to_string();
            assert_eq!(shown, reached);
        }
    }
}
