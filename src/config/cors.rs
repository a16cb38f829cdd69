//! Reads `[cors]`: which web pages of other origins may read answers.

use std::time::Duration;

use http::HeaderName;
use toml::de::DeValue;

use super::address::ORIGIN;
use super::kind::{Kind, SWITCH, text};
use super::reader::Table;
use super::unit::PERIOD;

/// Which web pages of other origins may read answers.
#[derive(Clone, Debug)]
pub struct Cors {
    /// The origins as browsers send them, or `*` alone for all; none means that no page may.
    pub allow_origins: Vec<String>,
    /// The headers that such a page may send.
    pub allow_headers: Vec<HeaderName>,
    /// How long a browser may remember all this.
    pub max_age: Duration,
    /// Whether a browser may send cookies along.
    pub allow_credentials: bool,
}

const ORIGINS: Kind<String> = Kind {
    expected: "a list of origins such as [\"https://shop.example.com\"], or [\"*\"]",
    read: |value| match text(value)? {
        "*" => Some("*".to_owned()),
        // Browsers send it in lower case, and bytes are compared.
        _ => (ORIGIN.read)(value).map(|origin| origin.to_ascii_lowercase()),
    },
};

const HEADERS: Kind<Vec<HeaderName>> = Kind {
    expected: "a list of names of headers such as [\"Authorization\"]",
    read: |value| {
        let header = |value: &DeValue<'_>| {
            let name = text(value).filter(|name| *name != "*")?;
            HeaderName::from_bytes(name.as_bytes()).ok()
        };
        let names = value.as_array()?.iter();
        names.map(|name| header(name.get_ref())).collect()
    },
};

/// Reads the section.
pub(super) fn read(table: &mut Table<'_, '_>) -> Option<Cors> {
    let allow_origins = table.list("allow_origins", &ORIGINS);
    let headers = r#"["Authorization", "Content-Type", "X-WX-Code", "X-Menshen-App"]"#;
    let allow_headers = table.or("allow_headers", headers, &HEADERS);
    let max_age = table.or("max_age", r#""10m""#, &PERIOD);
    let allow_credentials = table.or("allow_credentials", "false", &SWITCH);
    let origins = allow_origins?;
    if origins.iter().any(|origin| origin == "*") {
        if origins.len() > 1 {
            table.refuse(
                "allow_origins",
                "must be \"*\" alone, or without it".to_owned(),
            );
        }
        if allow_credentials == Some(true) {
            let message = "must be false where allow_origins is \"*\"";
            table.refuse("allow_credentials", message.to_owned());
        }
    }
    Some(Cors {
        allow_origins: origins,
        allow_headers: allow_headers?,
        max_age: max_age?,
        allow_credentials: allow_credentials?,
    })
}
