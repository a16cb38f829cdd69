//! Our cookies: which ones are ours, the credential in one, and what is left of `Cookie` for the backend.

use http::header::COOKIE;
use http::{HeaderMap, HeaderValue};
use memchr::memchr;

use super::Denial;

/// The session's cookie where browsers speak HTTPS: the prefix has them take it from this very host alone.
pub const SESSION_COOKIE: &str = "__Host-menshen";
/// The session's cookie over plain HTTP, where browsers refuse the prefix.
pub const PLAIN_SESSION_COOKIE: &str = "menshen";
/// What is in the name of every cookie of ours.
const MARK: &[u8] = b"menshen";
/// What the names of the cookies begin with that bind a login to its browser; its state follows.
pub const LOGIN_COOKIE: &str = "__Host-menshen-login-";
/// The same over plain HTTP.
pub const PLAIN_LOGIN_COOKIE: &str = "menshen-login-";

/// The cookie of whoever looks at the status page, which browsers send to every port of its host.
pub const CONTROL_COOKIE: &str = "menshen-control";

/// Stands between the token and what renews it.
pub const COOKIE_SEPARATOR: u8 = b'~';

/// The credential in a session's cookie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CookieCredential<'a> {
    /// The token, not yet verified.
    pub token: &'a [u8],
    /// What the session goes on by once the token has expired, not yet opened.
    pub renewal: &'a [u8],
}

impl<'a> CookieCredential<'a> {
    /// Splits a cookie's value.
    pub fn parse(value: &'a [u8]) -> Result<Self, Denial> {
        const MALFORMED: Denial = Denial::TokenInvalid("a cookie of another form");
        let at = memchr(COOKIE_SEPARATOR, value).ok_or(MALFORMED)?;
        let (token, rest) = value.split_at_checked(at).ok_or(MALFORMED)?;
        match rest.split_first() {
            Some((_, renewal)) if !renewal.is_empty() && !token.is_empty() => {
                Ok(Self { token, renewal })
            }
            Some(_) | None => Err(MALFORMED),
        }
    }
}

/// Returns the names and values of those cookies in a line that are ours.
pub(super) fn ours(line: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    crumbs(line).map(split).filter(|(name, _)| is_ours(name))
}

/// Returns the value of a cookie of ours that is sent once; another one of the same name leaves none.
pub fn our_cookie<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let lines = headers.get_all(COOKIE).iter();
    let mut found = lines
        .flat_map(|line| ours(line.as_bytes()))
        .filter(|(found, _)| *found == name.as_bytes());
    match (found.next(), found.next()) {
        (Some((_, value)), None) => std::str::from_utf8(value).ok(),
        _ => None,
    }
}

/// Returns the names of our cookies that begin with this, in the order sent.
pub fn our_cookies_named<'a>(headers: &'a HeaderMap, prefix: &str) -> Vec<(&'a str, &'a str)> {
    let lines = headers.get_all(COOKIE).iter();
    lines
        .flat_map(|line| ours(line.as_bytes()))
        .filter_map(|(name, value)| {
            Some((
                std::str::from_utf8(name).ok()?,
                std::str::from_utf8(value).ok()?,
            ))
        })
        .filter(|(name, _)| name.starts_with(prefix))
        .collect()
}

/// What becomes of `Cookie` on the way to a backend.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cookies {
    /// It goes on as it was sent.
    Unchanged,
    /// This is left, in one line.
    Left(HeaderValue),
    /// Nothing is left.
    None,
}

/// Takes our cookies out, and leaves one line, as HTTP/1.1 asks for: backends read the first of several, the last, or a mixture.
pub fn without_ours(headers: &HeaderMap) -> Cookies {
    let mut lines = headers.get_all(COOKIE).iter().map(HeaderValue::as_bytes);
    let Some(first) = lines.next() else {
        return Cookies::Unchanged;
    };
    let mut rest = lines.peekable();
    if rest.peek().is_none() && memchr(b';', first).is_none() {
        // Most browsers that are logged in send nothing else.
        return match is_ours(split(first).0) {
            true => Cookies::None,
            false => Cookies::Unchanged,
        };
    }
    if rest.peek().is_none() && ours(first).next().is_none() {
        return Cookies::Unchanged;
    }
    let mut left = Vec::new();
    for line in std::iter::once(first).chain(rest) {
        if ours(line).next().is_none() {
            append(&mut left, line);
            continue;
        }
        for crumb in crumbs(line).filter(|crumb| !is_ours(split(crumb).0)) {
            append(&mut left, crumb.trim_ascii());
        }
    }
    if left.is_empty() {
        return Cookies::None;
    }
    // Parts of header values make one again.
    HeaderValue::from_bytes(&left).map_or(Cookies::None, Cookies::Left)
}

