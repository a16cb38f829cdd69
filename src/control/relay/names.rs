//! What callers may not say themselves, since the relay says it: tokens, secrets and the app.

use percent_encoding::percent_decode;

/// The names of query parameters, form fields and JSON members that are taken out.
const REMOVED: [&str; 8] = [
    "access_token",
    "cloudbase_access_token",
    "authorizer_access_token",
    "component_access_token",
    "secret",
    "appsecret",
    "app_secret",
    "appid",
];

/// Returns whether a name is taken out, in whatever case.
pub(super) fn is_removed(name: &str) -> bool {
    REMOVED
        .iter()
        .any(|removed| name.eq_ignore_ascii_case(removed))
}

/// Reads the name of a pair as it stands in a query or a form.
pub(super) fn name_of(pair: &[u8]) -> String {
    decoded(pair.split(|byte| *byte == b'=').next().unwrap_or_default())
}

/// Reads the value of a pair.
pub(super) fn value_of(pair: &[u8]) -> String {
    let mut parts = pair.splitn(2, |byte| *byte == b'=');
    decoded(parts.nth(1).unwrap_or_default())
}

fn decoded(text: &[u8]) -> String {
    let spaced: Vec<u8> = text
        .iter()
        .map(|byte| if *byte == b'+' { b' ' } else { *byte })
        .collect();
    percent_decode(&spaced).decode_utf8_lossy().into_owned()
}

/// Returns a query without what callers may not say.
pub(super) fn without(query: &str) -> String {
    let left: Vec<&str> = query
        .split('&')
        .filter(|pair| !pair.is_empty() && !is_removed(&name_of(pair.as_bytes())))
        .collect();
    left.join("&")
}

/// Finds the values of a parameter in a query.
pub(super) fn values(query: &str, name: &str) -> Vec<String> {
    let pairs = query.split('&').map(str::as_bytes);
    let named = pairs.filter(|pair| name_of(pair) == name);
    named.map(value_of).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_the_relays_to_say_is_taken_out_however_it_is_written() {
        let query = "a=1&access_token=x&Secret=y&%61ppid=z&b=%26&access_token&&c";
        assert_eq!(without(query), "a=1&b=%26&c");
        assert_eq!(without("appid"), "");
    }

    #[test]
    fn values_are_decoded() {
        assert_eq!(values("a=1%2B&b=2&a=+", "a"), ["1+", " "]);
    }
}
