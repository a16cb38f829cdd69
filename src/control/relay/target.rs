//! Which app and which of WeChat's calls a request means, and whether backends may make it.

use axum::extract::Request;
use http::Method;
use http::header::HOST;

use crate::control::denial::ControlDenial;
use crate::control::exchange::ByName;

/// What stands before the app's name.
pub(in crate::control) const PREFIX: &str = "/wechat/";
/// Where backends call WeChat that were written for WeChat Cloud Run.
const WECHAT: &str = "api.weixin.qq.com";
/// The longest path.
const LONGEST: usize = 256;

/// What the relay answers itself, with a token of its own.
const TOKENS: [&str; 2] = ["/cgi-bin/token", "/cgi-bin/stable_token"];
/// What takes an AppSecret or another app's credentials, and is never passed on.
const NEVER: [&str; 6] = [
    "/sns/",
    "/cgi-bin/component/",
    "/cgi-bin/account/",
    "/cgi-bin/clear_quota/v2",
    "/cgi-bin/token",
    "/cgi-bin/stable_token",
];
/// What takes or gives a secret of the user's or the app's, and is passed on only where it is named itself.
const SECRETS: [&str; 6] = [
    "/wxa/checksession",
    "/wxa/resetusersessionkey",
    "/wxa/business/getuserencryptkey",
    "/cgi-bin/ticket/getticket",
    "/wxa/getwxadevinfo",
    "/wxa/sec/order/",
];

/// Which app is meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::control) enum Meant {
    /// The one with this name.
    Named(String),
    /// As on Cloud Run, the one to which the caller belongs.
    Callers,
}

/// A call of WeChat's API.
#[derive(Clone, Debug)]
pub(in crate::control) struct Target {
    pub(super) app: Meant,
    /// The path at WeChat.
    pub(super) path: String,
}

impl Target {
    /// Reads a request; `None` is for those that are not the relay's.
    pub(in crate::control) fn of(request: &Request) -> Option<Result<Self, ControlDenial>> {
        let path = request.uri().path();
        let moved = request.extensions().get::<ByName>().is_some();
        if !moved && means_wechat(request) {
            if request.method() == Method::CONNECT {
                return Some(Err(ControlDenial::BadRequest(
                    "The relay cannot look into https; call http://api.weixin.qq.com.",
                )));
            }
            let app = Meant::Callers;
            return Some(normal(path).map(|path| Self { app, path }));
        }
        let (app, path) = path.strip_prefix(PREFIX)?.split_once('/')?;
        let app = match request.extensions().get::<ByName>() {
            Some(ByName) => Meant::Callers,
            None => Meant::Named(app.to_owned()),
        };
        Some(normal(&format!("/{path}")).map(|path| Self { app, path }))
    }

    /// Returns whether the relay answers with a token of its own.
    pub(super) fn asks_for_token(&self) -> bool {
        let mut tokens = TOKENS.iter();
        tokens.any(|token| self.path.eq_ignore_ascii_case(token))
    }

    /// Returns whether backends may make the call.
    pub(super) fn is_allowed(&self, allow: &[String]) -> bool {
        let below = |closed: &str| {
            let whole = closed.trim_end_matches('/');
            let parts = self.path.split_at_checked(whole.len());
            // Nobody but WeChat knows whether a path in other letters is another one.
            parts.is_some_and(|(start, rest)| {
                start.eq_ignore_ascii_case(whole) && (rest.is_empty() || rest.starts_with('/'))
            })
        };
        if NEVER.iter().any(|never| below(never)) {
            return false;
        }
        let secret = SECRETS.iter().find(|secret| below(secret));
        let opens = |prefix: &&String| {
            let whole = self.path == prefix.trim_end_matches('/');
            whole || (self.path.starts_with(prefix.as_str()) && prefix.ends_with('/'))
        };
        let mut open = allow.iter().filter(opens);
        match secret {
            Some(secret) => open.any(|prefix| prefix.len() >= secret.trim_end_matches('/').len()),
            None => open.next().is_some(),
        }
    }
}

/// Returns whether a request was sent to WeChat by name, through a proxy or because the name leads here.
fn means_wechat(request: &Request) -> bool {
    let is_wechat = |host: &str| {
        let host = host.strip_suffix(":80").unwrap_or(host);
        host.eq_ignore_ascii_case(WECHAT) || host.eq_ignore_ascii_case(&format!("{WECHAT}:443"))
    };
    match request.uri().authority() {
        Some(authority) => is_wechat(authority.as_str()),
        None => {
            let mut hosts = request.headers().get_all(HOST).iter();
            let host = hosts.next().and_then(|host| host.to_str().ok());
            host.is_some_and(is_wechat) && hosts.next().is_none()
        }
    }
}

