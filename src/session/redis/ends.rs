//! How the end of a session is written down: with a tombstone, and as one that is yet to be revoked.

use redis::Cmd;

use super::keys::Names;
use super::scripts::{Change, END, END_ALL, TOMBSTONE};
use crate::clock::Clock;
use crate::session::user::User;
use crate::session::{Lifetimes, SessionId};

/// How far the clocks of two nodes may be apart, in seconds: five minutes on either side of Redis's.
pub(super) const SKEW_SECS: u64 = 600;

/// Makes the changes that end sessions.
#[derive(Clone)]
pub(super) struct Ends {
    names: Names,
    clock: Clock,
    /// Until the last token of a session that ends now has expired by the slowest clock, in seconds.
    pub(super) revoked_for: u64,
    /// As long as the session could live, in seconds.
    pub(super) ended_for: u64,
}

impl Ends {
    pub(super) fn new(names: &Names, lifetimes: &Lifetimes, clock: &Clock) -> Self {
        Self {
            names: names.clone(),
            clock: clock.clone(),
            revoked_for: lifetimes.revoked_until(0).saturating_add(SKEW_SECS),
            ended_for: lifetimes.session_ttl.as_secs().saturating_add(SKEW_SECS),
        }
    }

    /// Has everything go soon, for what is tried at the start.
    pub(super) fn lasting(names: &Names, clock: &Clock, secs: u64) -> Self {
        Self {
            names: names.clone(),
            clock: clock.clone(),
            revoked_for: secs,
            ended_for: secs,
        }
    }

    /// Ends a session; answered with whether it was there.
    pub(super) fn one(&self, id: SessionId, user: User) -> Change<'static> {
        END.of(&self.names, id, user)
            .arg(self.clock.moved_secs())
            .arg(id.as_bytes())
            .arg(self.revoked_for)
            .arg(self.ended_for)
    }

    /// Ends sessions of a user; answered with those of the bucket that are yet to be revoked.
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

    /// Sets the tombstone of a session of which nothing is stored, so that nobody knows whose it was.
    pub(super) fn unknown(&self, id: SessionId) -> Change<'static> {
        TOMBSTONE
            .with(vec![self.names.tombstones(id.as_bytes())])
            .arg(self.clock.moved_secs())
            .arg(id.as_bytes())
            .arg(self.ended_for)
    }

    /// Records that sessions of one bucket are revoked.
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
