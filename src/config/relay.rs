//! Reads `[relay]`, which of WeChat's API backends may call.

use super::kind::{Kind, text};
use super::name::{self, Names};
use super::reader::Table;

/// What of WeChat's API backends may call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Relay {
    /// The beginnings of the paths that may be called, each with a `/` before it.
    pub allow: Vec<String>,
    /// Index into [`super::Config::apps`] of the app for calls that name none.
    pub app: Option<usize>,
}

/// What backends call that send messages, make codes, check what users write and handle their files.
const USUAL: [&str; 9] = [
    "/wxa/",
    "/wxaapi/",
    "/datacube/",
    "/cgi-bin/message/",
    "/cgi-bin/media/",
    "/cgi-bin/wxaapp/",
    "/cgi-bin/wxopen/",
    "/cgi-bin/openapi/",
    "/cgi-bin/express/",
];

const PREFIX: Kind<String> = Kind {
    expected: "a list of the beginnings of paths, such as [\"/wxa/\", \"/cgi-bin/message/\"]",
    read: |value| {
        let path = text(value)?;
        let plain = |c: char| c.is_ascii_alphanumeric() || "/-_.".contains(c);
        let clear = path.chars().all(plain) && !path.contains("//") && !path.contains("..");
        (path.starts_with('/') && clear).then(|| path.to_owned())
    },
};

/// Reads the section.
pub(super) fn read(table: &mut Table<'_, '_>, apps: &Names) -> Option<Relay> {
    let given = table.optional_list("allow", &PREFIX);
    let allow = match (given, table.has("allow")) {
        (None, true) => None,
        (None, false) => Some(USUAL.map(str::to_owned).to_vec()),
        (given, _) => given,
    };
    let app = table.optional("app", &name::APP);
    let app = match app {
        Some(app) => Some(apps.resolve(table, "app", &app)?),
        None if table.has("app") => return None,
        None => None,
    };
    Some(Relay { allow: allow?, app })
}
