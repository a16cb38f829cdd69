//! The changes that end a session: each sets a tombstone, and notes that the session is not revoked yet.

use redis::Cmd;

use super::keys::Names;
use super::scripts::{Change, END, END_ALL, TOMBSTONE};
use crate::clock::Clock;
use crate::session::user::User;
use crate::session::{SessionId, SessionRules};

/// How much the clocks of two nodes may differ, in seconds: by five minutes from Redis's, in either direction.
pub(super) const SKEW_SECS: u64 = 600;

/// Makes the changes that end sessions.
#[derive(Clone)]
pub(super) struct Ends {
    names: Names,
    clock: Clock,
    /// How long a revocation lasts, in seconds: until the last token of a session that ends now has expired by the slowest clock.
    pub(super) revoked_for: u64,
    /// How long a tombstone lasts, in seconds: as long as the session could have lived.
    pub(super) ended_for: u64,
}

impl Ends {
    pub(super) fn new(names: &Names, rules: &SessionRules, clock: &Clock) -> Self {
        Self {
            names: names.clone(),
            clock: clock.clone(),
            revoked_for: rules.revoked_until(0).saturating_add(SKEW_SECS),
            ended_for: rules.session_ttl.as_secs().saturating_add(SKEW_SECS),
        }
    }

    /// Makes changes for the rehearsal at the start, whose traces expire soon.
    pub(super) fn lasting(names: &Names, clock: &Clock, secs: u64) -> Self {
        Self {
            names: names.clone(),
            clock: clock.clone(),
            revoked_for: secs,
            ended_for: secs,
        }
    }

    /// Ends a session; returns whether it existed.
    pub(super) fn one(&self, id: SessionId, user: User) -> Change<'static> {
        END.of(&self.names, id, user)
            .arg(self.clock.moved_secs())
            .arg(id.as_bytes())
            .arg(self.revoked_for)
            .arg(self.ended_for)
    }

    /// Ends sessions of a user; returns all sessions of the bucket that are not revoked yet.
    pub(super) fn several(&self, user: User, ids: &[SessionId]) -> Change<'static> {
        let mut change = END_ALL
            .of_user(&self.names, user)
            .arg(self.clock.moved_secs())
            .arg(self.revoked_for)
            .arg(self.ended_for);
        for id in ids {
            change = change.key(self.names.session(*id)).arg(id.as_bytes());
        }
        change
    }

    /// Sets the tombstone of a session that does not exist, so that its user is not known.
    pub(super) fn unknown(&self, id: SessionId) -> Change<'static> {
        TOMBSTONE
            .with(vec![self.names.tombstones(id.as_bytes())])
            .arg(self.clock.moved_secs())
            .arg(id.as_bytes())
            .arg(self.ended_for)
    }

    /// Notes that sessions of one bucket are revoked.
    pub(super) fn revoked(&self, ids: &[SessionId]) -> Option<Cmd> {
        let first = ids.first()?;
        let mut done = redis::cmd("SREM");
        done.arg(self.names.ending(first.as_bytes()));
        for id in ids {
            done.arg(id.as_bytes());
        }
        Some(done)
    }
}
