//! `GET|POST /sns/jscode2session`: a code in exchange for an identity.

use subtle::ConstantTimeEq as _;

use super::answer::{Answer, Granted, Refused};
use super::params::Params;
use super::world::{RedeemError, World};

/// The path of this endpoint.
pub(super) const PATH: &str = "/sns/jscode2session";

/// Answers as WeChat does, with its order of checks.
pub(super) fn answer(world: &mut World, params: &Params, now_ms: u64) -> Answer {
    match redeem(world, params, now_ms) {
        Ok(granted) => Answer::Granted(granted),
        Err(errcode) => Answer::Refused(Refused::new(errcode)),
    }
}

fn redeem(world: &mut World, params: &Params, now_ms: u64) -> Result<Granted, i64> {
    let appid = params.value("appid").ok_or(41002)?;
    let secret = params.value("secret").ok_or(41004)?;
    let code = params.value("js_code").ok_or(41008)?;
    if params.value("grant_type") != Some("authorization_code") {
        return Err(40002);
    }
    check_secret(world, appid, secret)?;
    if !world.quotas.admit(appid, now_ms) {
        return Err(45011);
    }
    let login = world
        .redeem(appid, code, now_ms)
        .map_err(|refusal| match refusal {
            RedeemError::Invalid => {
                tracing::warn!(
                    appid,
                    "this code was not made here or has expired: POST /_sim/login makes one; codes of WeChat's own \
                     tools need WeChat itself, as with `menshen dev --app`"
                );
                40029
            }
            RedeemError::Used => 40163,
            RedeemError::Blocked => 40226,
            RedeemError::MinuteLimit => 45011,
        })?;
    Ok(Granted::from(login))
}

/// Checks an app's credentials, in the order in which WeChat does.
pub(super) fn check_secret(world: &World, appid: &str, secret: &str) -> Result<(), i64> {
    let app = world.app(appid).ok_or(40013)?;
    let same = app.secret.expose().as_bytes().ct_eq(secret.as_bytes());
    if bool::from(same) { Ok(()) } else { Err(40125) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u64 = 1_700_000_040_000;
    const GOOD: [(&str, &str); 4] = [
        ("appid", "wx1"),
        ("secret", "s1"),
        ("js_code", "CODE"),
        ("grant_type", "authorization_code"),
    ];

    fn world() -> World {
        World::new(vec!["wx1:s1".parse().unwrap()])
    }

    fn params(changes: &[(&str, &str)]) -> Params {
        let changed = |name: &str| changes.iter().find(|(key, _)| *key == name);
        let pairs = GOOD.iter().map(|pair| changed(pair.0).unwrap_or(pair));
        Params::from_pairs(pairs)
    }

    fn outcome(changes: &[(&str, &str)]) -> String {
        answer(&mut world(), &params(changes), NOW).outcome()
    }

    #[test]
    fn a_missing_appid_is_named_first() {
        assert_eq!(
            outcome(&[("appid", ""), ("secret", ""), ("js_code", "")]),
            "41002"
        );
    }

    #[test]
    fn a_missing_secret_is_named_before_a_missing_code() {
        assert_eq!(outcome(&[("secret", ""), ("js_code", "")]), "41004");
    }

    #[test]
    fn a_missing_code_is_named_before_a_bad_grant_type() {
        assert_eq!(outcome(&[("js_code", ""), ("grant_type", "x")]), "41008");
    }

    #[test]
    fn a_bad_grant_type_is_named_before_an_unknown_appid() {
        assert_eq!(outcome(&[("grant_type", "x"), ("appid", "wx9")]), "40002");
    }

    #[test]
    fn an_unknown_appid_is_named_before_a_wrong_secret() {
        assert_eq!(outcome(&[("appid", "wx9"), ("secret", "bad")]), "40013");
    }

    #[test]
    fn a_wrong_secret_is_named_before_an_unknown_code() {
        assert_eq!(outcome(&[("secret", "bad")]), "40125");
    }

    #[test]
    fn a_made_up_code_with_the_right_secret_is_an_invalid_code() {
        assert_eq!(outcome(&[]), "40029");
    }

    #[test]
    fn a_code_from_wx_login_is_redeemed_once() {
        let mut world = world();
        let code = world.log_in("wx1", "alice", false, NOW).unwrap();
        let params = params(&[("js_code", &code)]);
        assert_eq!(answer(&mut world, &params, NOW).outcome(), "ok");
        assert_eq!(answer(&mut world, &params, NOW).outcome(), "40163");
    }
}
