//! The access_tokens that `cgi-bin/token` and `cgi-bin/stable_token` give, each without a word to the other, and which are good.

use std::collections::{HashMap, VecDeque};

use aws_lc_rs::error::Unspecified;

use super::random;

const SECOND_MS: u64 = 1000;
const TTL_MS: u64 = 7200 * SECOND_MS;
/// How long a token that is replaced goes on being good; a stable one is replaced when somebody asks in its last five minutes.
const OVERLAP_MS: u64 = 300 * SECOND_MS;
const FORCE_PAUSE_MS: u64 = 30 * SECOND_MS;
const DAY_MS: u64 = 24 * 3600 * SECOND_MS;
const FORCES_PER_DAY: u32 = 20;
const CLASSIC_PER_DAY: u32 = 2000;
/// How many tokens of an app that are over are told from tokens that never were.
const REMEMBERED: usize = 16;

/// The tokens of every app.
#[derive(Default)]
pub(super) struct Tokens(HashMap<String, AppTokens>);

#[derive(Default)]
struct AppTokens {
    stable: Family,
    classic: Family,
    forced_ms: Option<u64>,
    forced: Day,
    classics: Day,
}

/// The tokens of one endpoint; the current one is the last.
#[derive(Default)]
struct Family(VecDeque<Token>);

struct Token {
    text: String,
    expires_ms: u64,
    /// When it is over though its time is not.
    superseded_ms: Option<u64>,
}

/// How often something happened on one day.
#[derive(Default)]
struct Day {
    day: u64,
    count: u32,
}

/// Why there is no token.
#[derive(Debug)]
pub(super) enum NotGiven {
    DayQuota,
    Random(Unspecified),
}

/// Why a token does not open a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TokenRefusal {
    Unknown,
    Superseded,
    Expired,
}

impl TokenRefusal {
    pub(super) fn errcode(self) -> i64 {
        match self {
            Self::Unknown => 40014,
            Self::Superseded => 40001,
            Self::Expired => 42001,
        }
    }
}

impl Tokens {
    /// Returns the stable token of an app and the seconds it is good for; with `force`, another one than before.
    pub(super) fn give(
        &mut self,
        appid: &str,
        force: bool,
        now_ms: u64,
    ) -> Result<(String, u64), Unspecified> {
        let app = self.0.entry(appid.to_owned()).or_default();
        if force && app.may_be_forced(now_ms) {
            app.stable.supersede(now_ms);
            app.stable.add(now_ms)?;
        } else if app.stable.current(now_ms).is_none() {
            app.stable.supersede(now_ms.saturating_add(OVERLAP_MS));
            app.stable.add(now_ms)?;
        }
        let current = app.stable.current(now_ms).ok_or(Unspecified)?;
        let left = current.expires_ms.saturating_sub(now_ms) / SECOND_MS;
        Ok((current.text.clone(), left))
    }

    /// Makes another classic token of an app; the one before is good for five more minutes, and none before that.
    pub(super) fn mint(&mut self, appid: &str, now_ms: u64) -> Result<(String, u64), NotGiven> {
        let app = self.0.entry(appid.to_owned()).or_default();
        if !app.classics.admits(CLASSIC_PER_DAY, now_ms) {
            return Err(NotGiven::DayQuota);
        }
        let classic = &mut app.classic;
        if let Some(last) = classic.0.pop_back() {
            classic.supersede(now_ms);
            classic.0.push_back(last);
        }
        classic.supersede(now_ms.saturating_add(OVERLAP_MS));
        let text = classic.add(now_ms).map_err(NotGiven::Random)?;
        Ok((text, TTL_MS / SECOND_MS))
    }

    /// Ends every token of an app and gives no other one in its place, as happens when an account is tampered with.
    pub(super) fn revoke(&mut self, appid: &str, now_ms: u64) {
        if let Some(app) = self.0.get_mut(appid) {
            app.stable.supersede(now_ms);
            app.classic.supersede(now_ms);
        }
    }

