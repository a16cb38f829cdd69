//! Redeems the codes of one app: each goes to WeChat once, in a task of its own, and its session to its first sender.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::Nonce;
use super::credentials::Credentials;
use super::failure::Release;
use super::redemption::Redemption;
use super::single_flight::{Flight, Granted, Outcome};
use crate::clock::Clock;
use crate::config::{App, LoginSettings};
use crate::login::LoginState;
use crate::login::caller::Caller;
use crate::login::queue::{LoginQueue, Pace, QueueLimits};
use crate::request::{Denial, network};
use crate::session::{CodeMark, Holder, Opened, Sender, Sessions, StoreError};
use crate::wechat::{Client, Code, WarningLimit};

/// The most codes that are being redeemed at a time: a client that leaves does not end what it began.
const MAX_IN_FLIGHT: usize = 20_000;

/// Turns the codes of one app into sessions.
pub(in crate::login) struct Redeemer {
    pub(super) credentials: Credentials,
    pub(super) config: LoginSettings,
    pub(super) limits: QueueLimits,
    pub(super) queue: Arc<LoginQueue>,
    pub(super) wechat: Client,
    pub(super) sessions: Sessions,
    pub(super) state: Arc<LoginState>,
    pub(super) clock: Clock,
    /// Whether the profile is fetched where a user agreed to show it.
    pub(super) profiles: bool,
    /// Limits the warnings of what only the operator can mend.
    warnings: Mutex<WarningLimit<Refused>>,
}

/// What WeChat refused, with its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(in crate::login) enum Refused {
    /// A login; `None` is an answer without a valid number.
    Login(Option<i64>),
    /// A user's profile, without which the login goes on.
    Profile(i64),
}

impl Redeemer {
    pub(in crate::login) fn new(
        app: &App,
        profiles: bool,
        config: &LoginSettings,
        wechat: Client,
        sessions: Sessions,
        state: Arc<LoginState>,
        clock: Clock,
    ) -> Self {
        Self {
            limits: QueueLimits {
                pace: app.quota_per_minute.map(Pace::new),
                capacity: config.queue,
            },
            queue: state.queue(app),
            config: config.clone(),
            credentials: Credentials::new(app),
            wechat,
            sessions,
            state,
            clock,
            profiles,
            warnings: Mutex::default(),
        }
    }

    /// Takes notice of what WeChat refused for what only the operator can mend; returns how often it did since the last warning where
    /// another one is due.
    pub(in crate::login) fn warning_due(&self, refused: Refused) -> Option<u64> {
        let mut warnings = self.warnings.lock().unwrap_or_else(PoisonError::into_inner);
        warnings.meet(refused, self.clock.instant())
    }

    /// Returns the app's name.
    pub(in crate::login) fn name(&self) -> &str {
        &self.credentials.in_use().name
    }

    pub(in crate::login) fn appid(&self) -> &str {
        &self.credentials.in_use().appid
    }

    /// Turns a code into a session: a new one, or the one that it has become a moment ago.
    pub(in crate::login) async fn redeem(
        self: &Arc<Self>,
        code: &Code,
        caller: &Caller,
    ) -> Result<Opened, Denial> {
        let mark = self.sessions.mark(self.appid(), code.expose());
        let nonce = caller.nonce.as_ref().map(Nonce::expose);
        let address = caller.address.map(network);
        let attempt = Attempt {
            code,
            mark,
            spends: None,
            caller,
            sender: self.sessions.sender(mark, nonce, address)?,
        };
        self.redeem_once(attempt).await
    }

    /// Does the same for a browser that came back with the `state` of its login.
    ///
    /// Here it is the state that is good once, and the code proves that it is the same callback which comes again.
    pub(in crate::login) async fn redeem_state(
        self: &Arc<Self>,
        state: &str,
        code: &Code,
        caller: &Caller,
    ) -> Result<Opened, Denial> {
        let mark = self.sessions.mark(self.appid(), &format!("state {state}"));
        let attempt = Attempt {
            code,
            mark,
            spends: Some(self.sessions.mark(self.appid(), &format!("spent {state}"))),
            caller,
            sender: self.sessions.sender(mark, Some(code.expose()), None)?,
        };
        self.redeem_once(attempt).await
    }

    async fn redeem_once(self: &Arc<Self>, attempt: Attempt<'_>) -> Result<Opened, Denial> {
        let mark = attempt.mark;
        if let Some(trace) = &attempt.caller.trace {
            trace.name_app(self.name());
        }
        loop {
            let (flight, is_new) = self.state.codes.join(mark, self.clock.instant());
            if let Some(opened) = self.follow(&attempt, &flight, is_new).await? {
                return Ok(opened);
            }
        }
    }

