//! What the simulated WeChat remembers of logins in browsers: how each app is set up, codes and the users' tokens.

use std::collections::{HashMap, VecDeque};

use aws_lc_rs::error::Unspecified;
use serde::{Deserialize, Serialize};

use crate::simulator::{identity, random};

const CODE_TTL_MS: u64 = 300_000;
const QR_CODE_TTL_MS: u64 = 600_000;
const TOKEN_TTL_MS: u64 = 7_200_000;
const MOST: usize = 100_000;

/// What an app may learn of a user.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::simulator) enum Scope {
    /// The openid, without a question to the user.
    Base,
    /// Also the profile, if the user agrees.
    UserInfo,
    /// The same on a desktop.
    Login,
}

/// How an app is set up, and how its users answer.
#[derive(Clone, Debug, Default, Deserialize, Serialize, PartialEq, Eq)]
#[serde(deny_unknown_fields, default)]
pub(in crate::simulator) struct Settings {
    /// The registered domain; any will do without one.
    pub(in crate::simulator) domain: Option<String>,
    /// What the pages call the app.
    pub(in crate::simulator) name: Option<String>,
    /// Who agrees at once, so that no page is shown.
    pub(in crate::simulator) agrees: Option<String>,
    /// Whether the user says no at once.
    pub(in crate::simulator) denies: bool,
    /// Whether the browser comes back twice with the same code.
    pub(in crate::simulator) twice: bool,
    /// Whether WeChat answers for a snapshot of the page, with somebody who is nobody.
    pub(in crate::simulator) snapshot: bool,
    /// The nickname of whoever agrees.
    pub(in crate::simulator) nickname: Option<String>,
    /// The address of their picture.
    pub(in crate::simulator) picture: Option<String>,
}

/// Codes and tokens; time is given by the caller, in milliseconds since the Unix epoch.
#[derive(Default)]
pub(in crate::simulator) struct Web {
    settings: HashMap<String, Settings>,
    codes: HashMap<String, Code>,
    tokens: HashMap<String, Token>,
    /// When each code and token expires, in the order in which they were given.
    ends: VecDeque<(u64, String)>,
}

struct Code {
    appid: String,
    user: String,
    scope: Scope,
    expires_ms: u64,
    used: bool,
}

/// What a user's token is good for.
#[derive(Clone, Debug)]
pub(in crate::simulator) struct Token {
    pub(in crate::simulator) appid: String,
    pub(in crate::simulator) user: String,
    pub(in crate::simulator) openid: String,
    pub(in crate::simulator) scope: Scope,
    pub(in crate::simulator) snapshot: bool,
    expires_ms: u64,
}

/// Why there is no code, or why it is not redeemed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::simulator) enum CodeError {
    /// It is unknown, expired or another app's.
    Invalid,
    /// It was redeemed before.
    Used,
    /// There is no room, or there are no random bytes.
    Unavailable,
}

impl Scope {
    /// Finds a scope by its name in a link.
    pub(in crate::simulator) fn from_name(name: &str) -> Option<Self> {
        let all = [Self::Base, Self::UserInfo, Self::Login];
        all.into_iter().find(|scope| scope.name() == name)
    }

    pub(in crate::simulator) fn name(self) -> &'static str {
        match self {
            Self::Base => "snsapi_base",
            Self::UserInfo => "snsapi_userinfo",
            Self::Login => "snsapi_login",
        }
    }
}

impl Web {
    /// Returns how an app is set up.
    pub(in crate::simulator) fn settings(&self, appid: &str) -> Settings {
        self.settings.get(appid).cloned().unwrap_or_default()
    }

    pub(in crate::simulator) fn set(&mut self, appid: &str, settings: Settings) {
        self.settings.insert(appid.to_owned(), settings);
    }

