//! Has tokens refused while nothing is heard of revocations, where that is wanted.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;

use crate::session::RevokedSessions;

/// Goes on for ever: after `limit` without news, nobody can tell which sessions have ended.
pub(super) async fn watch(heard: Arc<Notify>, known: RevokedSessions, limit: Duration) {
    let mut silent = false;
    loop {
        let news = tokio::time::timeout(limit, heard.notified()).await;
        if news.is_err() == silent {
            continue;
        }
        silent = news.is_err();
        known.set_unknown(silent);
        if silent {
            tracing::error!(
                ?limit,
                "nothing is heard of revocations: tokens are refused until Redis answers"
            );
        } else {
            tracing::info!("revocations are heard of again: tokens are accepted");
        }
    }
}