    /// Waits for what a flight brings, which has yet to begin where it `is_new`.
    ///
    /// `None` where somebody left just then, and another flight is needed.
    async fn follow(
        self: &Arc<Self>,
        attempt: &Attempt<'_>,
        flight: &Arc<Flight>,
        is_new: bool,
    ) -> Result<Option<Opened>, Denial> {
        if let Some(settled) = flight.settled() {
            let outcome = settled.outcome_at(self.clock.instant());
            return self.again(attempt, outcome).await;
        }
        let mut heard = flight.listen();
        if is_new {
            self.begin(attempt, flight);
        }
        let settled = heard.wait_for(Option::is_some).await;
        let outcome = settled.map_err(|_| Denial::Internal)?.clone();
        match outcome.map(|settled| settled.outcome) {
            Some(Outcome::Granted(granted)) => self.give(attempt, *granted).map(Some),
            Some(Outcome::Refused(denial)) => Err(denial),
            Some(Outcome::Abandoned) | None => Ok(None),
        }
    }

    /// Gives a code's session to its first sender, and to nobody else.
    fn give(&self, attempt: &Attempt<'_>, granted: Granted) -> Result<Opened, Denial> {
        if attempt.sender.is(&granted.first) {
            return Ok(granted.opened);
        }
        // Any client can bring this about, as often as it likes.
        tracing::info!(
            request_id = %attempt.caller.id,
            first_request_id = granted.first_id.as_ref().map(tracing::field::display),
            app = self.name(),
            "a code came from two clients: one has its session, the other neither its nonce nor its address"
        );
        Err(Denial::CodeUsed(None))
    }

    /// Redeems a code in a task of its own: a client that leaves comes again, with the same code.
    fn begin(self: &Arc<Self>, attempt: &Attempt<'_>, flight: &Arc<Flight>) {
        let Attempt {
            code,
            mark,
            spends,
            caller,
            ref sender,
        } = *attempt;
        let guard = FlightGuard {
            redeemer: Arc::clone(self),
            mark,
            flight: Arc::clone(flight),
        };
        if self.state.tasks.len() >= MAX_IN_FLIGHT {
            let after = self.queue.reserve(&self.limits, caller);
            let busy = Denial::WechatBusy(None, after);
            guard.settle(Outcome::Refused(busy), Duration::ZERO);
            return;
        }
        let (id, charge) = (caller.id.clone(), caller.charge.clone());
        let (code, caller) = (code.clone(), caller.clone());
        let redemption = Redemption::new(
            Arc::clone(self),
            code,
            (mark, spends),
            caller,
            sender.mark(),
        );
        self.state.tasks.spawn(async move {
            let (outcome, keep, claim) = redemption.run(&guard.flight).await;
            let redeemer = Arc::clone(&guard.redeemer);
            if guard.flight.is_left() && matches!(outcome, Outcome::Granted(_)) {
                // Nobody else says so.
                tracing::info!(request_id = %id, app = redeemer.name(), "login granted to a client that has left");
            }
            if let (Some(charge), Outcome::Refused(denial)) = (charge, &outcome) {
                charge.settle(Some(denial));
            }
            let refused = match &outcome {
                Outcome::Refused(denial) if !keep.is_zero() => denial.errcode(),
                Outcome::Refused(_) | Outcome::Granted(_) | Outcome::Abandoned => None,
            };
            guard.settle(outcome, keep);
            // Otherwise other nodes would treat the code as one whose outcome is unknown.
            if let Some((holder, claim)) = claim
                && let Err(error) = redeemer.release(mark, holder, claim, refused, keep).await
            {
                tracing::debug!(%error, "a code could not be given back");
            }
        });
    }

    /// Lets go of the claim to a code that became no session.
    async fn release(
        &self,
        mark: CodeMark,
        holder: Holder,
        claim: Release,
        refused: Option<i64>,
        keep: Duration,
    ) -> Result<(), StoreError> {
        let sessions = &self.sessions;
        match (claim, refused) {
            (Release::Kept, _) => Ok(()),
            (Release::NotStored, _) => {
                sessions.keep_not_stored(mark, holder);
                Ok(())
            }
            (Release::GivenBack, Some(errcode)) => {
                sessions.keep_refusal(mark, holder, errcode, keep).await
            }
            (Release::GivenBack, None) => sessions.give_back(mark, holder).await,
        }
    }

