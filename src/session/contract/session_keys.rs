//! Which session_keys every store keeps, and for how long.

use std::time::Duration;

use futures::future::join_all;

use super::{APPID, SECOND, Subject, identity, session_key};
use crate::secret::Secret;

pub(in crate::session) async fn the_session_key_of_the_latest_login_wins(
    s: Subject<impl AsyncFn(Duration)>,
) {
    for seed in ["first", "second"] {
        let key = session_key(seed);
        let opened = s.store.open_session(identity("alice"), &key).await;
        opened.unwrap();
    }
    let latest = session_key("second").expose().to_owned();
    assert_eq!(s.key("alice").await, Some(latest));
}

pub(in crate::session) async fn the_session_key_before_is_kept_for_a_while(
    s: Subject<impl AsyncFn(Duration)>,
) {
    for seed in ["first", "second", "third"] {
        let key = session_key(seed);
        let opened = s.store.open_session(identity("alice"), &key).await;
        opened.unwrap();
    }
    let previous = async || {
        let keys = s.store.session_keys(APPID, "alice").await.unwrap().unwrap();
        keys.previous.map(|key| key.expose().to_owned())
    };
    let second = session_key("second").expose().to_owned();
    assert_eq!(previous().await, Some(second));
    s.pass(SECOND * 601).await;
    assert_eq!(previous().await, None);
}

fn keys<const N: usize>(seeds: [&str; N]) -> Vec<String> {
    let keys = seeds.map(|seed| session_key(seed).expose().to_owned());
    keys.to_vec()
}

pub(in crate::session) async fn logins_with_the_same_session_key_keep_the_one_before(
    s: Subject<impl AsyncFn(Duration)>,
) {
    s.log_in_with("first").await;
    // As when several pages log in at once: WeChat replaces the key for the first of them only.
    for _ in 0..3 {
        s.log_in_with("second").await;
    }
    assert_eq!(s.keys().await, keys(["second", "first"]));
    s.pass(SECOND * 400).await;
    s.log_in_with("second").await;
    s.pass(SECOND * 201).await;
    assert_eq!(s.keys().await, keys(["second"]));
}

pub(in crate::session) async fn a_session_key_is_replaced_where_it_is_the_latest(
    s: Subject<impl AsyncFn(Duration)>,
) {
    s.log_in_with("first").await;
    s.log_in_with("second").await;
    assert!(s.replace("second", "third").await);
    assert_eq!(s.keys().await, keys(["third", "second"]));
    // The same again, as after an answer that was lost.
    assert!(s.replace("second", "third").await);
    assert_eq!(s.keys().await, keys(["third", "second"]));
    s.pass(SECOND * 601).await;
    assert_eq!(s.keys().await, keys(["third"]));
}

pub(in crate::session) async fn a_session_key_that_a_login_brought_meanwhile_is_not_replaced(
    s: Subject<impl AsyncFn(Duration)>,
) {
    s.log_in_with("first").await;
    s.log_in_with("second").await;
    assert!(!s.replace("first", "reset").await);
    assert_eq!(s.keys().await, keys(["second", "first"]));
    // A login that brought the same key is not in the way.
    s.log_in_with("second").await;
    assert!(s.replace("second", "reset").await);
    assert_eq!(s.keys().await, keys(["reset", "second"]));
}

pub(in crate::session) async fn a_session_key_of_nobody_is_not_replaced(
    s: Subject<impl AsyncFn(Duration)>,
) {
    assert!(!s.replace("first", "second").await);
    assert_eq!(s.keys().await, Vec::<String>::new());
    let opened = s.log_in_with("first").await;
    s.store.end(opened.session.id).await.unwrap();
    assert!(!s.replace("first", "second").await);
    s.log_in_with("third").await;
    assert_eq!(s.keys().await, keys(["third"]));
}

pub(in crate::session) async fn the_last_session_takes_the_session_key_with_it(
    s: Subject<impl AsyncFn(Duration)>,
) {
    let phone = s.log_in("alice").await.session.id;
    let desktop = s.log_in("alice").await.session.id;
    s.store.end(phone).await.unwrap();
    assert!(s.key("alice").await.is_some());
    s.store.end(desktop).await.unwrap();
    assert_eq!(s.key("alice").await, None);
}

pub(in crate::session) async fn the_latest_session_key_stays_whichever_sessions_end(
    s: Subject<impl AsyncFn(Duration)>,
) {
    for (at, order) in [[0, 1, 2], [2, 1, 0], [1, 2, 0], [2, 0, 1]]
        .iter()
        .enumerate()
    {
        let openid = format!("user-{at}");
        let mut opened = Vec::new();
        for seed in ["first", "second", "third"] {
            let key = session_key(seed);
            let login = s.store.open_session(identity(&openid), &key).await;
            opened.push(login.unwrap().session.id);
        }
        let latest = session_key("third").expose().to_owned();
        for ended in order {
            assert_eq!(s.key(&openid).await, Some(latest.clone()), "{order:?}");
            s.store.end(opened[*ended]).await.unwrap();
        }
        assert_eq!(s.key(&openid).await, None, "{order:?}");
    }
}

pub(in crate::session) async fn of_logins_at_once_one_session_key_wins_for_everybody(
    s: Subject<impl AsyncFn(Duration)>,
) {
    let keys = ["one", "two", "three"].map(session_key);
    let logins = keys
        .iter()
        .map(|key| s.store.open_session(identity("alice"), key));
    for opened in join_all(logins).await {
        opened.unwrap();
    }
    let stored = async || {
        let keys = s.store.session_keys(APPID, "alice").await.unwrap().unwrap();
        let previous = keys.previous.unwrap();
        [keys.latest, previous].map(|key| key.expose().to_owned())
    };
    let [latest, previous] = stored().await;
    let brought: Vec<_> = keys.iter().map(Secret::expose).collect();
    assert!(brought.contains(&latest.as_str()));
    assert!(brought.contains(&previous.as_str()));
    assert_ne!(latest, previous);
    assert_eq!(stored().await, [latest, previous]);
}
