//! The changes, each a script that Redis runs as one: it is made whole or not at all, in one round trip.

use std::sync::LazyLock;
use std::time::Duration;

use redis::{
    Cmd, ErrorKind, FromRedisValue, ParsingError, RedisError, ServerErrorKind, ToRedisArgs, Value,
};

use super::keys::Names;
use super::link::Link;
use crate::session::SessionId;
use crate::session::claim::{CodeMark, Held};
use crate::session::encoding::Damaged;
use crate::session::record::{Record, identity_from};
use crate::session::rotation::Rotation;
use crate::session::user::User;

/// Opens a session.
pub(super) static LOGIN: LazyLock<Script> =
    LazyLock::new(|| Script::new(&[include_str!("lasting.lua"), include_str!("login.lua")]));
/// Replaces a refresh token.
pub(super) static REFRESH: LazyLock<Script> = LazyLock::new(|| {
    Script::new(&[
        include_str!("lasting.lua"),
        include_str!("removal.lua"),
        include_str!("refresh.lua"),
    ])
});
/// Replaces a session_key.
pub(super) static REPLACE_KEY: LazyLock<Script> =
    LazyLock::new(|| Script::new(&[include_str!("replace_key.lua")]));
/// Removes a session.
pub(super) static END: LazyLock<Script> =
    LazyLock::new(|| Script::new(&[include_str!("removal.lua"), include_str!("end.lua")]));
/// Removes several sessions of a user.
pub(super) static END_ALL: LazyLock<Script> =
    LazyLock::new(|| Script::new(&[include_str!("end_all.lua")]));
/// Takes a code.
pub(super) static CLAIM: LazyLock<Script> =
    LazyLock::new(|| Script::new(&[include_str!("claim.lua")]));
/// Gives a code back.
pub(super) static GIVE_BACK: LazyLock<Script> =
    LazyLock::new(|| Script::new(&[include_str!("give_back.lua")]));

const FIELDS: [&str; 6] = [
    "identity",
    "created",
    "expires",
    "generation",
    "current",
    "replaced",
];

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
            names.ending(user),
        ];
        self.with(keys)
    }

    /// Begins a change of a user's sessions, which are yet to be named.
    pub(super) fn of_user(&'static self, names: &Names, user: User) -> Change<'static> {
        let ending = names.ending(user);
        self.with(vec![names.user(user), names.session_keys(user), ending])
    }

    /// Begins a change of a user's session_keys.
    pub(super) fn of_keys(&'static self, names: &Names, user: User) -> Change<'static> {
        self.with(vec![names.session_keys(user)])
    }

    /// Begins a change of what is kept of a code.
    pub(super) fn of_code(&'static self, names: &Names, code: CodeMark) -> Change<'static> {
        self.with(vec![names.code(code)])
    }

    fn with(&self, keys: Vec<String>) -> Change<'_> {
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
            Err(error) if error.kind() == ErrorKind::Server(ServerErrorKind::NoScript) => {
                link.ask(&self.command("EVAL", &self.script.text)).await
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

/// Asks for the fields of a session.
pub(super) fn read(names: &Names, id: SessionId) -> Cmd {
    let mut read = redis::cmd("HMGET");
    read.arg(names.session(id)).arg(&FIELDS);
    read
}

/// The fields of a session as they are stored.
#[derive(Debug)]
pub(super) enum Fields {
    None,
    Some {
        identity: Vec<u8>,
        created: u64,
        expires: u64,
        generation: u32,
        current: Vec<u8>,
        replaced: String,
    },
}

impl Fields {
    pub(super) fn is_some(&self) -> bool {
        matches!(self, Self::Some { .. })
    }
}

impl Fields {
    pub(super) fn into_record(self) -> Result<Record, Damaged> {
        let Self::Some {
            identity,
            created,
            expires,
            generation,
            current,
            replaced,
        } = self
        else {
            return Err(Damaged);
        };
        Ok(Record {
            identity: identity_from(&identity)?,
            created,
            expires,
            rotation: Rotation {
                generation,
                current: current.as_slice().try_into().map_err(|_| Damaged)?,
                replaced: replaced
                    .split_ascii_whitespace()
                    .map(|time| time.parse().map_err(|_| Damaged))
                    .collect::<Result<_, _>>()?,
            },
        })
    }
}

impl FromRedisValue for Fields {
    fn from_redis_value(value: Value) -> Result<Self, ParsingError> {
        type Six = (
            Option<Vec<u8>>,
            Option<u64>,
            Option<u64>,
            Option<u32>,
            Option<Vec<u8>>,
            Option<String>,
        );
        let fields: Six = redis::from_redis_value(value)?;
        Ok(match fields {
            (
                Some(identity),
                Some(created),
                Some(expires),
                Some(generation),
                Some(current),
                Some(replaced),
            ) => Self::Some {
                identity,
                created,
                expires,
                generation,
                current,
                replaced,
            },
            _ => Self::None,
        })
    }
}

/// What the refresh script answers: the fields of the session, or in one number why not.
#[derive(Debug)]
pub(super) enum Refreshed {
    Renewed(Fields),
    Ended,
    AppUnknown,
    Reused,
}

impl FromRedisValue for Refreshed {
    fn from_redis_value(value: Value) -> Result<Self, ParsingError> {
        if let Value::Int(refused) = value {
            return Ok(match refused {
                0 => Self::Ended,
                2 => Self::AppUnknown,
                _ => Self::Reused,
            });
        }
        Fields::from_redis_value(value).map(Self::Renewed)
    }
}

impl FromRedisValue for Held {
    fn from_redis_value(value: Value) -> Result<Self, ParsingError> {
        if let Value::Int(state) = value {
            return Ok(match state {
                0 => Self::Yours,
                1 => Self::Elsewhere,
                _ => Self::Lost,
            });
        }
        let (kept, left): (Vec<u8>, i64) = redis::from_redis_value(value)?;
        let left = Duration::from_millis(left.try_into().unwrap_or(0));
        match kept.split_first() {
            Some((b'd', sealed)) => Ok(Self::Memo(sealed.to_owned(), left)),
            Some((b'r', errcode)) => {
                let errcode = std::str::from_utf8(errcode)?.parse();
                let errcode = errcode.map_err(|_| "not an errcode")?;
                Ok(Self::Refused(errcode, left))
            }
            Some(_) | None => Err("not what became of a code".into()),
        }
    }
}