    /// Returns the app whose token this is.
    pub(super) fn owner(&self, token: &str, now_ms: u64) -> Result<&str, TokenRefusal> {
        let found = self.0.iter().find_map(|(appid, app)| {
            let mut given = app.stable.0.iter().chain(&app.classic.0);
            Some((appid, given.find(|given| given.text == token)?))
        });
        let (appid, token) = found.ok_or(TokenRefusal::Unknown)?;
        let over = |at: u64| at <= now_ms;
        match token.superseded_ms {
            Some(at) if over(at) && at < token.expires_ms => Err(TokenRefusal::Superseded),
            _ if over(token.expires_ms) => Err(TokenRefusal::Expired),
            _ => Ok(appid),
        }
    }
}

impl Family {
    fn current(&self, now_ms: u64) -> Option<&Token> {
        let last = self.0.back();
        last.filter(|token| now_ms.saturating_add(OVERLAP_MS) < token.expires_ms)
    }

    /// Has every token end at a time, unless it ends before.
    fn supersede(&mut self, at_ms: u64) {
        for token in &mut self.0 {
            let before = token.superseded_ms.unwrap_or(u64::MAX);
            token.superseded_ms = Some(before.min(at_ms));
        }
    }

    fn add(&mut self, now_ms: u64) -> Result<String, Unspecified> {
        if self.0.len() == REMEMBERED {
            self.0.pop_front();
        }
        let text = random::access_token()?;
        self.0.push_back(Token {
            text: text.clone(),
            expires_ms: now_ms.saturating_add(TTL_MS),
            superseded_ms: None,
        });
        Ok(text)
    }
}

impl AppTokens {
    /// Counts a forced renewal, unless it comes too soon or too often.
    fn may_be_forced(&mut self, now_ms: u64) -> bool {
        let rested = |at: u64| now_ms >= at.saturating_add(FORCE_PAUSE_MS);
        let may = self.forced_ms.is_none_or(rested) && self.forced.admits(FORCES_PER_DAY, now_ms);
        if may {
            self.forced_ms = Some(now_ms);
        }
        may
    }
}

