//! What callers may not say themselves, since the relay says it: tokens, secrets and the app.

use percent_encoding::percent_decode;

/// The names of query parameters, form fields and JSON members that are taken out.
const REMOVED: [&str; 13] = [
    "access_token",
    "cloudbase_access_token",
    "authorizer_access_token",
    "authorizer_refresh_token",
    "component_access_token",
    "component_verify_ticket",
    "secret",
    "appsecret",
    "app_secret",
    "component_appsecret",
    "appid",
    "component_appid",
    "authorizer_appid",
];

/// Returns whether a name is taken out, in whatever case, and whatever readers there are that overlook white space round it, end it at
/// a NUL or take what follows `[` for an index.
pub(super) fn is_removed(name: &str) -> bool {
    let name = name.trim_start_matches(|c: char| c.is_whitespace() || c.is_control());
    let end = name.find(|c: char| c.is_whitespace() || c.is_control() || c == '[');
    let name = end.and_then(|end| name.get(..end)).unwrap_or(name);
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
    let stays = |pair: &&str| !is_removed(&name_of(pair.as_bytes()));
    let left: Vec<String> = query
        .split('&')
        .filter(|pair| !pair.is_empty() && stays(pair))
        // Some readers take `;` for `&`.
        .map(|pair| pair.split(';').filter(stays).collect::<Vec<_>>().join(";"))
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
        let query = "a=1;secret=x;b=2&c=;&%20appid=y&appid%00z=y&access_token[]=x&secrets=1";
        assert_eq!(without(query), "a=1;b=2&c=;&secrets=1");
    }

    #[test]
    fn values_are_decoded() {
        assert_eq!(values("a=1%2B&b=2&a=+", "a"), ["1+", " "]);
    }
}
