//! What every store does with a login.

use std::time::Duration;

use futures::future::join_all;

use super::{APPID, Subject, identity, session_key};
use crate::session::{Identity, LONGEST_TEXT, StoreError};

pub(in crate::session) async fn a_login_is_listed_as_it_was_made(
    s: Subject<impl AsyncFn(Duration)>,
) {
    let opened = s.log_in("alice").await;
    assert_eq!(opened.session.identity, identity("alice"));
    let ttl = opened.session.expires - opened.session.created;
    assert_eq!(ttl, s.rules.session_ttl.as_secs());
    let listed = s.store.sessions_of(APPID, "alice").await.unwrap();
    assert_eq!(listed, [opened.session]);
}

pub(in crate::session) async fn a_second_login_leaves_the_first_alone(
    s: Subject<impl AsyncFn(Duration)>,
) {
    let phone = s.log_in("alice").await;
    let desktop = s.log_in("alice").await;
    assert_eq!(s.count("alice").await, 2);
    s.refresh(&phone.refresh).await;
    s.refresh(&desktop.refresh).await;
    assert_eq!(s.count("alice").await, 2);
}

pub(in crate::session) async fn logins_of_one_user_at_once_are_all_good(
    s: Subject<impl AsyncFn(Duration)>,
) {
    let opened = join_all((0..3).map(|_| s.log_in("alice"))).await;
    assert_eq!(s.count("alice").await, 3);
    for opened in opened {
        s.refresh(&opened.refresh).await;
    }
}

pub(in crate::session) async fn a_session_is_found_by_its_id(s: Subject<impl AsyncFn(Duration)>) {
    let opened = s.log_in("alice").await;
    let id = opened.session.id;
    assert_eq!(s.store.session(id).await.unwrap(), Some(opened.session));
    let refreshed = s.refresh(&opened.refresh).await.session;
    assert_eq!(s.store.session(id).await.unwrap(), Some(refreshed));
    s.store.end(id).await.unwrap();
    assert_eq!(s.store.session(id).await.unwrap(), None);
}

pub(in crate::session) async fn one_openid_in_two_apps_is_two_users(
    s: Subject<impl AsyncFn(Duration)>,
) {
    let elsewhere = Identity {
        appid: "wx2".to_owned(),
        ..identity("alice")
    };
    let key = session_key("other");
    s.store.open_session(elsewhere, &key).await.unwrap();
    s.log_in("alice").await;
    s.store.end_all("wx2", "alice").await.unwrap();
    assert_eq!(s.count("alice").await, 1);
    assert!(s.key("alice").await.is_some());
}

pub(in crate::session) async fn a_user_may_be_named_anything(s: Subject<impl AsyncFn(Duration)>) {
    for openid in ["*", "a b", "{x}", "\r\nDEL x", "\u{1F600}", "'; --"] {
        let opened = s.log_in(openid).await;
        assert_eq!(s.count(openid).await, 1, "{openid}");
        s.refresh(&opened.refresh).await;
        s.store.end_all(APPID, openid).await.unwrap();
        assert_eq!(s.count(openid).await, 0, "{openid}");
    }
}

pub(in crate::session) async fn a_text_that_cannot_be_stored_is_refused(
    s: Subject<impl AsyncFn(Duration)>,
) {
    let longest = "x".repeat(LONGEST_TEXT);
    s.log_in(&longest).await;
    assert_eq!(s.count(&longest).await, 1);
    for openid in ["", "a\0b", &format!("{longest}x")] {
        let key = session_key("some key");
        let refused = s.store.open_session(identity(openid), &key).await;
        assert!(matches!(refused, Err(StoreError::Unacceptable("openid"))));
    }
}
