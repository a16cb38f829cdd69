//! The sessions: turns logins and refresh tokens into the digests and sealed bytes that a store keeps.
//!
//! A user may have any number of sessions: no login ends another. Each takes a code, of which WeChat gives one user only so many.

use std::path::Path;
use std::sync::Arc;

use aws_lc_rs::error::Unspecified;

use super::claim::Memo;
use super::embedded::Embedded;
use super::measured::{Measured, StoreUses};
use super::record::Record;
use super::redis::Redis;
use super::rotation::Rotation;
use super::seal::Keys;
use super::store::{KeySwap, MOST_AT_ONCE, NewLogin, Refresh, Renewal, SealedKeys, Store};
use super::user::{User, user_name};
use super::{
    Apps, CodeUse, Identity, LONGEST_TEXT, OpenError, Opened, RefreshError, RefreshToken,
    RevokedSessions, Session, SessionId, SessionKeys, SessionRules, StoreError,
};
use crate::clock::Clock;
use crate::config::RedisServer;
use crate::secret::Secret;

/// How long a session_key that was replaced still opens what was encrypted with it, in seconds: a client gets its data
/// first and sends it afterwards, and a login in between changes the key.
const PREVIOUS_KEY_SECS: u64 = 600;

/// Stored logins; clones share them.
#[derive(Clone)]
pub struct Sessions {
    pub(super) shared: Arc<SessionParts>,
}

pub(super) struct SessionParts {
    pub(super) store: Measured,
    pub(super) keys: Keys,
    clock: Clock,
    unionid_lookup: bool,
}

impl Sessions {
    /// Opens the embedded store in a folder, which is made when it is missing, as are the files in it.
    ///
    /// Without a `seal_key` (32 bytes in base64) the store uses the one in its folder, and makes it the first time.
    pub fn embedded(
        dir: &Path,
        seal_key: Option<Secret>,
        rules: SessionRules,
        clock: Clock,
    ) -> Result<Self, OpenError> {
        let (store, keys) = Embedded::open(dir, seal_key, rules, clock.clone())?;
        Ok(Self::over(Box::new(store), keys, clock, rules))
    }

    /// Connects to Redis, and returns when all revocations are known.
    pub async fn redis(
        server: &RedisServer,
        seal_key: &Secret,
        rules: SessionRules,
        clock: Clock,
    ) -> Result<Self, OpenError> {
        let (store, keys) = Redis::connect(server, seal_key, rules, clock.clone()).await?;
        Ok(Self::over(Box::new(store), keys, clock, rules))
    }

    /// Tries out whether [`Self::redis`] would succeed, leaves no session behind, and returns what an operator should know.
    pub async fn try_redis(
        server: &RedisServer,
        seal_key: &Secret,
        clock: &Clock,
    ) -> Result<Vec<String>, OpenError> {
        Redis::try_out(server, seal_key, clock).await
    }

    /// Looks at what [`Self::embedded`] would use, without making, locking or changing anything.
    ///
    /// It does not read the sessions, so that it can be asked while a process serves them.
    pub fn check_embedded(dir: &Path, seal_key: Option<Secret>) -> Result<(), OpenError> {
        Embedded::check(dir, seal_key)
    }

    fn over(store: Box<dyn Store>, keys: Keys, clock: Clock, rules: SessionRules) -> Self {
        Self {
            shared: Arc::new(SessionParts {
                store: Measured::new(store),
                keys,
                clock,
                unionid_lookup: rules.unionid_lookup,
            }),
        }
    }

    /// Opens a session and keeps the user's newest session_key; both are stored when this returns `Ok`.
    pub async fn open_session(
        &self,
        identity: Identity,
        session_key: &Secret,
    ) -> Result<Opened, StoreError> {
        self.open(identity, Some(session_key), None).await
    }

    pub(super) async fn open(
        &self,
        identity: Identity,
        session_key: Option<&Secret>,
        code: Option<CodeUse>,
    ) -> Result<Opened, StoreError> {
        acceptable(&identity, session_key)?;
        let keys = &self.shared.keys;
        let user = identity.user();
        let sid = SessionId::draw(user, self.shared.clock.unix_secs())?;
        let token = keys.refresh.first(sid, user)?;
        let refresh = keys.refresh.text(&token);
        let memo = match code {
            Some(code) => Some(Memo::seal(&keys.memos, code, &refresh)?),
            None => None,
        };
        let owner = user_name(&identity.appid, &identity.openid);
        let login = NewLogin {
            sid,
            user,
            identity,
            first: token.fingerprint(),
            sealed_key: match session_key {
                Some(session_key) => keys.sealer.seal(&owner, session_key)?,
                None => Vec::new(),
            },
            memo,
        };
        let record = self.shared.store.add(login).await?;
        Ok(Opened {
            session: session(sid, record),
            refresh,
            profile: None,
        })
    }

