//! Admits a message: refuses one that two parties could read differently (request smuggling) before anything is decided on it.

use std::net::Ipv6Addr;

use http::{HeaderMap, Method, Version};

use super::{DecidingHeaders, Denial, Field, NormalPath, is_handshake};

/// The most header lines; over HTTP/2 each may be a byte or two.
pub(super) const MOST_LINES: usize = 256;

/// A header that some backends take for `Content-Length` or `Transfer-Encoding`.
pub(super) const POSES_AS_FRAMING: Denial =
    Denial::BadRequest("A header poses as one that frames the body.");

const NO_PATH: Denial = Denial::BadRequest("The request target is not a path.");
const FRAGMENT: Denial = Denial::BadRequest("A fragment is not for the server.");

/// What a request says, before anybody has checked it.
#[derive(Clone, Copy, Debug)]
pub struct Message<'a> {
    /// The method.
    pub method: &'a Method,
    /// The request target in origin form.
    pub target: &'a [u8],
    /// The scheme and the authority that HTTP/2 sends apart from the target.
    pub authority: Option<(&'a str, &'a str)>,
    /// The protocol version.
    pub version: Version,
    /// The header section.
    pub headers: &'a HeaderMap,
}

/// A message that has one reading.
#[derive(Clone, Debug)]
pub struct Admitted<'a> {
    /// The method.
    pub method: &'a Method,
    /// The host without port, lower-case where the client sent it so; empty when there is none.
    pub host: &'a str,
    /// The path in normal form.
    pub path: NormalPath<'a>,
    /// What follows the question mark.
    pub query: Option<&'a str>,
    /// The headers that decide something.
    pub headers: DecidingHeaders<'a>,
}

/// Checks a message's framing, host and target.
pub fn admit<'a>(message: &Message<'a>, max_header_bytes: usize) -> Result<Admitted<'a>, Denial> {
    let mut headers = DecidingHeaders::of(message.headers);
    if !matches!(headers.subprotocol_token, Field::Absent)
        && !is_handshake(message.method, message.version, message.headers)
    {
        // Without the rest of a handshake, `Upgrade` says nothing.
        headers.subprotocol_token = Field::Absent;
    }
    // It counts as a line of HTTP/1.1 does.
    let authority = message
        .authority
        .map_or(0, |(_, authority)| authority.len());
    let is_large = headers.bytes + message.target.len() + authority > max_header_bytes;
    if is_large || message.headers.len() > MOST_LINES {
        return Err(Denial::HeadersTooLarge);
    }
    check_method(message.method)?;
    check_framing(&headers)?;
    if headers.poses_as_subprotocol {
        return Err(Denial::BadRequest(
            "A header poses as Sec-WebSocket-Protocol.",
        ));
    }
    if headers.padded {
        return Err(Denial::BadRequest(
            "A header's value begins or ends with a space.",
        ));
    }
    if matches!(headers.authorization, Field::Repeated) {
        return Err(Denial::TokenAmbiguous);
    }
    if message.target.contains(&b'#') {
        return Err(FRAGMENT);
    }
    if !message.target.starts_with(b"/") {
        return Err(NO_PATH);
    }
    let authority = one_authority(message, &headers)?;
    admit_line(message.method, authority, message.target, headers)
}

/// Checks authority and origin-form target, as one message says them itself or another about it.
pub(super) fn admit_line<'a>(
    method: &'a Method,
    authority: &'a str,
    target: &'a [u8],
    headers: DecidingHeaders<'a>,
) -> Result<Admitted<'a>, Denial> {
    let (path, query) = split_query(target)?;
    Ok(Admitted {
        method,
        host: host_of(authority)?,
        path: NormalPath::parse(path)?,
        query,
        headers,
    })
}

