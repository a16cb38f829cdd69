//! Users are found by their unionid while they have a session and WeChat's latest is that one.

use std::time::Duration;

use super::{Subject, identity, session_key};
use crate::session::{Identity, Opened};

const SECOND: Duration = Duration::from_secs(1);

impl<P: AsyncFn(Duration)> Subject<P> {
    /// Waits until these are found, in this order; a store may note them a moment after it answered.
    async fn finds(&self, unionid: &str, expected: &[&str]) {
        let found = async {
            while self.found_by(unionid).await != expected {
                tokio::task::yield_now().await;
            }
        };
        let in_time = tokio::time::timeout(5 * SECOND, found).await;
        let found = self.found_by(unionid).await;
        assert!(in_time.is_ok(), "{unionid}: {found:?}, not {expected:?}");
    }

    /// Returns the openids of whoever has a unionid, with their apps' ids.
    async fn found_by(&self, unionid: &str) -> Vec<String> {
        let found = self.store.users_of(unionid).await.unwrap().unwrap();
        let mut users: Vec<String> = found
            .into_iter()
            .map(|who| {
                assert_eq!(who.unionid.as_deref(), Some(unionid));
                format!("{}/{}", who.appid, who.openid)
            })
            .collect();
        users.sort();
        users
    }

    async fn log_in_as(&self, appid: &str, openid: &str, unionid: Option<&str>) -> Opened {
        let who = Identity {
            appid: appid.to_owned(),
            unionid: unionid.map(str::to_owned),
            ..identity(openid)
        };
        let key = session_key("some key");
        self.store.open_session(who, &key).await.unwrap()
    }
}

pub(in crate::session) async fn users_of_all_apps_are_found_by_their_unionid_and_nobody_else(
    s: Subject<impl AsyncFn(Duration)>,
) {
    assert!(s.found_by("one").await.is_empty());
    for (appid, openid) in [("wx1", "a"), ("wx2", "b")] {
        s.log_in_as(appid, openid, Some("one")).await;
        s.log_in_as(appid, openid, Some("one")).await;
    }
    s.log_in_as("wx1", "c", Some("two")).await;
    s.log_in_as("wx1", "d", None).await;
    s.finds("one", &["wx1/a", "wx2/b"]).await;
    s.finds("two", &["wx1/c"]).await;
    assert!(s.found_by("three").await.is_empty());
}

pub(in crate::session) async fn a_user_is_found_by_the_latest_unionid_alone(
    s: Subject<impl AsyncFn(Duration)>,
) {
    s.log_in_as("wx1", "a", None).await;
    let first = s.log_in_as("wx1", "a", Some("one")).await;
    s.log_in_as("wx1", "a", None).await;
    s.finds("one", &["wx1/a"]).await;
    let second = s.log_in_as("wx1", "a", Some("two")).await;
    assert!(s.found_by("one").await.is_empty());
    s.finds("two", &["wx1/a"]).await;
    // Whichever session ends, it stays the latest.
    s.store.end(second.session.id).await.unwrap();
    s.store.end(first.session.id).await.unwrap();
    assert!(s.found_by("one").await.is_empty());
    s.finds("two", &["wx1/a"]).await;
}

pub(in crate::session) async fn a_user_without_a_session_is_found_by_no_unionid(
    s: Subject<impl AsyncFn(Duration)>,
) {
    let opened = s.log_in_as("wx1", "a", Some("one")).await;
    s.log_in_as("wx1", "b", Some("one")).await;
    s.store.end(opened.session.id).await.unwrap();
    s.finds("one", &["wx1/b"]).await;
    s.store.end_all("wx1", "b").await.unwrap();
    assert!(s.found_by("one").await.is_empty());
    s.log_in_as("wx1", "a", Some("one")).await;
    (s.pass_time)(s.rules.session_ttl + SECOND).await;
    assert!(s.found_by("one").await.is_empty());
}

pub(in crate::session) async fn a_user_is_found_for_as_long_as_their_session_is_refreshed(
    s: Subject<impl AsyncFn(Duration)>,
) {
    let opened = s.log_in_as("wx1", "a", Some("one")).await;
    (s.pass_time)(s.rules.session_ttl / 2).await;
    s.refresh(&opened.refresh).await;
    (s.pass_time)(s.rules.session_ttl / 4 * 3).await;
    s.finds("one", &["wx1/a"]).await;
}

pub(in crate::session) async fn a_user_is_found_for_as_long_as_a_session_of_a_login_without_a_unionid(
    s: Subject<impl AsyncFn(Duration)>,
) {
    s.log_in_as("wx1", "a", Some("one")).await;
    (s.pass_time)(s.rules.session_ttl / 2).await;
    s.log_in_as("wx1", "a", None).await;
    (s.pass_time)(s.rules.session_ttl / 4 * 3).await;
    s.finds("one", &["wx1/a"]).await;
}
