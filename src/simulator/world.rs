//! What the simulated WeChat remembers: apps, one-time codes and sessions.

use std::collections::{HashMap, VecDeque};

use aws_lc_rs::error::Unspecified;

use super::api::{Media, number_of};
use super::app::SimulatedApp;
use super::quota::Quotas;
use super::session::Session;
use super::tokens::Tokens;
use super::web::Web;
use super::{identity, random};

const SECOND_MS: u64 = 1000;
const CODE_TTL_MS: u64 = 300 * SECOND_MS;
const SWEEP_EVERY_MS: u64 = 3600 * SECOND_MS;
const MAX_CODES: usize = 1_000_000;
const MAX_SESSIONS: usize = 1_000_000;
const MAX_USER_BYTES: usize = 256;

/// Why `wx.login` gives no code.
#[derive(Debug, Clone, Copy, Eq, PartialEq, thiserror::Error)]
pub(super) enum LoginError {
    #[error("appid: must be an app that the simulator knows")]
    AppUnknown,
    #[error("user: must have between 1 and {MAX_USER_BYTES} bytes")]
    UserLength,
    #[error("too many codes or users are alive; advance the clock or wait")]
    Full,
    #[error("the system gives no random bytes")]
    Random(#[from] Unspecified),
}

/// Why a code is not redeemed.
#[derive(Debug, Clone, Copy, Eq, PartialEq, thiserror::Error)]
pub(super) enum RedeemError {
    #[error("the code is unknown, expired or another app's")]
    Invalid,
    #[error("the code was redeemed before")]
    Used,
    #[error("the user is blocked")]
    Blocked,
    #[error("the user logged in too often in this minute")]
    MinuteLimit,
}

/// What a redeemed code is worth.
pub(super) struct Login {
    pub(super) session_key: String,
    pub(super) openid: String,
    pub(super) unionid: Option<String>,
}

/// Everything remembered; time is given by the caller, in milliseconds since the Unix epoch.
pub(super) struct World {
    apps: HashMap<String, SimulatedApp>,
    codes: HashMap<String, Code>,
    /// When each code expires, in the order in which they were given.
    expiries: VecDeque<(u64, String)>,
    sessions: HashMap<User, Session>,
    /// The access_tokens of the apps.
    pub(super) tokens: Tokens,
    /// The files that were uploaded.
    pub(super) media: Media,
    pub(super) quotas: Quotas,
    /// Logins in browsers.
    pub(super) web: Web,
    next_sweep_ms: u64,
    max_codes: usize,
}

#[derive(Clone, Eq, Hash, PartialEq)]
struct User {
    appid: String,
    openid: String,
}

struct Code {
    kind: CodeKind,
    user: User,
    /// What the control plane calls the user.
    name: String,
    expires_ms: u64,
    blocked: bool,
    /// The Open Platform account that the app is bound to for this login, where that is another one; empty means none.
    account: Option<String>,
    used: bool,
}

/// What a code is good for.
#[derive(Clone, Copy, Eq, PartialEq)]
enum CodeKind {
    Login,
    Phone,
}

impl World {
    pub(super) fn new(apps: Vec<SimulatedApp>) -> Self {
        Self {
            apps: apps
                .into_iter()
                .map(|app| (app.appid.clone(), app))
                .collect(),
            codes: HashMap::new(),
            expiries: VecDeque::new(),
            sessions: HashMap::new(),
            tokens: Tokens::default(),
            media: Media::default(),
            quotas: Quotas::default(),
            web: Web::default(),
            next_sweep_ms: 0,
            max_codes: MAX_CODES,
        }
    }

    pub(super) fn app(&self, appid: &str) -> Option<&SimulatedApp> {
        self.apps.get(appid)
    }

    /// Returns every appid.
    pub(super) fn appids(&self) -> impl Iterator<Item = &str> {
        self.apps.keys().map(String::as_str)
    }

    /// Does what `wx.login` does on a phone: gives a code, and rotates a session_key that is not fresh.
    pub(super) fn log_in(
        &mut self,
        appid: &str,
        name: &str,
        blocked: bool,
        now_ms: u64,
    ) -> Result<String, LoginError> {
        if !self.apps.contains_key(appid) {
            return Err(LoginError::AppUnknown);
        }
        if name.is_empty() || name.len() > MAX_USER_BYTES {
            return Err(LoginError::UserLength);
        }
        self.forget_expired(now_ms);
        let user = User {
            appid: appid.to_owned(),
            openid: identity::openid(appid, name),
        };
        let new_user = !self.sessions.contains_key(&user);
        if self.codes.len() >= self.max_codes || (new_user && self.sessions.len() >= MAX_SESSIONS) {
            return Err(LoginError::Full);
        }
        match self.sessions.get_mut(&user) {
            Some(session) => session.rotate_unless_fresh(now_ms)?,
            None => {
                let session = Session::new(now_ms)?;
                self.sessions.insert(user.clone(), session);
            }
        }
        self.add_code(CodeKind::Login, user, name, blocked, now_ms)
    }

