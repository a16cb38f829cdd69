//! `GET /cgi-bin/token`: another access_token in exchange for appid and secret, at each call.

use super::answer::{Answer, Granted, Refused};
use super::code2session::check_secret;
use super::params::Params;
use super::tokens::NotGiven;
use super::world::World;

/// The path of this endpoint.
pub(super) const PATH: &str = "/cgi-bin/token";

/// Answers as WeChat does.
pub(super) fn answer(world: &mut World, params: &Params, now_ms: u64) -> Answer {
    match mint(world, params, now_ms) {
        Ok(granted) => Answer::Granted(granted),
        Err(errcode) => Answer::Refused(Refused::new(errcode)),
    }
}

fn mint(world: &mut World, params: &Params, now_ms: u64) -> Result<Granted, i64> {
    let appid = params.value("appid").ok_or(41002)?;
    let secret = params.value("secret").ok_or(41004)?;
    if params.value("grant_type") != Some("client_credential") {
        return Err(40002);
    }
    check_secret(world, appid, secret)?;
    let minted = world.tokens.mint(appid, now_ms);
    let (token, secs) = minted.map_err(|refused| match refused {
        NotGiven::DayQuota => 45009,
        NotGiven::Random(_) => -1,
    })?;
    Ok(Granted {
        access_token: Some(token),
        expires_in: Some(secs),
        ..Granted::default()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: [(&str, &str); 3] = [
        ("appid", "wx1"),
        ("secret", "s1"),
        ("grant_type", "client_credential"),
    ];

    fn outcome(without: &str, with: (&str, &str)) -> String {
        let mut pairs = GOOD.to_vec();
        pairs.retain(|(name, _)| *name != without);
        pairs.push(with);
        let mut world = World::new(vec!["wx1:s1".parse().unwrap()]);
        answer(&mut world, &Params::from_pairs(&pairs), 0).outcome()
    }

    #[test]
    fn what_is_missing_or_wrong_has_its_errcode() {
        for (without, with, expected) in [
            ("", ("", ""), "ok"),
            ("appid", ("", ""), "41002"),
            ("secret", ("", ""), "41004"),
            ("grant_type", ("", ""), "40002"),
            ("appid", ("appid", "wx9"), "40013"),
            ("secret", ("secret", "bad"), "40125"),
        ] {
            assert_eq!(outcome(without, with), expected, "{without} {with:?}");
        }
    }
}
