//! Reads `[web]`, what browsers need besides: where they may return to, and the files by which WeChat checks a domain.

use super::address::ORIGIN;
use super::kind::{Kind, text};
use super::reader::Table;

/// What browsers need besides.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Web {
    /// The origins, besides their own, to which people may return after a login.
    pub return_to: Vec<String>,
    /// The names of the files by which WeChat checks that a domain is the app's.
    pub domain_check: Vec<String>,
}

const RETURN: Kind<String> = Kind {
    expected: "a list of origins such as [\"https://shop.example.com\"]",
    read: ORIGIN.read,
};

const FILE: Kind<String> = Kind {
    expected: "a list of the names of files such as [\"MP_verify_0a1B2c3D4e5F6g7H.txt\"]",
    read: |value| {
        text(value)
            .filter(|name| code_in(name).is_some())
            .map(str::to_owned)
    },
};

/// Reads the section.
pub(super) fn read(table: &mut Table<'_, '_>) -> Option<Web> {
    let return_to = table.list("return_to", &RETURN);
    let domain_check = table.list("domain_check", &FILE);
    Some(Web {
        return_to: return_to?,
        domain_check: domain_check?,
    })
}

/// Returns what such a file holds, which its name says as well.
pub fn code_in(name: &str) -> Option<&str> {
    let code = name.strip_prefix("MP_verify_")?.strip_suffix(".txt")?;
    let is_code = (1..=64).contains(&code.len()) && code.bytes().all(|b| b.is_ascii_alphanumeric());
    is_code.then_some(code)
}
