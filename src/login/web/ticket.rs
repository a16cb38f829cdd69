//! Tickets: a mini-program's login is handed to a web-view, once.

use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::rand;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::browser_origin::BrowserOrigin;
use super::grant::WebGrant;
use super::tickets::Tickets;
use crate::login::{Caller, Logins};
use crate::request::Denial;
use crate::secret::Secret;
use crate::session::{
    Claim, CodeMark, Holder, Identity, Opened, SessionId, Sessions, Source, StoreError,
};
use crate::token::Verified;

const PURPOSE: &str = "a ticket";
/// How long a ticket is good.
const TTL: Duration = Duration::from_secs(60);
/// How long what it opened is known by it, so that a second use can end that.
pub(super) const REMEMBERED: Duration = Duration::from_secs(300);

/// What is sealed in a ticket.
#[derive(Deserialize, Serialize)]
struct Ticket {
    #[serde(rename = "n")]
    number: u128,
    #[serde(rename = "a")]
    app: String,
    #[serde(rename = "o")]
    openid: String,
    #[serde(rename = "u", skip_serializing_if = "Option::is_none", default)]
    unionid: Option<String>,
    #[serde(rename = "s")]
    source: String,
    /// The session that asked for it.
    #[serde(rename = "i")]
    session: String,
    #[serde(rename = "e")]
    expires: u64,
}

impl Logins {
    /// Makes a ticket, and returns the JSON that a client gets.
    pub fn ticket(&self, who: &Verified) -> Result<Vec<u8>, Denial> {
        let app = self.apps.get(who.app()).ok_or(Denial::AppUnknown)?;
        let mut number = [0; 16];
        rand::fill(&mut number).map_err(StoreError::from)?;
        let text =
            |value: &http::HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
        let ticket = Ticket {
            number: u128::from_be_bytes(number),
            app: app.name.clone(),
            openid: text(who.openid()),
            unionid: who.unionid().map(text),
            source: who.source().as_str().to_owned(),
            session: who.session().to_string(),
            expires: self.clock.unix_secs().saturating_add(TTL.as_secs()),
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
    ) -> Result<WebGrant, Denial> {
        browser.origin(&self.web)?;
        let opened = self.sessions.open_sealed(PURPOSE, text);
        let ticket = opened.and_then(|ticket| serde_json::from_str::<Ticket>(ticket.expose()).ok());
        let ticket = ticket.ok_or(Denial::TicketInvalid("not ours"))?;
        let app = self.apps.iter().find(|app| app.name == ticket.app);
        let app = app.ok_or(Denial::AppUnknown)?;
        let mark = self
            .sessions
            .mark(&app.appid, &format!("ticket {}", ticket.number));
        let first_here = self.state.tickets.take(mark);
        let is_over = ticket.expires <= self.clock.unix_secs();
        let session: SessionId = ticket
            .session
            .parse()
            .map_err(|_| Denial::TicketInvalid("no session"))?;
        if self.sessions.revoked().contains(&session) {
            return Err(Denial::SessionEnded);
        }
        if first_here && is_over {
            return Err(Denial::TicketInvalid("expired"));
        }
        let use_it = Use {
            sessions: self.sessions.clone(),
            mark,
            identity: Identity {
                app: app.name.clone(),
                appid: app.appid.clone(),
                openid: ticket.openid,
                unionid: ticket.unionid,
                source: Source::from_name(&ticket.source)
                    .ok_or(Denial::TicketInvalid("no source"))?,
            },
            spent: Arc::clone(&self.state.tickets),
            may_open: first_here,
        };
        // In a task of its own, so that a client that leaves leaves nothing half done.
        let done = self.state.tasks.spawn(use_it.run()).await;
        let opened = done.map_err(|_| Denial::Internal)?;
        self.tell_ticket(&app.name, caller, &opened);
        self.grant_to_browser(opened?, browser.https)
    }
}

/// One use of a ticket.
struct Use {
    sessions: Sessions,
    mark: CodeMark,
    identity: Identity,
    spent: Arc<Tickets>,
    may_open: bool,
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
        if !self.may_open {
            return self.refuse().await;
        }
        let claimed = sessions.claim(*mark, Holder::random()?, lease).await;
        // Nothing is spent yet: whoever has the ticket may come again.
        let claimed = claimed.inspect_err(|_| spent.forget(*mark))?;
        match claimed {
            Claim::Yours => {
                let sender = sessions.sender(*mark, None, None)?.mark();
                let opened = sessions
                    .open_session_for(*mark, sender, REMEMBERED, self.identity.clone(), None)
                    .await?;
                spent.opened(*mark, opened.session.id);
                Ok(opened)
            }
            Claim::Done(opened, ..) => {
                sessions.end(opened.session.id).await?;
                Err(Denial::TicketInvalid("used before"))
            }
            Claim::Elsewhere
            | Claim::Lost
            | Claim::Spent
            | Claim::Refused(..)
            | Claim::NotStored(_) => self.refuse().await,
        }
    }

    /// Refuses a ticket that is over or used, and ends what it opened.
    async fn refuse(&self) -> Result<Opened, Denial> {
        if let Some(session) = self.spent.session(self.mark).await {
            self.sessions.end(session).await?;
            return Err(Denial::TicketInvalid("used before"));
        }
        let claimed = self.sessions.claim(self.mark, Holder::random()?, TTL).await;
        if let Ok(Claim::Done(opened, ..)) = claimed {
            self.sessions.end(opened.session.id).await?;
            return Err(Denial::TicketInvalid("used before"));
        }
        Err(Denial::TicketInvalid("expired or used before"))
    }
}
