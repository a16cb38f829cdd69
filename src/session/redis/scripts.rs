//! The changes, each a script that Redis runs as one: it is made whole or not at all, in one round trip.

use std::sync::LazyLock;

use redis::{Cmd, ErrorKind, FromRedisValue, RedisError, ServerErrorKind, ToRedisArgs};

use super::connect::Connection;
use super::keys::Names;
use super::link::Link;
use crate::session::SessionId;
use crate::session::claim::CodeMark;
use crate::session::user::User;

macro_rules! scripts {
    ($($(#[$doc:meta])* $name:ident = $($part:literal)+;)+) => {$(
        $(#[$doc])*
        pub(super) static $name: LazyLock<Script> =
            LazyLock::new(|| Script::new(&[$(include_str!($part)),+]));
    )+};
}

scripts! {
    /// Opens a session.
    LOGIN = "time.lua" "lasting.lua" "login.lua";
    /// Replaces a refresh token.
    REFRESH = "time.lua" "lasting.lua" "tombstones.lua" "removal.lua" "refresh.lua";
    /// Replaces a session_key.
    REPLACE_KEY = "time.lua" "replace_key.lua";
    /// Lists a user's sessions.
    LIVE = "time.lua" "live.lua";
    /// Ends a session.
    END = "time.lua" "tombstones.lua" "removal.lua" "end.lua";
    /// Ends several sessions of a user.
    END_ALL = "time.lua" "tombstones.lua" "removal.lua" "end_all.lua";
    /// Sets the tombstone of a session.
    TOMBSTONE = "time.lua" "tombstones.lua" "tombstone.lua";
    /// Takes a code.
    CLAIM = "claim.lua";
    /// Gives a code back.
    GIVE_BACK = "give_back.lua";
    /// Keeps the newer of two things.
    KEEP = "keep.lua";
    /// Takes the turn to replace it.
    TURN = "turn.lua";
    /// Counts what must not happen too often.
    SPEND = "spend.lua";
    /// Says that a code's session could not be stored.
    NOT_STORED = "not_stored.lua";
    /// Adds revocations to the stream.
    ADD_REVOCATIONS = "add_revocations.lua";
    /// Adds revocations to the stream that it has lost.
    ADD_AGAIN = "add_again.lua";
    /// Begins another generation of the stream.
    RENEW = "renew.lua";
    /// Removes what is over from the stream.
    TRIM = "trim.lua";
}

/// A script and the digest by which Redis remembers it.
pub(super) struct Script {
    text: String,
    sha1: String,
}

impl Script {
    fn new(parts: &[&str]) -> Self {
        let script = redis::Script::new(&parts.concat());
        Self {
            text: parts.concat(),
            sha1: script.get_hash().to_owned(),
        }
    }

    /// Begins a change of one session.
    pub(super) fn of(&'static self, names: &Names, id: SessionId, user: User) -> Change<'static> {
        let keys = vec![
            names.session(id),
            names.user(user),
            names.session_keys(user),
            names.ending(user.as_bytes()),
            names.tombstones(user.as_bytes()),
        ];
        self.with(keys)
    }

    /// Begins a change of a user's sessions, which are yet to be named.
    pub(super) fn of_user(&'static self, names: &Names, user: User) -> Change<'static> {
        let keys = vec![
            names.user(user),
            names.session_keys(user),
            names.ending(user.as_bytes()),
            names.tombstones(user.as_bytes()),
        ];
        self.with(keys)
    }

    /// Begins a change of a user's session_keys.
    pub(super) fn of_keys(&'static self, names: &Names, user: User) -> Change<'static> {
        self.with(vec![names.session_keys(user)])
    }

    /// Begins a change of what is kept of a code.
    pub(super) fn of_code(&'static self, names: &Names, code: CodeMark) -> Change<'static> {
        self.with(vec![names.code(code)])
    }

    /// Begins a change of these keys.
    pub(super) fn with(&self, keys: Vec<String>) -> Change<'_> {
        Change {
            script: self,
            keys,
            arguments: Vec::new(),
        }
    }
}

/// A script with what it is to work on.
pub(super) struct Change<'s> {
    script: &'s Script,
    keys: Vec<String>,
    arguments: Vec<Vec<u8>>,
}

impl Change<'_> {
    pub(super) fn key(mut self, key: String) -> Self {
        self.keys.push(key);
        self
    }

    pub(super) fn arg(mut self, argument: impl ToRedisArgs) -> Self {
        argument.write_redis_args(&mut self.arguments);
        self
    }

    /// Makes the change; Redis is sent the script itself only when it does not know it.
    pub(super) async fn make<T: FromRedisValue>(&self, link: &Link) -> Result<T, RedisError> {
        match link.ask(&self.command("EVALSHA", &self.script.sha1)).await {
            Err(error) if is_unknown(&error) => {
                link.ask(&self.command("EVAL", &self.script.text)).await
            }
            done => done,
        }
    }

    /// Makes the change over a connection of the caller's own.
    pub(super) async fn make_on<T: FromRedisValue>(
        &self,
        connection: &mut Connection,
    ) -> Result<T, RedisError> {
        let known = self.command("EVALSHA", &self.script.sha1);
        match known.query_async(connection).await {
            Err(error) if is_unknown(&error) => {
                let whole = self.command("EVAL", &self.script.text);
                whole.query_async(connection).await
            }
            done => done,
        }
    }

    fn command(&self, name: &str, script: &str) -> Cmd {
        let mut command = redis::cmd(name);
        command.arg(script).arg(self.keys.len()).arg(&self.keys);
        for argument in &self.arguments {
            command.arg(argument);
        }
        command
    }
}

fn is_unknown(error: &RedisError) -> bool {
    error.kind() == ErrorKind::Server(ServerErrorKind::NoScript)
}
