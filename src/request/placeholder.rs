//! What clients send where they have nothing to send.

use http::HeaderValue;

/// What programming languages write for a value that is missing.
const NOTHING: [&str; 9] = [
    "",
    "undefined",
    "null",
    "NULL",
    "NaN",
    "false",
    "None",
    "nil",
    "[object Object]",
];

/// The length of the longest of them in quotes; a token is longer, so that it is not compared with each.
const LONGEST: usize = "\"[object Object]\"".len();

/// Returns whether a credential, or the name of an app, is empty or stands for a value that the client did not have.
pub fn is_placeholder(value: &[u8]) -> bool {
    if value.len() > LONGEST {
        return false;
    }
    let text = std::str::from_utf8(value).map(str::trim);
    text.is_ok_and(|text| {
        let quoted = text
            .strip_prefix('"')
            .and_then(|text| text.strip_suffix('"'));
        NOTHING.contains(&quoted.unwrap_or(text))
    })
}

/// Returns whether a value of `Authorization` is the scheme `Bearer` and no token, or stands for a value that was missing.
pub fn stands_for_no_token(authorization: &HeaderValue) -> bool {
    let value = authorization.as_bytes();
    let split = value.split_at_checked("bearer".len());
    let is_bearer = split.is_some_and(|(scheme, token)| {
        scheme.eq_ignore_ascii_case(b"bearer")
            && matches!(token.first(), None | Some(b' ' | b'\t'))
            && is_placeholder(token.trim_ascii())
    });
    is_bearer || is_placeholder(value)
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
