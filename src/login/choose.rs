//! Chooses the app of a login.

use crate::config::{App, AppKind};
use crate::request::Denial;

const MINI_PROGRAM_REFERER: &str = "https://servicewechat.com/";

/// Returns the index of the app a client means: the one it names, or the only one that is possible.
///
/// `allowed` holds the apps of the route; a `Referer` is easily forged, so it only ever chooses among those.
pub(super) fn choose(
    apps: &[App],
    allowed: Option<&[usize]>,
    named: Option<&str>,
    referer: Option<&str>,
) -> Result<usize, Denial> {
    let is_mini_program = |index: usize| {
        let app = apps.get(index);
        app.is_some_and(|app| app.kind == AppKind::MiniProgram)
    };
    // Codes of the others come by way of a browser.
    let may = |index: usize| {
        is_mini_program(index) && allowed.is_none_or(|allowed| allowed.contains(&index))
    };
    let referred =
        referred(referer).and_then(|appid| apps.iter().position(|app| app.appid == appid));
    // WeChat redeems a code for the app that it was made in, and for no other.
    if referred.is_some_and(|index| !may(index)) {
        return Err(Denial::AppNotAllowed);
    }
    if let Some(name) = named {
        let index = apps
            .iter()
            .position(|app| app.name == name)
            .ok_or(Denial::AppUnknown)?;
        return if may(index) {
            Ok(index)
        } else {
            Err(Denial::AppNotAllowed)
        };
    }
    let mut possible = (0..apps.len()).filter(|&index| may(index));
    if let (Some(only), None) = (possible.next(), possible.next()) {
        return Ok(only);
    }
    referred.ok_or(Denial::AppAmbiguous)
}

/// Returns the appid in the `Referer` of a mini-program.
pub(super) fn referred(referer: Option<&str>) -> Option<&str> {
    let rest = referer?.strip_prefix(MINI_PROGRAM_REFERER)?;
    let appid = rest.split('/').next()?;
    let is_appid =
        (1..=64).contains(&appid.len()) && appid.bytes().all(|b| b.is_ascii_alphanumeric());
    is_appid.then_some(appid)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::secret::Secret;

    fn apps(count: usize) -> Vec<App> {
        (0..count)
            .map(|n| App {
                name: format!("app{n}"),
                kind: crate::config::AppKind::MiniProgram,
                appid: format!("wx{n}"),
                secret: Secret::new("s"),
                previous_secret: None,
                shared_from: None,
                access_token: crate::config::TokenKind::Stable,
                quota_per_minute: None,
            })
            .collect()
    }

    #[test]
    fn the_named_app_wins_and_must_exist_and_be_allowed() {
        assert_eq!(choose(&apps(2), None, Some("app1"), None), Ok(1));
        assert_eq!(
            choose(&apps(2), None, Some("x"), None),
            Err(Denial::AppUnknown)
        );
        assert_eq!(
            choose(&apps(2), Some(&[0]), Some("app1"), None),
            Err(Denial::AppNotAllowed)
        );
    }

    #[test]
    fn the_only_possible_app_needs_no_name() {
        assert_eq!(choose(&apps(1), None, None, None), Ok(0));
        assert_eq!(choose(&apps(3), Some(&[2]), None, None), Ok(2));
    }

    #[test]
    fn the_referer_of_a_mini_program_names_its_app() {
        let referer = Some("https://servicewechat.com/wx1/0/page-frame.html");
        assert_eq!(choose(&apps(2), None, None, referer), Ok(1));
        for allowed in [&[0, 2][..], &[2]] {
            for named in [None, Some("app2")] {
                let chosen = choose(&apps(3), Some(allowed), named, referer);
                assert_eq!(chosen, Err(Denial::AppNotAllowed), "{allowed:?} {named:?}");
            }
        }
        assert_eq!(
            choose(&apps(3), Some(&[1, 2]), Some("app2"), referer),
            Ok(2)
        );
        // Another app than those that are configured may be a browser's or a tool's.
        let foreign = Some("https://servicewechat.com/wx9/0/page-frame.html");
        assert_eq!(choose(&apps(3), Some(&[2]), None, foreign), Ok(2));
        for other in [
            "https://evil.example/wx1/0/",
            "https://servicewechat.com/wx9/",
            "wx1",
        ] {
            assert_eq!(
                choose(&apps(2), None, None, Some(other)),
                Err(Denial::AppAmbiguous)
            );
        }
        assert_eq!(
            choose(&apps(2), None, None, None),
            Err(Denial::AppAmbiguous)
        );
    }
}