    /// Gives the successor of a refresh token, and ends the session when the token was used up before.
    ///
    /// A session of none of `apps` is left as it is: the app may come back.
    pub async fn refresh(&self, token: &RefreshToken, apps: &Apps) -> Result<Opened, RefreshError> {
        let key = &self.shared.keys.refresh;
        let store = &self.shared.store;
        let token = key.recognise(token).ok_or(RefreshError::Invalid)?;
        if self.revoked().contains(&token.sid()) {
            store.sweep(token.sid(), token.user()).await?;
            return Err(RefreshError::Ended);
        }
        let (sid, user, generation) = (token.sid(), token.user(), token.generation());
        let presented = token.fingerprints();
        let successor = key.successor(token);
        let refresh = Refresh {
            sid,
            user,
            generation,
            presented,
            successor: successor.fingerprint(),
            apps: apps.clone(),
        };
        match store.refresh(refresh).await? {
            Renewal::Renewed(record) => {
                let Rotation {
                    generation,
                    current,
                    ..
                } = record.rotation;
                if !key.leads_to(&successor, generation, &current) {
                    tracing::error!(
                        session = %sid,
                        "a refresh token has the right tag and was never issued: somebody has the seal key; replace it, \
                         and have everybody log in again"
                    );
                    return Err(RefreshError::Invalid);
                }
                Ok(Opened {
                    session: session(sid, record),
                    refresh: key.text(&successor),
                    profile: None,
                })
            }
            Renewal::Reused => {
                tracing::warn!(
                    target: "menshen::audit",
                    event = "session_ended",
                    by = "refresh_reused",
                    session = %sid,
                    "a refresh token was used again after its grace"
                );
                Err(RefreshError::Reused)
            }
            Renewal::Ended => Err(RefreshError::Ended),
            Renewal::AppUnknown => Err(RefreshError::AppUnknown),
        }
    }

    /// Ends a session and revokes its tokens; `false` means that there was none, which revokes them too.
    pub async fn end(&self, id: SessionId) -> Result<bool, StoreError> {
        self.shared.store.end(id).await
    }

    /// Ends every session of a user and revokes their tokens.
    pub async fn end_all(&self, appid: &str, openid: &str) -> Result<Vec<SessionId>, StoreError> {
        let user = User::new(appid, openid);
        let mut ended = Vec::new();
        loop {
            let step = self.shared.store.end_some(user).await?;
            let was_last = step.len() < MOST_AT_ONCE;
            ended.extend(step);
            if was_last {
                return Ok(ended);
            }
        }
    }

    /// Returns a session that has not ended.
    pub async fn session(&self, id: SessionId) -> Result<Option<Session>, StoreError> {
        let found = self.shared.store.session(id).await?;
        Ok(found.map(|record| session(id, record)))
    }

    /// Returns when a session ends unless it is refreshed before; `None` when it has ended.
    pub async fn end_of(&self, id: SessionId) -> Result<Option<u64>, StoreError> {
        Ok(self.session(id).await?.map(|session| session.expires))
    }

    /// Returns the sessions of a user that have not ended, no more than 500 of them.
    pub async fn sessions_of(&self, appid: &str, openid: &str) -> Result<Vec<Session>, StoreError> {
        let user = User::new(appid, openid);
        let found = self.shared.store.sessions_of(user).await?.into_iter();
        Ok(found.map(|(id, record)| session(id, record)).collect())
    }

    /// Returns the users who have a live session and this unionid as the latest that WeChat gave, no more than 500 of them;
    /// `None` where users are not looked up by it.
    pub async fn users_of(&self, unionid: &str) -> Result<Option<Vec<Identity>>, StoreError> {
        match self.shared.unionid_lookup {
            true => self.shared.store.users_of(unionid).await.map(Some),
            false => Ok(None),
        }
    }