    /// Does what a tap on the button for phone numbers does: gives a code of another kind.
    pub(super) fn tap(
        &mut self,
        appid: &str,
        name: &str,
        now_ms: u64,
    ) -> Result<String, LoginError> {
        if !self.apps.contains_key(appid) {
            return Err(LoginError::AppUnknown);
        }
        if name.is_empty() || name.len() > MAX_USER_BYTES {
            return Err(LoginError::UserLength);
        }
        self.forget_expired(now_ms);
        if self.codes.len() >= self.max_codes {
            return Err(LoginError::Full);
        }
        let user = User {
            appid: appid.to_owned(),
            openid: identity::openid(appid, name),
        };
        self.add_code(CodeKind::Phone, user, name, false, now_ms)
    }

    fn add_code(
        &mut self,
        kind: CodeKind,
        user: User,
        name: &str,
        blocked: bool,
        now_ms: u64,
    ) -> Result<String, LoginError> {
        let code = random::code()?;
        let expires_ms = now_ms.saturating_add(CODE_TTL_MS);
        self.expiries.push_back((expires_ms, code.clone()));
        self.codes.insert(
            code.clone(),
            Code {
                kind,
                user,
                name: name.to_owned(),
                expires_ms,
                blocked,
                account: None,
                used: false,
            },
        );
        Ok(code)
    }

    /// Returns the phone number behind a code; [`RedeemError::Blocked`] where the code is not the user's who is named.
    pub(super) fn redeem_phone(
        &mut self,
        appid: &str,
        code: &str,
        openid: Option<&str>,
        now_ms: u64,
    ) -> Result<String, RedeemError> {
        let is_good = |code: &&mut Code| {
            code.kind == CodeKind::Phone && code.user.appid == appid && now_ms < code.expires_ms
        };
        let code = self.codes.get_mut(code).filter(is_good);
        let code = code.ok_or(RedeemError::Invalid)?;
        if code.used {
            return Err(RedeemError::Used);
        }
        if openid.is_some_and(|openid| openid != code.user.openid) {
            return Err(RedeemError::Blocked);
        }
        code.used = true;
        Ok(number_of(appid, &code.name))
    }

    /// Has a code redeemed as if the app were bound to another Open Platform account, or to none when it is empty.
    pub(super) fn bind(&mut self, code: &str, account: String) {
        if let Some(code) = self.codes.get_mut(code) {
            code.account = Some(account);
        }
    }

    /// Redeems a code for the app it was given to; only success spends it.
    pub(super) fn redeem(
        &mut self,
        appid: &str,
        code: &str,
        now_ms: u64,
    ) -> Result<Login, RedeemError> {
        let app = self.apps.get(appid).ok_or(RedeemError::Invalid)?;
        let code = self
            .codes
            .get_mut(code)
            .filter(|code| {
                code.kind == CodeKind::Login && code.user.appid == appid && now_ms < code.expires_ms
            })
            .ok_or(RedeemError::Invalid)?;
        if code.used {
            return Err(RedeemError::Used);
        }
        if code.blocked {
            return Err(RedeemError::Blocked);
        }
        let session = self
            .sessions
            .get_mut(&code.user)
            .ok_or(RedeemError::Invalid)?;
        if !session.admits_login(now_ms) {
            return Err(RedeemError::MinuteLimit);
        }
        code.used = true;
        Ok(Login {
            session_key: session.key().to_owned(),
            openid: code.user.openid.clone(),
            unionid: code
                .account
                .as_deref()
                .or(app.open_platform.as_deref())
                .filter(|account| !account.is_empty())
                .map(|account| identity::unionid(account, &code.name)),
        })
    }

    /// Returns what WeChat keeps for a user of an app, unless that has expired.
    pub(super) fn session(
        &mut self,
        appid: &str,
        openid: &str,
        now_ms: u64,
    ) -> Option<&mut Session> {
        let user = User {
            appid: appid.to_owned(),
            openid: openid.to_owned(),
        };
        let session = self.sessions.get_mut(&user);
        session.filter(|session| session.is_alive(now_ms))
    }

