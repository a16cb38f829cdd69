//! Reads the keys of `[session]` that say where Redis is and how to reach it.

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use zeroize::Zeroizing;

use super::contents::contents;
use super::kind::{Kind, TEXT};
use super::pem::{check_certificates, check_private_key};
use super::reader::Table;
use super::secret::{self, Environment, Keys};
use super::store_url::nodes;
use super::unit::duration;
use crate::secret::Secret;

/// A Redis or Valkey.
#[derive(Clone, Debug, PartialEq)]
pub struct RedisServer {
    /// Where the servers are, or the Sentinels that know where.
    pub nodes: Vec<(String, u16)>,
    /// Whether they speak TLS.
    pub tls: bool,
    /// The ACL user.
    pub user: Option<String>,
    /// The user's password.
    pub password: Option<Secret>,
    /// The number of the database.
    pub database: i64,
    /// How many servers work together, and how.
    pub mode: RedisMode,
    /// The authorities that are trusted instead of the system's, as PEM.
    pub ca: Option<Vec<u8>>,
    /// What Menshen shows for itself: a certificate and its key, as PEM.
    pub client_certificate: Option<(Vec<u8>, Zeroizing<Vec<u8>>)>,
    /// What the names of all keys begin with.
    pub prefix: String,
    /// How long anybody waits for Redis.
    pub timeout: Duration,
    /// After how long without an answer tokens are refused; `None` says that they are accepted.
    pub refuse_after: Option<Duration>,
    /// The file that holds the URL, where it is a file's.
    pub url_file: Option<PathBuf>,
}

/// How Redis servers work together.
#[derive(Clone, Debug, PartialEq)]
pub enum RedisMode {
    /// There is one.
    Single,
    /// One is the master, and Sentinels know which.
    Sentinel {
        /// The master's name.
        master: String,
        /// The ACL user at the Sentinels.
        user: Option<String>,
        /// That user's password.
        password: Option<Secret>,
        /// The file that holds it, where it is a file's.
        password_file: Option<PathBuf>,
    },
    /// Each has a part of the keys.
    Cluster,
}

impl RedisServer {
    /// Returns whether [`Self::reread`] may bring another password.
    pub fn password_may_change(&self) -> bool {
        let at_sentinels = matches!(
            &self.mode,
            RedisMode::Sentinel {
                password_file: Some(_),
                ..
            }
        );
        self.url_file.is_some() || at_sentinels
    }

    /// Reads the files of the passwords again; `None` says that user and passwords are what they were, or cannot be read.
    pub fn reread(&self) -> Option<Self> {
        let mut reread = self.clone();
        let url = self.url_file.as_deref().and_then(secret::reread);
        if let Some(read) = url.and_then(|url| nodes(url.expose())) {
            reread.user = read.user;
            reread.password = read.password;
        }
        if let RedisMode::Sentinel {
            password,
            password_file: Some(file),
            ..
        } = &mut reread.mode
            && let Some(read) = secret::reread(file)
        {
            *password = Some(read);
        }
        (reread != *self).then_some(reread)
    }
}

impl fmt::Display for RedisServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Redis at ")?;
        for (at, (host, port)) in self.nodes.iter().enumerate() {
            let comma = if at == 0 { "" } else { ", " };
            write!(f, "{comma}{host}:{port}")?;
        }
        Ok(())
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Mode {
    Single,
    Sentinel,
    Cluster,
}

const MODE: Kind<Mode> = Kind {
    expected: "\"single\", \"sentinel\" or \"cluster\"",
    read: |value| match value.as_str()? {
        "single" => Some(Mode::Single),
        "sentinel" => Some(Mode::Sentinel),
        "cluster" => Some(Mode::Cluster),
        _ => None,
    },
};

/// Braces would choose the slot in a Cluster.
const PREFIX: Kind<String> = Kind {
    expected: "up to 64 letters, digits and \":._-\", such as \"menshen:\"",
    read: |value| {
        let fits = |c: char| c.is_ascii_alphanumeric() || ":._-".contains(c);
        let prefix = value.as_str()?;
        (prefix.len() <= 64 && prefix.chars().all(fits)).then(|| prefix.to_owned())
    },
};

const WAIT: Kind<Duration> = Kind {
    expected: "a duration with a unit, such as \"2s\", from 100ms to 1m",
    read: |value| {
        let fits = Duration::from_millis(100)..=Duration::from_secs(60);
        duration(value).filter(|wait| fits.contains(wait))
    },
};

const CUT_OFF: Kind<bool> = Kind {
    expected: "\"accept\" or \"refuse\"",
    read: |value| match value.as_str()? {
        "accept" => Some(false),
        "refuse" => Some(true),
        _ => None,
    },
};

const CUT_OFF_AFTER: Kind<Duration> = Kind {
    expected: "a duration with a unit, such as \"10s\", from 1s to 1h",
    read: |value| {
        let fits = Duration::from_secs(1)..=Duration::from_secs(3600);
        duration(value).filter(|after| fits.contains(after))
    },
};

