//! Stored logins: who logged in, their refresh tokens, their session_keys and which sessions were revoked.
//!
//! # Layout
//! [`Sessions`] turns tokens and keys into digests (`refresh_token`) and sealed bytes (`seal`), which are all that a
//! store sees. `store` says what a store must do, `contract` proves it of each: `embedded`, one file for one process,
//! and `redis`, for many. `claim` is what is kept of a code while it becomes a session, `sender` by what its client is known
//! again. `kept` is what nodes keep beside the sessions, `browser` what browsers keep for us. `rotation` is the rule by which
//! refresh tokens follow each other, `record` the bytes of a session, `revoked` what every node keeps in memory. `measured`
//! times what any store does.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use std::{error, io};

use crate::owner::Exposed;
use crate::secret::Secret;

#[cfg(test)]
#[macro_use]
mod contract;

mod apps;
mod browser;
mod claim;
mod codes;
mod embedded;
mod encoding;
mod id;
mod kept;
mod measured;
mod record;
mod redis;
mod refresh_token;
mod revoked;
mod rotation;
mod seal;
mod sender;
mod sessions;
mod store;
mod user;

pub use apps::Apps;
pub use claim::{Claim, CodeMark, CodeUse, Holder};
pub use embedded::{COPY as SESSIONS_COPY, FILE as SESSIONS_FILE, SEAL_KEY_FILE};
pub use id::{DIGEST_LENGTH, NoSessionId, SessionId};
pub use kept::{Budget, Ranked, SharedSlot, Turn};
pub use measured::{StoreUse, StoreUses};
pub use refresh_token::RefreshToken;
pub use revoked::RevokedSessions;
pub use sender::{Sender, SenderMark};
pub use sessions::Sessions;

/// A token may be signed a moment after its session ended, so revocations outlive tokens by this.
const REVOKED_SLACK_SECS: u64 = 60;

/// The longest app name, appid, openid, unionid or session_key, in bytes.
pub const LONGEST_TEXT: usize = 512;

/// Who WeChat says a user is, and in which app.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The app's name in the configuration.
    pub app: String,
    /// WeChat's id of the app.
    pub appid: String,
    /// WeChat's id of the user in this app.
    pub openid: String,
    /// WeChat's id of the user across the apps of one owner, when WeChat gave it.
    pub unionid: Option<String>,
    /// The kind of login.
    pub source: Source,
}

/// The kind of login that opened a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// A mini-program's `wx.login`.
    MiniProgram,
    /// In a browser inside WeChat.
    OfficialAccount,
    /// In another browser, with a QR code.
    Website,
}

impl Source {
    /// Every kind of login.
    pub const ALL: [Self; 3] = [Self::MiniProgram, Self::OfficialAccount, Self::Website];

    /// Returns the value of the `src` claim and of `X-WX-SOURCE`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::MiniProgram => "wx_client",
            Self::OfficialAccount => "wx_h5",
            Self::Website => "wx_web",
        }
    }

    /// Finds the kind of login by the text of a `src` claim.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|source| source.as_str() == name)
    }
}

/// A stored login.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Session {
    /// Its id.
    pub id: SessionId,
    /// Whose it is.
    pub identity: Identity,
    /// When the user logged in, in seconds since the Unix epoch.
    pub created: u64,
    /// When it ends unless it is refreshed before, in seconds since the Unix epoch.
    pub expires: u64,
}

/// A session that was opened or refreshed, with the refresh token to use next.
#[derive(Clone, Debug)]
pub struct Opened {
    /// The session.
    pub session: Session,
    /// Its refresh token, of which the store keeps only a digest.
    pub refresh: RefreshToken,
    /// What the login brought of the user's profile; no store keeps it.
    pub profile: Option<Profile>,
}

/// What a user shows of themselves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Profile {
    /// The nickname, with whatever characters it has.
    pub nickname: String,
    /// The address of the picture; empty where there is none.
    pub picture: String,
}

/// What a configuration says of all sessions.
#[derive(Clone, Copy, Debug)]
pub struct SessionRules {
    /// How long a session lasts after its last refresh.
    pub session_ttl: Duration,
    /// How long a replaced refresh token gives its successor again.
    pub refresh_grace: Duration,
    /// How long a token lasts, and therefore a revocation.
    pub token_ttl: Duration,
    /// Whether users can be looked up by their unionid.
    pub unionid_lookup: bool,
}

impl SessionRules {
    /// Returns until when a session that is revoked now must be remembered.
    fn revoked_until(&self, now: u64) -> u64 {
        now.saturating_add(self.token_ttl.as_secs())
            .saturating_add(REVOKED_SLACK_SECS)
    }
}

