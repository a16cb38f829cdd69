//! The stream of revocations and what is counted of it, so that every node notices when Redis has lost some.

use std::collections::{HashMap, HashSet};

use aws_lc_rs::error::Unspecified;
use aws_lc_rs::rand;
use redis::RedisResult;
use redis::streams::{StreamId, StreamRangeReply};

use super::connect::Connection;
use super::keys::Names;
use super::scripts::{ADD_AGAIN, ADD_REVOCATIONS, Change, RENEW, Script, TRIM};
use crate::session::{RevokedSessions, SessionId};

/// Entries that are read, added or removed at once.
pub(super) const PAGE: usize = 1000;

/// A generation's name; `None` where Redis has none.
pub(super) type Generation = Option<Vec<u8>>;

/// The names of the stream, of its counts and of what was added again.
#[derive(Clone, Debug)]
pub(super) struct Stream {
    keys: [String; 3],
}

/// How the stream was at one moment.
#[derive(Debug)]
pub(super) struct State {
    pub(super) generation: Generation,
    /// How many entries were ever added and removed, as they were counted.
    pub(super) added: u64,
    removed: u64,
    /// How many there are.
    length: u64,
    /// The last entry.
    pub(super) newest: String,
}

impl State {
    /// Returns whether everything is there that was added and not removed.
    pub(super) fn is_whole(&self) -> bool {
        self.generation.is_some() && self.length == self.added.saturating_sub(self.removed)
    }

    /// Returns whether entries are gone; a node of an older version adds some that are not counted.
    pub(super) fn lacks_entries(&self) -> bool {
        self.generation.is_none() || self.length < self.added.saturating_sub(self.removed)
    }
}

type Counts = HashMap<String, Vec<u8>>;

impl Stream {
    pub(super) fn new(names: &Names) -> Self {
        Self {
            keys: [
                names.revoked(),
                names.revoked_state(),
                names.revoked_again(),
            ],
        }
    }

    pub(super) fn name(&self) -> &str {
        let [name, ..] = &self.keys;
        name
    }

    pub(super) fn counts(&self) -> &str {
        let [_, counts, _] = &self.keys;
        counts
    }

    pub(super) fn keys(&self) -> &[String] {
        &self.keys
    }

    fn change(&self, script: &'static Script) -> Change<'static> {
        script.with(self.keys.to_vec())
    }

    /// Looks at the stream; `None` says that it changed meanwhile.
    pub(super) async fn look(&self, connection: &mut Connection) -> RedisResult<Option<State>> {
        let [stream, counts, _] = &self.keys;
        let mut look = redis::pipe();
        look.cmd("HGETALL").arg(counts);
        look.cmd("XLEN").arg(stream);
        look.cmd("XREVRANGE").arg(stream).arg("+").arg("-");
        look.arg("COUNT").arg(1);
        look.cmd("HGETALL").arg(counts);
        let (before, length, newest, mut after): (Counts, u64, StreamRangeReply, Counts) =
            look.query_async(connection).await?;
        if before != after {
            return Ok(None);
        }
        let number = |name: &str| {
            let text = after.get(name).map(|text| String::from_utf8_lossy(text));
            text.and_then(|text| text.parse().ok()).unwrap_or(0)
        };
        let (added, removed) = (number("added"), number("removed"));
        let newest = newest.ids.into_iter().next();
        Ok(Some(State {
            added,
            removed,
            generation: after.remove("generation"),
            length,
            newest: newest.map_or_else(|| "0-0".to_owned(), |entry| entry.id),
        }))
    }

    /// Returns whether the first entry is over.
    pub(super) async fn begins_with_the_past(
        &self,
        connection: &mut Connection,
        now: u64,
    ) -> RedisResult<bool> {
        let mut first = redis::cmd("XRANGE");
        first.arg(self.name()).arg("-").arg("+");
        first.arg("COUNT").arg(1);
        let first: StreamRangeReply = first.query_async(connection).await?;
        let mut entries = first.ids.iter();
        Ok(entries.any(|entry| revocation(entry).is_none_or(|(_, until)| until < now)))
    }

    /// Adds entries; answered with the [`Generation`].
    pub(super) fn add(&self, revocations: &[(SessionId, u64)]) -> Change<'static> {
        with(self.change(&ADD_REVOCATIONS), revocations)
    }

    /// Adds entries that Redis has lost and that no other node has added again; answered with the [`Generation`].
    pub(super) fn add_again(&self, revocations: &[(SessionId, u64)]) -> Change<'static> {
        with(self.change(&ADD_AGAIN), revocations)
    }

    /// Begins another generation where it is still the one that was `seen`; answered with the [`Generation`].
    pub(super) fn renew(
        &self,
        seen: &Generation,
        numbered: u64,
    ) -> Result<Change<'static>, Unspecified> {
        let mut new = [0; 8];
        rand::fill(&mut new)?;
        let seen = seen.as_deref().unwrap_or_default();
        Ok(self.change(&RENEW).arg(seen).arg(&new).arg(numbered))
    }

    /// Removes entries that are over, no more than [`PAGE`]; answered with how many.
    pub(super) fn trim(&self, now: u64) -> Change<'static> {
        self.change(&TRIM).arg(now).arg(PAGE)
    }

    /// Reads all of it into `known`, and returns the newest entry and every session that is in it.
    pub(super) async fn read(
        &self,
        connection: &mut Connection,
        known: &RevokedSessions,
        now: u64,
    ) -> RedisResult<(String, HashSet<SessionId>)> {
        let mut last = "0-0".to_owned();
        let mut found = HashSet::new();
        loop {
            let mut range = redis::cmd("XRANGE");
            range.arg(self.name()).arg(format!("({last}")).arg("+");
            range.arg("COUNT").arg(PAGE);
            let page: StreamRangeReply = range.query_async(connection).await?;
            let Some(end) = page.ids.last() else {
                return Ok((last, found));
            };
            last = end.id.clone();
            found.extend(page.ids.iter().filter_map(revocation).map(|(id, _)| id));
            add(known, &page.ids, now);
        }
    }
}

fn with(mut change: Change<'static>, revocations: &[(SessionId, u64)]) -> Change<'static> {
    for (id, until) in revocations {
        change = change.arg(id.as_bytes()).arg(*until);
    }
    change
}

/// Adds what entries say to what is known.
pub(super) fn add(known: &RevokedSessions, entries: &[StreamId], now: u64) {
    let revocations = entries.iter().filter_map(revocation);
    known.add(revocations.filter(|(_, until)| *until >= now));
}

/// Reads an entry; one that is none of ours revokes nothing.
fn revocation(entry: &StreamId) -> Option<(SessionId, u64)> {
    let id: Vec<u8> = entry.get("s")?;
    let until = entry.get("u")?;
    Some((SessionId::from_bytes(id.try_into().ok()?), until))
}

/// Returns where in a stream an entry is, in an order that can be compared.
pub(super) fn place(id: &str) -> (u64, u64) {
    let (time, number) = id.split_once('-').unwrap_or((id, "0"));
    (time.parse().unwrap_or(0), number.parse().unwrap_or(0))
}
