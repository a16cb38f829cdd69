//! Redeems a browser's code at WeChat's `sns/oauth2/access_token`, and fetches the profile that the user agreed to show.

use std::time::Duration;

use super::{CallFailure, Client, Code, Fields, Redeemed};
use crate::config::{App, AppKind, Scope};
use crate::secret::Secret;
use crate::session::{Identity, Profile, Source};

const PATH: &str = "/sns/oauth2/access_token";
const USERINFO: &str = "/sns/userinfo";

/// WeChat allows 32 characters; more is cut, since a browser keeps this in a cookie.
const LONGEST_NICKNAME: usize = 64;
const LONGEST_PICTURE: usize = 512;

impl Client {
    pub(super) async fn redeem_in_browser(
        &self,
        app: &App,
        code: &Code,
        limit: Duration,
    ) -> Result<Redeemed, CallFailure> {
        let fields = self
            .oauth2_access_token(app, code.expose(), Some(limit))
            .await?;
        let asked = !matches!(app.kind, AppKind::OfficialAccount(Scope::Base));
        Ok(Redeemed {
            identity: Identity {
                app: app.name.clone(),
                appid: app.appid.clone(),
                openid: fields.text("openid")?,
                unionid: fields.optional_text("unionid")?,
                source: match app.kind {
                    AppKind::Website => Source::Website,
                    AppKind::OfficialAccount(_) | AppKind::MiniProgram => Source::OfficialAccount,
                },
            },
            session_key: None,
            user_token: match asked {
                true => Some(fields.secret("access_token")?),
                false => None,
            },
            is_snapshot: fields.number("is_snapshotuser").is_ok(),
        })
    }

    pub(super) async fn oauth2_access_token(
        &self,
        app: &App,
        code: &str,
        limit: Option<Duration>,
    ) -> Result<Fields, CallFailure> {
        let call = self.get(
            PATH,
            &[
                ("appid", &app.appid),
                ("secret", app.secret.expose()),
                ("code", code),
                ("grant_type", "authorization_code"),
            ],
        );
        self.within(call, limit).fields().await
    }

    /// Fetches the profile of a user who agreed to show it.
    pub async fn profile(
        &self,
        identity: &Identity,
        token: &Secret,
        limit: Duration,
    ) -> Result<Profile, CallFailure> {
        let call = self.get(
            USERINFO,
            &[
                ("access_token", token.expose()),
                ("openid", &identity.openid),
                ("lang", "zh_CN"),
            ],
        );
        let fields: Result<Fields, CallFailure> =
            self.within(call, Some(limit)).mending().fields().await;
        let fields = fields?;
        let nickname = fields.free_text("nickname");
        let picture = fields.free_text("headimgurl");
        Ok(Profile {
            nickname: nickname.chars().take(LONGEST_NICKNAME).collect(),
            picture: Some(picture)
                .filter(|picture| picture.len() <= LONGEST_PICTURE)
                .unwrap_or_default(),
        })
    }
}
