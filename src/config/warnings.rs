//! What is probably wrong with a configuration that can be used.

use super::model::{App, Config, Route};

/// The length of WeChat's AppSecrets.
const SECRET_LENGTH: usize = 32;

impl Config {
    /// Returns what an operator should look at, one line each; nothing of it keeps Menshen from starting.
    pub fn warnings(&self) -> Vec<String> {
        let is_wechat = |host: &str| host == "weixin.qq.com" || host.ends_with(".weixin.qq.com");
        let (_, rest) = self.wechat.api_base.split_once("://").unwrap_or_default();
        let host = rest.split(['/', ':']).next().unwrap_or_default();
        // A simulator or a gateway may have secrets of any length.
        let apps = if is_wechat(host) { &*self.apps } else { &[] };
        let apps = apps.iter().enumerate();
        let apps = apps.flat_map(|(at, app)| {
            let appid = warning_of_appid(at + 1, app);
            appid.into_iter().chain(warnings_of_secrets(at + 1, app))
        });
        let routes = self.routes.iter().filter_map(warning_of_path);
        apps.chain(routes)
            .chain(self.certificates_without_chain())
            .collect()
    }
}

/// Says that a path has what other programs take for a parameter, and here stands for itself.
fn warning_of_path(route: &Route) -> Option<String> {
    let (before, parameter) = route.path.split_once("/:")?;
    let before = if before.is_empty() { "/" } else { before };
    let parameter = parameter.split('/').next().unwrap_or_default();
    let number = route.index + 1;
    Some(format!(
        "route[{number}]: \":{parameter}\" stands for itself in a path, and for nothing else: {before:?} is for itself and everything below it"
    ))
}

/// Says what is odd about an appid, which is not shown: it may be a secret in the wrong place.
fn warning_of_appid(number: usize, app: &App) -> Option<String> {
    let is_hex = |text: &str| text.chars().all(|c| matches!(c, '0'..='9' | 'a'..='f'));
    let appid = app.appid.as_str();
    let rest = appid.strip_prefix("wx").unwrap_or_default();
    if rest.len() == 16 && is_hex(rest) {
        return None;
    }
    let why = if appid.starts_with("gh_") {
        "is an original ID (gh_…): the console shows the AppID beside it"
    } else if appid.len() == SECRET_LENGTH && is_hex(appid) {
        "looks like an AppSecret"
    } else {
        "is not \"wx\" and 16 of 0-9 and a-f, as WeChat's are: was all of it copied, and nothing else?"
    };
    Some(format!("app[{number}]: the appid of {} {why}", app.name))
}

fn warnings_of_secrets(number: usize, app: &App) -> Vec<String> {
    let secrets = [
        ("secret", Some(&app.secret)),
        ("previous_secret", app.previous_secret.as_ref()),
    ];
    let length = |secret: &crate::secret::Secret| secret.expose().chars().count();
    let given = secrets
        .into_iter()
        .filter_map(|(key, secret)| Some((key, length(secret?))));
    let odd = given.filter(|(_, length)| *length != SECRET_LENGTH);
    let is_hex = |secret: &crate::secret::Secret| {
        let mut all = secret.expose().chars();
        all.all(|c| matches!(c, '0'..='9' | 'a'..='f'))
    };
    let strange = secrets.into_iter().filter_map(|(key, secret)| {
        let is_strange = secret.is_some_and(|it| length(it) == SECRET_LENGTH && !is_hex(it));
        is_strange.then(|| {
            format!(
                "app[{number}]: the {key} of {} has other characters than 0-9 and a-f, and WeChat's have none: is it the AppSecret?",
                app.name
            )
        })
    });
    let told = odd.map(|(key, length)| {
        format!(
            "app[{number}]: the {key} of {} has {length} characters, and WeChat's have {SECRET_LENGTH}: was all of it copied, and nothing else?",
            app.name
        )
    });
    told.chain(strange).collect()
}
