//! The private listener while it serves.

use std::io;
use std::sync::Arc;

use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::Reloader;
use super::parts::Lasting;
use crate::control::{Control, Failures, Readiness};
use crate::server::Listening;
use crate::token::RelayTokens;

/// What answers there, until it is told to stop.
pub(super) struct Private {
    readiness: Arc<Readiness>,
    over: CancellationToken,
    answering: JoinHandle<()>,
}

impl Private {
    /// Begins to answer; `None` where there is no such listener.
    pub(super) fn start(
        listening: &Listening,
        lasting: &Lasting,
        reloader: Option<Reloader>,
    ) -> io::Result<Option<Self>> {
        let Some(listener) = listening.private()? else {
            return Ok(None);
        };
        let (readiness, over) = (Arc::<Readiness>::default(), CancellationToken::new());
        let control = Control {
            known: Arc::clone(&lasting.known),
            metrics: lasting.metrics.clone(),
            sessions: lasting.sessions.clone(),
            reach: lasting.reach.clone(),
            readiness: Arc::clone(&readiness),
            failures: Arc::new(Failures::new(lasting.clock.clone())),
            relay_tokens: RelayTokens::new(lasting.sessions.relay_key(), lasting.clock.clone()),
            resets: lasting.resets.clone(),
            reload: reloader.map(Reloader::for_control),
        };
        let stop = over.clone().cancelled_owned();
        Ok(Some(Self {
            readiness,
            over,
            answering: tokio::spawn(control.serve(listener, stop)),
        }))
    }

    /// Tells those who ask that no more requests should come, and goes on answering.
    pub(super) fn drain(&self) {
        self.readiness.drain();
    }

    /// Answers what has been asked, and stops.
    pub(super) async fn stop(self) {
        self.over.cancel();
        let _ = self.answering.await;
    }
}
