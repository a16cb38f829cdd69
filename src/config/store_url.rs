//! Reads the URLs that say where Redis is, and who asks.

use percent_encoding::percent_decode_str;
use url::Url;
use zeroize::Zeroizing;

use crate::secret::Secret;

/// What the URLs say.
#[derive(Debug)]
pub(super) struct Nodes {
    pub(super) addresses: Vec<(String, u16)>,
    pub(super) tls: bool,
    pub(super) user: Option<String>,
    pub(super) password: Option<Secret>,
    pub(super) database: i64,
}

/// Reads one URL or several; they must agree in everything but the address.
pub(super) fn nodes(text: &str) -> Option<Nodes> {
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
