//! The tickets that were used here, and the sessions that they opened.

use std::sync::Arc;
use std::time::Duration;

use moka::sync::Cache;
use tokio::sync::watch;
use tokio::time::timeout;

use super::ticket::REMEMBERED;
use crate::session::{CodeMark, SessionId};

const MOST: u64 = 100_000;
/// How long somebody waits for what another use is about to open.
const OTHER_USE_TIMEOUT: Duration = Duration::from_secs(5);

/// The tickets that were used here; a store that nodes share knows those of the others.
#[derive(Debug)]
pub(in crate::login) struct Tickets(Cache<CodeMark, Arc<watch::Sender<Option<SessionId>>>>);

impl Default for Tickets {
    fn default() -> Self {
        let cache = Cache::builder();
        Self(cache.max_capacity(MOST).time_to_live(REMEMBERED).build())
    }
}

impl Tickets {
    /// Takes a ticket; `false` says that it was taken before.
    pub(super) fn take(&self, mark: CodeMark) -> bool {
        let new = || Arc::new(watch::Sender::new(None));
        self.0.entry(mark).or_insert_with(new).is_fresh()
    }

    /// Gives a ticket back that was not used after all.
    pub(super) fn forget(&self, mark: CodeMark) {
        self.0.invalidate(&mark);
    }

    /// Says what a ticket opened.
    pub(super) fn opened(&self, mark: CodeMark, session: SessionId) {
        if let Some(opening) = self.0.get(&mark) {
            opening.send_replace(Some(session));
        }
    }

    /// Returns what a ticket opened here, or is about to open.
    pub(super) async fn session(&self, mark: CodeMark) -> Option<SessionId> {
        let mut heard = self.0.get(&mark)?.subscribe();
        let waited = timeout(OTHER_USE_TIMEOUT, heard.wait_for(Option::is_some)).await;
        waited.ok()?.ok().and_then(|session| *session)
    }
}
