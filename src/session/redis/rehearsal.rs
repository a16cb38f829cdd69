//! Asks Redis once for everything that the store will need, so that a right that lacks is told at the start.

use redis::{RedisResult, Value};

use super::keys::Names;
use super::link::Link;
use super::scripts::{self, CLAIM, END, END_ALL, GIVE_BACK, LOGIN, REFRESH, REPLACE_KEY};
use crate::session::SessionId;
use crate::session::claim::CodeMark;
use crate::session::user::User;

/// What is left of a rehearsal that was cut off goes soon after this many seconds.
const LASTS: u64 = 60;

/// Goes through the life of a session of somebody who cannot exist, and leaves nothing of it behind.
pub(super) async fn rehearse(link: &Link, names: &Names, now: u64) -> RedisResult<()> {
    // No app has such an appid.
    let user = User::new("rehearsal", "nobody");
    let id = SessionId::from_bytes(*user.as_bytes());
    let login = LOGIN
        .of(names, id, user)
        .arg(now)
        .arg(now.saturating_add(LASTS))
        .arg(id.as_bytes())
        .arg("identity")
        .arg("current")
        .arg("sealed");
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
        .arg("identity");
    let end = END.of(names, id, user);
    let end = end.arg(now).arg(id.as_bytes()).arg(LASTS);
    let end_all = END_ALL.of_user(names, user).arg(now).arg(LASTS);
    let end_all = end_all.key(names.session(id)).arg(id.as_bytes());
    let replace = REPLACE_KEY.of_keys(names, user);
    let replace = replace.arg(now).arg("sealed").arg("another");
    for change in [login, refresh, replace] {
        change.make::<Value>(link).await?;
    }
    let mut reads = redis::pipe();
    reads.add_command(scripts::read(names, id));
    let sessions = names.user(user);
    reads.cmd("ZRANGEBYSCORE").arg(&sessions).arg(now).arg(now);
    reads.cmd("ZCOUNT").arg(&sessions).arg(now).arg(now);
    link.ask_all::<Value>(&reads).await?;
    for change in [end, end_all] {
        change.make::<Value>(link).await?;
    }
    let mut done = redis::cmd("SREM");
    done.arg(names.ending(user)).arg(id.as_bytes());
    link.ask::<Value>(&done).await?;
    redeem_nothing(link, names).await?;
    // A script that Redis knew already was not sent as such.
    let mut script = redis::cmd("EVAL");
    script.arg("return 1").arg(1).arg(sessions);
    link.ask::<Value>(&script).await?;
    revoke_nobody(link, &names.revoked()).await
}

/// Takes a code that cannot exist, keeps something of it and gives it back.
async fn redeem_nothing(link: &Link, names: &Names) -> RedisResult<()> {
    let code = CodeMark::of_nothing();
    let (holder, millis) = ("rehearse", LASTS * 1000);
    let claim = CLAIM.of_code(names, code);
    let claim = claim.arg(holder).arg(millis).arg(millis);
    claim.make::<Value>(link).await?;
    let give_back = GIVE_BACK.of_code(names, code).arg(holder);
    give_back.make::<Value>(link).await?;
    let mut keep = redis::cmd("SET");
    keep.arg(names.code(code)).arg("d").arg("PX").arg(1);
    link.ask::<Value>(&keep).await.map(drop)
}

/// Adds an entry to the stream that nobody takes for a revocation, reads it and removes it.
async fn revoke_nobody(link: &Link, stream: &str) -> RedisResult<()> {
    let mut add = redis::cmd("XADD");
    add.arg(stream).arg("*").arg("u").arg(0);
    let entry: String = link.ask(&add).await?;
    let mut read = redis::cmd("XREAD");
    read.arg("COUNT").arg(1).arg("STREAMS").arg(stream);
    link.ask::<Value>(read.arg("0-0")).await?;
    let mut newest = redis::cmd("XREVRANGE");
    newest.arg(stream).arg("+").arg("-").arg("COUNT").arg(1);
    link.ask::<Value>(&newest).await?;
    let mut delete = redis::cmd("XDEL");
    link.ask::<Value>(delete.arg(stream).arg(entry))
        .await
        .map(drop)
}
