//! `POST /cgi-bin/stable_token`: an access_token in exchange for appid and secret.

use axum::body::to_bytes;
use axum::extract::Request;
use http::Method;
use serde::Deserialize;

use super::answer::{Answer, Granted, Refused};
use super::code2session::check_secret;
use super::world::World;

/// The path of this endpoint.
pub(super) const PATH: &str = "/cgi-bin/stable_token";

const MAX_BODY: usize = 64 * 1024;

/// What is asked for.
#[derive(Default, Deserialize)]
pub(super) struct Asked {
    grant_type: Option<String>,
    appid: Option<String>,
    secret: Option<String>,
    force_refresh: Option<bool>,
}

impl Asked {
    /// Reads a request, or says with which errcode it is refused.
    pub(super) async fn of(request: Request) -> Result<Self, i64> {
        if request.method() != Method::POST {
            return Err(43002);
        }
        let body = to_bytes(request.into_body(), MAX_BODY).await;
        let body = body.map_err(|_| 47001)?;
        if body.is_empty() {
            return Err(44002);
        }
        serde_json::from_slice(&body).map_err(|_| 47001)
    }
}

/// Answers as WeChat does.
pub(super) fn answer(world: &mut World, asked: Result<Asked, i64>, now_ms: u64) -> Answer {
    match asked.and_then(|asked| give(world, &asked, now_ms)) {
        Ok(granted) => Answer::Granted(granted),
        Err(errcode) => Answer::Refused(Refused::new(errcode)),
    }
}

fn give(world: &mut World, asked: &Asked, now_ms: u64) -> Result<Granted, i64> {
    let given = |field: &Option<String>| field.clone().filter(|text| !text.is_empty());
    let appid = given(&asked.appid).ok_or(41002)?;
    let secret = given(&asked.secret).ok_or(41004)?;
    if asked.grant_type.as_deref() != Some("client_credential") {
        return Err(40002);
    }
    check_secret(world, &appid, &secret)?;
    let force = asked.force_refresh.unwrap_or(false);
    let given = world.tokens.give(&appid, force, now_ms);
    let (token, secs) = given.map_err(|_| -1)?;
    Ok(Granted {
        access_token: Some(token),
        expires_in: Some(secs),
        ..Granted::default()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u64 = 1_700_000_040_000;

    fn outcome(body: &str) -> String {
        let mut world = World::new(vec!["wx1:s1".parse().unwrap()]);
        let asked = serde_json::from_str(body).map_err(|_| 47001);
        answer(&mut world, asked, NOW).outcome()
    }

    #[test]
    fn what_is_missing_or_wrong_is_named_in_wechats_order() {
        for (body, expected) in [
            ("{", "47001"),
            ("{}", "41002"),
            (
                r#"{"appid":null,"secret":null,"force_refresh":null}"#,
                "41002",
            ),
            (r#"{"appid":"wx9"}"#, "41004"),
            (r#"{"appid":"wx9","secret":"s"}"#, "40002"),
            (
                r#"{"grant_type":"client_credential","appid":"wx9","secret":"s"}"#,
                "40013",
            ),
            (
                r#"{"grant_type":"client_credential","appid":"wx1","secret":"s"}"#,
                "40125",
            ),
            (
                r#"{"grant_type":"client_credential","appid":"wx1","secret":"s1"}"#,
                "ok",
            ),
        ] {
            assert_eq!(outcome(body), expected, "{body}");
        }
    }
}
