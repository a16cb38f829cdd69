//! The ids of keys, by which keys are rotated (key rotation): `MILLISECONDS-RANDOM` sorts by age and says from when the key signs.

use std::time::Duration;

/// How long a new key only verifies, so that every node knows it before the first token is signed with it.
pub const VERIFIES_FIRST: Duration = Duration::from_secs(600);

/// The end of the id of a key that signs as soon as it is known.
const AT_ONCE: &str = "now";

/// From when a new key signs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signs {
    /// After [`VERIFIES_FIRST`].
    Later,
    /// As soon as it is known: nodes that do not know it yet refuse what it signs.
    AtOnce,
}

/// Makes the id of a key made at `made_ms`, in milliseconds since the Unix epoch.
pub(super) fn kid(made_ms: u64, random: u32, signs: Signs) -> String {
    match signs {
        Signs::Later => format!("{made_ms:013}-{random:08x}"),
        Signs::AtOnce => format!("{made_ms:013}-{random:08x}-{AT_ONCE}"),
    }
}

/// Returns when a key was made; `None` for an id that somebody else chose.
pub(super) fn made_ms(kid: &str) -> Option<u64> {
    kid.split('-').next()?.parse().ok()
}

/// Returns from when a key signs, in milliseconds since the Unix epoch.
pub(super) fn signs_from_ms(kid: &str) -> u64 {
    let delay = u64::try_from(VERIFIES_FIRST.as_millis()).unwrap_or(u64::MAX);
    match made_ms(kid) {
        Some(made) if kid.rsplit('-').next() != Some(AT_ONCE) => made.saturating_add(delay),
        _ => 0,
    }
}

/// Chooses the key that signs at `now_ms`: the newest that may, or else the oldest, which most nodes know.
pub(super) fn signer<'a, T>(
    oldest: &'a T,
    newer: &'a [T],
    signs_from_ms: impl Fn(&T) -> u64,
    now_ms: u64,
) -> &'a T {
    newer
        .iter()
        .rfind(|key| signs_from_ms(key) <= now_ms)
        .unwrap_or(oldest)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(kids: &[&str], now_ms: u64) -> String {
        let (oldest, newer) = kids.split_first().unwrap();
        (*signer(oldest, newer, |kid| signs_from_ms(kid), now_ms)).to_owned()
    }

    #[test]
    fn a_new_key_signs_after_its_delay_and_not_before() {
        let keys = ["0000000001000-a", "0000000002000-b"];
        assert_eq!(chosen(&keys, 2000), keys[0]);
        assert_eq!(chosen(&keys, 601_999), keys[0]);
        assert_eq!(chosen(&keys, 602_000), keys[1]);
    }

    #[test]
    fn where_no_key_may_sign_yet_the_oldest_does() {
        let keys = ["0000000001000-a", "0000000002000-b"];
        assert_eq!(chosen(&keys, 0), keys[0]);
        assert_eq!(chosen(&keys[1..], 0), keys[1]);
    }

    #[test]
    fn a_key_made_to_sign_at_once_or_named_by_somebody_else_does() {
        let at_once = kid(3000, 7, Signs::AtOnce);
        assert_eq!(at_once, "0000000003000-00000007-now");
        let keys = ["0000000001000-a", "0000000002000-b", &at_once];
        assert_eq!(chosen(&keys, 0), at_once);
        assert_eq!(chosen(&["0000000001000-a", "mine"], 0), "mine");
        let later = kid(4000, 7, Signs::Later);
        let keys = ["0000000001000-a", &at_once, &later];
        assert_eq!(chosen(&keys, 0), at_once);
        assert_eq!(chosen(&keys, 604_000), later);
    }
}
