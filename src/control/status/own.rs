//! Tells the requests of the status page from those of any other page.
//!
//! A browser says for which site it sends a request: in `Sec-Fetch-Site` where the connection is safe or to this machine, and in
//! `Origin` for everything but a plain GET. Whatever it says must be that it is this very origin. Where it says nothing, only a GET
//! with the page's cookie is the page's, which browsers send for this site alone. The secret itself is never sent by a page, so
//! that a request with `Authorization` is none of its own.

use axum::extract::Request;
use http::header::{AUTHORIZATION, HOST, ORIGIN};
use http::{HeaderMap, HeaderName, Method};

use super::{CALLER, DOCUMENT, LOGIN, LOGOUT, login};
use crate::control::guard::FETCH_SITE;

/// Returns whether the status page sent it, and it is something that the page may ask for.
pub(in crate::control) fn is_by_page(request: &Request) -> bool {
    let headers = request.headers();
    !headers.contains_key(AUTHORIZATION)
        && is_for_page(request.method(), request.uri().path())
        && is_of_this_origin(request.method(), headers)
}

/// Returns whether a browser brings a secret.
pub(in crate::control) fn is_login(request: &Request) -> bool {
    request.method() == Method::POST && request.uri().path() == LOGIN
}

/// Returns whether the page has a use for it. Everything else is for programs, with the secret.
fn is_for_page(method: &Method, path: &str) -> bool {
    let parts: Vec<&str> = path.split('/').skip(1).collect();
    let is = |known: &Method| method == known;
    match parts.as_slice() {
        ["v1", "apps", _, "users", _, "sessions"] => is(&Method::GET) || is(&Method::DELETE),
        ["v1", "sessions", _] => is(&Method::DELETE),
        ["v1", "requests", _] => is(&Method::GET),
        ["v1", "reload"] => is(&Method::POST),
        _ if [DOCUMENT, CALLER].contains(&path) => is(&Method::GET),
        _ => [LOGIN, LOGOUT].contains(&path) && is(&Method::POST),
    }
}

fn is_of_this_origin(method: &Method, headers: &HeaderMap) -> bool {
    let site = said(headers, &FETCH_SITE);
    let origin = said(headers, &ORIGIN);
    let host = headers.get(HOST).and_then(|host| host.to_str().ok());
    let is_host = |origin: &str| {
        let (scheme, rest) = origin.split_once("://").unwrap_or_default();
        ["http", "https"].contains(&scheme)
            && host.is_some_and(|host| host.eq_ignore_ascii_case(rest))
    };
    match (site, origin) {
        (Said::Nothing, Said::Nothing) => method == Method::GET && login::cookie(headers).is_some(),
        (site, origin) => site.is_fine(|site| site == "same-origin") && origin.is_fine(is_host),
    }
}

/// What a header says.
enum Said<'h> {
    Nothing,
    Once(&'h str),
    /// What nobody can read in one way.
    Nonsense,
}

impl Said<'_> {
    fn is_fine(&self, fine: impl Fn(&str) -> bool) -> bool {
        match self {
            Self::Nothing => true,
            Self::Once(text) => fine(text),
            Self::Nonsense => false,
        }
    }
}

fn said<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Said<'h> {
    let mut values = headers.get_all(name).iter();
    match (values.next().map(|value| value.to_str()), values.next()) {
        (None, _) => Said::Nothing,
        (Some(Ok(text)), None) => Said::Once(text),
        (Some(_), _) => Said::Nonsense,
    }
}

#[cfg(test)]
mod tests {
    use axum::body::Body;

    use super::*;

    fn is_page(method: &str, path: &str, headers: &[(&str, &str)]) -> bool {
        let mut request = Request::builder().method(method).uri(path);
        request = request.header(HOST, "menshen.internal:9090");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        is_by_page(&request.body(Body::empty()).unwrap())
    }

    const SAME: (&str, &str) = ("sec-fetch-site", "same-origin");
    const ORIGIN: (&str, &str) = ("origin", "http://menshen.internal:9090");
    const COOKIE: (&str, &str) = ("cookie", "menshen-control=abc");

    #[test]
    fn only_what_the_page_asks_for_is_let_through() {
        for (method, path) in [
            ("GET", "/v1/status"),
            ("GET", "/v1/status/caller"),
            ("POST", "/v1/status/login"),
            ("POST", "/v1/status/logout"),
            ("GET", "/v1/apps/shop/users/o1/sessions"),
            ("DELETE", "/v1/apps/shop/users/o1/sessions"),
            ("DELETE", "/v1/sessions/x"),
            ("GET", "/v1/requests/x"),
            ("POST", "/v1/reload"),
        ] {
            assert!(is_page(method, path, &[SAME]), "{method} {path}");
            let bearer = ("authorization", "Bearer x");
            assert!(!is_page(method, path, &[SAME, bearer]), "{method} {path}");
        }
        for (method, path) in [
            ("GET", "/metrics"),
            ("GET", "/v1/apps/shop/access-token"),
            ("POST", "/v1/apps/shop/users/o1/decrypt"),
            ("POST", "/v1/backup"),
            ("GET", "/wechat/shop/wxa/x"),
            ("POST", "/v1/status"),
            ("GET", "/v1/status/login"),
            ("GET", "/v1/sessions/x"),
            ("GET", "/v1/sessions/x/y"),
            ("GET", "//v1/status"),
        ] {
            assert!(!is_page(method, path, &[SAME, COOKIE]), "{method} {path}");
        }
    }

    #[test]
    fn whatever_a_browser_says_must_be_this_origin() {
        let other = ("origin", "http://evil.example");
        for (headers, get, post) in [
            (vec![SAME], true, true),
            (vec![ORIGIN], true, true),
            (
                vec![("origin", "https://MENSHEN.internal:9090")],
                true,
                true,
            ),
            (vec![SAME, ORIGIN, COOKIE], true, true),
            (vec![COOKIE], true, false),
            (vec![], false, false),
            (vec![SAME, other], false, false),
            (vec![ORIGIN, other], false, false),
            (vec![SAME, SAME], false, false),
            (vec![("origin", "null"), COOKIE], false, false),
            (
                vec![("origin", "ftp://menshen.internal:9090")],
                false,
                false,
            ),
            (vec![("origin", "http://menshen.internal")], false, false),
            (vec![("sec-fetch-site", "same-site"), COOKIE], false, false),
            (vec![("sec-fetch-site", "cross-site"), COOKIE], false, false),
            (vec![("sec-fetch-site", "none"), COOKIE], false, false),
            (vec![("sec-fetch-site", "cross-site"), ORIGIN], false, false),
        ] {
            assert_eq!(is_page("GET", "/v1/status", &headers), get, "{headers:?}");
            assert_eq!(is_page("POST", "/v1/reload", &headers), post, "{headers:?}");
        }
    }
}
