//! The id of a session: 8 bytes of its user, 4 of its time and 4 random ones, written as 22 characters of base64url.

use std::fmt;
use std::str::FromStr;

use aws_lc_rs::error::Unspecified;
use aws_lc_rs::rand;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::user::User;

const BYTES: usize = 16;
/// Those that all sessions of a user have in common, so that a store finds them side by side.
const OF_USER: usize = 8;

/// So many characters of an id's text are the same for all sessions of a user in an app, and nobody else's but by chance: 60 bits of a
/// digest of appid and openid.
pub const DIGEST_LENGTH: usize = 10;

/// Names one session; found in tokens as `sid`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SessionId([u8; BYTES]);

/// Says that a text is no session id.
#[derive(Debug, thiserror::Error)]
#[error("a session id is 22 characters of base64url")]
pub struct NoSessionId;

impl SessionId {
    /// Draws the id of a new session of a user.
    ///
    /// The times, in seconds, order a user's sessions; to guess an id is of no use, so that few random bytes will do to keep two
    /// apart that are drawn in the same second.
    pub(super) fn draw(user: User, now: u64) -> Result<Self, Unspecified> {
        let mut random = [0; 4];
        rand::fill(&mut random)?;
        let time = now.to_be_bytes().into_iter().skip(4);
        let mut bytes = [0; BYTES];
        let own = bytes.iter_mut().skip(OF_USER);
        for (to, from) in own.zip(time.chain(random)) {
            *to = from;
        }
        Ok(Self(bytes).of(user))
    }

    /// Returns the least and the greatest id that a session of a user can have.
    ///
    /// Another user may have the same 8 bytes, so what lies between is not all theirs.
    pub(super) fn range_of(user: User) -> (Self, Self) {
        let [least, greatest] = [0, u8::MAX].map(|byte| Self([byte; BYTES]).of(user));
        (least, greatest)
    }

    /// Returns whether a session of this id can be a user's.
    pub(super) fn is_of(&self, user: User) -> bool {
        let (least, greatest) = Self::range_of(user);
        (least..=greatest).contains(self)
    }

    fn of(mut self, user: User) -> Self {
        for (to, from) in self.0.iter_mut().zip(user.as_bytes()).take(OF_USER) {
            *to = *from;
        }
        self
    }

    pub(super) const fn from_bytes(bytes: [u8; BYTES]) -> Self {
        Self(bytes)
    }

    pub(super) const fn as_bytes(&self) -> &[u8; BYTES] {
        &self.0
    }
}

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&URL_SAFE_NO_PAD.encode(self.0))
    }
}

impl fmt::Debug for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SessionId({self})")
    }
}

impl FromStr for SessionId {
    type Err = NoSessionId;

    fn from_str(text: &str) -> Result<Self, NoSessionId> {
        // One byte of room: the decoder then refuses longer texts instead of filling the buffer.
        let mut bytes = [0; BYTES + 1];
        let length = URL_SAFE_NO_PAD
            .decode_slice(text, &mut bytes)
            .map_err(|_| NoSessionId)?;
        match bytes.first_chunk() {
            Some(id) if length == BYTES => Ok(Self(*id)),
            Some(_) | None => Err(NoSessionId),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn an_id_survives_its_text(bytes: [u8; 16]) {
            let id = SessionId::from_bytes(bytes);
            let text = id.to_string();
            prop_assert_eq!(text.len(), 22);
            prop_assert_eq!(text.parse::<SessionId>().unwrap(), id);
        }

        #[test]
        fn an_id_has_exactly_one_text(text in "\\PC{0,40}|[A-Za-z0-9_-]{20,24}") {
            if let Ok(id) = text.parse::<SessionId>() {
                prop_assert_eq!(id.to_string(), text);
            }
        }
    }

    #[test]
    fn two_ids_of_one_second_differ() {
        let user = User::new("wx1", "alice");
        let [one, other] = [(); 2].map(|()| SessionId::draw(user, 1_800_000_000).unwrap());
        assert_ne!(one, other);
        assert_eq!(one.0[..OF_USER], other.0[..OF_USER]);
        let (least, greatest) = SessionId::range_of(user);
        assert!((least..=greatest).contains(&one));
    }

    #[test]
    fn the_ids_of_a_user_begin_alike_and_those_of_others_do_not() {
        let id = |openid| {
            let id = SessionId::draw(User::new("wx1", openid), fastrand::u32(..).into());
            let text = id.unwrap().to_string();
            text.chars().take(DIGEST_LENGTH).collect::<String>()
        };
        assert_eq!(id("alice"), id("alice"));
        assert_ne!(id("alice"), id("bob"));
        // As the documents have operators find it.
        assert_eq!(id("alice"), "jvuJtvwS4i");
    }

    #[test]
    fn ids_of_one_user_are_ordered_by_time() {
        let user = User::new("wx1", "alice");
        let ids = [255, 256, 1_800_000_000, u64::from(u32::MAX)];
        let ids = ids.map(|now| SessionId::draw(user, now).unwrap());
        assert!(ids.is_sorted());
    }
}