    /// Gives an outcome of a moment ago again.
    async fn again(
        &self,
        attempt: &Attempt<'_>,
        outcome: Outcome,
    ) -> Result<Option<Opened>, Denial> {
        match outcome {
            Outcome::Granted(granted) => {
                let opened = self.give(attempt, *granted)?;
                let unused = self.sessions.unused(&opened.refresh).await?;
                let unused = unused.ok_or(Denial::CodeUsed(None))?;
                self.state.metrics.replay(self.name());
                Ok(Some(unused))
            }
            // WeChat is back, and this code may be spent.
            Outcome::Refused(Denial::NotWechat(_)) if self.wechat.unreachable_cause().is_none() => {
                Err(Denial::WechatTimeout)
            }
            Outcome::Refused(denial) => Err(denial),
            Outcome::Abandoned => Ok(None),
        }
    }
}

/// A client's try to redeem a code.
struct Attempt<'a> {
    code: &'a Code,
    mark: CodeMark,
    /// What is never given back, for as long as a login in a browser may take.
    spends: Option<CodeMark>,
    caller: &'a Caller,
    sender: Sender,
}

/// Brings a flight to an end, whatever becomes of its task.
struct FlightGuard {
    redeemer: Arc<Redeemer>,
    mark: CodeMark,
    flight: Arc<Flight>,
}

impl FlightGuard {
    fn settle(self, outcome: Outcome, keep: Duration) {
        self.end(outcome, keep);
    }

    fn end(&self, outcome: Outcome, keep: Duration) {
        let now = self.redeemer.clock.instant();
        let codes = &self.redeemer.state.codes;
        codes.settle(self.mark, &self.flight, outcome, keep, now);
    }
}

impl Drop for FlightGuard {
    fn drop(&mut self) {
        if self.flight.settled().is_none() {
            self.end(Outcome::Refused(Denial::Internal), Duration::ZERO);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Proxy, WeChat};
    use crate::metrics::Metrics;
    use crate::request::RequestId;
    use crate::secret::Secret;
    use crate::session::SessionRules;

    const SECOND: Duration = Duration::from_secs(1);

    fn redeemer(folder: &std::path::Path) -> Arc<Redeemer> {
        let app = App {
            name: "shop".to_owned(),
            kind: crate::config::AppKind::MiniProgram,
            appid: "wx1".to_owned(),
            secret: Secret::new("s"),
            previous_secret: None,
            shared_from: None,
            access_token: crate::config::TokenKind::Stable,
            quota_per_minute: None,
        };
        let login = LoginSettings {
            quota_per_minute: None,
            queue: 0,
            queue_timeout: SECOND,
            replay: SECOND,
            timeout: SECOND,
            least_for_call: SECOND / 2,
            refused_per_minute: None,
            refreshes_per_minute: None,
        };
        let wechat = WeChat {
            api_base: "http://127.0.0.1:9".to_owned(),
            open_base: "http://127.0.0.1:9".to_owned(),
            proxy: Proxy::None,
            proxy_auth: None,
            ca_file: None,
            connect_timeout: SECOND,
            timeout: SECOND,
            is_simulated: false,
        };
        let rules = SessionRules {
            session_ttl: SECOND,
            refresh_grace: SECOND,
            token_ttl: SECOND,
            unionid_lookup: false,
        };
        let clock = Clock::system();
        let sessions = Sessions::embedded(folder, None, rules, clock.clone()).unwrap();
        let state = Arc::new(LoginState::new(clock.clone(), Metrics::default()));
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let client = Client::new(&wechat).unwrap();
        Arc::new(Redeemer::new(
            &app, false, &login, client, sessions, state, clock,
        ))
    }

    #[tokio::test]
    async fn whoever_joins_as_the_last_one_leaves_needs_another_flight() {
        let folder = tempfile::tempdir().unwrap();
        let redeemer = redeemer(folder.path());
        let code = Code::parse("0a1b2c").unwrap();
        let mark = redeemer.sessions.mark("wx1", code.expose());
        let (codes, now) = (&redeemer.state.codes, redeemer.clock.instant());
        let _ = codes.join(mark, now);
        let (joined, is_new) = codes.join(mark, now);
        codes.settle(mark, &joined, Outcome::Abandoned, Duration::ZERO, now);
        assert!(!is_new);
        let caller = Caller::new(RequestId::random(), None, false);
        let attempt = Attempt {
            code: &code,
            mark,
            spends: None,
            caller: &caller,
            sender: redeemer.sessions.sender(mark, None, None).unwrap(),
        };
        let followed = redeemer.follow(&attempt, &joined, false).await;
        assert!(matches!(followed, Ok(None)), "{followed:?}");
        assert!(codes.join(mark, now).1);
    }
}
