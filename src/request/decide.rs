//! Decides what happens to a request, without any I/O.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Instant;

use http::Method;

use super::bearer::{is_empty_bearer, jwts};
use super::destination::target_with;
use super::{
    Asker, Caller, Client, CookieCredential, Credential, CredentialKind, DecidingHeaders, Decision,
    Denial, Destination, Destinations, Endpoint, Field, FirstLogin, Message, Pass, Rates, Renewal,
    SignIn, Signed, Taken, admit_stranger, credential,
};
use crate::config::{AppKind, Auth, Config, OnMissing, Route};
use crate::session::RevokedSessions;
use crate::token::{Recalled, TokenError, Tokens, Unseen, Verified};

/// The most places of `Authorization` at which a token is looked for: eight tokens have as many, for their payloads begin as they do.
/// Nobody sends that many who means no harm.
const MOST_PLACES: usize = 16;
/// So many wrong signatures of one address are checked at once, and as many a minute: each costs as much as a hundred requests.
const WRONG_SIGNATURES: NonZeroU32 = NonZeroU32::MIN.saturating_add(599);

/// Everything a decision needs.
#[derive(Debug)]
pub struct Requests {
    pub(super) destinations: Destinations,
    pub(super) tokens: Arc<Tokens>,
    revoked: RevokedSessions,
    /// Counts the wrong signatures of each address.
    forgeries: Rates,
    kinds: Vec<AppKind>,
    /// Origins whose pages may have our own endpoints act with a cookie.
    origins: Vec<String>,
}

impl Requests {
    /// Prepares the decisions that `config` asks for.
    pub fn new(config: &Config, tokens: Arc<Tokens>, revoked: RevokedSessions) -> Self {
        Self {
            destinations: Destinations::new(config),
            tokens,
            revoked,
            forgeries: Rates::per_minute(WRONG_SIGNATURES),
            kinds: config.apps.iter().map(|app| app.kind).collect(),
            origins: config.cors.with_credentials().to_vec(),
        }
    }

    /// Gives up the memory of tokens that were verified.
    pub fn forget_tokens(&self) {
        self.tokens.forget();
    }

    /// Returns how many tokens are remembered.
    pub fn remembered_tokens(&self) -> usize {
        self.tokens.remembered()
    }

    /// Returns where our own endpoints are.
    pub fn auth_path(&self) -> &str {
        self.destinations.auth_path()
    }