/// Takes a path that has one reading, as all of WeChat's have.
fn normal(path: &str) -> Result<String, ControlDenial> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    let mut parts = path.strip_prefix('/').unwrap_or_default().split('/');
    let is_part =
        |part: &str| !part.is_empty() && !part.starts_with('.') && part.chars().all(plain);
    if path.len() <= LONGEST && parts.all(is_part) {
        Ok(path.to_owned())
    } else {
        Err(ControlDenial::PathAmbiguous)
    }
}

#[cfg(test)]
mod tests {
    use axum::body::Body;

    use super::*;

    fn target(host: &str, uri: &str) -> Option<Result<Target, ControlDenial>> {
        let request = Request::builder().uri(uri).header(HOST, host);
        Target::of(&request.body(Body::empty()).unwrap())
    }

    fn read(host: &str, uri: &str) -> (Meant, String) {
        let target = target(host, uri).unwrap().unwrap();
        (target.app, target.path)
    }

    #[test]
    fn an_app_is_named_in_the_path_or_is_the_callers() {
        let named = (Meant::Named("shop".to_owned()), "/wxa/a".to_owned());
        assert_eq!(read("localhost", "/wechat/shop/wxa/a?x=/y"), named);
        let callers = (Meant::Callers, "/wxa/a".to_owned());
        for (host, uri) in [
            ("api.weixin.qq.com", "/wxa/a"),
            ("API.weixin.qq.com:80", "/wxa/a"),
            ("localhost", "http://api.weixin.qq.com/wxa/a"),
        ] {
            assert_eq!(read(host, uri), callers, "{host} {uri}");
        }
        for (host, uri) in [
            ("localhost", "/v1/apps/shop/access-token"),
            ("localhost", "/wechat/shop"),
            ("evil.example", "http://evil.example/wxa/a"),
            ("api.weixin.qq.com.evil.example", "/wxa/a"),
        ] {
            assert!(target(host, uri).is_none(), "{host} {uri}");
        }
    }

    #[test]
    fn a_path_with_two_readings_is_refused() {
        for path in [
            "/wxa/../sns/x",
            "/wxa/%2e%2e/sns/x",
            "/wxa%2fx",
            "//evil.example/x",
            "/wxa//x",
            "/wxa/./x",
            "/wxa/x;y",
            "/wxa/",
            "/wxa/.hidden",
            "/@evil.example/x",
        ] {
            let refused = target("localhost", &format!("/wechat/shop{path}"));
            assert!(
                matches!(refused, Some(Err(ControlDenial::PathAmbiguous))),
                "{path}"
            );
        }
    }

    #[test]
    fn what_takes_or_gives_a_secret_is_closed_unless_it_is_named_or_closed_for_good() {
        let allowed = |path: &str, allow: &[&str]| {
            let allow: Vec<String> = allow.iter().map(|it| (*it).to_owned()).collect();
            let (app, path) = (Meant::Callers, path.to_owned());
            Target { app, path }.is_allowed(&allow)
        };
        assert!(allowed("/wxa/getwxacode", &["/wxa/"]));
        assert!(allowed("/wxa/getwxacode", &["/wxa/getwxacode"]));
        assert!(!allowed("/wxa/getwxacodeunlimit", &["/wxa/getwxacode"]));
        assert!(!allowed("/cgi-bin/menu/create", &["/wxa/"]));
        for path in SECRETS.map(|it| it.trim_end_matches('/')) {
            assert!(!allowed(path, &["/", "/wxa/", "/cgi-bin/"]), "{path}");
            assert!(allowed(path, &[path]), "{path}");
        }
        for path in ["/wxa/CheckSession", "/WXA/checksession", "/wxa/Sec/Order/x"] {
            assert!(!allowed(path, &["/", "/wxa/", "/WXA/"]), "{path}");
        }
        for path in [
            "/sns/jscode2session",
            "/SNS/jscode2session",
            "/cgi-bin/Token",
            "/cgi-bin/component/api_component_token",
            "/cgi-bin/token",
            "/cgi-bin/stable_token",
        ] {
            assert!(!allowed(path, &["/", path]), "{path}");
        }
    }
}