/// The session_keys of a user.
#[derive(Clone, Debug)]
pub struct SessionKeys {
    /// That of the latest login.
    pub latest: Secret,
    /// The one before it, for a short time.
    pub previous: Option<Secret>,
}

/// Why a store cannot answer; says nothing about whether a session exists.
#[derive(Clone, Debug, thiserror::Error)]
pub enum StoreError {
    /// It was closed, or recovers from a failure of the disk.
    #[error("the session store is not available")]
    Unavailable,
    /// Too many changes wait to be written.
    #[error("the session store has too much to write")]
    Busy,
    /// The disk or the file failed.
    #[error("the session store could not be read or written")]
    Storage(#[source] Arc<dyn error::Error + Send + Sync>),
    /// What is stored cannot be understood.
    #[error("a stored session is damaged")]
    Damaged,
    /// Random bytes or a cipher could not be had.
    #[error("a cryptographic operation failed")]
    Cryptography,
    /// A text of the identity is not one that can be stored.
    #[error("the {0} is empty, longer than 512 bytes or holds a NUL")]
    Unacceptable(&'static str),
}

/// Why a refresh token gave no successor.
#[derive(Clone, Debug, thiserror::Error)]
pub enum RefreshError {
    /// It is not a refresh token of this store.
    #[error("this is not a refresh token")]
    Invalid,
    /// It was replaced too long ago, so somebody else may hold it; its session was ended.
    #[error("this refresh token was used before; its session is over")]
    Reused,
    /// Its session is over.
    #[error("the session of this refresh token is over")]
    Ended,
    /// Its session is of no app that there is; it stays as it was.
    #[error("the session of this refresh token is of an app that is not configured")]
    AppUnknown,
    /// The store cannot tell.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Why a store could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The process may not use the folder or a file in it.
    #[error("no permission to read and write {0}")]
    NoPermission(PathBuf),
    /// Only one process at a time may use a store.
    #[error("{0} is in use by another process")]
    InUse(PathBuf),
    /// The file is not a store, or parts of it were overwritten.
    #[error("{path} is damaged; put a copy back, or move it away and have everybody log in again")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        source: Arc<dyn error::Error + Send + Sync>,
    },
    /// The operating system refused for another reason.
    #[error("{path} cannot be read or written: {source}")]
    Unreadable {
        /// The folder or file.
        path: PathBuf,
        /// The reason.
        #[source]
        source: io::Error,
    },
    /// The configured seal key is not a key.
    #[error("the configured seal key must be 32 bytes in base64")]
    ConfiguredSealKeyMalformed,
    /// The seal key's file does not hold a key.
    #[error("{0} must hold 32 bytes in base64")]
    SealKeyMalformed(PathBuf),
    /// Group or others may read the seal key.
    #[error("{0} can be read by other users; make it mode 0600")]
    SealKeyExposed(PathBuf),
    /// Another user may replace the sessions or their key.
    #[error(transparent)]
    Exposed(#[from] Exposed),
    /// There are sessions, but the key that sealed them is gone.
    #[error("{0} is missing, and the stored sessions cannot be used without it")]
    SealKeyMissing(PathBuf),
    /// The sessions were sealed with a different key.
    #[error("{0} was written with a different seal key")]
    SealKeyDiffers(String),
    /// Another version of the program wrote the file.
    #[error(
        "{0} was written by a version of Menshen that stores sessions differently; use that version, or move the file away \
         and have everybody log in again"
    )]
    LayoutDiffers(PathBuf),
    /// Redis does not answer, which may pass.
    #[error("{server} cannot be reached: {reason}")]
    RedisAway {
        /// Its addresses.
        server: String,
        /// What happened.
        reason: String,
    },
    /// Redis answers, but is in a state that may pass.
    #[error("{server} cannot be used at the moment: {reason}")]
    RedisRefuses {
        /// Its addresses.
        server: String,
        /// The state.
        reason: String,
    },
    /// Redis answers, but not as it should.
    #[error("{server} cannot be used: {reason}")]
    Redis {
        /// Its addresses.
        server: String,
        /// What is wrong.
        reason: String,
    },
    /// Keys could not be derived.
    #[error("a cryptographic operation failed")]
    Cryptography,
}

impl OpenError {
    fn unreadable(path: &Path, source: io::Error) -> Self {
        let path = path.to_owned();
        if source.kind() == io::ErrorKind::PermissionDenied {
            Self::NoPermission(path)
        } else {
            Self::Unreadable { path, source }
        }
    }
}
