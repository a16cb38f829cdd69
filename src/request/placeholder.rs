//! What clients send where they have nothing to send.

use http::HeaderValue;

/// What programming languages write for a value that is missing, or that is no text.
const NOTHING: [&[u8]; 12] = [
    b"",
    b"\"\"",
    b"undefined",
    b"\"undefined\"",
    b"null",
    b"\"null\"",
    b"NULL",
    b"None",
    b"nil",
    b"NaN",
    b"false",
    b"[object Object]",
];

/// The length of the longest of them; a token is longer, so that it is not compared with each.
const LONGEST: usize = "[object Object]".len();

const SCHEME: &[u8] = b"bearer";

/// Returns whether a credential, or the name of an app, is empty or stands for a value that the client did not have.
pub fn is_placeholder(value: &[u8]) -> bool {
    value.len() <= LONGEST && NOTHING.contains(&trimmed(value))
}

/// Returns whether a value of `Authorization` is the scheme `Bearer` and no token, or stands for no value at all.
pub fn stands_for_no_token(authorization: &HeaderValue) -> bool {
    let value = authorization.as_bytes();
    let unquoted = value
        .strip_prefix(b"\"")
        .and_then(|value| value.strip_suffix(b"\""));
    !value.is_empty() && is_placeholder_of_token(unquoted.unwrap_or(value))
}

/// Returns whether what stands where a token belongs is none, however often the scheme stands before it.
pub(super) fn is_placeholder_of_token(value: &[u8]) -> bool {
    let mut token = value;
    while let Some(rest) = after_scheme(token) {
        token = rest;
    }
    is_placeholder(token)
}

/// Returns what follows the scheme `Bearer`, where that is how a text begins.
pub(super) fn after_scheme(text: &[u8]) -> Option<&[u8]> {
    let (scheme, rest) = text.split_at_checked(SCHEME.len())?;
    let is_scheme =
        scheme.eq_ignore_ascii_case(SCHEME) && matches!(rest.first(), None | Some(b' ' | b'\t'));
    is_scheme.then(|| rest.trim_ascii())
}

/// Takes off white space, and no-break spaces as UTF-8 and Latin-1 write them.
fn trimmed(value: &[u8]) -> &[u8] {
    let is_blank = |byte: &u8| byte.is_ascii_whitespace() || matches!(byte, 0xc2 | 0xa0);
    let Some(first) = value.iter().position(|byte| !is_blank(byte)) else {
        return &[];
    };
    let last = value.iter().rposition(|byte| !is_blank(byte));
    last.and_then(|last| value.get(first..=last))
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_stands_for_nothing_is_a_placeholder() {
        for value in [
            "",
            "  ",
            "\"\"",
            "undefined",
            "null",
            " null",
            "None",
            "nil",
            "NULL",
            "NaN",
            "false",
            "[object Object]",
            "\"undefined\"",
            "\"null\"",
            "\u{a0}",
            "null\u{a0}",
        ] {
            assert!(is_placeholder(value.as_bytes()), "{value:?}");
        }
        for value in [
            "0",
            "nobody",
            "Undefined",
            "undefined1",
            "null,null",
            "a.b.c",
        ] {
            assert!(!is_placeholder(value.as_bytes()), "{value:?}");
        }
        assert!(NOTHING.iter().all(|nothing| nothing.len() <= LONGEST));
    }
}
