//! The stable token: every node may ask for it at any time and gets the same, so that none waits for another.

use super::AccessTokens;
use super::endpoint::Asking;
use super::renewal::{Renewal, ask};
use super::token::Kept;
use crate::session::Ranked;
use crate::wechat::ApiError;

impl AccessTokens {
    /// Takes the token that another node left in the store, or asks WeChat for it.
    pub(super) async fn renew_stable(
        &self,
        renewal: &Renewal<'_>,
        asking: Asking,
    ) -> Result<(), ApiError> {
        let entry = renewal.entry;
        let stored = match asking {
            Asking::Forced => None,
            Asking::Stable | Asking::Classic => self.stored(renewal, None).await,
        };
        let now = self.now();
        let known = entry.state().kept.as_ref().map_or(0, |kept| kept.rank);
        // An older one than the one that is refused is over as well.
        let newer = |kept: &Kept| renewal.refused.is_none() || kept.rank > known;
        let usable =
            |kept: &Kept| kept.is_fresh(now) && newer(kept) && renewal.refused != Some(&kept.token);
        if let Some(kept) = stored.filter(usable) {
            self.adopt(renewal, kept, Some("shared"));
            return Ok(());
        }
        if renewal.refused.is_some() {
            entry.state().doubt.asked = Some(now);
        }
        let given = ask(renewal.wechat, renewal.app, asking).await?;
        let kept = Kept::new(given, self.now(), now, false);
        let newest = self.stored(renewal, kept.stored().as_ref()).await;
        let newer = newest
            .filter(|newest| newest.rank > kept.rank && renewal.refused != Some(&newest.token));
        let how = (asking == Asking::Forced).then_some("forced");
        match newer {
            // This answer was late: another node has asked since.
            Some(newer) => self.adopt(renewal, newer, Some("shared")),
            None => self.adopt(renewal, kept, how),
        }
        Ok(())
    }

    /// Leaves a token in the store unless a newer one is there, and returns that; a store that is away keeps nobody from WeChat.
    pub(super) async fn stored(
        &self,
        renewal: &Renewal<'_>,
        mine: Option<&Ranked>,
    ) -> Option<Kept> {
        let entry = renewal.entry;
        let kept = self
            .shared
            .store
            .keep_newer(entry.slot, mine, None)
            .await
            .inspect_err(|error| {
                tracing::debug!(%error, "an access_token could not be shared");
            });
        let now = self.now();
        let found = kept.ok()?;
        entry.state().looked = Some(now);
        Kept::read(&found?, now, entry.is_classic())
    }
}
