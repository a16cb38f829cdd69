//! What is taken where nothing is written.

use std::time::Duration;

use super::{problems, read, with};
use crate::config::{Auth, PrivateAddress, known_keys};

#[test]
fn what_is_not_written_is_at_its_default() {
    let config = read(&with("", "")).unwrap();
    assert_eq!(config.token.ttl, Duration::from_secs(7200));
    assert_eq!(config.session.ttl, Duration::from_secs(30 * 24 * 3600));
    assert_eq!(config.headers.names.openid, "x-wx-openid");
    assert_eq!(config.server.max_body_bytes, 100 << 20);
    assert_eq!(config.routes[0].auth, Auth::Required);
    let address = "127.0.0.1:9090".parse().unwrap();
    let listen = Some(PrivateAddress::Tcp(address));
    assert_eq!(config.control.listen, listen);
    assert!(!config.control.asks_for_secret());
    assert_eq!(config.control.socket_mode, 0o600);
    // Nobody may ask as often as they like by default.
    let login = &config.login;
    let rates = [login.refused_per_minute, login.refreshes_per_minute];
    assert_eq!(rates.map(|rate| rate.unwrap().get()), [1200, 6000]);
    let limits = &config.server.limits;
    assert!(limits.max_connections.is_some() && limits.max_connections_per_address.is_some());
    assert_eq!(limits.max_requests_per_address.unwrap().get(), 4096);
}

#[test]
fn every_default_is_what_its_own_key_takes() {
    let mut sections: Vec<String> = Vec::new();
    let keys = known_keys();
    assert!(keys.contains(&("route.auth".to_owned(), Some("\"required\"".to_owned()))));
    assert!(keys.contains(&("app.secret_file".to_owned(), None)));
    for (key, default) in keys {
        let (section, key) = key.rsplit_once('.').unwrap();
        let Some(default) = default else { continue };
        let line = format!("{key} = {default}");
        sections.push(match section {
            "server" | "route" | "upstream" | "app" => with(section, &line),
            section => with(&format!("[{section}]"), &line),
        });
    }
    for text in sections {
        assert_eq!(problems(&text), Vec::<String>::new(), "{text}");
    }
}
