//! Limits, for each address, codes that WeChat refuses and codes that were turned away.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Instant;

use super::Charge;
use crate::request::{Client, Denial, Rates};
use crate::wechat::{ErrcodeClass, class};

/// So many calls of an address may be over a quota of WeChat's at once, and as many a minute: each keeps all others back for a
/// moment.
const OVER_QUOTA: NonZeroU32 = NonZeroU32::MIN.saturating_add(2);

/// The counters of all addresses.
#[derive(Debug)]
pub struct LoginRates {
    in_vain: Arc<Rates>,
    turned_away: Rates,
    over_quota: Rates,
}

impl LoginRates {
    /// Prepares the counters, with so many codes a minute that may be good for nothing, or be turned away.
    pub fn new(in_vain: NonZeroU32) -> Self {
        Self {
            in_vain: Arc::new(Rates::per_minute(in_vain)),
            turned_away: Rates::per_minute(in_vain),
            over_quota: Rates::per_minute(OVER_QUOTA),
        }
    }

    /// Has a client log in, or refuses it where too many of its codes were good for nothing; `login` is given what the code counts
    /// for, and whether too many were turned away.
    ///
    /// A code counts as soon as it is on its way, so that a crowd of them is as many; one that is good for something is taken
    /// back, since thousands of users may share an address.
    pub async fn counting<T>(
        &self,
        client: &Client,
        login: impl AsyncFnOnce(Arc<Charge>, bool) -> Result<T, Denial>,
    ) -> Result<T, Denial> {
        self.over_quota.check(client, Instant::now())?;
        let charge = Charge::admit(&self.in_vain, client, Instant::now())?;
        let charge = Arc::new(charge);
        let over_limit = self.turned_away.admit(client, Instant::now()).is_err();
        let outcome = login(Arc::clone(&charge), over_limit).await;
        // Of whoever has left it is not known yet what the code brings.
        if !matches!(outcome, Err(Denial::ClientLeft)) {
            charge.settle(outcome.as_ref().err());
        }
        let turned_away = matches!(
            outcome,
            Err(Denial::WechatBusy(None, _) | Denial::WechatUnreachable(_))
        );
        if !over_limit && !turned_away {
            self.turned_away.take_back(client);
        }
        if let Err(Denial::WechatBusy(Some(errcode), _)) = outcome
            && class(errcode) == ErrcodeClass::MinuteQuota
        {
            // Not beyond the limit: a crowd that has used up the app's quota together is kept out no longer for it.
            let _ = self.over_quota.admit(client, Instant::now());
        }
        outcome
    }
}
