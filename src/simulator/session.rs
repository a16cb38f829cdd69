//! What WeChat keeps for one user of one app: the session_key, its age, and how often the user logs in.

use aws_lc_rs::error::Unspecified;

use super::random;

const MINUTE_MS: u64 = 60 * 1000;
/// A login sooner than this after the last rotation keeps the session_key.
const ROTATION_MS: u64 = MINUTE_MS;
const TTL_MS: u64 = 3 * 24 * 60 * MINUTE_MS;
const LOGINS_PER_MINUTE: u32 = 100;

/// A user's session at WeChat.
pub(super) struct Session {
    key: String,
    issued_ms: u64,
    minute: u64,
    logins: u32,
}

impl Session {
    pub(super) fn new(now_ms: u64) -> Result<Self, Unspecified> {
        Ok(Self {
            key: random::session_key()?,
            issued_ms: now_ms,
            minute: 0,
            logins: 0,
        })
    }

    pub(super) fn key(&self) -> &str {
        &self.key
    }

    pub(super) fn is_alive(&self, now_ms: u64) -> bool {
        now_ms < self.issued_ms.saturating_add(TTL_MS)
    }

    pub(super) fn rotate_unless_fresh(&mut self, now_ms: u64) -> Result<(), Unspecified> {
        if now_ms >= self.issued_ms.saturating_add(ROTATION_MS) {
            self.key = random::session_key()?;
            self.issued_ms = now_ms;
        }
        Ok(())
    }

    /// Replaces the session_key by one that ends when the old one would have.
    pub(super) fn reset(&mut self) -> Result<(), Unspecified> {
        self.key = random::session_key()?;
        Ok(())
    }

    /// Counts a login, unless this minute has had all it may have.
    pub(super) fn admits_login(&mut self, now_ms: u64) -> bool {
        let minute = now_ms / MINUTE_MS;
        if self.minute != minute {
            self.minute = minute;
            self.logins = 0;
        }
        let admits = self.logins < LOGINS_PER_MINUTE;
        self.logins += u32::from(admits);
        admits
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u64 = 1_700_000_040_000;

    fn key_after(pause_ms: u64) -> (String, String) {
        let mut session = Session::new(NOW).unwrap();
        let before = session.key().to_owned();
        session.rotate_unless_fresh(NOW + pause_ms).unwrap();
        (before, session.key)
    }

    #[test]
    fn a_login_within_a_minute_keeps_the_session_key() {
        let (before, after) = key_after(ROTATION_MS - 1);
        assert_eq!(before, after);
    }

    #[test]
    fn a_reset_session_key_lives_no_longer_than_the_one_before() {
        let mut session = Session::new(NOW).unwrap();
        let before = session.key().to_owned();
        session.reset().unwrap();
        assert_ne!(session.key(), before);
        assert!(session.is_alive(NOW + TTL_MS - 1) && !session.is_alive(NOW + TTL_MS));
    }

    #[test]
    fn a_later_login_rotates_the_session_key() {
        let (before, after) = key_after(ROTATION_MS);
        assert_ne!(before, after);
    }
}
