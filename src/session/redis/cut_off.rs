//! Has tokens refused while the stream of revocations cannot be read, where that is configured.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;

use crate::session::RevokedSessions;

/// Runs until it is aborted: after `limit` without reading the stream to its end, every token is refused.
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
