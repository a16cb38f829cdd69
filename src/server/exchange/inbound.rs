//! Makes a server's answer ours: framing, hop-by-hop headers and version belong to one connection only.

use http::header::{
    ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_ORIGIN, CACHE_CONTROL, CONNECTION,
    CONTENT_LENGTH, SEC_WEBSOCKET_PROTOCOL, SET_COOKIE, TRANSFER_ENCODING, UPGRADE,
};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};

use super::outbound::is_hop_by_hop;
use super::reply::{self, REFRESH_TOKEN, TOKEN, TOKEN_EXPIRES_IN, X_REQUEST_ID};
use super::state::Exchange;
use crate::request::offered_subprotocol;
use crate::server::http1::declared_length;
use crate::server::message::{Body, RequestHead, ResponseHead};

/// Makes a final head ours.
pub(super) fn shape(mut head: ResponseHead, exchange: &Exchange) -> ResponseHead {
    hide(&mut head, |name| {
        exchange.owns_cors
            && (*name == ACCESS_CONTROL_ALLOW_ORIGIN || *name == ACCESS_CONTROL_ALLOW_CREDENTIALS)
    });
    add(&mut head, exchange);
    head
}

/// Makes an interim head ours.
pub(super) fn interim(mut head: ResponseHead) -> ResponseHead {
    hide(&mut head, |_| false);
    head
}

/// Makes the answer to a handshake ours.
///
/// Where the server chose no sub-protocol, the client gets the one that carries its token: strict clients fail when
/// none of what they offered is named.
pub(super) fn upgrade(
    mut head: ResponseHead,
    request: &RequestHead,
    exchange: &Exchange,
) -> ResponseHead {
    let mut chosen = head.headers.get_all(SEC_WEBSOCKET_PROTOCOL).iter();
    // Some servers send an empty header where they choose none.
    let chose = chosen.any(|name| !name.as_bytes().trim_ascii().is_empty());
    hide(&mut head, |name| !chose && *name == SEC_WEBSOCKET_PROTOCOL);
    if !chose && let Some(offered) = offered_subprotocol(&request.headers) {
        head.added.push((SEC_WEBSOCKET_PROTOCOL, offered));
    }
    head.added
        .push((CONNECTION, HeaderValue::from_static("Upgrade")));
    head.added
        .push((UPGRADE, HeaderValue::from_static("websocket")));
    add(&mut head, exchange);
    head
}

/// Returns how long the body of the answer is, or would be for an answer that has none.
pub(super) fn length(head: &ResponseHead, body: Body, request: &RequestHead) -> Body {
    let without_body = request.method == Method::HEAD || head.status == StatusCode::NOT_MODIFIED;
    // Beside a coding, a length is not believed (RFC 9112, section 6.3).
    let length = match head.headers.contains_key(TRANSFER_ENCODING) {
        true => None,
        false => declared_length(&head.headers),
    };
    match length {
        Some(length) if without_body => Body::Length(length),
        None if without_body => Body::Unknown,
        // Over HTTP/2 a server need not say that there is nothing.
        Some(0) if body == Body::Empty => Body::Length(0),
        _ => body,
    }
}

/// Returns whether a server has switched to what was asked for.
pub(super) fn is_websocket(head: &ResponseHead) -> bool {
    let protocol = head.headers.get(UPGRADE);
    protocol.is_none_or(|protocol| protocol.as_bytes().eq_ignore_ascii_case(b"websocket"))
}

/// Returns the trailers that go on.
pub(super) fn trailers(trailers: HeaderMap) -> Option<HeaderMap> {
    let mut left = HeaderMap::with_capacity(trailers.len());
    for (name, value) in &trailers {
        if !is_of_connection(name) && !is_ours(name) {
            left.append(name.clone(), value.clone());
        }
    }
    (!left.is_empty()).then_some(left)
}

fn hide(head: &mut ResponseHead, also: impl Fn(&HeaderName) -> bool) {
    let is_hidden = |name: &&HeaderName| is_of_connection(name) || is_ours(name) || also(name);
    let hidden = head.headers.keys().filter(is_hidden).cloned();
    head.hidden = hidden.collect();
    for line in head.headers.get_all(CONNECTION) {
        for name in line.as_bytes().split(|&b| b == b',') {
            let name = HeaderName::from_bytes(name.trim_ascii()).ok();
            // Names that were not sent, or are hidden already, are left out: writing compares each line with the whole list.
            let sent = name.filter(|name| head.headers.contains_key(name));
            if let Some(name) = sent.filter(|name| !head.hidden.contains(name)) {
                head.hidden.push(name);
            }
        }
    }
}

fn add(head: &mut ResponseHead, exchange: &Exchange) {
    if let Some(grant) = &exchange.grant {
        reply::add_grant(head, grant);
    }
    for cookie in &exchange.cookies {
        head.added.push((SET_COOKIE, cookie.clone()));
        // A cache that kept this would give one user's cookie to another.
        head.set(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    }
    for (name, value) in &exchange.cors {
        head.added.push((name.clone(), value.clone()));
    }
    let id = exchange.request_id.value().clone();
    head.added.push((X_REQUEST_ID, id));
}

fn is_of_connection(name: &HeaderName) -> bool {
    is_hop_by_hop(name) || *name == CONTENT_LENGTH
}

/// Clients take these for the result of a login, and for the id under which the log has the request; a backend's own would be one.
fn is_ours(name: &HeaderName) -> bool {
    *name == TOKEN || *name == TOKEN_EXPIRES_IN || *name == REFRESH_TOKEN || *name == X_REQUEST_ID
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_that_names_much_in_connection_hides_no_more_than_it_sends() {
        let names: String = (0..20_000).map(|number| format!("x-{number},")).collect();
        let mut head = ResponseHead::new(StatusCode::OK);
        for (name, value) in [("x-7", "a"), ("x-8", "b"), ("kept", "c")] {
            head.headers.insert(name, HeaderValue::from_static(value));
        }
        for _ in 0..2 {
            let names = HeaderValue::from_str(&names);
            head.headers.append(CONNECTION, names.unwrap());
        }
        let mut head = interim(head);
        head.hidden.sort_by_key(|name| name.as_str().to_owned());
        assert_eq!(head.hidden, ["connection", "x-7", "x-8"]);
        let left = head.into_headers();
        assert_eq!(left.keys().collect::<Vec<_>>(), ["kept"]);
    }
}