const URL: Keys = Keys {
    file: "redis_url_file",
    env: "redis_url_env",
};

const SENTINEL_PASSWORD: Keys = Keys {
    file: "redis_sentinel_password_file",
    env: "redis_sentinel_password_env",
};

/// Reads the keys; `wanted` says that they are needed. `None` means that they are not, or that a problem was noted.
pub(super) fn read(
    table: &mut Table<'_, '_>,
    wanted: bool,
    env: Environment<'_>,
) -> Option<RedisServer> {
    if wanted {
        secret::require(table, &URL);
    }
    let url = secret::optional_in(table, &URL, env);
    let (url, url_file) = url.map_or((None, None), |(url, file)| (Some(url), file));
    let nodes = url.and_then(|url| {
        let nodes = nodes(url.expose());
        if nodes.is_none() {
            let key = if table.has(URL.file) { URL.file } else { URL.env };
            let message = "must lead to a URL such as redis://user:password@127.0.0.1:6379/0, or to several, separated by commas, that differ in the address only; rediss:// is for TLS";
            table.refuse(key, message.to_owned());
        }
        nodes
    });
    let mode = table.or("redis_mode", r#""single""#, &MODE);
    let sentinel = mode == Some(Mode::Sentinel);
    let master = sentinel_key(table, "redis_master", sentinel);
    let sentinel_user = sentinel_key(table, "redis_sentinel_user", sentinel);
    let sentinel_password = secret::optional_in(table, &SENTINEL_PASSWORD, env);
    let (sentinel_password, password_file) =
        sentinel_password.map_or((None, None), |(password, file)| (Some(password), file));
    let ca = pem(table, "redis_ca_file", check_certificates);
    let certificate = pem(table, "redis_cert_file", check_certificates);
    let key = pem(table, "redis_key_file", check_private_key);
    let prefix = table.or("redis_prefix", r#""menshen:""#, &PREFIX);
    let timeout = table.or("redis_timeout", r#""2s""#, &WAIT);
    let refuses = table.or("when_cut_off", r#""accept""#, &CUT_OFF);
    let after = table.or("cut_off_after", r#""10s""#, &CUT_OFF_AFTER);
    if refuses == Some(true) && !wanted {
        let message = "can be \"refuse\" with store = \"redis\" only".to_owned();
        table.refuse("when_cut_off", message);
    }
    if certificate.is_some() != key.is_some() {
        let lacking = ["redis_cert_file", "redis_key_file"];
        let lacking = if key.is_some() {
            lacking[0]
        } else {
            lacking[1]
        };
        table.refuse(
            lacking,
            "is required beside the other of the two".to_owned(),
        );
    }
    let mode = match mode? {
        Mode::Single => RedisMode::Single,
        Mode::Cluster => RedisMode::Cluster,
        Mode::Sentinel => {
            if master.is_none() {
                let message = "is required with redis_mode = \"sentinel\"".to_owned();
                table.refuse("redis_master", message);
            }
            RedisMode::Sentinel {
                master: master?,
                user: sentinel_user,
                password: sentinel_password,
                password_file,
            }
        }
    };
    let nodes = nodes.filter(|nodes| {
        let single = matches!(mode, RedisMode::Single) && nodes.addresses.len() > 1;
        let numbered = matches!(mode, RedisMode::Cluster) && nodes.database != 0;
        if single {
            let message = "must be \"sentinel\" or \"cluster\" for several addresses".to_owned();
            table.refuse("redis_mode", message);
        }
        if numbered {
            let message = "cannot be \"cluster\" for a database other than 0".to_owned();
            table.refuse("redis_mode", message);
        }
        !single && !numbered
    })?;
    Some(RedisServer {
        nodes: nodes.addresses,
        tls: nodes.tls,
        user: nodes.user,
        password: nodes.password,
        database: nodes.database,
        mode,
        ca,
        client_certificate: certificate.zip(key.map(Zeroizing::new)),
        prefix: prefix?,
        timeout: timeout?,
        refuse_after: after.filter(|_| refuses == Some(true)),
        url_file,
    })
}

fn sentinel_key(table: &mut Table<'_, '_>, key: &'static str, sentinel: bool) -> Option<String> {
    let value = table.optional(key, &TEXT);
    if value.is_some() && !sentinel {
        let message = "is for redis_mode = \"sentinel\" only".to_owned();
        table.refuse(key, message);
    }
    value
}

fn pem(
    table: &mut Table<'_, '_>,
    key: &'static str,
    check: impl Fn(&Path) -> Result<(), String>,
) -> Option<Vec<u8>> {
    let path = table.optional(key, &TEXT)?;
    let path = table.located(path);
    let read = check(&path).and_then(|()| contents(&path));
    read.map(|pem| pem.to_vec())
        .map_err(|message| table.refuse(key, message))
        .ok()
}
