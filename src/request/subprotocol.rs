//! The token in a WebSocket's sub-protocols, for clients that can send no other header.

use http::header::SEC_WEBSOCKET_PROTOCOL;
use http::{HeaderMap, HeaderValue};

const PREFIX: &[u8] = b"menshen.bearer.";

/// What becomes of the sub-protocols on their way to the upstream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Subprotocols {
    /// They stay as they are.
    Unchanged,
    /// These are left when the tokens are taken out.
    Left(HeaderValue),
    /// Nothing is left.
    None,
}

/// Returns the tokens of one line of sub-protocols.
pub(super) fn tokens(line: &HeaderValue) -> impl Iterator<Item = &[u8]> {
    names(line).filter_map(after_prefix)
}

/// Takes the tokens out, which neither the upstream nor the reply may see.
pub fn without_tokens(headers: &HeaderMap) -> Subprotocols {
    let mut lines = headers.get_all(SEC_WEBSOCKET_PROTOCOL).iter();
    if lines.all(|line| tokens(line).next().is_none()) {
        return Subprotocols::Unchanged;
    }
    left(headers).map_or(Subprotocols::None, Subprotocols::Left)
}

/// Returns the sub-protocols that are left without the tokens, all in one line; `None` when none are.
pub fn left(headers: &HeaderMap) -> Option<HeaderValue> {
    let lines = headers.get_all(SEC_WEBSOCKET_PROTOCOL).iter();
    let left: Vec<&[u8]> = lines
        .flat_map(names)
        .filter(|name| after_prefix(name).is_none())
        .collect();
    let joined = HeaderValue::from_bytes(&left.join(&b", "[..])).ok();
    joined.filter(|joined| !joined.is_empty())
}

/// Returns the sub-protocol that carries a token, as it was offered.
pub fn offered_subprotocol(headers: &HeaderMap) -> Option<HeaderValue> {
    let mut offered = headers
        .get_all(SEC_WEBSOCKET_PROTOCOL)
        .iter()
        .flat_map(names);
    let ours = offered.find(|name| after_prefix(name).is_some())?;
    HeaderValue::from_bytes(ours).ok()
}

fn after_prefix(name: &[u8]) -> Option<&[u8]> {
    // It is a name, never in quotes, but a lenient backend may take them off.
    let name = name.strip_prefix(b"\"").unwrap_or(name).trim_ascii_start();
    let (prefix, token) = name.split_at_checked(PREFIX.len())?;
    // Two quotes alone are what a program writes for nothing.
    let bare = token.strip_suffix(b"\"").filter(|bare| *bare != b"\"");
    let token = bare.unwrap_or(token);
    prefix.eq_ignore_ascii_case(PREFIX).then_some(token)
}

fn names(line: &HeaderValue) -> impl Iterator<Item = &[u8]> {
    line.as_bytes()
        .split(|&b| b == b',')
        .map(<[u8]>::trim_ascii)
        .filter(|name| !name.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn left(lines: &[&str]) -> Subprotocols {
        let mut headers = HeaderMap::new();
        for line in lines {
            let line = HeaderValue::from_bytes(line.as_bytes()).unwrap();
            headers.append(SEC_WEBSOCKET_PROTOCOL, line);
        }
        without_tokens(&headers)
    }

    #[test]
    fn only_the_token_is_taken_out() {
        let chat = Subprotocols::Left(HeaderValue::from_static("chat, v2"));
        assert_eq!(left(&["chat, menshen.bearer.a.b.c, v2"]), chat);
        assert_eq!(left(&["chat", "menshen.bearer.a.b.c,v2"]), chat);
        assert_eq!(left(&["menshen.bearer.a.b.c"]), Subprotocols::None);
        assert_eq!(left(&["\"menshen.bearer.a.b.c\""]), Subprotocols::None);
        assert_eq!(left(&["chat, v2"]), Subprotocols::Unchanged);
        assert_eq!(left(&[]), Subprotocols::Unchanged);
        let odd = Subprotocols::Left(HeaderValue::from_bytes("é".as_bytes()).unwrap());
        assert_eq!(left(&["é, menshen.bearer.a.b.c"]), odd);
    }
}
