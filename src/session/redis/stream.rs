//! The stream of revocations and its counters, by which every node notices that Redis has lost entries.

use std::collections::{HashMap, HashSet};

use aws_lc_rs::error::Unspecified;
use aws_lc_rs::rand;
use redis::RedisResult;
use redis::streams::{StreamId, StreamRangeReply};

use super::connect::Connection;
use super::keys::Names;
use super::scripts::{ADD_AGAIN, ADD_REVOCATIONS, Change, RENEW, Script, TRIM};
use crate::session::{RevokedSessions, SessionId};

/// How many entries are read, added or removed in one step.
pub(super) const PAGE: usize = 1000;

/// The name of a generation, which is random; `None` where Redis has none.
pub(super) type Generation = Option<Vec<u8>>;

/// Who begins another generation.
#[derive(Clone, Copy, Debug)]
pub(super) enum Renewer {
    /// A node that runs: it and others are about to add again what was lost.
    Running,
    /// A node that starts, after it has waited for those that run.
    Starting,
}

/// The names of the stream, of its counters, of the set of what was added again, and of the note that this goes on.
#[derive(Clone, Debug)]
pub(super) struct Stream {
    keys: [String; 4],
}

/// The state of the stream at one moment.
#[derive(Debug)]
pub(super) struct StreamState {
    pub(super) generation: Generation,
    /// How many entries were ever added.
    pub(super) added: u64,
    /// How many were removed on purpose.
    removed: u64,
    /// How many are in the stream.
    length: u64,
    /// The id of the newest entry.
    pub(super) newest: String,
}

impl StreamState {
    /// Returns whether every entry is there that was added and not removed on purpose.
    pub(super) fn is_whole(&self) -> bool {
        self.generation.is_some() && self.length == self.added.saturating_sub(self.removed)
    }

    /// Returns whether entries are lost; somebody may also have added entries that are not counted.
    pub(super) fn lacks_entries(&self) -> bool {
        self.generation.is_none() || self.length < self.added.saturating_sub(self.removed)
    }
}

type Counters = HashMap<String, Vec<u8>>;

impl Stream {
    pub(super) fn new(names: &Names) -> Self {
        Self {
            keys: [
                names.revoked(),
                names.revoked_state(),
                names.revoked_again(),
                names.revoked_repair(),
            ],
        }
    }

    pub(super) fn name(&self) -> &str {
        let [name, ..] = &self.keys;
        name
    }

    pub(super) fn counters(&self) -> &str {
        let [_, counters, ..] = &self.keys;
        counters
    }

    pub(super) fn keys(&self) -> &[String] {
        &self.keys
    }

    /// Returns a change of the stream and its counters. It names no other key: while a slot is being moved, a Cluster refuses scripts
    /// of which some keys exist and some do not.
    fn change(&self, script: &'static Script) -> Change<'static> {
        let [stream, counters, ..] = &self.keys;
        script.with(vec![stream.clone(), counters.clone()])
    }

    /// Returns a change for a repair.
    fn repair(&self, script: &'static Script) -> Change<'static> {
        script.with(self.keys.to_vec())
    }

    /// Reads the state; `None` means that it changed while it was read.
    pub(super) async fn look(
        &self,
        connection: &mut Connection,
    ) -> RedisResult<Option<StreamState>> {
        let [stream, counters, ..] = &self.keys;
        let mut look = redis::pipe();
        look.cmd("HGETALL").arg(counters);
        look.cmd("XLEN").arg(stream);
        look.cmd("XREVRANGE").arg(stream).arg("+").arg("-");
        look.arg("COUNT").arg(1);
        look.cmd("HGETALL").arg(counters);
        let (before, length, newest, mut after): (Counters, u64, StreamRangeReply, Counters) =
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
        Ok(Some(StreamState {
            added,
            removed,
            generation: after.remove("generation"),
            length,
            newest: newest.map_or_else(|| "0-0".to_owned(), |entry| entry.id),
        }))
    }

    /// Returns whether nodes are adding again what Redis lost.
    pub(super) async fn is_under_repair(&self, connection: &mut Connection) -> RedisResult<bool> {
        let [.., repair] = &self.keys;
        let mut look = redis::cmd("EXISTS");
        look.arg(repair).query_async(connection).await
    }

    /// Returns whether the first entry has expired.
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

    /// Adds entries; returns the [`Generation`].
    pub(super) fn add(&self, revocations: &[(SessionId, u64)]) -> Change<'static> {
        with(self.change(&ADD_REVOCATIONS), revocations)
    }

    /// Adds entries that Redis lost, unless another node has added them; returns the [`Generation`].
    pub(super) fn add_again(&self, revocations: &[(SessionId, u64)]) -> Change<'static> {
        with(self.repair(&ADD_AGAIN), revocations)
    }

    /// Begins another generation if the present one is still the one that was `seen`; returns the [`Generation`].
    pub(super) fn renew(
        &self,
        seen: &Generation,
        numbered: u64,
        renewer: Renewer,
    ) -> Result<Change<'static>, Unspecified> {
        let mut new = [0; 8];
        rand::fill(&mut new)?;
        let seen = seen.as_deref().unwrap_or_default();
        let renewal = self.repair(&RENEW).arg(seen).arg(&new).arg(numbered);
        Ok(renewal.arg(match renewer {
            Renewer::Running => 1,
            Renewer::Starting => 0,
        }))
    }

    /// Removes at most [`PAGE`] expired entries; returns how many.
    pub(super) fn trim(&self, now: u64) -> Change<'static> {
        self.change(&TRIM).arg(now).arg(PAGE)
    }

    /// Reads the whole stream into `known`, and returns the id of the newest entry and every session that is in it.
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

/// Adds what entries say to what is known, unless it has expired.
pub(super) fn add(known: &RevokedSessions, entries: &[StreamId], now: u64) {
    let revocations = entries.iter().filter_map(revocation);
    known.add(revocations.filter(|(_, until)| *until >= now));
}

/// Parses an entry; one of a stranger revokes nothing.
fn revocation(entry: &StreamId) -> Option<(SessionId, u64)> {
    let id: Vec<u8> = entry.get("s")?;
    let until = entry.get("u")?;
    Some((SessionId::from_bytes(id.try_into().ok()?), until))
}

/// Returns an entry's id in a form that can be compared.
pub(super) fn place(id: &str) -> (u64, u64) {
    let (time, number) = id.split_once('-').unwrap_or((id, "0"));
    (time.parse().unwrap_or(0), number.parse().unwrap_or(0))
}
