//! Who may use the relay, and for which app: whoever has the secret of `[control]`, or a token that is good at the relay alone.

use std::sync::Arc;

use axum::extract::Request;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::HeaderMap;
use http::header::{AUTHORIZATION, PROXY_AUTHORIZATION};

use super::names::values;
use super::target::{Meant, Target};
use crate::config::{App, Call};
use crate::control::Control;
use crate::control::calls::Limited;
use crate::control::denial::ControlDenial;
use crate::control::exchange::{Asker, Peer};
use crate::control::guard;
use crate::control::known::{SecretDigest, Sender};
use crate::secret::Secret;
use crate::token::{RelayTokenError, RelayTokens};

/// The parameter in which backends of Cloud Run send the token that they were given.
const CLOUDBASE: &str = "cloudbase_access_token";
/// The parameter in which everybody else sends one.
const ACCESS: &str = "access_token";

/// A caller that was let in.
pub(in crate::control) struct Admitted {
    pub(super) app: Arc<App>,
    pub(super) path: String,
}

/// What somebody who wants a token from the relay itself says.
pub(super) struct Credentials {
    pub(super) appid: Option<String>,
    pub(super) secret: Option<String>,
}

/// Lets a request in, or says why not; `credentials` are those of somebody who asks for a token.
pub(super) fn admit(
    control: &Control,
    target: Target,
    request: &Request,
    credentials: Option<&Credentials>,
) -> Result<Admitted, ControlDenial> {
    let headers = request.headers();
    if guard::comes_from_a_page(headers) {
        return Err(ControlDenial::OriginNotAllowed);
    }
    let query = request.uri().query().unwrap_or_default();
    let token = relay_token(headers, query)?;
    let by_token = match &token {
        Some(token) => Some(owner(control, token)?),
        None => None,
    };
    let basic = proxy_credentials(headers);
    let app = named(
        control,
        &target.app,
        by_token.as_ref(),
        basic.as_ref(),
        credentials,
    );
    if let Some(owner) = &by_token {
        if app.as_ref().is_ok_and(|app| owner.appid != app.appid) {
            return Err(ControlDenial::RelayTokenOfAnotherApp);
        }
    } else {
        let offered = basic.map(|(_, secret)| secret);
        let offered = offered.or_else(|| credentials.and_then(|it| it.secret.clone()));
        check_secret(control, request, &app, offered, credentials.is_some())?;
    }
    Ok(Admitted {
        // Not before: whoever may not ask does not learn either which apps there are.
        app: app?,
        path: target.path,
    })
}

/// Finds a token of the relay's, wherever it was sent.
fn relay_token(headers: &HeaderMap, query: &str) -> Result<Option<String>, ControlDenial> {
    let bearer = guard::bearer(headers);
    let bearer = bearer.filter(|text| RelayTokens::is_one(text));
    let mut found: Vec<String> = bearer.map(str::to_owned).into_iter().collect();
    // Whoever sends one by this name means it for one.
    found.extend(values(query, CLOUDBASE));
    let others = values(query, ACCESS).into_iter();
    found.extend(others.filter(|text| RelayTokens::is_one(text)));
    let first = found.first().cloned();
    if found.iter().any(|other| Some(other) != first.as_ref()) {
        return Err(ControlDenial::BadRequest("Two tokens were sent; send one."));
    }
    Ok(first)
}

fn owner(control: &Control, token: &str) -> Result<Arc<App>, ControlDenial> {
    let appid = control.relay_tokens().check(token);
    let appid = appid.map_err(|error| match error {
        RelayTokenError::Invalid => ControlDenial::RelayTokenInvalid,
        RelayTokenError::Expired => ControlDenial::RelayTokenExpired,
    })?;
    control
        .known
        .app_of(&appid)
        .ok_or(ControlDenial::RelayTokenInvalid)
}

/// Finds the app that is meant.
fn named(
    control: &Control,
    meant: &Meant,
    by_token: Option<&Arc<App>>,
    basic: Option<&(String, String)>,
    credentials: Option<&Credentials>,
) -> Result<Arc<App>, ControlDenial> {
    let unknown = ControlDenial::AppUnknown;
    let known = &control.known;
    let app = match meant {
        Meant::Named(name) => known.app(name).ok_or(unknown)?,
        Meant::Callers => {
            let appid = credentials.and_then(|it| it.appid.as_ref());
            match (by_token, basic, appid) {
                (Some(app), _, _) => Arc::clone(app),
                (None, Some((name, _)), _) if !name.is_empty() => known.app(name).ok_or(unknown)?,
                (None, _, Some(appid)) => known.app_of(appid).ok_or(unknown)?,
                (None, _, None) => known.relayed_app().ok_or(ControlDenial::AppAmbiguous)?,
            }
        }
    };
    let other = |appid: &String| *appid != app.appid;
    if credentials.is_some_and(|it| it.appid.as_ref().is_some_and(other)) {
        return Err(ControlDenial::AppUnknown);
    }
    Ok(app)
}

/// Reads what a client says to a proxy: the app's name and the secret.
fn proxy_credentials(headers: &HeaderMap) -> Option<(String, String)> {
    let value = headers.get(PROXY_AUTHORIZATION)?.to_str().ok()?;
    let (scheme, rest) = value.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let text = String::from_utf8(STANDARD.decode(rest.trim()).ok()?).ok()?;
    let (name, secret) = text.split_once(':')?;
    Some((name.to_owned(), secret.to_owned()))
}

/// Compares the secret that was sent, where there is one.
fn check_secret(
    control: &Control,
    request: &Request,
    app: &Result<Arc<App>, ControlDenial>,
    offered: Option<String>,
    for_token: bool,
) -> Result<(), ControlDenial> {
    let (known, headers) = (&control.known, request.headers());
    let peer = request.extensions().get::<Peer>();
    if !known.asks_for_secret() {
        return match peer {
            Some(Peer::User(_)) => Ok(()),
            Some(Peer::Address(_)) | None => guard::names_this_machine_or_wechat(request),
        };
    }
    let permit = |limited: &Limited| {
        if let Some(asker) = request.extensions().get::<Asker>() {
            asker.is(limited);
        }
        limited.check_call(Call::Relay)?;
        match app {
            Ok(app) => limited.check_app(&app.name),
            Err(ControlDenial::AppUnknown) if !limited.has_all_apps() => {
                Err(ControlDenial::AppNotAllowed)
            }
            // It is the answer.
            Err(_) => Ok(()),
        }
    };
    match offered {
        Some(offered) if !headers.contains_key(AUTHORIZATION) => {
            peer.map_or(Ok(()), |peer| control.failures.check_secrets(peer))?;
            // Who has the AppSecret could ask WeChat itself.
            let offered_secret = Secret::new(offered.as_str());
            let is_its_secret = |app: &Arc<App>| app.secret == offered_secret;
            if for_token && app.as_ref().is_ok_and(is_its_secret) {
                return Ok(());
            }
            match known.sender(&SecretDigest::of(offered.as_bytes())) {
                Sender::Trusted => return Ok(()),
                Sender::Limited(limited) => return permit(&limited),
                Sender::Stranger => {}
            }
            if let Some(peer) = peer {
                control.failures.count_secret(peer);
            }
            Err(ControlDenial::TokenInvalid)
        }
        _ => match guard::check_tried(known, &control.failures, headers, peer)? {
            Some(limited) => permit(&limited),
            None => Ok(()),
        },
    }
}
