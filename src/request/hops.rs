//! The hop-by-hop headers: what a request says about the connection that it came on, and about nothing further.

use http::header::{CONNECTION, HOST, UPGRADE};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Version};

use super::Denial;

/// The most names in `Connection`.
const MOST_NAMES: usize = 9;

/// Returns whether a request is the handshake of a WebSocket (RFC 6455, section 4.1).
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

/// Returns the names of headers that `Connection` names, which are for this connection only.
///
/// The other side of the connection decides what is removed, so that a name that frames or addresses the message is
/// refused.
pub fn named_hops(headers: &HeaderMap) -> Result<Vec<HeaderName>, Denial> {
    const MALFORMED: Denial = Denial::BadRequest("Connection names what it must not.");
    let mut named = Vec::new();
    for (count, name) in names(headers).enumerate() {
        if is_option(name) {
            continue;
        }
        let parsed = HeaderName::from_bytes(name).map_err(|_| MALFORMED)?;
        // A parser that takes more for a name than there is would miss one of ours in quotes.
        let is_token = name.iter().all(|b| b.is_ascii_graphic()) && !name.contains(&b'"');
        if count >= MOST_NAMES || !is_token || parsed == HOST {
            return Err(MALFORMED);
        }
        named.push(parsed);
    }
    Ok(named)
}

/// Returns whether a name in `Connection` is an option of the connection, and no header that would be removed.
fn is_option(name: &[u8]) -> bool {
    [&b"keep-alive"[..], b"close", b"upgrade"]
        .iter()
        .any(|option| name.eq_ignore_ascii_case(option))
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
    fn the_named_headers_are_found_and_odd_names_refused() {
        let named = |value: &str| named_hops(&headers(&[(CONNECTION, value)]));
        assert_eq!(named("close, Keep-Alive, Upgrade"), Ok(vec![]));
        let hops = ["x-wx-openid", "x-hop"].map(HeaderName::from_static);
        assert_eq!(named("close, X-WX-OPENID,X-Hop"), Ok(hops.to_vec()));
        for malformed in [
            "Host",
            "\"host\"",
            "a b",
            ":authority",
            "a,a,a,a,a,a,a,a,a,a",
        ] {
            assert!(named(malformed).is_err(), "{malformed}");
        }
    }
}
