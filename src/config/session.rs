//! Reads `[session]`, where stored logins are.

use std::path::PathBuf;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

use super::kind::{Kind, TEXT};
use super::model::Session;
use super::reader::Table;
use super::secret::{self, Environment, Keys};
use super::unit::{LIFETIME, duration};

const EMBEDDED: Kind<()> = Kind {
    expected: "\"embedded\"",
    read: |value| (value.as_str() == Some("embedded")).then_some(()),
};

const GRACE: Kind<Duration> = Kind {
    expected: "a duration with a unit, such as \"30s\", up to 5m",
    read: |value| duration(value).filter(|grace| *grace <= Duration::from_secs(300)),
};

const SEAL_KEY: Keys = Keys {
    file: "seal_key_file",
    env: "seal_key_env",
};

/// Reads the section.
pub(super) fn read(table: &mut Table<'_, '_>, env: Environment<'_>) -> Option<Session> {
    let store = table.or("store", r#""embedded""#, &EMBEDDED);
    let path = table.or("path", r#""data""#, &TEXT);
    let ttl = table.or("ttl", r#""30d""#, &LIFETIME);
    let refresh_grace = table.or("refresh_grace", r#""30s""#, &GRACE);
    let seal_key = secret::optional(table, &SEAL_KEY, env);
    if seal_key
        .as_ref()
        .is_some_and(|key| !is_seal_key(key.expose()))
    {
        let keys = [SEAL_KEY.file, SEAL_KEY.env];
        let key = keys.into_iter().find(|key| table.has(key));
        let message = "must lead to 32 bytes in base64, as `openssl rand -base64 32` prints them";
        table.refuse(key.unwrap_or(SEAL_KEY.file), message.to_owned());
    }
    store?;
    Some(Session {
        path: PathBuf::from(path?),
        ttl: ttl?,
        refresh_grace: refresh_grace?,
        seal_key,
    })
}

fn is_seal_key(text: &str) -> bool {
    let bytes = STANDARD.decode(text).map(Zeroizing::new);
    bytes.is_ok_and(|bytes| bytes.len() == 32)
}
