//! Asks WeChat for an app's access_token: the stable one, which is the same until it is about to end, or another classic one.

use std::time::{Duration, Instant};

use serde::Serialize;

use crate::config::App;
use crate::secret::Secret;
use crate::wechat::{ApiError, Client, Fields};

const STABLE: &str = "/cgi-bin/stable_token";
const CLASSIC: &str = "/cgi-bin/token";
/// What WeChat answers to any token that is good, and does nothing.
const PROBE: &str = "/cgi-bin/openapi/quota/get";

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Asking {
    /// The token that there is, as often as one likes.
    Stable,
    /// Another stable one, which ends the one before at once: twenty times a day.
    Forced,
    /// Another classic one, which ends the one before in five minutes.
    Classic,
}

/// An access_token, and how long it is good for.
pub(super) struct Given {
    pub(super) token: Secret,
    pub(super) left: Duration,
}

/// What WeChat says of a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Good,
    Stale,
    /// WeChat could not be asked, or does not say.
    Unknown,
}

#[derive(Serialize)]
struct Asked<'a> {
    grant_type: &'static str,
    appid: &'a str,
    secret: &'a str,
    force_refresh: bool,
}

#[derive(Serialize)]
struct Probed {
    cgi_path: &'static str,
}

impl Client {
    /// Asks once for a token with one of the app's secrets.
    pub(super) async fn token(
        &self,
        app: &App,
        secret: &Secret,
        asking: Asking,
    ) -> Result<Given, ApiError> {
        let path = match asking {
            Asking::Stable | Asking::Forced => STABLE,
            Asking::Classic => CLASSIC,
        };
        let started = Instant::now();
        let given = self.ask_for_token(path, app, secret, asking).await;
        self.count(app, path, &given, Some(started.elapsed()));
        given
    }

    async fn ask_for_token(
        &self,
        path: &str,
        app: &App,
        secret: &Secret,
        asking: Asking,
    ) -> Result<Given, ApiError> {
        let grant_type = "client_credential";
        let call = match asking {
            Asking::Classic => self.get(
                path,
                &[
                    ("grant_type", grant_type),
                    ("appid", &app.appid),
                    ("secret", secret.expose()),
                ],
            ),
            Asking::Stable | Asking::Forced => self.post(
                path,
                &Asked {
                    grant_type,
                    appid: &app.appid,
                    secret: secret.expose(),
                    force_refresh: asking == Asking::Forced,
                },
            ),
        };
        let fields: Fields = call.fields::<ApiError>().await?;
        Ok(Given {
            token: fields.access_token()?,
            left: Duration::from_secs(fields.number("expires_in")?),
        })
    }

    /// Asks whether a token is good, by a call that changes nothing.
    pub(super) async fn probe_token(&self, app: &App, token: &Secret) -> Verdict {
        let call = self.post_with(
            PROBE,
            &[("access_token", token.expose())],
            &Probed { cgi_path: PROBE },
        );
        let started = Instant::now();
        let answer = call.fields::<ApiError>().await;
        self.count(app, PROBE, &answer, Some(started.elapsed()));
        match answer {
            Ok(_) => Verdict::Good,
            Err(error) if error.says_stale() => Verdict::Stale,
            Err(_) => Verdict::Unknown,
        }
    }
}
