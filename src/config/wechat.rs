//! Reads `[wechat]`, how WeChat is reached.

use super::address::{BASE, ORIGIN, is_plain_and_remote};
use super::kind::{Kind, SWITCH};
use super::model::{Proxy, WeChat};
use super::pem::{check_certificates, file};
use super::reader::Table;
use super::secret::{self, Environment, Keys};
use super::unit::TIMEOUT;

const PROXY: Kind<Proxy> = Kind {
    expected: "an http origin without user, such as \"http://proxy.internal:3128\", or \"environment\"",
    read: |value| {
        if value.as_str() == Some("environment") {
            return Some(Proxy::Environment);
        }
        let origin = (ORIGIN.read)(value)?;
        origin.starts_with("http://").then_some(Proxy::Url(origin))
    },
};

const PROXY_AUTH: Keys = Keys {
    file: "proxy_auth_file",
    env: "proxy_auth_env",
};

/// Reads the section.
pub(super) fn read(table: &mut Table<'_, '_>, env: Environment<'_>) -> Option<WeChat> {
    let api_base = table.or("api_base", r#""https://api.weixin.qq.com""#, &BASE);
    let open_base = table.or("open_base", r#""https://open.weixin.qq.com""#, &BASE);
    let allow_plain_http = table.or("allow_plain_http", "false", &SWITCH);
    let proxy = table.optional("proxy", &PROXY);
    let proxy_auth = secret::optional(table, &PROXY_AUTH, env);
    secret::refuse_copied(table, &PROXY_AUTH, proxy_auth.as_ref());
    let ca_file = file(table, "ca_file", check_certificates);
    let connect_timeout = table.or("connect_timeout", r#""2s""#, &TIMEOUT);
    let timeout = table.or("timeout", r#""5s""#, &TIMEOUT);
    let given = [PROXY_AUTH.file, PROXY_AUTH.env]
        .into_iter()
        .find(|key| table.has(key));
    if let Some(key) = given {
        let has_user = |auth: &str| {
            auth.split_once(':')
                .is_some_and(|(user, _)| !user.is_empty())
        };
        if !table.has("proxy") || proxy == Some(Proxy::Environment) {
            table.refuse(key, "needs a proxy that wechat.proxy names".to_owned());
        } else if proxy_auth
            .as_ref()
            .is_some_and(|auth| !has_user(auth.expose()))
        {
            table.refuse(
                key,
                "must lead to a user and a password, as user:password".to_owned(),
            );
        }
    }
    let api_base = api_base?;
    if is_plain_and_remote(&api_base) && allow_plain_http == Some(false) {
        table.refuse(
            "api_base",
            "must be https, since the AppSecret is sent there; allow_plain_http = true permits http"
                .to_owned(),
        );
    }
    Some(WeChat {
        api_base,
        open_base: open_base?,
        proxy: proxy.unwrap_or(Proxy::None),
        proxy_auth,
        ca_file,
        connect_timeout: connect_timeout?,
        timeout: timeout?,
        is_simulated: false,
    })
}