/// Refuses methods that are never forwarded.
pub(super) fn check_method(method: &Method) -> Result<(), Denial> {
    if matches!(*method, Method::CONNECT | Method::TRACE) {
        // TRACE would show a client the headers that are meant for the backend.
        return Err(Denial::MethodNotAllowed(Vec::new()));
    }
    Ok(())
}

fn check_framing(headers: &DecidingHeaders<'_>) -> Result<(), Denial> {
    const LENGTH: Denial = Denial::BadRequest("The Content-Length is not one number.");
    const CODING: Denial = Denial::BadRequest("The only Transfer-Encoding understood is chunked.");
    if headers.poses_as_framing {
        // uWSGI reads Content_Length as Content-Length, and so the next request from this one's body.
        return Err(POSES_AS_FRAMING);
    }
    match headers.content_length {
        Field::Absent => {}
        Field::Once(length) => {
            if self::length(length.as_bytes()).is_none() {
                return Err(LENGTH);
            }
        }
        Field::Repeated => return Err(LENGTH),
    }
    match headers.transfer_encoding {
        Field::Absent => Ok(()),
        Field::Once(_) if !matches!(headers.content_length, Field::Absent) => Err(
            Denial::BadRequest("Content-Length and Transfer-Encoding exclude each other."),
        ),
        Field::Once(coding) if coding.as_bytes().eq_ignore_ascii_case(b"chunked") => Ok(()),
        Field::Once(_) | Field::Repeated => Err(CODING),
    }
}

/// Returns a length that is a number, and one that fits.
pub(super) fn length(length: &[u8]) -> Option<u64> {
    // A parser of numbers also takes a sign.
    let digits = length.iter().all(u8::is_ascii_digit);
    let number = std::str::from_utf8(length).ok().filter(|_| digits)?;
    number.parse::<usize>().ok().map(|length| length as u64)
}

/// Takes the absolute form of a target apart.
///
/// Returns its scheme and authority, and what follows, which may be empty or begin with the query.
#[expect(
    clippy::type_complexity,
    reason = "a name for it would be needed here only"
)]
pub(super) fn split_target(target: &[u8]) -> Result<(Option<(&str, &str)>, &[u8]), Denial> {
    if target.contains(&b'#') {
        return Err(FRAGMENT);
    }
    if target.starts_with(b"/") {
        return Ok((None, target));
    }
    let (scheme, rest) = ["http", "https"]
        .into_iter()
        .find_map(|scheme| {
            let rest = strip_prefix_ignoring_case(target, scheme.as_bytes())?;
            Some((scheme, rest.strip_prefix(b"://")?))
        })
        .ok_or(NO_PATH)?;
    let at = rest
        .iter()
        .position(|b| matches!(b, b'/' | b'?'))
        .unwrap_or(rest.len());
    let (authority, path) = rest.split_at(at);
    let authority = std::str::from_utf8(authority).map_err(|_| NO_PATH)?;
    if authority.is_empty() {
        return Err(NO_PATH);
    }
    Ok((Some((scheme, authority)), path))
}

/// Returns whether two authorities name the same host and port of a scheme, each of which may leave the usual port out or its digits
/// (RFC 9110, section 4.2.3).
pub(super) fn same_authority(scheme: &str, one: &str, other: &str) -> bool {
    one.eq_ignore_ascii_case(other)
        || without_usual_port(scheme, one).eq_ignore_ascii_case(without_usual_port(scheme, other))
}

fn without_usual_port<'a>(scheme: &str, authority: &'a str) -> &'a str {
    let port = if scheme == "https" { ":443" } else { ":80" };
    let host = authority.strip_suffix(port);
    let host = host.or_else(|| authority.strip_suffix(':'));
    // A port alone names no host.
    host.filter(|host| !host.is_empty()).unwrap_or(authority)
}

