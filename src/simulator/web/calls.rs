//! `GET /sns/oauth2/access_token` and `GET /sns/userinfo`: a browser's code in exchange for an identity, then a profile.

use serde_json::json;

use super::world::{CodeError, Scope, Settings, Token};
use crate::simulator::answer::{Answer, Granted, Refused};
use crate::simulator::code2session::check_secret;
use crate::simulator::params::Params;
use crate::simulator::world::World;
use crate::simulator::{identity, random};

/// Where codes are redeemed.
pub(in crate::simulator) const ACCESS_TOKEN: &str = "/sns/oauth2/access_token";
/// Where profiles are.
pub(in crate::simulator) const USERINFO: &str = "/sns/userinfo";

const EXPIRES_IN_SECS: u64 = 7200;

/// Redeems a code, with WeChat's order of checks.
pub(in crate::simulator) fn access_token(
    world: &mut World,
    params: &Params,
    now_ms: u64,
) -> Answer {
    match redeem(world, params, now_ms) {
        Ok(granted) => Answer::Granted(granted),
        Err(errcode) => Answer::Refused(Refused::new(errcode)),
    }
}

fn redeem(world: &mut World, params: &Params, now_ms: u64) -> Result<Granted, i64> {
    let appid = params.value("appid").ok_or(41002)?;
    let secret = params.value("secret").ok_or(41004)?;
    let code = params.value("code").ok_or(41008)?;
    if params.value("grant_type") != Some("authorization_code") {
        return Err(40002);
    }
    check_secret(world, appid, secret)?;
    if !world.quotas.admit(appid, now_ms) {
        return Err(45011);
    }
    let redeemed = world.web.redeem(appid, code, now_ms);
    let (name, token) = redeemed.map_err(|error| match error {
        CodeError::Invalid => 40029,
        CodeError::Used => 40163,
        CodeError::Unavailable => -1,
    })?;
    Ok(Granted {
        access_token: Some(name),
        expires_in: Some(EXPIRES_IN_SECS),
        refresh_token: random::access_token().ok(),
        unionid: unionid(world, &token),
        openid: Some(token.openid),
        scope: Some(token.scope.name()),
        is_snapshotuser: token.snapshot.then_some(1),
        ..Granted::default()
    })
}

/// Tells a user's profile.
pub(in crate::simulator) fn userinfo(world: &mut World, params: &Params, now_ms: u64) -> Answer {
    match profile(world, params, now_ms) {
        Ok(text) => Answer::Text(text),
        Err(errcode) => Answer::Refused(Refused::new(errcode)),
    }
}

fn profile(world: &World, params: &Params, now_ms: u64) -> Result<String, i64> {
    let name = params.value("access_token").ok_or(41001)?;
    let openid = params.value("openid").ok_or(40003)?;
    let token = world.web.token(name, now_ms).ok_or(40001)?;
    if token.openid != openid {
        return Err(40003);
    }
    if token.snapshot || token.scope == Scope::Base {
        return Err(48001);
    }
    let Settings {
        nickname, picture, ..
    } = world.web.settings(&token.appid);
    let nickname = nickname.unwrap_or_else(|| token.user.clone());
    let picture = picture
        .unwrap_or_else(|| format!("https://thirdwx.qlogo.cn/mmopen/vi_32/{}/132", token.openid));
    let mut told = json!({
        "openid": token.openid,
        "nickname": "",
        "sex": 0,
        "language": "",
        "city": "",
        "province": "",
        "country": "",
        "headimgurl": picture,
        "privilege": [],
    });
    if let (Some(unionid), Some(told)) = (unionid(world, token), told.as_object_mut()) {
        told.insert("unionid".to_owned(), unionid.into());
    }
    // WeChat puts control characters there as they are, which JSON forbids and a writer of JSON would escape.
    let escaped = nickname.replace('\\', "\\\\").replace('"', "\\\"");
    let told = told.to_string().replace('/', "\\/");
    let written = format!("\"nickname\":\"{escaped}\"");
    Ok(told.replacen("\"nickname\":\"\"", &written, 1))
}

fn unionid(world: &World, token: &Token) -> Option<String> {
    let account = world.app(&token.appid)?.open_platform.as_deref()?;
    (token.scope != Scope::Base).then(|| identity::unionid(account, &token.user))
}
