//! The names of the keys; braces mark the part by which a Cluster chooses the slot.

use crate::session::SessionId;
use crate::session::claim::CodeMark;
use crate::session::user::User;

/// Makes the names that begin with the configured prefix.
#[derive(Clone, Debug)]
pub(super) struct Names {
    prefix: String,
}

impl Names {
    pub(super) fn new(prefix: &str) -> Self {
        Self {
            prefix: prefix.to_owned(),
        }
    }

    /// A hash: one session.
    pub(super) fn session(&self, id: SessionId) -> String {
        self.name('s', id.as_bytes())
    }

    /// A sorted set: a user's sessions by their ends.
    pub(super) fn user(&self, user: User) -> String {
        self.name('u', user.as_bytes())
    }

    /// A hash: a user's session_keys, sealed.
    pub(super) fn session_keys(&self, user: User) -> String {
        self.name('k', user.as_bytes())
    }

    /// A set: a user's sessions that were removed and are yet to be revoked.
    pub(super) fn ending(&self, user: User) -> String {
        self.name('e', user.as_bytes())
    }

    /// A string: who redeems a code, or what it brought, sealed.
    pub(super) fn code(&self, code: CodeMark) -> String {
        self.name('c', code.as_bytes())
    }

    /// A stream: the revocations.
    pub(super) fn revoked(&self) -> String {
        format!("{}revoked", self.prefix)
    }

    /// A string that tells which seal key belongs to the data.
    pub(super) fn seal_check(&self) -> String {
        format!("{}seal-check", self.prefix)
    }

    /// The first two bytes are the same in a user's id and in those of their sessions.
    fn name(&self, kind: char, id: &[u8; 16]) -> String {
        let id = u128::from_be_bytes(*id);
        format!("{}{{{:04x}}}:{kind}:{id:032x}", self.prefix, id >> 112)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_of_a_user_is_in_one_slot() {
        let names = Names::new("menshen:");
        let user = User::new("wx1", "alice");
        let session = names.session(SessionId::draw(user, 1_800_000_000).unwrap());
        let slot = |name: &str| name.split(['{', '}']).nth(1).unwrap().to_owned();
        assert_eq!(slot(&session), slot(&names.user(user)));
        assert_eq!(slot(&session), slot(&names.session_keys(user)));
        assert!(session.starts_with("menshen:{"), "{session}");
    }
}
