//! The header names that are ours to set, in every spelling a backend might fold into them.

use http::HeaderName;

use crate::config::InjectedNames;

/// Carries a code for a login on the first request.
pub(super) const CODE: &str = "x-wx-code";
/// Carries the nonce of such a login.
pub(super) const NONCE: &str = "x-menshen-nonce";
/// Names the app of such a login.
pub(super) const APP: &str = "x-menshen-app";

/// The headers that say where a body ends.
const FRAMING: [&str; 2] = ["content-length", "transfer-encoding"];

/// Families of which every member is ours.
const FAMILIES: [&str; 3] = ["x-wx-", "x-menshen-", "x-forwarded-"];

/// Single names that backends take for the client, the request or the path.
const SINGLE: [&str; 6] = [
    "x-original-forwarded-for",
    "x-request-id",
    "x-real-ip",
    "forwarded",
    // Some frameworks route by these instead of the path that was decided on.
    "x-original-url",
    "x-rewrite-url",
];

/// Names that single servers take for the client's address, or for more than they should.
const MORE_SINGLE: [&str; 4] = [
    "true-client-ip",
    "client-ip",
    "x-client-ip",
    // CGI makes it HTTP_PROXY, by which some clients in a backend find their proxy.
    "proxy",
];

/// Names by which frameworks take another method than the one that was decided on.
const METHOD_OVERRIDES: [&str; 3] = [
    "x-http-method-override",
    "x-http-method",
    "x-method-override",
];

/// The names that a client never sets, folded.
#[derive(Clone, Debug)]
pub struct OwnedNames {
    single: Vec<String>,
    /// First bytes of all folded names: most headers are passed over by looking at one byte.
    initials: [bool; 256],
}

impl OwnedNames {
    /// Returns the names that no client may set, not even with another gateway before the backend; one that ends with `-` is a
    /// prefix.
    pub fn fixed() -> impl Iterator<Item = &'static str> {
        FAMILIES.into_iter().chain(SINGLE)
    }

    /// Collects the fixed names and the configured ones; where `methods_decide`, also those that override the method.
    pub fn new(names: &InjectedNames, methods_decide: bool) -> Self {
        let configured = [
            &names.openid,
            &names.appid,
            &names.unionid,
            &names.source,
            &names.env,
            &names.client_address,
            &names.app,
            &names.session,
            &names.assertion,
        ];
        let single: Vec<String> = SINGLE
            .iter()
            .chain(&MORE_SINGLE)
            .chain(METHOD_OVERRIDES.iter().filter(|_| methods_decide))
            .map(|name| (*name).to_owned())
            .chain(configured.into_iter().map(fold_all))
            .collect();
        let mut initials = [false; 256];
        for name in FAMILIES
            .iter()
            .copied()
            .chain(single.iter().map(String::as_str))
        {
            if let Some(flag) = name
                .bytes()
                .next()
                .and_then(|b| initials.get_mut(usize::from(b)))
            {
                *flag = true;
            }
        }
        Self { single, initials }
    }

    /// Returns whether a header is ours: lower-cased, and with all but letters and digits read as `-`.
    pub fn contains(&self, name: &HeaderName) -> bool {
        let name = name.as_str().as_bytes();
        let initial = name.first().map_or(0, |&b| fold(b));
        if self.initials.get(usize::from(initial)) != Some(&true) {
            return false;
        }
        FAMILIES
            .iter()
            .any(|family| name.len() >= family.len() && folds_to(name, family.as_bytes()))
            || self
                .single
                .iter()
                .any(|own| name.len() == own.len() && folds_to(name, own.as_bytes()))
    }
}

/// Compares as many bytes as `own` has.
fn folds_to(name: &[u8], own: &[u8]) -> bool {
    name.iter().zip(own).all(|(&b, &o)| fold(b) == o)
}

/// Returns whether a backend that folds names, as CGI does, would take this header for one that frames the body.
pub(super) fn poses_as_framing(name: &str) -> bool {
    FRAMING
        .iter()
        .any(|own| poses_as(name.as_bytes(), own.as_bytes()))
}

/// Returns whether a backend that folds names, as CGI does, would take this header for `own`, which it is not.
pub fn is_alias(name: &HeaderName, own: &HeaderName) -> bool {
    poses_as(name.as_str().as_bytes(), own.as_str().as_bytes())
}

fn poses_as(name: &[u8], own: &[u8]) -> bool {
    name.len() == own.len() && !name.eq_ignore_ascii_case(own) && folds_to(name, own)
}

fn fold(byte: u8) -> u8 {
    match byte {
        b'a'..=b'z' | b'0'..=b'9' => byte,
        b'A'..=b'Z' => byte.to_ascii_lowercase(),
        _ => b'-',
    }
}

fn fold_all(name: &HeaderName) -> String {
    name.as_str().bytes().map(|b| char::from(fold(b))).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn owned(methods_decide: bool) -> OwnedNames {
        let names = InjectedNames {
            openid: HeaderName::from_static("remote_user"),
            ..InjectedNames::default()
        };
        OwnedNames::new(&names, methods_decide)
    }

    fn is_owned(name: &str) -> bool {
        owned(false).contains(&HeaderName::from_bytes(name.as_bytes()).unwrap())
    }

    #[test]
    fn every_spelling_of_our_names_is_ours() {
        for name in [
            "X-WX-OPENID",
            "x_wx_openid",
            "x-WX_openid",
            "X.WX.OPENID",
            "x-wx-from-openid",
            "x-wx-anything",
            "x-wx-",
            "x-menshen-app",
            "X_Menshen!Session",
            "x-original-forwarded-for",
            "Remote-User",
            "remote_user",
            "REMOTE.USER",
            "x-forwarded-for",
            "X_Forwarded_Proto",
            "x-wx-sources",
            "forwarded",
            "x_real_ip",
            "Proxy",
            "True_Client_IP",
            "client.ip",
            "X-Client-IP",
        ] {
            assert!(is_owned(name), "{name}");
        }
    }

    #[test]
    fn the_method_is_overridden_only_where_no_route_looks_at_it() {
        for name in [
            "X-HTTP-Method-Override",
            "x_http_method",
            "X.Method.Override",
        ] {
            let name = HeaderName::from_bytes(name.as_bytes()).unwrap();
            assert!(!owned(false).contains(&name), "{name}");
            assert!(owned(true).contains(&name), "{name}");
        }
    }

    #[test]
    fn other_names_are_left_alone() {
        for name in [
            "x-wx",
            "x-wxy-openid",
            "host",
            "cookie",
            "x-custom",
            "menshen-token",
            "remote-users",
            "proxy-status",
        ] {
            assert!(!is_owned(name), "{name}");
        }
    }

    proptest! {
        #[test]
        fn no_token_character_makes_an_alias(c in "[!#$%&'*+.^_|~`-]", d in "[!#$%&'*+.^_|~`-]",
                                             tail in "[a-zA-Z0-9_.-]{1,12}") {
            let (mine, menshen) = (format!("X{c}wX{d}{tail}"), format!("x{c}MENSHEN{d}{tail}"));
            prop_assert!(is_owned(&mine));
            prop_assert!(is_owned(&menshen));
        }
    }
}
