//! Reads `[cors]`, and a route's own word about it: which web pages of other origins may read answers.

use std::time::Duration;

use http::HeaderName;
use toml::de::DeValue;

use super::address::ORIGIN;
use super::kind::{Kind, SWITCH, text};
use super::reader::Table;
use super::unit::PERIOD;

/// Which web pages of other origins may read answers.
#[derive(Clone, Debug, Default, PartialEq)]
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

impl Cors {
    /// Returns the origins whose pages may have a browser send its cookies.
    pub fn with_credentials(&self) -> &[String] {
        match self.allow_credentials {
            true => &self.allow_origins,
            false => &[],
        }
    }
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
    let headers =
        r#"["Authorization", "Content-Type", "X-WX-Code", "X-Menshen-Nonce", "X-Menshen-App"]"#;
    let allow_headers = table.or("allow_headers", headers, &HEADERS);
    let max_age = table.or("max_age", r#""10m""#, &PERIOD);
    let allow_credentials = table.or("allow_credentials", "false", &SWITCH);
    let cors = Cors {
        allow_origins: allow_origins?,
        allow_headers: allow_headers?,
        max_age: max_age?,
        allow_credentials: allow_credentials?,
    };
    refuse_contradictions(table, &cors);
    Some(cors)
}

/// Reads a route's own section; what it leaves out is as it is for `all`.
pub(super) fn read_own(table: &mut Table<'_, '_>, all: Option<&Cors>) -> Option<Cors> {
    let allow_origins = table.optional_list("allow_origins", &ORIGINS);
    let allow_headers = table.optional("allow_headers", &HEADERS);
    let max_age = table.optional("max_age", &PERIOD);
    let allow_credentials = table.optional("allow_credentials", &SWITCH);
    let all = all?;
    let cors = Cors {
        allow_origins: allow_origins.unwrap_or_else(|| all.allow_origins.clone()),
        allow_headers: allow_headers.unwrap_or_else(|| all.allow_headers.clone()),
        max_age: max_age.unwrap_or(all.max_age),
        allow_credentials: allow_credentials.unwrap_or(all.allow_credentials),
    };
    if table.has("allow_origins") || table.has("allow_credentials") {
        refuse_contradictions(table, &cors);
    }
    Some(cors)
}

fn refuse_contradictions(table: &mut Table<'_, '_>, cors: &Cors) {
    let origins = &cors.allow_origins;
    if !origins.iter().any(|origin| origin == "*") {
        return;
    }
    if origins.len() > 1 {
        let message = "must be \"*\" alone, or without it";
        table.refuse("allow_origins", message.to_owned());
    }
    if cors.allow_credentials {
        let message = "must be false where allow_origins is \"*\"";
        table.refuse("allow_credentials", message.to_owned());
    }
}
