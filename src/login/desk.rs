//! Where the codes of one app become sessions.

use std::sync::Arc;
use std::time::Duration;

use super::credentials::Credentials;
use super::line::Terms;
use super::memory::Memory;
use super::once::{Flight, Outcome};
use super::quota::Pace;
use super::redemption::Redemption;
use crate::clock::Clock;
use crate::config::{App, Login};
use crate::request::Denial;
use crate::session::{CodeMark, Opened, Sessions};
use crate::wechat::{Client, Code};

/// The most codes that are being redeemed at a time: a client that leaves does not end what it began.
const MOST_AT_ONCE: usize = 20_000;

/// Where the codes of one app become sessions.
pub(super) struct Desk {
    pub(super) credentials: Credentials,
    pub(super) config: Login,
    pub(super) terms: Terms,
    pub(super) lane: Arc<super::lane::Lane>,
    pub(super) wechat: Client,
    pub(super) sessions: Sessions,
    pub(super) memory: Arc<Memory>,
    pub(super) clock: Clock,
}

impl Desk {
    pub(super) fn new(
        app: &App,
        config: &Login,
        wechat: Client,
        sessions: Sessions,
        memory: Arc<Memory>,
        clock: Clock,
    ) -> Self {
        Self {
            terms: Terms {
                pace: app.quota_per_minute.map(Pace::new),
                places: config.queue,
            },
            lane: memory.lane(app),
            config: config.clone(),
            credentials: Credentials::new(app),
            wechat,
            sessions,
            memory,
            clock,
        }
    }

    /// Returns the app's name.
    pub(super) fn name(&self) -> &str {
        &self.credentials.in_use().name
    }

    fn appid(&self) -> &str {
        &self.credentials.in_use().appid
    }

    /// Turns a code into a session: a new one, or the one that it has become a moment ago.
    pub(super) async fn redeem(self: &Arc<Self>, code: &Code) -> Result<Opened, Denial> {
        let mark = self.sessions.mark(self.appid(), code.expose());
        loop {
            let (flight, is_new) = self.memory.codes.join(mark, self.clock.instant());
            if let Some(settled) = flight.settled() {
                return self.again(settled.outcome).await;
            }
            let mut heard = flight.listen();
            if is_new {
                self.begin(code, mark, &flight);
            }
            let settled = heard.wait_for(Option::is_some).await;
            let outcome = settled.map_err(|_| Denial::Internal)?.clone();
            match outcome.map(|settled| settled.outcome) {
                Some(Outcome::Granted(opened)) => return Ok(opened),
                Some(Outcome::Refused(denial)) => return Err(denial),
                Some(Outcome::Abandoned) | None => {}
            }
        }
    }

    /// Redeems a code in a task of its own: a client that leaves comes again, with the same code.
    fn begin(self: &Arc<Self>, code: &Code, mark: CodeMark, flight: &Arc<Flight>) {
        let ending = Ending {
            desk: Arc::clone(self),
            mark,
            flight: Arc::clone(flight),
        };
        if self.memory.tasks.len() >= MOST_AT_ONCE {
            let busy = Denial::WechatBusy(None, self.lane.promise(&self.terms));
            ending.settle(Outcome::Refused(busy), Duration::ZERO);
            return;
        }
        let redemption = Redemption::new(Arc::clone(self), code.clone(), mark);
        self.memory.tasks.spawn(async move {
            let (outcome, keep, holder) = redemption.run(&ending.flight).await;
            let desk = Arc::clone(&ending.desk);
            ending.settle(outcome, keep);
            if let Some(holder) = holder {
                // Without this, other nodes would hold the code for one whose fate nobody knows.
                let given_back = desk.sessions.give_back(mark, holder).await;
                if let Err(error) = given_back {
                    tracing::debug!(%error, "a code could not be given back");
                }
            }
        });
    }

    /// Gives an outcome of a moment ago again.
    async fn again(&self, outcome: Outcome) -> Result<Opened, Denial> {
        match outcome {
            Outcome::Granted(opened) => {
                let unused = self.sessions.unused(&opened.refresh).await?;
                let unused = unused.ok_or(Denial::CodeUsed(None))?;
                self.memory.metrics.replay(self.name());
                Ok(unused)
            }
            Outcome::Refused(denial) => Err(denial),
            Outcome::Abandoned => Err(Denial::Internal),
        }
    }
}

/// Brings a flight to an end, whatever becomes of its task.
struct Ending {
    desk: Arc<Desk>,
    mark: CodeMark,
    flight: Arc<Flight>,
}

impl Ending {
    fn settle(self, outcome: Outcome, keep: Duration) {
        self.end(outcome, keep);
    }

    fn end(&self, outcome: Outcome, keep: Duration) {
        let now = self.desk.clock.instant();
        let codes = &self.desk.memory.codes;
        codes.settle(self.mark, &self.flight, outcome, keep, now);
    }
}

impl Drop for Ending {
    fn drop(&mut self) {
        if self.flight.settled().is_none() {
            self.end(Outcome::Refused(Denial::Internal), Duration::ZERO);
        }
    }
}
