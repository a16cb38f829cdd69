//! Sends every command once that the store needs, so that a missing permission is found at the start.

use std::time::Duration;

use redis::{RedisResult, Value};

use super::answers;
use super::ends::Ends;
use super::kept;
use super::keys::Names;
use super::link::Link;
use super::scripts::{CLAIM, GIVE_BACK, LIVE, LOGIN, NOT_STORED, REFRESH, REPLACE_KEY};
use super::stream::{Generation, Renewer, Stream};
use crate::clock::Clock;
use crate::session::SessionId;
use crate::session::claim::{CodeMark, Holder};
use crate::session::kept::{Budget, Sealed, SharedSlot};
use crate::session::user::User;

/// What an interrupted rehearsal leaves behind expires after this many seconds.
const LASTS: u64 = 60;

/// Opens, refreshes and ends a session of a user who cannot exist, under names of its own, and leaves nothing behind.
pub(super) async fn rehearse(link: &Link, names: &Names, clock: &Clock) -> RedisResult<()> {
    let names = &names.rehearsed();
    // No app has such an appid.
    let user = User::new("rehearsal", "nobody");
    let id = SessionId::from_bytes(*user.as_bytes());
    let other = another(id);
    let now = clock.unix_secs();
    // What an interrupted rehearsal left would have scripts take other branches.
    let stream = Stream::new(names);
    let tombstones = names.tombstones(id.as_bytes());
    forget(link, std::slice::from_ref(&tombstones)).await?;
    forget(link, stream.keys()).await?;
    let login = LOGIN
        .of(names, id, user)
        .arg(0)
        .arg(LASTS)
        .arg(id.as_bytes())
        .arg("identity")
        .arg("current")
        .arg("sealed")
        .arg("unionid");
    let refresh = REFRESH
        .of(names, id, user)
        .arg(0)
        .arg(LASTS)
        .arg(id.as_bytes())
        .arg(0)
        .arg(0)
        .arg("current")
        .arg("successor")
        .arg(1)
        .arg(LASTS)
        .arg(LASTS)
        .arg("identity");
    let replace = REPLACE_KEY.of_keys(names, user);
    let replace = replace.arg(0).arg("sealed").arg("another");
    let live = LIVE.with(vec![names.user(user)]).arg(0).arg(1);
    for change in [login, refresh, replace, live] {
        change.make::<Value>(link).await?;
    }
    let mut reads = redis::pipe();
    reads.add_command(answers::read(names, id));
    let sessions = names.user(user);
    reads.cmd("ZCOUNT").arg(&sessions).arg(now).arg(now);
    reads.cmd("EXISTS").arg(names.session(id));
    reads.cmd("SMEMBERS").arg(names.ending(id.as_bytes()));
    link.ask_all::<Value>(&reads).await?;
    let ends = Ends::lasting(names, clock, LASTS);
    for change in [
        ends.one(id, user),
        ends.several(user, &[id]),
        ends.unknown(id),
        // The second tombstone of a bucket needs more commands than the first.
        ends.unknown(other),
    ] {
        change.make::<Value>(link).await?;
    }
    if let Some(done) = ends.revoked(&[id]) {
        link.ask::<Value>(&done).await?;
    }
    redeem_nothing(link, names).await?;
    keep_nothing(link, names).await?;
    // EVAL is sent only for a script that Redis does not know.
    let mut script = redis::cmd("EVAL");
    script.arg("return 1").arg(1).arg(sessions);
    link.ask::<Value>(&script).await?;
    forget(link, std::slice::from_ref(&tombstones)).await?;
    revoke_nobody(link, &stream, id).await?;
    forget(link, stream.keys()).await
}

/// Returns the id of another session in the same bucket.
fn another(id: SessionId) -> SessionId {
    let mut bytes = *id.as_bytes();
    if let Some(last) = bytes.last_mut() {
        *last ^= 1;
    }
    SessionId::from_bytes(bytes)
}

async fn forget(link: &Link, keys: &[String]) -> RedisResult<()> {
    let mut delete = redis::cmd("DEL");
    link.ask::<Value>(delete.arg(keys)).await.map(drop)
}

/// Claims a code that cannot exist, stores an outcome and gives it back.
async fn redeem_nothing(link: &Link, names: &Names) -> RedisResult<()> {
    let code = CodeMark::of_nothing();
    let (holder, millis) = ("rehearse", LASTS * 1000);
    let claim = CLAIM.of_code(names, code);
    let claim = claim.arg(holder).arg(millis).arg(millis);
    claim.make::<Value>(link).await?;
    let not_stored = NOT_STORED.of_code(names, code);
    let not_stored = not_stored.arg(holder).arg(1);
    for change in [not_stored, GIVE_BACK.of_code(names, code).arg(holder)] {
        change.make::<Value>(link).await?;
    }
    let mut keep = redis::cmd("SET");
    keep.arg(names.code(code)).arg("d").arg("PX").arg(1);
    link.ask::<Value>(&keep).await.map(drop)
}

/// Stores a shared value for a moment, takes the lease to replace it, and counts that.
async fn keep_nothing(link: &Link, names: &Names) -> RedisResult<()> {
    let slot = SharedSlot::from_bytes([0; 16]);
    let holder = Holder::random();
    let holder = holder.map_err(|_| std::io::Error::other("no randomness"))?;
    let bytes = vec![0];
    let something = Some(Sealed { rank: 0, bytes });
    let budget = Budget {
        gap: Duration::ZERO,
        a_day: 1,
    };
    for change in [
        kept::turn(names, slot, holder, Duration::from_secs(1), 0),
        kept::keep(names, slot, something, Some(holder)),
        kept::spend(names, slot, budget, 0),
    ] {
        change.make::<Value>(link).await?;
    }
    forget(link, &[names.kept(slot)]).await
}

/// Does with another stream everything that is done with the stream of revocations.
async fn revoke_nobody(link: &Link, stream: &Stream, id: SessionId) -> RedisResult<()> {
    let seen: Generation = None;
    let renewal = stream.renew(&seen, 0, Renewer::Running);
    let renewal = renewal.map_err(|_| std::io::Error::other("no randomness"))?;
    renewal.make::<Value>(link).await?;
    for add in [stream.add(&[(id, 0)]), stream.add_again(&[(id, 0)])] {
        add.make::<Value>(link).await?;
    }
    let mut read = redis::cmd("XREAD");
    read.arg("COUNT").arg(1).arg("STREAMS").arg(stream.name());
    link.ask::<Value>(read.arg("0-0")).await?;
    let mut looks = redis::pipe();
    for order in [["XRANGE", "-", "+"], ["XREVRANGE", "+", "-"]] {
        let [command, from, to] = order;
        looks.cmd(command).arg(stream.name()).arg(from).arg(to);
        looks.arg("COUNT").arg(1);
    }
    looks.cmd("XLEN").arg(stream.name());
    looks.cmd("HGETALL").arg(stream.counters());
    link.ask_all::<Value>(&looks).await?;
    link.ask::<Value>(&redis::cmd("TIME")).await?;
    stream.trim(1).make::<Value>(link).await.map(drop)
}
