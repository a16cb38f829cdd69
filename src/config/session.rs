//! Reads `[session]`, where stored logins are.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

use super::kind::{Kind, SWITCH, TEXT};
use super::model::{Session, Store};
use super::reader::Table;
use super::secret::{self, Environment, Keys};
use super::shared_store;
use super::unit::{LIFETIME, duration};

#[derive(Clone, Copy, PartialEq, Eq)]
enum Chosen {
    Embedded,
    Redis,
}

const STORE: Kind<Chosen> = Kind {
    expected: "\"embedded\" or \"redis\"",
    read: |value| match value.as_str()? {
        "embedded" => Some(Chosen::Embedded),
        "redis" => Some(Chosen::Redis),
        _ => None,
    },
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
    let store = table.or("store", r#""embedded""#, &STORE);
    let redis = shared_store::read(table, store == Some(Chosen::Redis), env);
    let path = table.or("path", r#""data""#, &TEXT);
    let ttl = table.or("ttl", r#""30d""#, &LIFETIME);
    let refresh_grace = table.or("refresh_grace", r#""30s""#, &GRACE);
    let unionid_lookup = table.or("unionid_lookup", "false", &SWITCH);
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
    if store == Some(Chosen::Redis) && !table.has(SEAL_KEY.file) && !table.has(SEAL_KEY.env) {
        let message = "is required with store = \"redis\", and the same for every node";
        table.refuse(SEAL_KEY.file, message.to_owned());
    }
    Some(Session {
        store: match store? {
            Chosen::Embedded => Store::Embedded(table.located(path?)),
            Chosen::Redis => Store::Redis(Box::new(redis?)),
        },
        ttl: ttl?,
        refresh_grace: refresh_grace?,
        unionid_lookup: unionid_lookup?,
        seal_key,
    })
}

fn is_seal_key(text: &str) -> bool {
    let bytes = STANDARD.decode(text).map(Zeroizing::new);
    bytes.is_ok_and(|bytes| bytes.len() == 32)
}
