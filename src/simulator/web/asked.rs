//! What a link to WeChat's pages asks for, checked as strictly as WeChat does.

use url::form_urlencoded;

use super::world::{Scope, Settings};

/// What comes first in such a link, in this order: WeChat matches the link and not its parameters.
const ORDER: [&str; 5] = ["appid", "redirect_uri", "response_type", "scope", "state"];

const MOST_STATE_BYTES: usize = 128;

/// Which page is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Page {
    /// `connect/oauth2/authorize`, inside WeChat.
    Authorize,
    /// `connect/qrconnect`, on a desktop.
    QrConnect,
}

/// A link that WeChat would follow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Asked {
    pub(super) appid: String,
    pub(super) redirect_uri: url::Url,
    pub(super) scope: Scope,
    pub(super) state: String,
}

/// Why WeChat shows an error in place of its page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) number: u32,
    pub(super) why: &'static str,
}

const fn refusal(number: u32, why: &'static str) -> Refusal {
    Refusal { number, why }
}

const ORDER_WRONG: Refusal = refusal(
    0,
    "the parameters must be appid, redirect_uri, response_type, scope and state, in this order",
);
const DOMAIN_WRONG: Refusal = refusal(10003, "redirect_uri is not of the registered domain");
const SCOPE_WRONG: Refusal = refusal(10005, "the scope is not one of this page");
const SCOPE_EMPTY: Refusal = refusal(10010, "the scope is empty");
const REDIRECT_EMPTY: Refusal = refusal(10011, "redirect_uri is empty or no URL");
const APPID_EMPTY: Refusal = refusal(10012, "the appid is empty");
const APPID_UNKNOWN: Refusal = refusal(10012, "the appid is not known");
const STATE_WRONG: Refusal = refusal(10013, "the state must be 1 to 128 letters and digits");
const RESPONSE_TYPE_WRONG: Refusal = refusal(0, "response_type must be code");

impl Asked {
    /// Reads the query of a link; `settings` finds what is known of an app, which comes along.
    pub(super) fn read(
        page: Page,
        query: &str,
        settings: impl FnOnce(&str) -> Option<Settings>,
    ) -> Result<(Self, Settings), Refusal> {
        let pairs: Vec<_> = form_urlencoded::parse(query.as_bytes()).collect();
        let named = pairs.iter().map(|(name, _)| name.as_ref());
        if !named.take(ORDER.len()).eq(ORDER) {
            return Err(ORDER_WRONG);
        }
        let value = |name: &str| {
            let found = pairs.iter().find(|(key, _)| key == name);
            found.map(|(_, value)| value.as_ref()).unwrap_or_default()
        };
        let appid = value("appid");
        if appid.is_empty() {
            return Err(APPID_EMPTY);
        }
        let settings = settings(appid).ok_or(APPID_UNKNOWN)?;
        if value("response_type") != "code" {
            return Err(RESPONSE_TYPE_WRONG);
        }
        if value("scope").is_empty() {
            return Err(SCOPE_EMPTY);
        }
        let scope = Scope::from_name(value("scope")).ok_or(SCOPE_WRONG)?;
        if (scope == Scope::Login) != (page == Page::QrConnect) {
            return Err(SCOPE_WRONG);
        }
        let redirect_uri = url::Url::parse(value("redirect_uri")).map_err(|_| REDIRECT_EMPTY)?;
        let is_web = matches!(redirect_uri.scheme(), "http" | "https");
        let host = redirect_uri
            .host_str()
            .filter(|_| is_web)
            .ok_or(REDIRECT_EMPTY)?;
        if settings
            .domain
            .as_deref()
            .is_some_and(|domain| domain != host)
        {
            return Err(DOMAIN_WRONG);
        }
        let state = value("state");
        let is_state = (1..=MOST_STATE_BYTES).contains(&state.len())
            && state.bytes().all(|byte| byte.is_ascii_alphanumeric());
        if !is_state {
            return Err(STATE_WRONG);
        }
        let asked = Self {
            appid: appid.to_owned(),
            scope,
            state: state.to_owned(),
            redirect_uri,
        };
        Ok((asked, settings))
    }

    /// Returns where the browser goes with a code, or without one where the user said no.
    pub(super) fn callback(&self, code: Option<&str>) -> String {
        let mut url = self.redirect_uri.clone();
        {
            let mut query = url.query_pairs_mut();
            if let Some(code) = code {
                query.append_pair("code", code);
            }
            query.append_pair("state", &self.state);
        }
        url.into()
    }

    /// Returns the query that asks for the same again.
    pub(super) fn query(&self) -> Vec<(&'static str, &str)> {
        vec![
            ("appid", &self.appid),
            ("redirect_uri", self.redirect_uri.as_str()),
            ("response_type", "code"),
            ("scope", self.scope.name()),
            ("state", &self.state),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "appid=wx1&redirect_uri=https%3A%2F%2Fshop.example%2Fback%3Fa%3D1&response_type=code&scope=snsapi_base&state=ab12";

    fn read(page: Page, query: &str) -> Result<Asked, Refusal> {
        let settings = Settings {
            domain: Some("shop.example".to_owned()),
            ..Settings::default()
        };
        let read = Asked::read(page, query, |appid| (appid == "wx1").then_some(settings));
        read.map(|(asked, _)| asked)
    }

    #[test]
    fn a_good_link_is_followed_and_its_answer_keeps_what_the_callback_had() {
        let asked = read(Page::Authorize, GOOD).unwrap();
        let code = asked.callback(Some("0c"));
        assert_eq!(code, "https://shop.example/back?a=1&code=0c&state=ab12");
        let denied = asked.callback(None);
        assert_eq!(denied, "https://shop.example/back?a=1&state=ab12");
        let more = format!("{GOOD}&forcePopup=true");
        assert_eq!(read(Page::Authorize, &more), Ok(asked));
    }

    #[test]
    fn a_link_that_wechat_would_not_follow_is_refused() {
        let long = format!("state={}", "a".repeat(129));
        for (from, to, refused) in [
            ("appid=wx1&", "", ORDER_WRONG),
            (
                "scope=snsapi_base&state=ab12",
                "state=ab12&scope=snsapi_base",
                ORDER_WRONG,
            ),
            ("appid=wx1", "appid=", APPID_EMPTY),
            ("appid=wx1", "appid=wx2", APPID_UNKNOWN),
            ("=code", "=token", RESPONSE_TYPE_WRONG),
            ("snsapi_base", "", SCOPE_EMPTY),
            ("snsapi_base", "snsapi_all", SCOPE_WRONG),
            ("snsapi_base", "snsapi_login", SCOPE_WRONG),
            ("shop.example", "www.shop.example", DOMAIN_WRONG),
            ("https%3A", "", REDIRECT_EMPTY),
            ("https%3A", "javascript%3A", REDIRECT_EMPTY),
            ("state=ab12", "state=", STATE_WRONG),
            ("state=ab12", "state=a-b", STATE_WRONG),
            ("state=ab12", &long, STATE_WRONG),
        ] {
            let query = GOOD.replacen(from, to, 1);
            assert_eq!(read(Page::Authorize, &query), Err(refused), "{query}");
        }
        assert_eq!(read(Page::QrConnect, GOOD), Err(SCOPE_WRONG));
        let login = GOOD.replace("snsapi_base", "snsapi_login");
        assert!(read(Page::QrConnect, &login).is_ok());
    }
}
