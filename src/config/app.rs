//! Reads `[[app]]`, one WeChat application.

use std::num::NonZeroU32;

use super::kind::{Kind, text};
use super::login::QUOTA;
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

const PREVIOUS_SECRET: Keys = Keys {
    file: "previous_secret_file",
    env: "previous_secret_env",
};

/// Reads one section; `quota` goes for an app that says nothing itself.
pub(super) fn read(
    table: &mut Table<'_, '_>,
    names: &mut Names,
    appids: &mut Names,
    quota: Option<NonZeroU32>,
    env: Environment<'_>,
) -> Option<App> {
    let name = table.required("name", &name::APP);
    names.take(table, "name");
    let kind = table.required("kind", &MINI_PROGRAM);
    let appid = table.required("appid", &APPID);
    appids.take(table, "appid");
    let secret = secret::required(table, &SECRET, env);
    let previous_secret = secret::optional(table, &PREVIOUS_SECRET, env);
    let own = table.optional("quota_per_minute", &QUOTA);
    kind?;
    Some(App {
        name: name?,
        appid: appid?,
        secret: secret?,
        previous_secret,
        quota_per_minute: own.map_or(quota, NonZeroU32::new),
    })
}
