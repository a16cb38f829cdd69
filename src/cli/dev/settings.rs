//! The configuration of `menshen dev`, and which WeChat it logs users in at: the simulator, or WeChat itself.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;

use super::Options;
use crate::config::{Config, Store, parse};
use crate::secret::Secret;
use crate::simulator::SimulatedApp;

const APPID: &str = "wx00000000000000aa";
const ACCOUNT_APPID: &str = "wx00000000000000bb";
const SITE_APPID: &str = "wx00000000000000cc";
const SECRET_ENV: &str = "MENSHEN_DEV_SECRET";

/// Which WeChat, and the secret of the apps there.
pub(super) enum WeChat {
    /// The simulator, which knows three apps.
    Simulated(Secret),
    /// WeChat itself, with one app of the developer's.
    Real {
        appid: String,
        secret: Secret,
        api_base: Option<String>,
    },
}

/// Where the parts beside the proxy listen.
pub(super) struct Addresses {
    pub(super) simulator: Option<SocketAddr>,
    pub(super) playground: String,
    pub(super) upstream: String,
}

/// Returns which WeChat the command line asks for, and asks for the AppSecret where that is needed.
pub(super) fn wechat(options: &Options) -> Result<WeChat, String> {
    let Some(appid) = &options.app else {
        let secret = format!("{:032x}", fastrand::u128(..));
        return Ok(WeChat::Simulated(Secret::new(secret)));
    };
    // The text goes into the configuration, where a quote would end a value.
    if appid.is_empty() || !appid.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
        return Err("--app: must be an appid, such as wx0123456789abcdef".to_owned());
    }
    let secret = match &options.secret_file {
        Some(file) => fs::read_to_string(file).map_err(|error| {
            format!("--secret-file: {} cannot be read: {error}", file.display())
        })?,
        None => rpassword::prompt_password(format!("AppSecret of {appid} (not shown): ")).map_err(
            |error| format!("the AppSecret cannot be asked for here ({error}): use --secret-file"),
        )?,
    };
    if secret.trim().is_empty() {
        return Err("the AppSecret is empty".to_owned());
    }
    let api_base = options.api_base.clone();
    if api_base
        .as_ref()
        .is_some_and(|url| url.contains(['"', '\\', '\n']))
    {
        return Err("--api-base: must be a URL such as https://api.weixin.qq.com".to_owned());
    }
    Ok(WeChat::Real {
        appid: appid.clone(),
        secret: Secret::new(secret.trim()),
        api_base,
    })
}

impl WeChat {
    pub(super) fn is_simulated(&self) -> bool {
        matches!(self, Self::Simulated(_))
    }

    /// Returns the appid of the mini-program.
    pub(super) fn appid(&self) -> &str {
        match self {
            Self::Simulated(_) => APPID,
            Self::Real { appid, .. } => appid,
        }
    }

    /// Returns the apps that the simulator knows.
    pub(super) fn apps(&self) -> Vec<SimulatedApp> {
        let simulated = [APPID, ACCOUNT_APPID, SITE_APPID].map(|appid| SimulatedApp {
            appid: appid.to_owned(),
            secret: self.secret().clone(),
            open_platform: Some("open-platform".to_owned()),
        });
        simulated.to_vec()
    }

    fn secret(&self) -> &Secret {
        match self {
            Self::Simulated(secret) | Self::Real { secret, .. } => secret,
        }
    }
}

impl Addresses {
    /// Writes the configuration, with keys and store in a folder that goes away.
    pub(super) fn config(
        &self,
        wechat: &WeChat,
        listen: SocketAddr,
        folder: &Path,
    ) -> Result<Config, String> {
        let (playground, upstream) = (&self.playground, &self.upstream);
        let appid = wechat.appid();
        let rest = match (wechat, self.simulator) {
            (WeChat::Simulated(_), Some(simulator)) => simulated(simulator),
            (
                WeChat::Real {
                    api_base: Some(url),
                    ..
                },
                _,
            ) => format!("[wechat]\napi_base = \"{url}\"\n"),
            (WeChat::Real { api_base: None, .. } | WeChat::Simulated(_), _) => String::new(),
        };
        let text = format!(
            r#"
[server]
listen = ["{listen}"]
drain = "2s"
[control]
listen = "127.0.0.1:0"
[[app]]
name = "demo"
kind = "mini_program"
appid = "{appid}"
secret_env = "{SECRET_ENV}"
[[upstream]]
name = "backend"
servers = ["{upstream}"]
[[upstream]]
name = "playground"
servers = ["{playground}"]
[[route]]
path = "/"
upstream = "backend"
[[route]]
path = "/files"
upstream = "backend"
auth = "signed_url"
[[route]]
path = "/_dev"
upstream = "playground"
auth = "public"
[[route]]
path = "/_dev/websocket"
upstream = "playground"
{rest}"#
        );
        let env = |name: &str| (name == SECRET_ENV).then(|| wechat.secret().expose().to_owned());
        let mut config =
            parse(&text, "menshen dev", &env).map_err(|problems| problems.to_string())?;
        // Not by way of the text, where a folder's name would have to be quoted.
        config.token.keys_dir = folder.join("keys");
        config.session.store = Store::Embedded(folder.join("data"));
        config.wechat.is_simulated = wechat.is_simulated();
        Ok(config)
    }
}

/// What the simulator allows besides: the two kinds of app that log in by browser, and calls of the playground to it.
fn simulated(simulator: SocketAddr) -> String {
    format!(
        r#"
[wechat]
api_base = "http://{simulator}"
open_base = "http://{simulator}"
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
name = "simulator"
servers = ["{simulator}"]
[[route]]
path = "/web"
upstream = "backend"
on_missing = "redirect"
[[route]]
path = "/_sim/login"
upstream = "simulator"
auth = "public"
methods = ["POST"]
[[route]]
path = "/_sim/calls"
upstream = "simulator"
auth = "public"
methods = ["GET"]
"#
    )
}
