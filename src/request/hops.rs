//! What a request says about the connection that it came on, and about nothing further.

use http::header::{CONNECTION, HOST, UPGRADE};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Version};

use super::Denial;

/// The most names in `Connection`, which is also the most that pingora takes.
const MOST_NAMES: usize = 9;

/// Says whether a request is the handshake of a WebSocket (RFC 6455, section 4.1).
///
/// RFC 9110, section 7.8, has an `Upgrade` ignored that `Connection` does not name.
pub fn is_handshake(method: &Method, version: Version, headers: &HeaderMap) -> bool {
    let mut protocols = headers.get_all(UPGRADE).iter();
    let websocket = |value: &HeaderValue| value.as_bytes().eq_ignore_ascii_case(b"websocket");
    *method == Method::GET
        && version == Version::HTTP_11
        && protocols.next().is_some_and(websocket)
        && protocols.next().is_none()
        && names(headers).any(|name| name.eq_ignore_ascii_case(b"upgrade"))
}

/// Returns what is left of `Connection` without the names of headers that are `ours`, which no client may have
/// removed; `None` where it names none of them.
pub fn without_protected(
    headers: &HeaderMap,
    ours: impl Fn(&HeaderName) -> bool,
) -> Result<Option<HeaderValue>, Denial> {
    const MALFORMED: Denial = Denial::BadRequest("Connection names what it must not.");
    let mut left: Vec<&[u8]> = Vec::new();
    let mut found = false;
    for (count, name) in names(headers).enumerate() {
        let parsed = HeaderName::from_bytes(name).map_err(|_| MALFORMED)?;
        // A parser that takes more for a name than there is would miss one of ours in quotes.
        let is_token = name.iter().all(|b| b.is_ascii_graphic()) && !name.contains(&b'"');
        if count == MOST_NAMES || !is_token || parsed == HOST {
            return Err(MALFORMED);
        }
        if ours(&parsed) {
            found = true;
        } else {
            left.push(name);
        }
    }
    let left = HeaderValue::from_bytes(&left.join(&b", "[..])).map_err(|_| MALFORMED)?;
    Ok(found.then_some(left))
}

fn names(headers: &HeaderMap) -> impl Iterator<Item = &[u8]> {
    let lines = headers.get_all(CONNECTION).iter();
    let names = lines.flat_map(|line| line.as_bytes().split(|&b| b == b','));
    names
        .map(<[u8]>::trim_ascii)
        .filter(|name| !name.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(lines: &[(HeaderName, &str)]) -> HeaderMap {
        let mut map = HeaderMap::new();
        for (name, value) in lines {
            map.append(name, HeaderValue::from_str(value).unwrap());
        }
        map
    }

    #[test]
    fn a_handshake_has_all_its_parts() {
        let (http11, websocket) = (Version::HTTP_11, (UPGRADE, "WebSocket"));
        let named = (CONNECTION, "keep-alive, Upgrade");
        let is = |lines: &[(HeaderName, &str)]| is_handshake(&Method::GET, http11, &headers(lines));
        let apart = [(CONNECTION, "x"), (CONNECTION, "upgrade")];
        assert!(is(&[websocket.clone(), named.clone()]));
        assert!(is(&[&[websocket.clone()][..], &apart].concat()));
        for lines in [
            vec![websocket.clone()],
            vec![websocket.clone(), (CONNECTION, "upgraded")],
            vec![named.clone()],
            vec![(UPGRADE, "h2c"), named.clone()],
            vec![(UPGRADE, "websocket, h2c"), named.clone()],
            vec![websocket.clone(), websocket.clone(), named.clone()],
        ] {
            assert!(!is(&lines), "{lines:?}");
        }
        let whole = headers(&[websocket, named]);
        assert!(!is_handshake(&Method::GET, Version::HTTP_10, &whole));
        assert!(!is_handshake(&Method::POST, http11, &whole));
    }

    #[test]
    fn protected_names_are_taken_out_of_connection() {
        let left = |value: &str| {
            let headers = headers(&[(CONNECTION, value)]);
            without_protected(&headers, |name| name == "x-wx-openid")
        };
        assert_eq!(left("close, X-Hop"), Ok(None));
        assert_eq!(
            left("close, X-WX-OpenID,X-Hop"),
            Ok(Some(HeaderValue::from_static("close, X-Hop")))
        );
        assert_eq!(left("x-wx-openid"), Ok(Some(HeaderValue::from_static(""))));
        for malformed in [
            "Host",
            "\"host\"",
            "a b",
            ":authority",
            "a,a,a,a,a,a,a,a,a,a",
        ] {
            assert!(left(malformed).is_err(), "{malformed}");
        }
    }
}
