//! Redeems a code at WeChat's `sns/jscode2session`.

use std::fmt;
use std::time::Duration;

use super::{CallFailure, Client, Code, Fields};
use crate::config::{App, AppKind};
use crate::secret::Secret;
use crate::session::{Identity, Source};

const PATH: &str = "/sns/jscode2session";

/// Who redeemed a code, and the key that WeChat gave for this user.
pub struct Redeemed {
    /// Who WeChat says it is.
    pub identity: Identity,
    /// WeChat's session_key, which only mini-programs' codes bring.
    pub session_key: Option<Secret>,
    /// What the user's profile is fetched with, where they agreed to show it.
    pub user_token: Option<Secret>,
    /// Whether it is nobody: WeChat shows a snapshot of the page, and has made the user up.
    pub is_snapshot: bool,
}

impl fmt::Debug for Redeemed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Redeemed(…)")
    }
}

impl Client {
    /// Redeems a code once, within the time that the configuration gives a call, or less where `limit` is less; whoever
    /// calls this decides whether to do so again.
    pub async fn redeem(
        &self,
        app: &App,
        code: &Code,
        limit: Duration,
    ) -> Result<Redeemed, CallFailure> {
        if app.kind != AppKind::MiniProgram {
            return self.redeem_in_browser(app, code, limit).await;
        }
        let fields = self.jscode2session(app, code.expose(), Some(limit)).await?;
        Ok(Redeemed {
            identity: Identity {
                app: app.name.clone(),
                appid: app.appid.clone(),
                openid: fields.text("openid")?,
                unionid: fields.optional_text("unionid")?,
                source: Source::MiniProgram,
            },
            session_key: Some(fields.secret("session_key")?),
            user_token: None,
            is_snapshot: false,
        })
    }

    pub(super) async fn jscode2session(
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
                ("js_code", code),
                ("grant_type", "authorization_code"),
            ],
        );
        self.within(call, limit).fields().await
    }
}
