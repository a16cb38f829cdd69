//! Tickets: a mini-program's login is handed to a web-view, once.

use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::rand;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::browser_origin::BrowserOrigin;
use super::grant::WebGrant;
use super::tickets::Tickets;
use crate::config::App;
use crate::login::{Caller, Logins};
use crate::request::{Denial, Requests};
use crate::secret::Secret;
use crate::session::{
    Claim, CodeMark, CodeUse, Holder, Identity, Opened, SessionId, Sessions, StoreError,
};
use crate::token::{SignedUrl, Verified};

const PURPOSE: &str = "a ticket";
/// How long a ticket is good.
const TTL: Duration = Duration::from_secs(60);
/// How long what it opened is known by it, so that a second use can end that.
pub(super) const REMEMBERED: Duration = Duration::from_secs(300);

/// What is sealed in a ticket.
///
/// The seal alone would let whoever has its key be anybody, so that the key of tokens signs for whom the ticket is.
#[derive(Deserialize, Serialize)]
struct Ticket {
    #[serde(rename = "n")]
    number: u128,
    #[serde(rename = "a")]
    app: String,
    #[serde(rename = "e")]
    expires: u64,
    /// Says whose it is, for this number alone.
    #[serde(rename = "p")]
    proof: String,
}

/// Returns what the proof in a ticket is for; no URL is alike, since each has a path that begins with a slash.
fn signed(number: &str) -> SignedUrl<'_> {
    SignedUrl {
        method: "ticket",
        host: "",
        path: number,
        query: None,
    }
}

impl Logins {
    /// Makes a ticket, and returns the JSON that a client gets.
    pub fn ticket(&self, who: &Verified) -> Result<Vec<u8>, Denial> {
        let app = self.apps.get(who.app()).ok_or(Denial::AppUnknown)?;
        let mut number = [0; 16];
        rand::fill(&mut number).map_err(StoreError::from)?;
        let number = u128::from_be_bytes(number);
        let proof = self.sign_for(who, &signed(&number.to_string()), TTL)?;
        let ticket = Ticket {
            number,
            app: app.name.clone(),
            expires: self.clock.unix_secs().saturating_add(TTL.as_secs()),
            proof: proof.token.expose().to_owned(),
        };
        let ticket = serde_json::to_string(&ticket).map_err(|_| Denial::Internal)?;
        let sealed = self.sessions.seal_for(PURPOSE, &Secret::new(ticket))?;
        let path = format!("{}/ticket/{sealed}", self.web.auth_path);
        let told = json!({ "ticket": sealed, "expires_in": TTL.as_secs(), "path": path });
        Ok(told.to_string().into_bytes())
    }

    /// Opens a session for whoever brings a ticket first. Whoever comes second ends it.
    pub async fn redeem_ticket(
        &self,
        text: &str,
        browser: &BrowserOrigin,
        caller: &Caller,
        requests: &Requests,
    ) -> Result<WebGrant, Denial> {
        browser.origin(&self.web)?;
        let opened = self.sessions.open_sealed(PURPOSE, text);
        let ticket = opened.and_then(|ticket| serde_json::from_str::<Ticket>(ticket.expose()).ok());
        let ticket = ticket.ok_or(Denial::TicketInvalid("not ours"))?;
        let app = self.apps.iter().position(|app| app.name == ticket.app);
        let index = app.ok_or(Denial::AppUnknown)?;
        let app = self.apps.get(index).ok_or(Denial::AppUnknown)?;
        let number = ticket.number.to_string();
        let who = match requests.admit_ticket(&ticket.proof, &signed(&number)) {
            Ok(who) if who.app() != index => return Err(Denial::TicketInvalid("another app's")),
            Ok(who) if ticket.expires > self.clock.unix_secs() => Some(who),
            // A second use after that ends what the first one opened all the same.
            Ok(_) | Err(Denial::TokenExpired) => None,
            Err(denial) => return Err(denial),
        };
        let mark = self.sessions.mark(&app.appid, &format!("ticket {number}"));
        let first_here = who.filter(|_| self.state.tickets.take(mark));
        let identity = first_here.map(|who| identity(app, &who));
        let use_it = Use {
            sessions: self.sessions.clone(),
            mark,
            identity,
            spent: Arc::clone(&self.state.tickets),
        };
        // In a task of its own, so that a client that leaves leaves nothing half done.
        let done = self.state.tasks.spawn(use_it.run()).await;
        let opened = done.map_err(|_| Denial::Internal)?;
        self.tell_ticket(&app.name, caller, &opened);
        self.grant_to_browser(opened?, browser.https)
    }
}

fn identity(app: &App, who: &Verified) -> Identity {
    let text = |value: &http::HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    Identity {
        app: app.name.clone(),
        appid: app.appid.clone(),
        openid: text(who.openid()),
        unionid: who.unionid().map(text),
        source: who.source(),
    }
}

/// One use of a ticket.
struct Use {
    sessions: Sessions,
    mark: CodeMark,
    /// Whose session it opens; `None` where it opens none.
    identity: Option<Identity>,
    spent: Arc<Tickets>,
}

impl Use {
    async fn run(self) -> Result<Opened, Denial> {
        let Self {
            sessions,
            mark,
            spent,
            ..
        } = &self;
        let lease = TTL + REMEMBERED;
        let Some(identity) = self.identity.clone() else {
            return self.refuse().await;
        };
        let claimed = sessions.claim(*mark, Holder::random()?, lease).await;
        // Nothing is spent yet: whoever has the ticket may come again.
        let claimed = claimed.inspect_err(|_| spent.forget(*mark))?;
        if let Claim::Yours = claimed {
            let used = CodeUse {
                code: *mark,
                first: sessions.sender(*mark, None, None)?.mark(),
                keep: REMEMBERED,
                spends: Some((*mark, lease)),
            };
            let opened = sessions.open_session_for(used, identity, None).await?;
            spent.opened(*mark, opened.session.id);
            return Ok(opened);
        }
        match opened_by(&claimed) {
            Some(session) => self.end(session).await,
            None => self.refuse().await,
        }
    }

    /// Refuses a ticket that is over or used, and ends what it opened.
    async fn refuse(&self) -> Result<Opened, Denial> {
        if let Some(session) = self.spent.session(self.mark).await {
            return self.end(session).await;
        }
        let claimed = self.sessions.claim(self.mark, Holder::random()?, TTL).await;
        match claimed.as_ref().ok().and_then(opened_by) {
            Some(session) => self.end(session).await,
            None => Err(Denial::TicketInvalid("expired or used before")),
        }
    }

    async fn end(&self, session: SessionId) -> Result<Opened, Denial> {
        self.sessions.end(session).await?;
        Err(Denial::TicketInvalid("used before"))
    }
}

/// Returns the session that a ticket opened on another node, or before this process began.
fn opened_by(claimed: &Claim) -> Option<SessionId> {
    match claimed {
        Claim::Done(opened, ..) => Some(opened.session.id),
        Claim::Spent(session) => *session,
        Claim::Yours
        | Claim::Elsewhere
        | Claim::Lost
        | Claim::Refused(..)
        | Claim::NotStored(_) => None,
    }
}