/// Takes a path and a query apart, and refuses what the parser behind us would.
pub(super) fn split_query(target: &[u8]) -> Result<(&[u8], Option<&str>), Denial> {
    let at = target.iter().position(|&b| b == b'?');
    let (path, query) = target.split_at(at.unwrap_or(target.len()));
    if path.iter().any(|b| matches!(b, b'<' | b'>' | b'`')) {
        return Err(Denial::PathAmbiguous);
    }
    let query = query.get(1..).map(checked_query).transpose()?;
    Ok((path, query))
}

fn strip_prefix_ignoring_case<'a>(text: &'a [u8], prefix: &[u8]) -> Option<&'a [u8]> {
    let (head, rest) = text.split_at_checked(prefix.len())?;
    head.eq_ignore_ascii_case(prefix).then_some(rest)
}

fn one_authority<'a>(
    message: &Message<'a>,
    headers: &DecidingHeaders<'a>,
) -> Result<&'a str, Denial> {
    let host = match headers.host {
        Field::Absent => None,
        Field::Once(value) => Some(
            value
                .to_str()
                .map_err(|_| Denial::BadRequest("The Host is not a host name."))?,
        ),
        Field::Repeated => return Err(Denial::BadRequest("There is more than one Host.")),
    };
    match (message.authority, host) {
        (Some((scheme, authority)), Some(host)) if !same_authority(scheme, authority, host) => {
            Err(Denial::BadRequest("The target and the Host disagree."))
        }
        (Some((_, authority)), _) => Ok(authority),
        (None, Some(host)) => Ok(host),
        (None, None) if message.version == Version::HTTP_10 => Ok(""),
        (None, None) => Err(Denial::BadRequest("There is no Host.")),
    }
}

pub(super) fn host_of(authority: &str) -> Result<&str, Denial> {
    const WRONG: Denial = Denial::BadRequest("The Host is not a host name.");
    if authority.is_empty() {
        return Ok("");
    }
    let (host, port) = if let Some(literal) = authority.strip_prefix('[') {
        let end = literal.find(']').ok_or(WRONG)?;
        let address = literal.get(..end).and_then(|text| text.parse().ok());
        let _: Ipv6Addr = address.ok_or(WRONG)?;
        authority.split_at_checked(end + 2).ok_or(WRONG)?
    } else {
        match authority.bytes().position(|b| b == b':') {
            Some(at) => authority.split_at_checked(at).ok_or(WRONG)?,
            None => (authority, ""),
        }
    };
    let named = host.starts_with('[') || is_name(host);
    let port_ok = match port.strip_prefix(':') {
        Some("") => true,
        Some(digits) => digits.bytes().all(|b| b.is_ascii_digit()) && digits.parse::<u16>().is_ok(),
        None => port.is_empty(),
    };
    if host.is_empty() || !named || !port_ok {
        return Err(WRONG);
    }
    Ok(host.strip_suffix('.').unwrap_or(host))
}

/// Returns whether a host consists of labels, of which none is empty but one at the end.
fn is_name(host: &str) -> bool {
    let mut before = b'.';
    host.bytes().all(|byte| {
        let label = byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
        let fits = label || byte == b'.' && before != b'.';
        before = byte;
        fits
    })
}

