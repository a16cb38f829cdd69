//! Reads `[[app]]`, one WeChat application.

use super::kind::{Kind, text};
use super::model::App;
use super::name::{self, Names};
use super::reader::Table;
use super::secret::{self, Environment, Keys};

const MINI_PROGRAM: Kind<()> = Kind {
    expected: "\"mini_program\"",
    read: |value| (value.as_str() == Some("mini_program")).then_some(()),
};

const APPID: Kind<String> = Kind {
    expected: "an appid of 1 to 64 printable characters, such as \"wx0123456789abcdef\"",
    read: |value| {
        let printable =
            |appid: &&str| appid.len() <= 64 && appid.chars().all(|c| c.is_ascii_graphic());
        text(value).filter(printable).map(str::to_owned)
    },
};

const SECRET: Keys = Keys {
    file: "secret_file",
    env: "secret_env",
};

/// Reads one section.
pub(super) fn read(
    table: &mut Table<'_, '_>,
    names: &mut Names,
    appids: &mut Names,
    env: Environment<'_>,
) -> Option<App> {
    let name = table.required("name", &name::APP);
    names.take(table, "name");
    let kind = table.required("kind", &MINI_PROGRAM);
    let appid = table.required("appid", &APPID);
    appids.take(table, "appid");
    let secret = secret::required(table, &SECRET, env);
    kind?;
    Some(App {
        name: name?,
        appid: appid?,
        secret: secret?,
    })
}