    fn forget_expired(&mut self, now_ms: u64) {
        while self.expiries.front().is_some_and(|(at, _)| *at <= now_ms) {
            if let Some((_, code)) = self.expiries.pop_front() {
                self.codes.remove(&code);
            }
        }
        if now_ms >= self.next_sweep_ms {
            self.next_sweep_ms = now_ms.saturating_add(SWEEP_EVERY_MS);
            self.sessions.retain(|_, session| session.is_alive(now_ms));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u64 = 1_700_000_040_000;

    fn world() -> World {
        World::new(vec![
            "wx1:secret-1".parse().unwrap(),
            "wx2:secret-2".parse().unwrap(),
        ])
    }

    fn code(world: &mut World, now_ms: u64) -> String {
        world.log_in("wx1", "alice", false, now_ms).unwrap()
    }

    fn refusal(world: &mut World, code: &str, now_ms: u64) -> RedeemError {
        world.redeem("wx1", code, now_ms).err().unwrap()
    }

    fn spend_the_minute(world: &mut World) {
        for _ in 0..100 {
            let code = code(world, NOW);
            world.redeem("wx1", &code, NOW).unwrap();
        }
    }

    #[test]
    fn a_code_is_worth_the_openid_of_its_user() {
        let mut world = world();
        let code = code(&mut world, NOW);
        let login = world.redeem("wx1", &code, NOW).unwrap();
        assert_eq!(login.openid, identity::openid("wx1", "alice"));
    }

    #[test]
    fn a_code_is_redeemed_once() {
        let mut world = world();
        let code = code(&mut world, NOW);
        world.redeem("wx1", &code, NOW).unwrap();
        assert_eq!(refusal(&mut world, &code, NOW), RedeemError::Used);
    }

    #[test]
    fn an_expired_code_is_refused() {
        let mut world = world();
        let code = code(&mut world, NOW);
        let later = NOW + CODE_TTL_MS;
        assert_eq!(refusal(&mut world, &code, later), RedeemError::Invalid);
    }

    #[test]
    fn a_code_lives_to_the_end_of_its_five_minutes() {
        let mut world = world();
        let code = code(&mut world, NOW);
        assert!(world.redeem("wx1", &code, NOW + CODE_TTL_MS - 1).is_ok());
    }

    #[test]
    fn another_app_cannot_redeem_a_code_nor_spend_it() {
        let mut world = world();
        let code = code(&mut world, NOW);
        assert_eq!(
            world.redeem("wx2", &code, NOW).err(),
            Some(RedeemError::Invalid)
        );
        assert!(world.redeem("wx1", &code, NOW).is_ok());
    }

    #[test]
    fn a_blocked_user_is_refused() {
        let mut world = world();
        let code = world.log_in("wx1", "mallory", true, NOW).unwrap();
        assert_eq!(refusal(&mut world, &code, NOW), RedeemError::Blocked);
    }

    #[test]
    fn the_hundred_and_first_login_of_a_minute_waits_for_the_next_and_keeps_its_code() {
        let mut world = world();
        spend_the_minute(&mut world);
        let code = code(&mut world, NOW);
        assert_eq!(refusal(&mut world, &code, NOW), RedeemError::MinuteLimit);
        assert!(world.redeem("wx1", &code, NOW + 60 * SECOND_MS).is_ok());
    }

    #[test]
    fn the_minute_limit_of_one_user_does_not_touch_another() {
        let mut world = world();
        spend_the_minute(&mut world);
        let code = world.log_in("wx1", "bob", false, NOW).unwrap();
        assert!(world.redeem("wx1", &code, NOW).is_ok());
    }

    #[test]
    fn an_app_without_an_open_platform_account_has_no_unionids() {
        let mut app: SimulatedApp = "wx1:secret-1".parse().unwrap();
        app.open_platform = None;
        let mut world = World::new(vec![app]);
        let code = code(&mut world, NOW);
        assert!(world.redeem("wx1", &code, NOW).unwrap().unionid.is_none());
    }

    #[test]
    fn a_full_world_gives_codes_again_when_the_old_ones_expired() {
        let mut world = world();
        world.max_codes = 1;
        code(&mut world, NOW);
        assert_eq!(
            world.log_in("wx1", "bob", false, NOW),
            Err(LoginError::Full)
        );
        assert!(world.log_in("wx1", "bob", false, NOW + CODE_TTL_MS).is_ok());
    }

    #[test]
    fn sessions_are_forgotten_after_three_days() {
        let mut world = world();
        code(&mut world, NOW);
        world
            .log_in("wx1", "bob", false, NOW + 3 * 24 * SWEEP_EVERY_MS)
            .unwrap();
        assert_eq!(world.sessions.len(), 1);
    }

    #[test]
    fn a_user_without_a_name_cannot_log_in() {
        let refused = world().log_in("wx1", "", false, NOW);
        assert_eq!(refused, Err(LoginError::UserLength));
    }
}
