//! Begins a login in a browser, and ends it when the browser comes back from WeChat.

use std::time::{Duration, Instant};

use http::{HeaderMap, HeaderValue};
use url::form_urlencoded;

use super::browser_origin::BrowserOrigin;
use super::cookie::{login_name, login_prefix, set};
use super::flow::{Flow, LONGEST_FLOW};
use super::return_to::ReturnTo;
use crate::config::{App, AppKind, Scope};
use crate::login::{Caller, Logins, WebGrant};
use crate::request::{Denial, our_cookie, our_cookies_named};
use crate::wechat::Code;

/// How many logins a browser may have on their way; the oldest gives way to another.
const MOST_FLOWS: usize = 8;

/// How long a login that has ended is remembered by its browser, so that a callback that comes again lands at the same place.
const AFTER: Duration = Duration::from_secs(60);

/// Where a browser goes, and what it keeps.
#[derive(Debug)]
pub struct Started {
    /// Where it goes.
    pub location: String,
    /// The lines that set its cookies.
    pub cookies: Vec<HeaderValue>,
}

/// What came of a callback.
#[derive(Debug)]
pub struct Callback {
    /// The session, or why there is none.
    pub outcome: Result<WebGrant, Denial>,
    /// Where the browser goes, or would have gone; `None` where nobody knows.
    pub return_to: Option<ReturnTo>,
    /// The lines that set cookies.
    pub cookies: Vec<HeaderValue>,
}

impl Logins {
    /// Returns the index of an app that logs users in in browsers.
    pub fn web_app(&self, name: &str) -> Result<usize, Denial> {
        let found = self.apps.iter().position(|app| app.name == name);
        let index = found.ok_or(Denial::AppUnknown)?;
        match self.apps.get(index).map(|app| app.kind) {
            Some(AppKind::OfficialAccount(_) | AppKind::Website) => Ok(index),
            Some(AppKind::MiniProgram) | None => Err(Denial::AppUnknown),
        }
    }

    /// Checks where a login is to end.
    pub fn return_to(&self, text: Option<&str>) -> Result<ReturnTo, Denial> {
        ReturnTo::parse(text, &self.web.return_to)
    }

    /// Begins a login: the browser goes to WeChat, and keeps what it needs to come back.
    pub fn begin(
        &self,
        app: usize,
        return_to: &ReturnTo,
        browser: &BrowserOrigin,
        headers: &HeaderMap,
    ) -> Result<Started, Denial> {
        let app = self.apps.get(app).ok_or(Denial::AppUnknown)?;
        let origin = browser.origin(&self.web)?;
        let flow = Flow::begin(&app.name, return_to, self.clock.unix_secs())?;
        let name = login_name(&flow.state, browser.https);
        let sealed = flow.seal(&self.sessions)?;
        let mut cookies = self.crowded_out(browser, headers);
        cookies.extend(set(&name, &sealed, LONGEST_FLOW, browser.https));
        let auth_path = &self.web.auth_path;
        let callback = format!("{origin}{auth_path}/web/{}/callback", app.name);
        Ok(Started {
            location: self.link(app, &callback, &flow.state),
            cookies,
        })
    }

    /// Ends a login, if this browser began it.
    pub async fn finish(
        &self,
        app: usize,
        query: Option<&str>,
        browser: &BrowserOrigin,
        headers: &HeaderMap,
        caller: &Caller,
    ) -> Callback {
        let mut callback = Callback {
            outcome: Err(Denial::Internal),
            return_to: None,
            cookies: Vec::new(),
        };
        callback.outcome = self
            .come_back(app, query, browser, headers, caller, &mut callback)
            .await;
        if let Ok(grant) = &callback.outcome {
            callback.cookies.push(grant.cookie.clone());
        }
        callback
    }

