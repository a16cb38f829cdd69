//! Logs a user out: this session, or all of the user's sessions in this app.

use super::{Logins, LogoutBody};
use crate::request::{Denial, RequestId};
use crate::token::Verified;

impl Logins {
    /// Ends the caller's session, or every session of the caller in this app.
    pub async fn log_out(
        &self,
        who: &Verified,
        body: &LogoutBody,
        id: &RequestId,
    ) -> Result<(), Denial> {
        let everywhere = body.everywhere == Some(true);
        if everywhere {
            let app = self.apps.get(who.app()).ok_or(Denial::AppUnknown)?;
            let openid = String::from_utf8_lossy(who.openid().as_bytes());
            self.sessions.end_all(&app.appid, &openid).await?;
        }
        // Also when all end: a token is only good while its session is known to stand.
        self.sessions.end(*who.session()).await?;
        self.tell_logout(who, everywhere, id);
        Ok(())
    }
}