    /// Returns the session_key of a user's latest login, and the one that it replaced a short time ago; `None` when no
    /// session of theirs is left.
    pub async fn session_keys(
        &self,
        appid: &str,
        openid: &str,
    ) -> Result<Option<SessionKeys>, StoreError> {
        let user = User::new(appid, openid);
        let Some(SealedKeys { latest, previous }) = self.shared.store.session_keys(user).await?
        else {
            return Ok(None);
        };
        // The user has only logged in in browsers, or with a ticket.
        if latest.is_empty() {
            return Ok(None);
        }
        let owner = user_name(appid, openid);
        let sealer = &self.shared.keys.sealer;
        let open = |sealed: &[u8]| sealer.open(&owner, sealed).ok_or(StoreError::Damaged);
        let now = self.shared.clock.unix_secs();
        let previous =
            previous.filter(|(_, replaced)| now.saturating_sub(*replaced) <= PREVIOUS_KEY_SECS);
        Ok(Some(SessionKeys {
            latest: open(&latest)?,
            previous: previous.map(|(sealed, _)| open(&sealed)).transpose()?,
        }))
    }

    /// Puts a session_key that came without a login in place of the `old` one, which is kept for a short time.
    ///
    /// `false` means that another one came meanwhile, or that no session of the user is left, and that nothing was changed.
    pub async fn replace_session_key(
        &self,
        appid: &str,
        openid: &str,
        old: &Secret,
        new: &Secret,
    ) -> Result<bool, StoreError> {
        acceptable_text("session_key", new.expose())?;
        let owner = user_name(appid, openid);
        let sealer = &self.shared.keys.sealer;
        let swap = KeySwap {
            user: User::new(appid, openid),
            expected: sealer.seal(&owner, old)?,
            sealed_key: sealer.seal(&owner, new)?,
        };
        self.shared.store.replace_session_key(swap).await
    }

    /// Returns the sessions whose tokens must be refused although they have not expired.
    pub fn revoked(&self) -> &RevokedSessions {
        self.shared.store.revoked()
    }

    /// Returns whether the last thing asked of the store could be done.
    pub fn is_available(&self) -> bool {
        self.shared.store.is_available()
    }

    /// Returns in what state the store would not do the last thing, as a sentence, where it said so.
    pub fn trouble(&self) -> Option<&'static str> {
        self.shared.store.trouble()
    }

    /// Returns what is counted of the store.
    pub fn uses(&self) -> Arc<StoreUses> {
        self.shared.store.uses()
    }

    /// Returns how many sessions are stored, those that nobody has removed yet included; `None` where that is not known.
    pub fn stored(&self) -> Option<usize> {
        self.shared.store.stored()
    }

    /// Returns how many operations were given to the store since the start.
    pub fn operations(&self) -> u64 {
        self.shared.store.operations()
    }

    /// Copies what is stored to [`SESSIONS_COPY`](super::SESSIONS_COPY) while it is used, and returns how many sessions that were;
    /// `None` where the store is no file of this process's.
    pub async fn back_up(&self) -> Result<Option<u64>, StoreError> {
        self.shared.store.back_up().await
    }

    /// Copies the sessions of a folder that no process serves, and returns how many there are; `None` where there are none yet.
    pub fn copy_embedded(dir: &Path, to: &Path) -> Result<Option<u64>, OpenError> {
        Embedded::copy(dir, to)
    }

    /// Finishes what was begun and lets another process have a store that only one can use.
    pub async fn release(&self) {
        self.shared.store.release().await;
    }

    /// Takes the store back after [`Self::release`].
    pub async fn resume(&self) {
        self.shared.store.resume().await;
    }

    /// Finishes what was begun and closes the store for all its clones, which are then unavailable.
    pub async fn close(self) {
        self.shared.store.close().await;
    }
}

impl Identity {
    pub(super) fn user(&self) -> User {
        User::new(&self.appid, &self.openid)
    }
}

impl From<Unspecified> for StoreError {
    fn from(_: Unspecified) -> Self {
        Self::Cryptography
    }
}

fn acceptable(identity: &Identity, session_key: Option<&Secret>) -> Result<(), StoreError> {
    let texts = [
        ("app", Some(identity.app.as_str())),
        ("appid", Some(identity.appid.as_str())),
        ("openid", Some(identity.openid.as_str())),
        ("unionid", identity.unionid.as_deref()),
        ("session_key", session_key.map(Secret::expose)),
    ];
    for (name, text) in texts {
        text.map_or(Ok(()), |text| acceptable_text(name, text))?;
    }
    Ok(())
}

fn acceptable_text(name: &'static str, text: &str) -> Result<(), StoreError> {
    if text.is_empty() || text.len() > LONGEST_TEXT || text.contains('\0') {
        return Err(StoreError::Unacceptable(name));
    }
    Ok(())
}

pub(super) fn session(id: SessionId, record: Record) -> Session {
    Session {
        id,
        identity: record.identity,
        created: record.created,
        expires: record.expires,
    }
}
