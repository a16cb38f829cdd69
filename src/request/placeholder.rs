//! What clients send where they have nothing to send.

use http::HeaderValue;

/// What programming languages write for a value that is missing.
const NOTHING: [&[u8]; 6] = [b"", b"\"\"", b"undefined", b"null", b"None", b"nil"];

/// The length of the longest of them; a token is longer, so that it is not compared with each.
const LONGEST: usize = "undefined".len();

/// Returns whether a credential, or the name of an app, is empty or stands for a value that the client did not have.
pub fn is_placeholder(value: &[u8]) -> bool {
    value.len() <= LONGEST && NOTHING.contains(&value.trim_ascii())
}

/// Returns whether a value of `Authorization` is the scheme `Bearer` and no token.
pub fn stands_for_no_token(authorization: &HeaderValue) -> bool {
    let split = authorization.as_bytes().split_at_checked("bearer".len());
    split.is_some_and(|(scheme, token)| {
        scheme.eq_ignore_ascii_case(b"bearer")
            && matches!(token.first(), None | Some(b' ' | b'\t'))
            && is_placeholder(token.trim_ascii())
    })
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