impl Day {
    /// Counts one more, unless the day has had all it may have.
    fn admits(&mut self, most: u32, now_ms: u64) -> bool {
        if self.day != now_ms / DAY_MS {
            *self = Self {
                day: now_ms / DAY_MS,
                count: 0,
            };
        }
        let admits = self.count < most;
        self.count += u32::from(admits);
        admits
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u64 = 1_700_000_040_000;

    #[test]
    fn the_same_token_is_given_until_its_last_five_minutes() {
        let mut tokens = Tokens::default();
        let (first, left) = tokens.give("wx1", false, NOW).unwrap();
        assert_eq!(left, 7200);
        let late = NOW + TTL_MS - OVERLAP_MS;
        let (again, left) = tokens.give("wx1", false, late - SECOND_MS).unwrap();
        assert_eq!((&again, left), (&first, 301));
        let (next, left) = tokens.give("wx1", false, late).unwrap();
        assert_eq!((next != first, left), (true, 7200));
        assert_eq!(tokens.owner(&first, late + OVERLAP_MS - 1), Ok("wx1"));
        let over = tokens.owner(&first, late + OVERLAP_MS);
        assert_eq!(over, Err(TokenRefusal::Expired));
        assert_eq!(tokens.owner(&next, late + OVERLAP_MS), Ok("wx1"));
    }

    #[test]
    fn force_ends_the_token_before_at_once() {
        let mut tokens = Tokens::default();
        let (first, _) = tokens.give("wx1", false, NOW).unwrap();
        let (forced, _) = tokens.give("wx1", true, NOW).unwrap();
        assert_ne!(first, forced);
        assert_eq!(tokens.owner(&first, NOW), Err(TokenRefusal::Superseded));
        assert_eq!(tokens.give("wx1", false, NOW).unwrap().0, forced);
    }

    #[test]
    fn force_is_for_every_thirty_seconds_and_twenty_times_a_day() {
        let mut tokens = Tokens::default();
        let mut last = String::new();
        for n in 0..20 {
            let now = NOW + n * FORCE_PAUSE_MS;
            let (forced, _) = tokens.give("wx1", true, now).unwrap();
            assert_ne!(forced, last);
            last = forced;
            let (again, _) = tokens.give("wx1", true, now + 1).unwrap();
            assert_eq!(again, last);
        }
        let later = NOW + 20 * FORCE_PAUSE_MS;
        assert_eq!(tokens.give("wx1", true, later).unwrap().0, last);
        let tomorrow = later + DAY_MS;
        assert_ne!(tokens.give("wx1", true, tomorrow).unwrap().0, last);
    }

    #[test]
    fn each_classic_token_is_another_and_leaves_the_one_before_five_minutes() {
        let mut tokens = Tokens::default();
        let (first, left) = tokens.mint("wx1", NOW).unwrap();
        let (second, _) = tokens.mint("wx1", NOW + 1).unwrap();
        assert_eq!((left, first != second), (7200, true));
        let end = NOW + 1 + OVERLAP_MS;
        assert_eq!(tokens.owner(&first, end - 1), Ok("wx1"));
        let over = Err(TokenRefusal::Superseded);
        assert_eq!(tokens.owner(&first, end), over);
        let (third, _) = tokens.mint("wx1", NOW + 2).unwrap();
        assert_eq!(tokens.owner(&first, NOW + 2), over);
        assert_eq!(tokens.owner(&second, NOW + 2), Ok("wx1"));
        let expired = tokens.owner(&third, NOW + 2 + TTL_MS);
        assert_eq!(expired, Err(TokenRefusal::Expired));
    }

    #[test]
    fn classic_and_stable_tokens_leave_each_other_alone() {
        let mut tokens = Tokens::default();
        let (classic, _) = tokens.mint("wx1", NOW).unwrap();
        let (stable, _) = tokens.give("wx1", true, NOW).unwrap();
        tokens.mint("wx1", NOW).unwrap();
        tokens.give("wx1", true, NOW + FORCE_PAUSE_MS).unwrap();
        assert_eq!(tokens.owner(&classic, NOW + 1), Ok("wx1"));
        let forced = Err(TokenRefusal::Superseded);
        assert_eq!(tokens.owner(&stable, NOW + FORCE_PAUSE_MS), forced);
    }

    #[test]
    fn a_day_has_so_many_classic_tokens() {
        let mut tokens = Tokens::default();
        for _ in 0..CLASSIC_PER_DAY {
            tokens.mint("wx1", NOW).unwrap();
        }
        let refused = tokens.mint("wx1", NOW);
        assert!(matches!(refused, Err(NotGiven::DayQuota)));
        assert!(tokens.mint("wx1", NOW + DAY_MS).is_ok());
    }

    #[test]
    fn what_is_revoked_is_over_and_nothing_comes_in_its_place_unless_it_is_forced() {
        let mut tokens = Tokens::default();
        let (stable, _) = tokens.give("wx1", false, NOW).unwrap();
        tokens.revoke("wx1", NOW);
        assert_eq!(tokens.owner(&stable, NOW), Err(TokenRefusal::Superseded));
        assert_eq!(tokens.give("wx1", false, NOW).unwrap().0, stable);
        let (forced, _) = tokens.give("wx1", true, NOW).unwrap();
        assert_eq!(tokens.owner(&forced, NOW), Ok("wx1"));
    }

    #[test]
    fn a_made_up_token_is_unknown_and_anothers_is_anothers() {
        let mut tokens = Tokens::default();
        let (one, _) = tokens.give("wx1", false, NOW).unwrap();
        let (other, _) = tokens.give("wx2", false, NOW).unwrap();
        assert_eq!(tokens.owner(&one, NOW), Ok("wx1"));
        assert_eq!(tokens.owner(&other, NOW), Ok("wx2"));
        assert_eq!(tokens.owner("90_x", NOW), Err(TokenRefusal::Unknown));
    }
}