fn checked_query(query: &[u8]) -> Result<&str, Denial> {
    let clean = |&b: &u8| b > 0x20 && b != 0x7f && !b"\"#<>".contains(&b);
    let clean = query.iter().all(clean);
    std::str::from_utf8(query)
        .ok()
        .filter(|_| clean)
        .ok_or(Denial::BadRequest(
            "The query holds characters that must be escaped.",
        ))
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn said(target: &str, headers: &[(&'static str, &str)]) -> Result<(String, String), Denial> {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(*name, HeaderValue::from_str(value).unwrap());
        }
        admit(
            &Message {
                method: &Method::GET,
                target: target.as_bytes(),
                authority: None,
                version: Version::HTTP_11,
                headers: &map,
            },
            1000,
        )
        .map(|a| (a.host.to_owned(), a.path.as_str().to_owned()))
    }

    #[test]
    fn one_host_and_one_path_come_out() {
        let ok = |target: &str, host: &str| said(target, &[("host", host)]).unwrap();
        assert_eq!(
            ok("/a?b", "Shop.example:8080"),
            ("Shop.example".into(), "/a".into())
        );
        assert_eq!(ok("/", "[::1]:80"), ("[::1]".into(), "/".into()));
        assert_eq!(ok("/", "h.example."), ("h.example".into(), "/".into()));
    }

    #[test]
    fn the_usual_port_may_be_left_out_and_no_other() {
        for (scheme, one, other, expected) in [
            ("http", "h", "H:80", true),
            ("http", "h:", "h", true),
            ("http", "h:", "h:80", true),
            ("https", "h", "h:443", true),
            ("https", "[::1]:443", "[::1]:", true),
            ("http", "h", "h:443", false),
            ("https", "h", "h:80", false),
            ("http", "h:", "h:81", false),
            ("http", "h", "other", false),
            ("http", "h::", "h", false),
            ("http", ":80", "", false),
            ("http", ":", "", false),
        ] {
            let said = same_authority(scheme, one, other);
            assert_eq!(said, expected, "{scheme} {one} {other}");
            assert_eq!(same_authority(scheme, other, one), expected);
        }
    }

    #[test]
    fn odd_messages_are_refused() {
        let host = ("host", "h");
        for (target, headers, code) in [
            ("/", vec![], "bad_request"),
            ("/", vec![host, host], "bad_request"),
            ("/", vec![("host", "a b")], "bad_request"),
            ("/", vec![("host", "user@h")], "bad_request"),
            ("/", vec![("host", "h:80:80")], "bad_request"),
            ("/", vec![("host", "h:999999")], "bad_request"),
            ("/", vec![("host", "h:+80")], "bad_request"),
            ("/", vec![("host", "[]")], "bad_request"),
            ("/", vec![("host", "[[[]")], "bad_request"),
            ("/", vec![("host", "[::1]x")], "bad_request"),
            ("/", vec![("host", "[1.2.3.4]")], "bad_request"),
            ("/x#y", vec![host], "bad_request"),
            ("/?<", vec![host], "bad_request"),
            ("/?\"", vec![host], "bad_request"),
            ("/`", vec![host], "path_ambiguous"),
            (
                "/",
                vec![
                    host,
                    ("authorization", "Basic a"),
                    ("authorization", "Basic a"),
                ],
                "token_ambiguous",
            ),
            (
                "/",
                vec![host, ("content-length", "99999999999999999999")],
                "bad_request",
            ),
            ("/", vec![host, ("content_length", "1")], "bad_request"),
            (
                "/",
                vec![host, ("transfer.encoding", "chunked")],
                "bad_request",
            ),
            (
                "/",
                vec![host, ("sec_websocket_protocol", "chat")],
                "bad_request",
            ),
            ("http://h/", vec![host], "bad_request"),
            ("*", vec![host], "bad_request"),
            ("/?a b", vec![host], "bad_request"),
            ("/", vec![host, ("content-length", "+1")], "bad_request"),
            (
                "/",
                vec![host, ("content-length", "1"), ("content-length", "1")],
                "bad_request",
            ),
            (
                "/",
                vec![
                    host,
                    ("content-length", "1"),
                    ("transfer-encoding", "chunked"),
                ],
                "bad_request",
            ),
            (
                "/",
                vec![host, ("transfer-encoding", "gzip, chunked")],
                "bad_request",
            ),
            ("/a/../b", vec![host], "path_ambiguous"),
        ] {
            let denial = said(target, &headers).unwrap_err();
            assert_eq!(denial.code(), code, "{target} {headers:?}");
        }
        let long = "x".repeat(1000);
        assert_eq!(
            said("/", &[host, ("x", &long)]),
            Err(Denial::HeadersTooLarge)
        );
    }
}