    /// Gives a code for a user who agreed.
    pub(in crate::simulator) fn grant(
        &mut self,
        appid: &str,
        user: &str,
        scope: Scope,
        now_ms: u64,
    ) -> Result<String, CodeError> {
        self.forget_expired(now_ms);
        let code = self.new_entry(random::code)?;
        let ttl_ms = match scope {
            Scope::Login => QR_CODE_TTL_MS,
            Scope::Base | Scope::UserInfo => CODE_TTL_MS,
        };
        let expires_ms = now_ms.saturating_add(ttl_ms);
        self.ends.push_back((expires_ms, code.clone()));
        self.codes.insert(
            code.clone(),
            Code {
                appid: appid.to_owned(),
                user: user.to_owned(),
                scope,
                expires_ms,
                used: false,
            },
        );
        Ok(code)
    }

    /// Redeems a code for the app it was given to; returns the user's token, and what it is good for.
    pub(in crate::simulator) fn redeem(
        &mut self,
        appid: &str,
        code: &str,
        now_ms: u64,
    ) -> Result<(String, Token), CodeError> {
        let name = self.new_entry(random::access_token)?;
        let snapshot = self.settings(appid).snapshot;
        let code = self
            .codes
            .get_mut(code)
            .filter(|code| code.appid == appid && now_ms < code.expires_ms)
            .ok_or(CodeError::Invalid)?;
        if code.used {
            return Err(CodeError::Used);
        }
        code.used = true;
        // Somebody who is nobody has another openid, which no other login gives.
        let user = if snapshot {
            format!("snapshot of {}", code.user)
        } else {
            code.user.clone()
        };
        let token = Token {
            appid: appid.to_owned(),
            openid: identity::openid(appid, &user),
            user,
            scope: code.scope,
            snapshot,
            expires_ms: now_ms.saturating_add(TOKEN_TTL_MS),
        };
        self.ends.push_back((token.expires_ms, name.clone()));
        self.tokens.insert(name.clone(), token.clone());
        Ok((name, token))
    }

    /// Returns what a user's token is good for.
    pub(in crate::simulator) fn token(&self, name: &str, now_ms: u64) -> Option<&Token> {
        let token = self.tokens.get(name);
        token.filter(|token| now_ms < token.expires_ms)
    }

    fn new_entry(
        &self,
        draw: impl FnOnce() -> Result<String, Unspecified>,
    ) -> Result<String, CodeError> {
        if self.codes.len() + self.tokens.len() >= MOST {
            return Err(CodeError::Unavailable);
        }
        draw().map_err(|_| CodeError::Unavailable)
    }

    fn forget_expired(&mut self, now_ms: u64) {
        while self.ends.front().is_some_and(|(at, _)| *at <= now_ms) {
            if let Some((_, name)) = self.ends.pop_front() {
                self.codes.remove(&name);
                self.tokens.remove(&name);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u64 = 1_700_000_040_000;

    fn web() -> (Web, String) {
        let mut web = Web::default();
        let code = web.grant("wx1", "alice", Scope::Base, NOW).unwrap();
        (web, code)
    }

    #[test]
    fn a_code_is_redeemed_once_and_by_its_own_app() {
        let (mut web, code) = web();
        assert_eq!(
            web.redeem("wx2", &code, NOW).err(),
            Some(CodeError::Invalid)
        );
        let (name, token) = web.redeem("wx1", &code, NOW).unwrap();
        assert_eq!(token.openid, identity::openid("wx1", "alice"));
        assert_eq!(web.redeem("wx1", &code, NOW).err(), Some(CodeError::Used));
        assert!(web.token(&name, NOW).is_some());
        assert!(web.token(&name, NOW + TOKEN_TTL_MS).is_none());
    }

    #[test]
    fn a_code_of_a_desktop_lives_twice_as_long() {
        let (mut web, base) = web();
        let login = web.grant("wx1", "alice", Scope::Login, NOW).unwrap();
        let later = NOW + CODE_TTL_MS;
        let refused = web.redeem("wx1", &base, later).err();
        assert_eq!(refused, Some(CodeError::Invalid));
        assert!(web.redeem("wx1", &login, later).is_ok());
    }

    #[test]
    fn a_snapshot_is_of_nobody_that_a_login_brings() {
        let (mut web, code) = web();
        web.set(
            "wx1",
            Settings {
                snapshot: true,
                ..Settings::default()
            },
        );
        let (_, token) = web.redeem("wx1", &code, NOW).unwrap();
        assert_ne!(token.openid, identity::openid("wx1", "alice"));
    }
}
