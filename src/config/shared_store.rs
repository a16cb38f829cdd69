//! Reads the keys of `[session]` that say where Redis is and how to reach it.

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use percent_encoding::percent_decode_str;
use url::Url;
use zeroize::Zeroizing;

use super::contents::contents;
use super::kind::{Kind, TEXT};
use super::pem::{check_certificates, check_private_key};
use super::reader::Table;
use super::secret::{self, Environment, Keys};
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
    },
    /// Each has a part of the keys.
    Cluster,
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
    let url = if wanted {
        secret::required(table, &URL, env)
    } else {
        secret::optional(table, &URL, env)
    };
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
    let sentinel_password = secret::optional(table, &SENTINEL_PASSWORD, env);
    let ca = pem(table, "redis_ca_file", check_certificates);
    let certificate = pem(table, "redis_cert_file", check_certificates);
    let key = pem(table, "redis_key_file", check_private_key);
    let prefix = table.or("redis_prefix", r#""menshen:""#, &PREFIX);
    let timeout = table.or("redis_timeout", r#""2s""#, &WAIT);
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
    let path = PathBuf::from(table.optional(key, &TEXT)?);
    let read = check(&path).and_then(|()| contents(&path));
    read.map(|pem| pem.to_vec())
        .map_err(|message| table.refuse(key, message))
        .ok()
}

#[derive(Debug)]
struct Nodes {
    addresses: Vec<(String, u16)>,
    tls: bool,
    user: Option<String>,
    password: Option<Secret>,
    database: i64,
}

/// Reads one URL or several; they must agree in everything but the address.
fn nodes(text: &str) -> Option<Nodes> {
    let mut found: Option<Nodes> = None;
    for url in text.split(',') {
        let mut node = node(url.trim())?;
        match &mut found {
            None => found = Some(node),
            Some(first) => {
                let password = |node: &Nodes| {
                    node.password
                        .as_ref()
                        .map(Secret::expose)
                        .map(str::to_owned)
                };
                let same = first.tls == node.tls
                    && first.user == node.user
                    && first.database == node.database
                    && password(first).map(Zeroizing::new) == password(&node).map(Zeroizing::new);
                if !same {
                    return None;
                }
                first.addresses.append(&mut node.addresses);
            }
        }
    }
    found
}

fn node(text: &str) -> Option<Nodes> {
    let url = Url::parse(text).ok()?;
    let tls = match url.scheme() {
        "redis" => false,
        "rediss" => true,
        _ => return None,
    };
    if url.query().is_some() || url.fragment().is_some() {
        return None;
    }
    let host = url.host_str().filter(|host| !host.is_empty())?;
    let database = match url.path().trim_start_matches('/') {
        "" => 0,
        number => number.parse().ok().filter(|number| *number >= 0)?,
    };
    let decoded = |text: &str| Some(percent_decode_str(text).decode_utf8().ok()?.into_owned());
    let user = Some(url.username()).filter(|user| !user.is_empty());
    let user = match user {
        Some(user) => Some(decoded(user)?),
        None => None,
    };
    let password = match url.password() {
        Some(password) => Some(Secret::new(decoded(password)?)),
        None => None,
    };
    if user.is_some() && password.is_none() {
        return None;
    }
    Some(Nodes {
        addresses: vec![(
            host.trim_matches(['[', ']']).to_owned(),
            url.port().unwrap_or(6379),
        )],
        tls,
        user,
        password,
        database,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_says_where_who_and_which_database() {
        let nodes = nodes("rediss://me:p%40ss%2Fword@[::1]:6380/3").unwrap();
        assert_eq!(nodes.addresses, [("::1".to_owned(), 6380)]);
        assert!(nodes.tls);
        assert_eq!(nodes.user.as_deref(), Some("me"));
        assert_eq!(nodes.password.unwrap().expose(), "p@ss/word");
        assert_eq!(nodes.database, 3);
    }

    #[test]
    fn a_password_needs_no_user() {
        let nodes = nodes("redis://:secret@redis.internal").unwrap();
        assert_eq!(nodes.user, None);
        assert_eq!(nodes.addresses, [("redis.internal".to_owned(), 6379)]);
    }

    #[test]
    fn several_urls_differ_in_the_address_only() {
        let nodes = nodes("redis://:a@one:1, redis://:a@two:2").unwrap();
        assert_eq!(nodes.addresses.len(), 2);
        for different in [
            "redis://:a@one:1,redis://:b@two:2",
            "redis://:a@one:1,rediss://:a@two:2",
            "redis://one:1/0,redis://two:2/1",
            "redis://one:1,",
        ] {
            assert!(super::nodes(different).is_none(), "{different}");
        }
    }

    #[test]
    fn what_is_no_url_of_redis_is_refused() {
        for text in [
            "",
            "127.0.0.1:6379",
            "http://one",
            "redis://",
            "redis://one/x",
            "redis://one/-1",
            "redis://one?x=1",
            "redis://one:99999",
            "redis://user@one",
        ] {
            assert!(nodes(text).is_none(), "{text}");
        }
    }

    #[test]
    fn an_address_is_shown_without_its_password() {
        let nodes = nodes("redis://me:hunter2@one:1").unwrap();
        assert!(!format!("{nodes:?}").contains("hunter2"));
    }
}
