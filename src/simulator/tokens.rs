//! The access_tokens that `cgi-bin/stable_token` gives, and which of them are good.

use std::collections::{HashMap, VecDeque};

use aws_lc_rs::error::Unspecified;

use super::random;

const SECOND_MS: u64 = 1000;
const TTL_MS: u64 = 7200 * SECOND_MS;
/// In its last five minutes a token is replaced when somebody asks, and goes on being good.
const OVERLAP_MS: u64 = 300 * SECOND_MS;
const FORCE_PAUSE_MS: u64 = 30 * SECOND_MS;
const DAY_MS: u64 = 24 * 3600 * SECOND_MS;
const FORCES_PER_DAY: u32 = 20;
/// How many tokens of an app that are over are told from tokens that never were.
const REMEMBERED: usize = 16;

/// The tokens of every app.
#[derive(Default)]
pub(super) struct Tokens(HashMap<String, AppTokens>);

#[derive(Default)]
struct AppTokens {
    /// The current one is the last.
    given: VecDeque<Token>,
    forced_ms: Option<u64>,
    day: u64,
    forced_today: u32,
}

struct Token {
    text: String,
    expires_ms: u64,
    /// Whether it was ended before its time.
    superseded: bool,
}

/// Why a token does not open a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TokenRefusal {
    Unknown,
    Superseded,
    Expired,
}

impl Tokens {
    /// Returns the token of an app and the seconds it is good for; with `force`, another one than before.
    pub(super) fn give(
        &mut self,
        appid: &str,
        force: bool,
        now_ms: u64,
    ) -> Result<(String, u64), Unspecified> {
        let app = self.0.entry(appid.to_owned()).or_default();
        if force && app.may_be_forced(now_ms) {
            for token in &mut app.given {
                token.superseded = true;
            }
            app.add(now_ms)?;
        } else if app.current(now_ms).is_none() {
            app.add(now_ms)?;
        }
        let current = app.current(now_ms).ok_or(Unspecified)?;
        let left = current.expires_ms.saturating_sub(now_ms) / SECOND_MS;
        Ok((current.text.clone(), left))
    }

    /// Returns the app whose token this is.
    pub(super) fn owner(&self, token: &str, now_ms: u64) -> Result<&str, TokenRefusal> {
        let found = self.0.iter().find_map(|(appid, app)| {
            let mut given = app.given.iter();
            Some((appid, given.find(|given| given.text == token)?))
        });
        match found {
            None => Err(TokenRefusal::Unknown),
            Some((_, token)) if token.superseded => Err(TokenRefusal::Superseded),
            Some((_, token)) if token.expires_ms <= now_ms => Err(TokenRefusal::Expired),
            Some((appid, _)) => Ok(appid),
        }
    }
}

impl AppTokens {
    fn current(&self, now_ms: u64) -> Option<&Token> {
        let last = self.given.back();
        last.filter(|token| now_ms.saturating_add(OVERLAP_MS) < token.expires_ms)
    }

    fn add(&mut self, now_ms: u64) -> Result<(), Unspecified> {
        if let Some(before) = self.given.back_mut() {
            before.expires_ms = before.expires_ms.min(now_ms.saturating_add(OVERLAP_MS));
        }
        if self.given.len() == REMEMBERED {
            self.given.pop_front();
        }
        self.given.push_back(Token {
            text: random::access_token()?,
            expires_ms: now_ms.saturating_add(TTL_MS),
            superseded: false,
        });
        Ok(())
    }

    /// Counts a forced renewal, unless it comes too soon or too often.
    fn may_be_forced(&mut self, now_ms: u64) -> bool {
        if self.day != now_ms / DAY_MS {
            self.day = now_ms / DAY_MS;
            self.forced_today = 0;
        }
        let rested = |at: u64| now_ms >= at.saturating_add(FORCE_PAUSE_MS);
        let may = self.forced_today < FORCES_PER_DAY && self.forced_ms.is_none_or(rested);
        if may {
            self.forced_today += 1;
            self.forced_ms = Some(now_ms);
        }
        may
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
    fn a_made_up_token_is_unknown_and_anothers_is_anothers() {
        let mut tokens = Tokens::default();
        let (one, _) = tokens.give("wx1", false, NOW).unwrap();
        let (other, _) = tokens.give("wx2", false, NOW).unwrap();
        assert_eq!(tokens.owner(&one, NOW), Ok("wx1"));
        assert_eq!(tokens.owner(&other, NOW), Ok("wx2"));
        assert_eq!(tokens.owner("90_x", NOW), Err(TokenRefusal::Unknown));
    }
}
