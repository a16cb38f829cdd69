//! The changes: each is a Lua script, which Redis runs atomically and in one round trip.

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
    /// Notes a user's unionid.
    UNIONID = "time.lua" "unionid.lua";
    /// Lists a user's sessions, or the users of a unionid.
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
    /// Keeps the newer of two values.
    KEEP = "keep.lua";
    /// Takes the lease to replace it.
    TURN = "turn.lua";
    /// Counts an action that a budget limits.
    SPEND = "spend.lua";
    /// Says that a code's session could not be stored.
    NOT_STORED = "not_stored.lua";
    /// Adds revocations to the stream.
    ADD_REVOCATIONS = "add_revocations.lua";
    /// Adds revocations to the stream that Redis lost.
    ADD_AGAIN = "repair.lua" "add_again.lua";
    /// Begins another generation of the stream.
    RENEW = "repair.lua" "renew.lua";
    /// Removes expired entries from the stream.
    TRIM = "trim.lua";
}

/// A script, and the digest by which Redis knows it.
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

    /// Returns a change of one session.
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

    /// Returns a change of a user's sessions, whose names are added with [`Change::key`].
    pub(super) fn of_user(&'static self, names: &Names, user: User) -> Change<'static> {
        let keys = vec![
            names.user(user),
            names.session_keys(user),
            names.ending(user.as_bytes()),
            names.tombstones(user.as_bytes()),
        ];
        self.with(keys)
    }

    /// Returns a change of a user's session_keys.
    pub(super) fn of_keys(&'static self, names: &Names, user: User) -> Change<'static> {
        self.with(vec![names.session_keys(user)])
    }

    /// Returns a change of what is stored of a code.
    pub(super) fn of_code(&'static self, names: &Names, code: CodeMark) -> Change<'static> {
        self.with(vec![names.code(code)])
    }

    /// Returns a change of these keys.
    pub(super) fn with(&self, keys: Vec<String>) -> Change<'_> {
        Change {
            script: self,
            keys,
            arguments: Vec::new(),
        }
    }
}

/// A script with its keys and arguments.
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

    /// Makes the change; the text of the script is sent only when Redis does not know it.
    pub(super) async fn make<T: FromRedisValue>(&self, link: &Link) -> Result<T, RedisError> {
        match link.ask(&self.command("EVALSHA", &self.script.sha1)).await {
            Err(error) if is_unknown(&error) => {
                link.ask(&self.command("EVAL", &self.script.text)).await
            }
            done => done,
        }
    }

    /// Makes the change over the caller's own connection.
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