    /// Returns the app or the ticket that the path of a browser's endpoint names.
    pub fn named<'p>(&self, path: &'p str) -> &'p str {
        Endpoint::named(self.auth_path(), path)
    }

    /// Finds where a request goes, if its sender may.
    pub fn find<'a>(&'a self, message: &Message<'a>) -> Result<Destination<'a>, Denial> {
        self.destinations.find(message)
    }

    /// Decides what happens to a client's request.
    pub fn decide(&self, message: &Message<'_>, client: &Client) -> Result<Decision, Denial> {
        self.decide_at(self.find(message)?, &Asker::of(message.headers, client))
    }

    /// Decides what happens to a request that goes to a destination.
    pub fn decide_at(
        &self,
        destination: Destination<'_>,
        asker: &Asker<'_>,
    ) -> Result<Decision, Denial> {
        let mut taken = match destination {
            Destination::Own(endpoint) => return Ok(Decision::Own(endpoint)),
            Destination::Route(taken) => taken,
        };
        let target = taken.target.take();
        match self.decide_taken(&taken, target, asker) {
            Err(denial) if taken.route.on_missing == OnMissing::Redirect => {
                match self.sign_in(&taken, asker, &denial) {
                    Some(sign_in) => Ok(Decision::SignIn(sign_in)),
                    None => Err(denial),
                }
            }
            Ok(Decision::Renew(mut renewal)) => {
                if taken.route.on_missing == OnMissing::Redirect {
                    renewal.otherwise = self.sign_in(&taken, asker, &Denial::SessionEnded);
                }
                Ok(Decision::Renew(renewal))
            }
            decided => decided,
        }
    }

    fn decide_taken(
        &self,
        taken: &Taken<'_>,
        target: Option<String>,
        asker: &Asker<'_>,
    ) -> Result<Decision, Denial> {
        let Taken { route, request, .. } = taken;
        let mut pass = Pass {
            route: Arc::clone(route),
            who: None,
            target,
            hide_authorization: false,
            hide_spare_bearers: request.headers.spare_bearers,
            credential: CredentialKind::None,
        };
        if route.auth == Auth::Public {
            let ours = self.carries_ours(&request.headers)?;
            pass.hide_authorization = ours && !route.forward_token;
            return Ok(Decision::Forward(pass));
        }
        if route.auth == Auth::SignedUrl
            && let Some(signed) = Signed::find(request.query)?
        {
            pass.who = Some(self.admit_signed(taken, &signed, asker.client)?);
            pass.credential = CredentialKind::SignedUrl;
            pass.target = Some(target_with(request, signed.query, route));
            pass.hide_authorization = self.carries_ours(&request.headers)? && !route.forward_token;
            return Ok(Decision::Forward(pass));
        }
        match credential(&request.headers, asker.https)? {
            Credential::Cookie(cookie) => {
                let changes = !matches!(*request.method, Method::GET | Method::HEAD)
                    // A page of another site may open a WebSocket, and a browser sends our cookie along.
                    || request.headers.upgrades;
                if changes {
                    asker.refuse_other_sites(route.cors.with_credentials())?;
                }
                pass.hide_authorization =
                    self.carries_ours(&request.headers)? && !route.forward_token;
                pass.credential = CredentialKind::Cookie;
                let cookie = CookieCredential::parse(cookie)?;
                match self.admit_token(cookie.token, asker.client) {
                    Ok(who) => {
                        pass.who = Some(allowed_on(route, who)?);
                        Ok(Decision::Forward(pass))
                    }
                    Err(Denial::TokenExpired) => Ok(Decision::Renew(Box::new(Renewal {
                        cookie: text_of(cookie.renewal)?,
                        pass,
                        otherwise: None,
                    }))),
                    Err(denial) => Err(denial),
                }
            }
            Credential::Token(token) => {
                let who = self.admit_token(token, asker.client)?;
                pass.who = Some(allowed_on(route, who)?);
                pass.credential = CredentialKind::of_token(&request.headers);
                pass.hide_authorization = !route.forward_token;
                Ok(Decision::Forward(pass))
            }
            Credential::Code { code, nonce, app } => {
                let ours =
                    is_empty_bearer(&request.headers) || self.carries_ours(&request.headers)?;
                pass.hide_authorization = ours && !route.forward_token;
                pass.credential = CredentialKind::Code;
                Ok(Decision::LogIn(FirstLogin {
                    code: code.to_owned(),
                    nonce: nonce.map(str::to_owned),
                    app: app.map(str::to_owned),
                    pass,
                }))
            }
            Credential::None => {
                if self.carries_ours(&request.headers)? {
                    return Err(Denial::TokenSchemeMissing);
                }
                admit_stranger(route)?;
                pass.hide_authorization = !route.forward_token && is_empty_bearer(&request.headers);
                Ok(Decision::Forward(pass))
            }
        }
    }

    /// Returns who sent a request to one of our own endpoints.
    pub fn caller(&self, method: &Method, asker: &Asker<'_>) -> Result<Caller, Denial> {
        self.caller_of(&DecidingHeaders::of(asker.headers), method, asker)
    }

    pub(super) fn caller_of(
        &self,
        headers: &DecidingHeaders<'_>,
        method: &Method,
        asker: &Asker<'_>,
    ) -> Result<Caller, Denial> {
        match credential(headers, asker.https)? {
            Credential::Token(token) => self.admit_token(token, asker.client).map(Caller::Known),
            Credential::Cookie(cookie) => {
                if !matches!(*method, Method::GET | Method::HEAD) {
                    asker.refuse_other_sites(&self.origins)?;
                }
                let cookie = CookieCredential::parse(cookie)?;
                match self.admit_token(cookie.token, asker.client) {
                    Ok(who) => Ok(Caller::Known(who)),
                    Err(Denial::TokenExpired) => Ok(Caller::Lapsed(text_of(cookie.renewal)?)),
                    Err(denial) => Err(denial),
                }
            }
            Credential::Code { .. } | Credential::None => Err(Denial::TokenMissing),
        }
    }

    /// Returns who has just been given this token, if they may use the route.
    pub fn admit_renewed(
        &self,
        token: &[u8],
        route: &Route,
        client: &Client,
    ) -> Result<Arc<Verified>, Denial> {
        allowed_on(route, self.admit_token(token, client)?)
    }

    /// Says where a person goes whose page load is refused; `None` where it stays refused.
    fn sign_in(&self, taken: &Taken<'_>, asker: &Asker<'_>, denial: &Denial) -> Option<SignIn> {
        let Taken { route, request, .. } = taken;
        let is_about_login = matches!(
            denial,
            Denial::TokenMissing
                | Denial::TokenExpired
                | Denial::TokenInvalid(_)
                | Denial::SessionEnded
        );
        let has_bearer = !matches!(request.headers.authorization, Field::Absent);
        if !is_about_login || has_bearer || !asker.loads_a_page(request.method) {
            return None;
        }
        let is_wanted = |app: &&usize| {
            let kind = self.kinds.get(**app);
            matches!(
                (kind, asker.is_wechat()),
                (Some(AppKind::OfficialAccount(_)), true) | (Some(AppKind::Website), false)
            )
        };
        let path = request.path.as_str();
        Some(SignIn {
            app: route.apps.iter().find(is_wanted).copied(),
            return_to: match request.query {
                Some(query) => format!("{path}?{query}"),
                None => path.to_owned(),
            },
        })
    }

    /// Checks a client's token and that its session still stands.
    pub fn admit_token(&self, token: &[u8], client: &Client) -> Result<Arc<Verified>, Denial> {
        let who = match self.tokens.recall(token)? {
            Recalled::Valid(who) => who,
            Recalled::Unseen(token) => self.verify_token(&token, client)?,
        };
        self.check_standing(&who)?;
        Ok(who)
    }

    pub(super) fn check_standing(&self, who: &Verified) -> Result<(), Denial> {
        if self.revoked.contains(who.session()) {
            return Err(Denial::SessionEnded);
        }
        if self.revoked.is_unknown() {
            return Err(Denial::StoreUnavailable);
        }
        Ok(())
    }

    /// Checks a signature, unless too many of the client's address were wrong: tokens seen before are good all the same.
    fn verify_token(&self, token: &Unseen<'_>, client: &Client) -> Result<Arc<Verified>, Denial> {
        Ok(self.counting_forgeries(client, || self.tokens.verify(token))??)
    }

    /// Has a signature checked, unless too many of the client's address were wrong.
    pub(super) fn counting_forgeries<T>(
        &self,
        client: &Client,
        check: impl FnOnce() -> Result<T, TokenError>,
    ) -> Result<Result<T, TokenError>, Denial> {
        let now = Instant::now();
        self.forgeries.check(client, now)?;
        let checked = check();
        if checked.as_ref().is_err_and(|error| error.is_forgery()) {
            self.forgeries.count(client, now);
        }
        Ok(checked)
    }

    /// Returns whether a token of ours, valid or not and however it is introduced, is in `Authorization`, or so much that looks like
    /// one that nobody looks any further.
    fn carries_ours(&self, headers: &DecidingHeaders<'_>) -> Result<bool, Denial> {
        let value = match headers.authorization {
            Field::Absent => return Ok(false),
            Field::Once(value) => value.as_bytes(),
            Field::Repeated => return Err(Denial::TokenAmbiguous),
        };
        let is_ours = |jwt: Option<&str>| jwt.is_some_and(|jwt| self.tokens.is_ours(jwt));
        let mut places = jwts(value).enumerate();
        Ok(places.any(|(number, jwt)| number == MOST_PLACES || is_ours(jwt)))
    }
}

pub(super) fn allowed_on(route: &Route, who: Arc<Verified>) -> Result<Arc<Verified>, Denial> {
    if route.apps.contains(&who.app()) {
        return Ok(who);
    }
    Err(Denial::AppNotAllowed)
}

fn text_of(renewal: &[u8]) -> Result<String, Denial> {
    let text = std::str::from_utf8(renewal);
    let text = text.map_err(|_| Denial::TokenInvalid("a cookie of another form"))?;
    Ok(text.to_owned())
}
