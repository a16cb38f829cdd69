//! Where a browser goes after a login: a path on this host, or below an origin that the configuration names.

use percent_encoding::{AsciiSet, CONTROLS, percent_decode_str, utf8_percent_encode};

use crate::request::{Denial, NormalPath};

const LONGEST: usize = 2048;

/// Whatever a browser or a header might read otherwise than it is meant.
const ESCAPED: &AsciiSet = &CONTROLS.add(b' ').add(b'"').add(b'<').add(b'>').add(b'`');

/// A URL that a redirect may lead to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReturnTo(String);

impl ReturnTo {
    /// Checks what a request asks for, undone from its query; nothing leads to `/`.
    pub(super) fn parse(text: Option<&str>, origins: &[String]) -> Result<Self, Denial> {
        let text = text.unwrap_or("/");
        if text.len() > LONGEST {
            return Err(Denial::ReturnInvalid);
        }
        let origin = origins.iter().find_map(|origin| {
            let rest = text.strip_prefix(origin.as_str())?;
            // "https://shop.example.evil" begins with "https://shop.example", too.
            (rest.is_empty() || rest.starts_with(['/', '?', '#'])).then_some((origin, rest))
        });
        match origin {
            Some((origin, "")) => Ok(Self(format!("{origin}/"))),
            Some((origin, rest)) if rest.starts_with('/') => {
                Ok(Self(format!("{origin}{}", local(rest)?)))
            }
            Some(_) => Err(Denial::ReturnInvalid),
            None => Ok(Self(local(text)?)),
        }
    }

    /// Returns it as a redirect says it.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Returns a path with what may follow it, if every reader takes it for one on the same host.
fn local(text: &str) -> Result<String, Denial> {
    // Browsers take "\" for "/" and leave out tabs and line ends.
    let is_odd = |c: char| c.is_control() || c == '\\' || c == '\u{2028}' || c == '\u{2029}';
    let is_path = text.starts_with('/') && !text.starts_with("//");
    if !is_path || text.chars().any(is_odd) {
        return Err(Denial::ReturnInvalid);
    }
    let end = text.find(['?', '#']).unwrap_or(text.len());
    let (path, rest) = text.split_at_checked(end).ok_or(Denial::ReturnInvalid)?;
    check_path(path)?;
    Ok(format!("{}{}", escaped(path), escaped(rest)))
}

/// Refuses a path that a backend may read as another host's, however often it undoes the escapes.
fn check_path(path: &str) -> Result<(), Denial> {
    let mut reading = path.to_owned();
    for _ in 0..4 {
        let is_odd = |c: char| c.is_control() || c == '\\';
        if reading.starts_with("//") || reading.chars().any(is_odd) {
            return Err(Denial::ReturnInvalid);
        }
        let bytes = percent_decode_str(&reading).decode_utf8();
        let again = bytes.map_err(|_| Denial::ReturnInvalid)?.into_owned();
        if again == reading {
            break;
        }
        reading = again;
    }
    // Dot segments, slashes in escapes and look-alikes: what no request may have either.
    let escaped = escaped(path);
    let normal = NormalPath::parse(escaped.as_bytes()).map_err(|_| Denial::ReturnInvalid)?;
    let leaves = |path: &str| path.starts_with("//") || path.contains('\\');
    let folded = normal.folded();
    let odd = folded.is_some_and(|folded| folded.first().is_some_and(|path| leaves(path)));
    match odd {
        true => Err(Denial::ReturnInvalid),
        false => Ok(()),
    }
}

fn escaped(text: &str) -> String {
    utf8_percent_encode(text, ESCAPED).to_string()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parse(text: &str) -> Option<String> {
        let origins = ["https://www.shop.example".to_owned()];
        let parsed = ReturnTo::parse(Some(text), &origins).ok();
        parsed.map(|parsed| parsed.as_str().to_owned())
    }

    #[test]
    fn a_path_on_this_host_is_returned_to() {
        for (text, location) in [
            ("/", "/"),
            ("/orders?id=1&x=//y", "/orders?id=1&x=//y"),
            ("/app#/orders", "/app#/orders"),
            ("/商品/a b", "/%E5%95%86%E5%93%81/a%20b"),
            ("/%E5%95%86", "/%E5%95%86"),
            (
                "/x?next=https://evil.example",
                "/x?next=https://evil.example",
            ),
            ("https://www.shop.example", "https://www.shop.example/"),
            (
                "https://www.shop.example/x?y",
                "https://www.shop.example/x?y",
            ),
        ] {
            assert_eq!(parse(text).as_deref(), Some(location), "{text}");
        }
        assert_eq!(ReturnTo::parse(None, &[]).unwrap().as_str(), "/");
    }

    #[test]
    fn nothing_else_is() {
        let long = format!("/{}", "a".repeat(LONGEST));
        for text in [
            "",
            "orders",
            "//evil.example",
            "///evil.example",
            "/\\evil.example",
            "\\\\evil.example",
            "/\t/evil.example",
            "/\n/evil.example",
            "\t//evil.example",
            " //evil.example",
            "/%2fevil.example",
            "/%2F%2Fevil.example",
            "/%252fevil.example",
            "/%5cevil.example",
            "/%255cevil.example",
            "/%09/evil.example",
            "/%0d%0aSet-Cookie:x",
            "/%00",
            "/..//evil.example",
            "/.//evil.example",
            "/x/../..//evil.example",
            "/%2e%2e/x",
            "/\u{ff0f}evil.example",
            "/\u{2028}/evil.example",
            "https://evil.example",
            "https:/evil.example",
            "https:evil.example",
            "http://www.shop.example/",
            "https://www.shop.example.evil.example/",
            "https://www.shop.example@evil.example/",
            "https://www.shop.example:443@evil.example/",
            "https://www.shop.example//evil.example",
            "https://www.shop.example\\.evil.example",
            "https://www.shop.example?x",
            "HTTPS://evil.example",
            "javascript:alert(1)",
            "data:text/html,x",
            "/x\r\nSet-Cookie: a=b",
            "%2F%2Fevil.example",
            &long,
        ] {
            assert_eq!(parse(text), None, "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn no_text_leads_to_another_host(text in "[/\\\\%.:@?# a-f0-9\t\r\n]{0,24}|\\PC{0,16}|/[/\\\\\t%2f5c]{0,6}evil.example") {
            if let Some(location) = parse(&text) {
                let base = url::Url::parse("https://shop.example/_auth/web/site/callback?x=1").unwrap();
                let led = base.join(&location).unwrap();
                let host = led.host_str().unwrap();
                prop_assert!(host == "shop.example" || host == "www.shop.example", "{location:?}");
                prop_assert!(http::HeaderValue::from_str(&location).is_ok());
            }
        }
    }
}