fn append(line: &mut Vec<u8>, part: &[u8]) {
    if part.is_empty() {
        return;
    }
    if !line.is_empty() {
        line.extend_from_slice(b"; ");
    }
    line.extend_from_slice(part);
}

fn crumbs(line: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = Some(line);
    std::iter::from_fn(move || {
        let line = rest.take()?;
        let Some(at) = memchr(b';', line) else {
            return Some(line);
        };
        let (crumb, behind) = line.split_at_checked(at)?;
        rest = behind.split_first().map(|(_, behind)| behind);
        Some(crumb)
    })
}

fn split(crumb: &[u8]) -> (&[u8], &[u8]) {
    let at = memchr(b'=', crumb);
    let (name, value) = crumb.split_at(at.unwrap_or(crumb.len()));
    let value = value.strip_prefix(b"=").unwrap_or_default();
    (name.trim_ascii(), value.trim_ascii())
}

fn is_ours(name: &[u8]) -> bool {
    let name = name.strip_prefix(b"__Host-").unwrap_or(name);
    let rest = name.strip_prefix(MARK);
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(b"-login-") || rest == b"-control")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn left(lines: &[&str]) -> Cookies {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(COOKIE, HeaderValue::from_bytes(line.as_bytes()).unwrap());
        }
        without_ours(&headers)
    }

    fn line(text: &str) -> Cookies {
        Cookies::Left(HeaderValue::from_bytes(text.as_bytes()).unwrap())
    }

    #[test]
    fn ours_alone_are_taken_out() {
        assert_eq!(left(&[]), Cookies::Unchanged);
        assert_eq!(left(&["a=1; b=menshen"]), Cookies::Unchanged);
        assert_eq!(left(&["menshen=x"]), Cookies::None);
        assert_eq!(left(&["__Host-menshen=x;menshen=y"]), Cookies::None);
        assert_eq!(left(&["a=1; __Host-menshen=x~y; b=2"]), line("a=1; b=2"));
        assert_eq!(
            left(&["menshen-login-a=x; menshens=1; my-menshen=2; =3"]),
            line("menshens=1; my-menshen=2; =3")
        );
        assert_eq!(left(&["menshen-control=x; a=1"]), line("a=1"));
        assert_eq!(left(&["a=1", "menshen=x", "b=2"]), line("a=1; b=2"));
        assert_eq!(left(&["a=1", "b=2"]), line("a=1; b=2"));
        assert_eq!(left(&["a=\"; menshen=x\""]), line("a=\""));
    }

    #[test]
    fn a_cookie_that_comes_twice_is_none() {
        let headers = |line: &str| HeaderMap::from_iter([(COOKIE, line.parse().unwrap())]);
        let once = headers("a=1; menshen = x ");
        assert_eq!(our_cookie(&once, "menshen"), Some("x"));
        assert_eq!(
            our_cookie(&headers("menshen=x; menshen=x"), "menshen"),
            None
        );
        assert_eq!(our_cookie(&headers("a=1"), "a"), None);
    }

    #[test]
    fn a_credential_has_two_parts() {
        let parsed = CookieCredential::parse(b"a~b").unwrap();
        assert_eq!((parsed.token, parsed.renewal), (&b"a"[..], &b"b"[..]));
        for value in [&b"a"[..], b"~b", b"a~", b"~", b""] {
            assert!(CookieCredential::parse(value).is_err(), "{value:?}");
        }
    }

    proptest! {
        #[test]
        fn nothing_of_ours_is_ever_left(parts in proptest::collection::vec(
            "(__Host-)?menshen(-login-[a-z]{0,3})?|[a-z;= \"~-]{0,8}", 0..8
        )) {
            let text: Vec<String> = parts.iter().map(|part| format!("{part}=v")).collect();
            if let Cookies::Left(line) = left(&[&text.join("; "), &text.join(";")]) {
                prop_assert!(ours(line.as_bytes()).next().is_none(), "{line:?}");
            }
        }
    }
}
