//! `GET /wxa/checksession` and `GET /wxa/resetusersessionkey`: is a session_key good, and give another.

use aws_lc_rs::hmac;
use subtle::ConstantTimeEq as _;

use super::answer::{Answer, Granted, Refused};
use super::params::Params;
use super::session::Session;
use super::world::World;

/// The path that checks.
pub(super) const CHECK: &str = "/wxa/checksession";
/// The path that resets.
pub(super) const RESET: &str = "/wxa/resetusersessionkey";

/// Answers whether the signature was made with the user's session_key.
pub(super) fn check(world: &mut World, params: &Params, now_ms: u64) -> Answer {
    answer(signed(world, params, now_ms).map(|_| Granted::ok()))
}

/// Replaces the session_key with which the signature was made.
pub(super) fn reset(world: &mut World, params: &Params, now_ms: u64) -> Answer {
    let reset = signed(world, params, now_ms).and_then(|session| {
        session.reset().map_err(|_| -1)?;
        Ok(Granted {
            openid: params.value("openid").map(str::to_owned),
            session_key: Some(session.key().to_owned()),
            ..Granted::ok()
        })
    });
    answer(reset)
}

fn answer(outcome: Result<Granted, i64>) -> Answer {
    match outcome {
        Ok(granted) => Answer::Granted(granted),
        Err(errcode) => Answer::Refused(Refused::new(errcode)),
    }
}

/// Returns the session of the user who is named, whose key made the signature.
fn signed<'w>(world: &'w mut World, params: &Params, now_ms: u64) -> Result<&'w mut Session, i64> {
    let token = params.value("access_token").ok_or(41001)?;
    let owner = world.tokens.owner(token, now_ms);
    let appid = owner.map_err(|refusal| refusal.errcode())?.to_owned();
    let openid = params.value("openid").ok_or(40003)?;
    if params.value("sig_method") != Some("hmac_sha256") {
        return Err(87008);
    }
    let session = world.session(&appid, openid, now_ms).ok_or(87009)?;
    let key = hmac::Key::new(hmac::HMAC_SHA256, session.key().as_bytes());
    let expected: String = hmac::sign(&key, b"")
        .as_ref()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    let signature = params.value("signature").unwrap_or_default();
    if bool::from(expected.as_bytes().ct_eq(signature.as_bytes())) {
        Ok(session)
    } else {
        Err(87009)
    }
}

#[cfg(test)]
mod tests {
    use super::super::identity;
    use super::*;

    const NOW: u64 = 1_700_000_040_000;

    struct Place {
        world: World,
        token: String,
    }

    impl Place {
        fn new() -> Self {
            let mut world = World::new(vec!["wx1:s1".parse().unwrap()]);
            world.log_in("wx1", "alice", false, NOW).unwrap();
            let (token, _) = world.tokens.give("wx1", false, NOW).unwrap();
            Self { world, token }
        }

        fn openid() -> String {
            identity::openid("wx1", "alice")
        }

        fn key(&mut self) -> String {
            let session = self.world.session("wx1", &Self::openid(), NOW);
            session.unwrap().key().to_owned()
        }

        fn signature(&mut self) -> String {
            let key = hmac::Key::new(hmac::HMAC_SHA256, self.key().as_bytes());
            let tag = hmac::sign(&key, b"");
            tag.as_ref().iter().map(|b| format!("{b:02x}")).collect()
        }

        fn outcome(&mut self, changes: &[(&str, &str)]) -> String {
            let (token, openid, signature) = (self.token.clone(), Self::openid(), self.signature());
            let mut pairs = vec![
                ("access_token", token.as_str()),
                ("openid", &openid),
                ("signature", &signature),
                ("sig_method", "hmac_sha256"),
            ];
            for (name, value) in changes {
                pairs.retain(|(known, _)| known != name);
                pairs.push((name, value));
            }
            let params = Params::from_pairs(&pairs);
            check(&mut self.world, &params, NOW).outcome()
        }
    }

    #[test]
    fn a_signature_of_nothing_with_the_users_key_is_good() {
        assert_eq!(Place::new().outcome(&[]), "ok");
    }

    #[test]
    fn everything_else_has_its_errcode() {
        let mut place = Place::new();
        for (change, expected) in [
            (("access_token", ""), "41001"),
            (("access_token", "90_x"), "40014"),
            (("openid", ""), "40003"),
            (("openid", "o1"), "87009"),
            (("sig_method", "md5"), "87008"),
            (("signature", "00"), "87009"),
        ] {
            assert_eq!(place.outcome(&[change]), expected, "{change:?}");
        }
        place.world.tokens.give("wx1", true, NOW).unwrap();
        assert_eq!(place.outcome(&[]), "40001");
    }

    #[test]
    fn a_reset_gives_another_key_and_the_old_one_is_over() {
        let mut place = Place::new();
        let (before, signature) = (place.key(), place.signature());
        let (token, openid) = (place.token.clone(), Place::openid());
        let params = Params::from_pairs(&[
            ("access_token", token.as_str()),
            ("openid", &openid),
            ("signature", &signature),
            ("sig_method", "hmac_sha256"),
        ]);
        let Answer::Granted(granted) = reset(&mut place.world, &params, NOW) else {
            panic!("it should be granted");
        };
        assert_eq!(granted.session_key, Some(place.key()));
        assert_ne!(granted.session_key, Some(before));
        assert_eq!(reset(&mut place.world, &params, NOW).outcome(), "87009");
    }
}