    async fn come_back(
        &self,
        index: usize,
        query: Option<&str>,
        browser: &BrowserOrigin,
        headers: &HeaderMap,
        caller: &Caller,
        callback: &mut Callback,
    ) -> Result<WebGrant, Denial> {
        browser.origin(&self.web)?;
        let query = query.unwrap_or_default();
        let state = only(query, "state")?.ok_or(Denial::StateInvalid("none"))?;
        if !Flow::is_state(&state) {
            return Err(Denial::StateInvalid("another form"));
        }
        let name = login_name(&state, browser.https);
        let sealed = our_cookie(headers, &name).ok_or(Denial::StateInvalid("no cookie"))?;
        let flow = Flow::open(&self.sessions, sealed);
        let flow = flow.ok_or(Denial::StateInvalid("a cookie that is not ours"))?;
        let app = self.apps.get(index).ok_or(Denial::AppUnknown)?;
        if flow.state != state || flow.app != app.name {
            return Err(Denial::StateInvalid("another login's cookie"));
        }
        callback.return_to = Some(flow.return_to(&self.web.return_to)?);
        if flow.expires <= self.clock.unix_secs() {
            return Err(Denial::StateInvalid("expired"));
        }
        let Some(code) = only(query, "code")?.filter(|code| !code.is_empty()) else {
            // Nothing more comes of it.
            callback
                .cookies
                .extend(set(&name, "", Duration::ZERO, browser.https));
            return Err(Denial::LoginDenied);
        };
        let code = Code::parse(&code)?;
        let redeemer = self.redeemers.get(index).ok_or(Denial::AppUnknown)?;
        let started = Instant::now();
        let opened = redeemer.redeem_state(&state, &code, caller).await;
        let granted = opened.and_then(|opened| {
            let named = self.named(&opened);
            Ok((named, self.grant_to_browser(opened, browser.https)?))
        });
        let told = granted.as_ref().map(|(named, _)| named);
        self.report(redeemer, None, caller, told, started);
        let granted = granted.map(|(_, granted)| granted);
        if granted.is_ok() {
            callback
                .cookies
                .extend(set(&name, sealed, AFTER, browser.https));
        }
        granted
    }

    /// Returns what takes the oldest logins on their way from a browser that has too many of them.
    fn crowded_out(&self, browser: &BrowserOrigin, headers: &HeaderMap) -> Vec<HeaderValue> {
        let found = our_cookies_named(headers, login_prefix(browser.https));
        let mut flows: Vec<(u64, &str)> = found
            .into_iter()
            .map(|(name, sealed)| {
                let flow = Flow::open(&self.sessions, sealed);
                (flow.map_or(0, |flow| flow.expires), name)
            })
            .collect();
        flows.sort_unstable();
        let too_many = (flows.len() + 1).saturating_sub(MOST_FLOWS);
        let oldest = flows.into_iter().take(too_many);
        oldest
            .filter_map(|(_, name)| set(name, "", Duration::ZERO, browser.https))
            .collect()
    }

    /// Returns the link to WeChat's page. The order of its parameters matters, and so does the fragment.
    fn link(&self, app: &App, callback: &str, state: &str) -> String {
        let (page, scope) = match app.kind {
            AppKind::OfficialAccount(Scope::UserInfo) => ("oauth2/authorize", "snsapi_userinfo"),
            AppKind::OfficialAccount(Scope::Base) | AppKind::MiniProgram => {
                ("oauth2/authorize", "snsapi_base")
            }
            AppKind::Website => ("qrconnect", "snsapi_login"),
        };
        let query = form_urlencoded::Serializer::new(String::new())
            .append_pair("appid", &app.appid)
            .append_pair("redirect_uri", callback)
            .append_pair("response_type", "code")
            .append_pair("scope", scope)
            .append_pair("state", state)
            .finish();
        format!(
            "{}/connect/{page}?{query}#wechat_redirect",
            self.web.open_base
        )
    }
}

/// Returns the value of a parameter that comes once at most.
pub(super) fn only(query: &str, name: &str) -> Result<Option<String>, Denial> {
    let mut values = form_urlencoded::parse(query.as_bytes()).filter(|(key, _)| key == name);
    match (values.next(), values.next()) {
        (Some((_, value)), None) => Ok(Some(value.into_owned())),
        (None, _) => Ok(None),
        (Some(_), Some(_)) => Err(Denial::BadRequest("A parameter is there twice.")),
    }
}
