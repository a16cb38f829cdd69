//! Asks WeChat for an app's access_token, as often as one likes: it is the same one until it is about to end.

use std::time::Duration;

use serde::Serialize;

use super::{ApiError, Client, Fields};
use crate::config::App;
use crate::secret::Secret;

const PATH: &str = "/cgi-bin/stable_token";

/// An access_token, and how long it is good for.
pub(super) struct Given {
    pub(super) token: Secret,
    pub(super) left: Duration,
}

#[derive(Serialize)]
struct Asked<'a> {
    grant_type: &'static str,
    appid: &'a str,
    secret: &'a str,
    /// Never true: it would end the token that other nodes use, and WeChat allows it twenty times a day.
    force_refresh: bool,
}

impl Client {
    /// Asks once for the token with one of the app's secrets.
    pub(super) async fn stable_token(&self, app: &App, secret: &Secret) -> Result<Given, ApiError> {
        let given = self.ask_for_token(app, secret).await;
        self.count(app, PATH, &given);
        given
    }

    async fn ask_for_token(&self, app: &App, secret: &Secret) -> Result<Given, ApiError> {
        let call = self.post(
            PATH,
            &Asked {
                grant_type: "client_credential",
                appid: &app.appid,
                secret: secret.expose(),
                force_refresh: false,
            },
        );
        let fields: Fields = call.fields::<ApiError>().await?;
        Ok(Given {
            token: fields.secret("access_token")?,
            left: Duration::from_secs(fields.number("expires_in")?),
        })
    }
}
