//! Proves that a seal key belongs to the data in Redis: by a stored digest, or by a session_key that was sealed with it.
//!
//! A node with another seal key would log users in whom no other node knows. The digest of the key is stored under a name
//! of its own, in a Cluster also in eight slots that are spread evenly, and every running node stores again what is
//! missing. A node that starts compares all that it finds. Where it finds none, it looks for a session (`SCAN`) and tries
//! to decrypt its user's session_key.

use redis::{Cmd, RedisResult, Value};

use super::connect::Connection;
use super::keys::Names;
use crate::session::record::identity_from;
use crate::session::seal::Sealer;
use crate::session::user::user_name;

/// How many names one step scans.
const PAGE: usize = 1000;

/// The stored digests of the seal key.
pub(super) struct Checks {
    names: Vec<String>,
    own: [u8; 16],
}

impl Checks {
    pub(super) fn new(names: &Names, own: [u8; 16]) -> Self {
        let names = names.seal_checks();
        Self { names, own }
    }

    /// Returns the command that reads each digest, the one that decides first.
    pub(super) fn reads(&self) -> Vec<Cmd> {
        let read = |name: &String| {
            let mut read = redis::cmd("GET");
            read.arg(name);
            read
        };
        self.names.iter().map(read).collect()
    }

    /// Returns the command that stores each digest if it is missing, the one that decides first.
    pub(super) fn writes(&self) -> Vec<Cmd> {
        let write = |name: &String| {
            let mut write = redis::cmd("SET");
            write.arg(name).arg(&self.own).arg("NX");
            write
        };
        self.names.iter().map(write).collect()
    }

    /// Returns whether all digests that were read are of this seal key; `None` if there were none.
    pub(super) fn are_ours(&self, read: &[Option<Vec<u8>>]) -> Option<bool> {
        let mut found = read.iter().flatten().peekable();
        found.peek()?;
        Some(found.all(|check| *check == self.own))
    }
}

/// Looks for a session, and returns whether its user's session_key was sealed with this key; `None` if there is none.
pub(super) async fn opens(
    connection: &mut Connection,
    names: &Names,
    sealer: &Sealer,
) -> RedisResult<Option<bool>> {
    for (master, answer) in connection.ask_masters(&scan(names, b"0")).await? {
        let mut answer = answer;
        loop {
            let (cursor, found): (Vec<u8>, Vec<Vec<u8>>) = redis::from_redis_value(answer)?;
            for session in found {
                let opened = of_session(connection, names, sealer, &session).await?;
                if opened.is_some() {
                    return Ok(opened);
                }
            }
            if cursor == b"0" {
                break;
            }
            let next = scan(names, &cursor);
            answer = connection.ask_at(master.as_ref(), &next).await?;
        }
    }
    Ok(None)
}

/// Returns the command that goes on through the names of the sessions, from a cursor.
pub(super) fn scan(names: &Names, cursor: &[u8]) -> Cmd {
    let mut scan = redis::cmd("SCAN");
    scan.arg(cursor).arg("MATCH").arg(names.sessions());
    scan.arg("COUNT").arg(PAGE);
    scan
}

/// Returns whether the session_key of a session's user can be opened; `None` if it does not exist.
async fn of_session(
    connection: &mut Connection,
    names: &Names,
    sealer: &Sealer,
    session: &[u8],
) -> RedisResult<Option<bool>> {
    let mut read = redis::cmd("HMGET");
    read.arg(session).arg("identity");
    let (identity,): (Option<Vec<u8>>,) = read.query_async(connection).await?;
    let Some(Ok(identity)) = identity.map(|bytes| identity_from(&bytes)) else {
        return Ok(None);
    };
    let mut read = redis::cmd("HMGET");
    read.arg(names.session_keys(identity.user())).arg("latest");
    let (sealed,): (Option<Vec<u8>>,) = read.query_async(connection).await?;
    let owner = user_name(&identity.appid, &identity.openid);
    Ok(sealed.map(|sealed| sealer.open(&owner, &sealed).is_some()))
}

/// Sends the first command of [`opens`].
pub(super) async fn rehearse(connection: &mut Connection, names: &Names) -> RedisResult<()> {
    let scan = scan(&names.rehearsed(), b"0");
    for (_, answer) in connection.ask_masters(&scan).await? {
        let _: (Vec<u8>, Value) = redis::from_redis_value(answer)?;
    }
    Ok(())
}
