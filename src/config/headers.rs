//! Reads `[headers]`, what the injected headers are called.

use http::{HeaderName, HeaderValue};

use super::kind::{Kind, SWITCH, text};
use super::model::{Algorithm, Headers, InjectedNames, Token};
use super::reader::Table;

const VALUE: Kind<HeaderValue> = Kind {
    expected: "a header value of printable ASCII characters",
    read: |value| {
        let text = text(value).filter(|text| text.trim() == *text)?;
        HeaderValue::from_str(text).ok()
    },
};

const NAME: Kind<HeaderName> = Kind {
    expected: "the name of a header that HTTP and Menshen do not use themselves, such as \"X-User-Id\"",
    read: |value| {
        let name: HeaderName = text(value)?.parse().ok()?;
        (!is_reserved(&folded(&name))).then_some(name)
    },
};

/// Reads the section.
pub(super) fn read(table: &mut Table<'_, '_>, token: Option<&Token>) -> Option<Headers> {
    let env = table.optional("env", &VALUE);
    let assertion = table.or("assertion", "false", &SWITCH);
    let profile = table.or("profile", "false", &SWITCH);
    let shared = token.is_some_and(|token| token.algorithm == Algorithm::Hs256);
    if shared && assertion == Some(true) {
        let message = "must be false with HS256, whose key nobody else may have to verify it with";
        table.refuse("assertion", message.to_owned());
    }
    let relay_token = table.or("relay_token", "false", &SWITCH);
    let names = table.section("rename", names);
    Some(Headers {
        env,
        assertion: assertion?,
        relay_token: relay_token?,
        profile: profile?,
        names: names?,
    })
}

fn names(table: &mut Table<'_, '_>) -> Option<InjectedNames> {
    let mut taken: Vec<(String, &'static str)> = Vec::new();
    let mut name = |key: &'static str, default: &str| {
        let name = table.or(key, default, &NAME)?;
        let folded = folded(&name);
        // A backend that reads "_" as "-" would be given one of the two at random.
        if let Some((_, other)) = taken.iter().find(|(name, _)| *name == folded) {
            // Whichever of the two was written is the one to change.
            let (changed, kept) = if table.has(key) {
                (key, *other)
            } else {
                (*other, key)
            };
            table.refuse(changed, format!("must differ from the name of {kept}"));
        }
        taken.push((folded, key));
        Some(name)
    };
    let openid = name("openid", r#""X-WX-OPENID""#);
    let appid = name("appid", r#""X-WX-APPID""#);
    let unionid = name("unionid", r#""X-WX-UNIONID""#);
    let source = name("source", r#""X-WX-SOURCE""#);
    let env = name("env", r#""X-WX-ENV""#);
    let client_address = name("client_address", r#""X-Original-Forwarded-For""#);
    let app = name("app", r#""X-Menshen-App""#);
    let session = name("session", r#""X-Menshen-Session""#);
    let assertion = name("assertion", r#""X-Menshen-Assertion""#);
    Some(InjectedNames {
        openid: openid?,
        appid: appid?,
        unionid: unionid?,
        source: source?,
        env: env?,
        client_address: client_address?,
        app: app?,
        session: session?,
        assertion: assertion?,
    })
}

/// Reads a name as the most careless backend would: in lower case, and all but letters and digits as `-`.
fn folded(name: &HeaderName) -> String {
    let fold = |c: char| if c.is_ascii_alphanumeric() { c } else { '-' };
    name.as_str().chars().map(fold).collect()
}

/// Returns whether setting a header of this name would break the exchange or what Menshen sets besides.
fn is_reserved(folded: &str) -> bool {
    const NAMES: [&str; 15] = [
        "host",
        "connection",
        "content-length",
        "content-type",
        "transfer-encoding",
        "te",
        "trailer",
        "upgrade",
        "keep-alive",
        "authorization",
        "cookie",
        "expect",
        "x-request-id",
        "forwarded",
        "http2-settings",
    ];
    const FAMILIES: [&str; 3] = ["proxy-", "x-forwarded-", "sec-websocket-"];
    NAMES.contains(&folded) || FAMILIES.iter().any(|family| folded.starts_with(family))
}
