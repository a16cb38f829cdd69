//! Parses what Redis returns about sessions and codes.

use std::time::Duration;

use redis::{Cmd, FromRedisValue, ParsingError, Value};

use super::keys::Names;
use crate::session::SessionId;
use crate::session::claim::Held;
use crate::session::encoding::Damaged;
use crate::session::record::{Record, identity_from};
use crate::session::rotation::Rotation;

const FIELDS: [&str; 6] = [
    "identity",
    "created",
    "expires",
    "generation",
    "current",
    "replaced",
];

/// Returns the command that reads a session.
pub(super) fn read(names: &Names, id: SessionId) -> Cmd {
    let mut read = redis::cmd("HMGET");
    read.arg(names.session(id)).arg(&FIELDS);
    read
}

/// The stored fields of a session.
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

/// What the refresh script returns: the fields of the session, or a number that says why not.
#[derive(Debug)]
pub(super) enum Refreshed {
    /// With the latest unionid that WeChat gave for its user.
    Renewed(Fields, Option<String>),
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
        let Value::Array(mut parts) = value else {
            return Err("not a session".into());
        };
        let unionid = parts.pop().ok_or("not a session")?;
        let unionid: String = redis::from_redis_value(unionid)?;
        let fields = Fields::from_redis_value(Value::Array(parts))?;
        let unionid = Some(unionid).filter(|unionid| !unionid.is_empty());
        Ok(Self::Renewed(fields, unionid))
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
            Some((b'n', _)) => Ok(Self::NotStored(left)),
            Some((b'r', errcode)) => {
                let errcode = std::str::from_utf8(errcode)?.parse();
                let errcode = errcode.map_err(|_| "not an errcode")?;
                Ok(Self::Refused(errcode, left))
            }
            Some(_) | None => Err("not what became of a code".into()),
        }
    }
}
