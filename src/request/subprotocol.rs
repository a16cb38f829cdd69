//! The token in a WebSocket's sub-protocols, for clients that can send no other header.

use http::header::SEC_WEBSOCKET_PROTOCOL;
use http::{HeaderMap, HeaderValue};

const PREFIX: &str = "menshen.bearer.";

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
pub(super) fn tokens(line: &HeaderValue) -> impl Iterator<Item = &str> {
    names(line).filter_map(after_prefix)
}

/// Takes the tokens out, which neither the upstream nor the reply may see.
pub fn without_tokens(headers: &HeaderMap) -> Subprotocols {
    let lines = || headers.get_all(SEC_WEBSOCKET_PROTOCOL).iter();
    if lines().all(|line| tokens(line).next().is_none()) {
        return Subprotocols::Unchanged;
    }
    let left: Vec<&str> = lines()
        .flat_map(names)
        .filter(|name| after_prefix(name).is_none())
        .collect();
    match HeaderValue::from_str(&left.join(", ")) {
        Ok(value) if !left.is_empty() => Subprotocols::Left(value),
        Ok(_) | Err(_) => Subprotocols::None,
    }
}

fn after_prefix(name: &str) -> Option<&str> {
    let (prefix, token) = name.split_at_checked(PREFIX.len())?;
    prefix.eq_ignore_ascii_case(PREFIX).then_some(token)
}

fn names(line: &HeaderValue) -> impl Iterator<Item = &str> {
    let text = line.to_str().unwrap_or("");
    text.split(',')
        .map(str::trim)
        .filter(|name| !name.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn left(lines: &[&str]) -> Subprotocols {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_str(line).unwrap());
        }
        without_tokens(&headers)
    }

    #[test]
    fn only_the_token_is_taken_out() {
        let chat = Subprotocols::Left(HeaderValue::from_static("chat, v2"));
        assert_eq!(left(&["chat, menshen.bearer.a.b.c, v2"]), chat);
        assert_eq!(left(&["chat", "menshen.bearer.a.b.c,v2"]), chat);
        assert_eq!(left(&["menshen.bearer.a.b.c"]), Subprotocols::None);
        assert_eq!(left(&["chat, v2"]), Subprotocols::Unchanged);
        assert_eq!(left(&[]), Subprotocols::Unchanged);
    }
}
