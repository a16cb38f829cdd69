//! How a session ends in every store.

use std::time::Duration;

use futures::future::join_all;

use super::{APPID, SECOND, Subject, apps};
use crate::session::RefreshError;
use crate::session::store::MOST_AT_ONCE;

pub(in crate::session) async fn the_end_of_a_session_moves_with_a_refresh_and_is_none_once_it_is_over(
    s: Subject<impl AsyncFn(Duration)>,
) {
    let opened = s.log_in("alice").await;
    let id = opened.session.id;
    let end = s.store.end_of(id).await.unwrap();
    assert_eq!(end, Some(opened.session.expires));
    s.pass(SECOND).await;
    let refreshed = s.refresh(&opened.refresh).await;
    let end = s.store.end_of(id).await.unwrap();
    assert_eq!(end, Some(refreshed.session.expires));
    let ended = s.log_in("alice").await.session.id;
    s.store.end(ended).await.unwrap();
    assert_eq!(s.store.end_of(ended).await.unwrap(), None);
    s.pass(s.rules.session_ttl).await;
    assert_eq!(s.store.end_of(id).await.unwrap(), None);
}

pub(in crate::session) async fn an_expired_session_cannot_be_refreshed(
    s: Subject<impl AsyncFn(Duration)>,
) {
    let opened = s.log_in("alice").await;
    s.pass(s.rules.session_ttl).await;
    let ended = s.store.refresh(&opened.refresh, &apps()).await;
    assert!(matches!(ended, Err(RefreshError::Ended)));
}

pub(in crate::session) async fn an_expired_session_is_listed_no_more(
    s: Subject<impl AsyncFn(Duration)>,
) {
    s.log_in("alice").await;
    s.pass(s.rules.session_ttl).await;
    assert_eq!(s.count("alice").await, 0);
    assert_eq!(s.key("alice").await, None);
}

pub(in crate::session) async fn a_logout_ends_that_session_and_no_other(
    s: Subject<impl AsyncFn(Duration)>,
) {
    let phone = s.log_in("alice").await;
    let desktop = s.log_in("alice").await;
    assert!(s.store.end(phone.session.id).await.unwrap());
    assert!(s.store.revoked().contains(&phone.session.id));
    assert!(!s.store.revoked().contains(&desktop.session.id));
    let ended = s.store.refresh(&phone.refresh, &apps()).await;
    assert!(matches!(ended, Err(RefreshError::Ended)));
    s.refresh(&desktop.refresh).await;
}

pub(in crate::session) async fn a_logout_works_once(s: Subject<impl AsyncFn(Duration)>) {
    let id = s.log_in("alice").await.session.id;
    assert!(s.store.end(id).await.unwrap());
    assert!(!s.store.end(id).await.unwrap());
}

pub(in crate::session) async fn a_logout_everywhere_ends_each_session_of_that_user(
    s: Subject<impl AsyncFn(Duration)>,
) {
    let mut expected = vec![s.log_in("alice").await.session.id];
    expected.push(s.log_in("alice").await.session.id);
    let bob = s.log_in("bob").await.session.id;
    let mut ended = s.store.end_all(APPID, "alice").await.unwrap();
    ended.sort();
    expected.sort();
    assert_eq!(ended, expected);
    assert!(ended.iter().all(|id| s.store.revoked().contains(id)));
    assert!(!s.store.revoked().contains(&bob));
    assert_eq!((s.count("alice").await, s.count("bob").await), (0, 1));
}

pub(in crate::session) async fn a_logout_everywhere_ends_more_sessions_than_are_listed(
    s: Subject<impl AsyncFn(Duration)>,
) {
    let opened = join_all((0..=MOST_AT_ONCE).map(|_| s.log_in("alice"))).await;
    assert_eq!(s.count("alice").await, MOST_AT_ONCE);
    let ended = s.store.end_all(APPID, "alice").await.unwrap();
    assert_eq!(ended.len(), opened.len());
    for opened in opened {
        assert!(s.store.revoked().contains(&opened.session.id));
    }
    assert_eq!(s.count("alice").await, 0);
    assert_eq!(s.key("alice").await, None);
}
