//! Which users have a unionid: a sorted set for each, in a slot of its own, so that it is written after the session and not with it.
//!
//! It is a hint: whoever is in it is looked up, and what a lost write left out is written again at the next refresh.

use std::sync::Arc;

use super::Redis;
use super::scripts::{Change, LIVE, UNIONID};
use crate::session::store::{MOST_AT_ONCE, Store as _};
use crate::session::user::{UnionidDigest, User};
use crate::session::{Identity, StoreError};

impl Redis {
    /// Notes a user's unionid, where users are looked up by it. Nobody waits for that, since it is in another slot than the session,
    /// whose server may be away.
    pub(super) fn note_unionid(&self, user: User, unionid: Option<&str>) {
        let Some(change) = self.noting(user, unionid) else {
            return;
        };
        let link = Arc::clone(&self.link);
        self.behind.spawn(async move {
            if let Err(error) = change.make::<redis::Value>(&link).await {
                tracing::debug!(%error, "a user's unionid could not be noted");
            }
        });
    }

    fn noting(&self, user: User, unionid: Option<&str>) -> Option<Change<'static>> {
        let unionid = unionid.filter(|_| self.rules.unionid_lookup)?;
        let users = self.names.unionid(UnionidDigest::new(unionid));
        let change = UNIONID
            .with(vec![users])
            .arg(self.clock.moved_secs())
            .arg(self.rules.session_ttl.as_secs())
            .arg(user.as_bytes());
        Some(change)
    }

    /// Returns the users whose latest unionid this is, and who have a live session.
    pub(super) async fn users_with(&self, unionid: &str) -> Result<Vec<Identity>, StoreError> {
        let users = self.names.unionid(UnionidDigest::new(unionid));
        let noted = LIVE.with(vec![users]);
        let noted = noted.arg(self.clock.moved_secs()).arg(MOST_AT_ONCE);
        let noted: Vec<Vec<u8>> = self.change(noted).await?;
        let mut found = Vec::with_capacity(noted.len());
        for bytes in noted {
            let user = bytes.try_into().map_err(|_| StoreError::Damaged)?;
            found.extend(self.user_with(User::from_bytes(user), unionid).await?);
        }
        Ok(found)
    }

    async fn user_with(&self, user: User, unionid: &str) -> Result<Option<Identity>, StoreError> {
        let mut latest = redis::cmd("HGET");
        latest.arg(self.names.session_keys(user)).arg("unionid");
        let latest: Option<String> = self.ask(&latest).await?;
        if latest.as_deref() != Some(unionid) {
            return Ok(None);
        }
        let (_, record) = match self.sessions_of(user).await?.pop() {
            Some(session) => session,
            None => return Ok(None),
        };
        Ok(Some(Identity {
            unionid: latest,
            ..record.identity
        }))
    }
}
