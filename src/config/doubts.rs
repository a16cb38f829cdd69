//! What is probably wrong with a configuration that can be used.

use super::model::{App, Config};

/// The length of WeChat's AppSecrets.
const SECRET_LENGTH: usize = 32;

impl Config {
    /// Returns what an operator should look at, one line each; nothing of it keeps Menshen from starting.
    pub fn doubts(&self) -> Vec<String> {
        let is_wechat = |host: &str| host == "weixin.qq.com" || host.ends_with(".weixin.qq.com");
        let (_, rest) = self.wechat.api_base.split_once("://").unwrap_or_default();
        let host = rest.split(['/', ':']).next().unwrap_or_default();
        // A simulator or a gateway may have secrets of any length.
        let apps = if is_wechat(host) { &*self.apps } else { &[] };
        let secrets = apps.iter().enumerate();
        let secrets = secrets.flat_map(|(at, app)| doubts_of(at + 1, app));
        secrets.chain(self.certificates_without_chain()).collect()
    }
}

fn doubts_of(number: usize, app: &App) -> Vec<String> {
    let secrets = [
        ("secret", Some(&app.secret)),
        ("previous_secret", app.previous_secret.as_ref()),
    ];
    let length = |secret: &crate::secret::Secret| secret.expose().chars().count();
    let given = secrets
        .into_iter()
        .filter_map(|(key, secret)| Some((key, length(secret?))));
    let odd = given.filter(|(_, length)| *length != SECRET_LENGTH);
    let told = odd.map(|(key, length)| {
        format!(
            "app[{number}]: the {key} of {} has {length} characters, and WeChat's have {SECRET_LENGTH}: was all of it copied, and nothing else?",
            app.name
        )
    });
    told.collect()
}
