//! What every session store must do, as tests that run against each of them.

use std::time::Duration;

use futures::future::join_all;

use super::store::MOST_AT_ONCE;
use super::{
    Apps, Claim, Holder, Identity, LONGEST_TEXT, Lifetimes, Opened, RefreshError, RefreshToken,
    Source,
};
use super::{Sessions, StoreError};
use crate::secret::Secret;

/// A store that was opened for one test, and how time passes for it.
pub(super) struct Subject<P> {
    pub(super) store: Sessions,
    pub(super) lifetimes: Lifetimes,
    pub(super) pass_time: P,
}

/// Makes a test of each clause; `$subject` is an async closure that returns a fresh [`Subject`].
///
/// With a name, it makes one test of all clauses at once, each over a subject of its own that `$subject` makes with what
/// `$shared` brought and a name that no other clause has.
macro_rules! contract_tests {
    ($subject:expr) => { contract_tests! { @clauses each [$subject] } };
    ($name:ident, $shared:expr, $subject:expr) => {
        contract_tests! { @clauses whole [$name, $shared, $subject] }
    };
    (@clauses $form:ident $with:tt) => {
        contract_tests! { @$form $with
            a_login_is_listed_as_it_was_made
            a_second_login_leaves_the_first_alone
            the_session_key_of_the_latest_login_wins
            the_session_key_before_is_kept_for_a_while
            logins_with_the_same_session_key_keep_the_one_before
            a_session_key_is_replaced_where_it_is_the_latest
            a_session_key_that_a_login_brought_meanwhile_is_not_replaced
            a_session_key_of_nobody_is_not_replaced
            a_session_is_found_by_its_id
            one_openid_in_two_apps_is_two_users
            a_refresh_gives_another_token_and_more_time
            a_session_that_is_refreshed_outlives_its_first_end
            forty_refreshes_at_once_give_one_successor
            the_end_of_a_session_moves_with_a_refresh_and_is_none_once_it_is_over
            a_replaced_token_gives_the_same_successor_within_grace
            a_replaced_token_does_not_lengthen_the_session
            a_replaced_token_ends_the_session_after_grace
            a_session_of_an_app_that_is_not_configured_waits_for_it
            each_replaced_token_gives_its_successor_within_its_own_grace
            a_token_that_was_replaced_often_ends_the_session
            reuse_revokes_that_session_and_no_other
            an_expired_session_cannot_be_refreshed
            an_expired_session_is_listed_no_more
            a_logout_ends_that_session_and_no_other
            a_logout_works_once
            a_logout_everywhere_ends_each_session_of_that_user
            a_logout_everywhere_ends_more_sessions_than_are_listed
            the_last_session_takes_the_session_key_with_it
            the_latest_session_key_stays_whichever_sessions_end
            a_text_that_is_no_refresh_token_is_invalid
            a_text_that_cannot_be_stored_is_refused
            logins_of_one_user_at_once_are_all_good
            a_user_may_be_named_anything
            a_code_that_was_given_back_can_be_taken_again
            a_token_is_unused_until_it_is_refreshed_or_its_session_ends
        }
    };
    (@each [$subject:expr] $($clause:ident)+) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $clause() {
                crate::session::contract::$clause($subject().await).await;
            }
        )+
    };
    (@whole [$name:ident, $shared:expr, $subject:expr] $($clause:ident)+) => {
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $name() {
            use futures::FutureExt as _;
            let shared = $shared;
            let clauses = [$(async {
                let subject = $subject(&shared, stringify!($clause)).await;
                let held = crate::session::contract::$clause(subject);
                let held = std::panic::AssertUnwindSafe(held).catch_unwind().await;
                held.err().map(|_| stringify!($clause))
            }.boxed_local()),+];
            let broken = futures::future::join_all(clauses).await;
            let broken: Vec<&str> = broken.into_iter().flatten().collect();
            assert!(broken.is_empty(), "{broken:?}");
        }
    };
}

const APPID: &str = "wx1";

pub(super) fn identity(openid: &str) -> Identity {
    Identity {
        app: "shop".to_owned(),
        appid: APPID.to_owned(),
        openid: openid.to_owned(),
        unionid: Some("union".to_owned()),
        source: Source::MiniProgram,
    }
}

/// Makes a session_key that looks like WeChat's: 16 bytes in base64.
pub(super) fn session_key(seed: &str) -> Secret {
    use base64::Engine;
    let bytes: Vec<u8> = seed.bytes().cycle().take(16).collect();
    Secret::new(base64::engine::general_purpose::STANDARD.encode(bytes))
}

/// The apps that are configured, of which one is [`identity`]'s.
pub(super) fn apps() -> Apps {
    Apps::new([("club", "wx2"), ("shop", APPID)])
}

const SECOND: Duration = Duration::from_secs(1);

impl<P: AsyncFn(Duration)> Subject<P> {
    async fn log_in(&self, openid: &str) -> Opened {
        let key = session_key("some key");
        let opened = self.store.open_session(identity(openid), &key).await;
        opened.unwrap()
    }

    async fn refresh(&self, token: &RefreshToken) -> Opened {
        self.store.refresh(token, &apps()).await.unwrap()
    }

    async fn count(&self, openid: &str) -> usize {
        let sessions = self.store.sessions_of(APPID, openid).await;
        sessions.unwrap().len()
    }

    async fn key(&self, openid: &str) -> Option<String> {
        let keys = self.store.session_keys(APPID, openid).await.unwrap();
        keys.map(|keys| keys.latest.expose().to_owned())
    }

    async fn log_in_with(&self, seed: &str) -> Opened {
        let key = session_key(seed);
        let opened = self.store.open_session(identity("alice"), &key).await;
        opened.unwrap()
    }

    /// Returns the session_keys of alice, the latest first.
    async fn keys(&self) -> Vec<String> {
        let keys = self.store.session_keys(APPID, "alice").await.unwrap();
        let keys = keys.map_or_else(Vec::new, |keys| vec![Some(keys.latest), keys.previous]);
        let keys = keys.into_iter().flatten();
        keys.map(|key| key.expose().to_owned()).collect()
    }

    /// Replaces the session_key of alice.
    async fn replace(&self, old: &str, new: &str) -> bool {
        let (old, new) = (session_key(old), session_key(new));
        let replaced = self.store.replace_session_key(APPID, "alice", &old, &new);
        replaced.await.unwrap()
    }

    async fn pass(&self, time: Duration) {
        (self.pass_time)(time).await;
    }
}

pub(super) async fn a_login_is_listed_as_it_was_made(s: Subject<impl AsyncFn(Duration)>) {
    let opened = s.log_in("alice").await;
    assert_eq!(opened.session.identity, identity("alice"));
    let ttl = opened.session.expires - opened.session.created;
    assert_eq!(ttl, s.lifetimes.session_ttl.as_secs());
    let listed = s.store.sessions_of(APPID, "alice").await.unwrap();
    assert_eq!(listed, [opened.session]);
}

pub(super) async fn a_second_login_leaves_the_first_alone(s: Subject<impl AsyncFn(Duration)>) {
    let phone = s.log_in("alice").await;
    let desktop = s.log_in("alice").await;
    assert_eq!(s.count("alice").await, 2);
    s.refresh(&phone.refresh).await;
    s.refresh(&desktop.refresh).await;
    assert_eq!(s.count("alice").await, 2);
}

pub(super) async fn the_session_key_of_the_latest_login_wins(s: Subject<impl AsyncFn(Duration)>) {
    for seed in ["first", "second"] {
        let key = session_key(seed);
        let opened = s.store.open_session(identity("alice"), &key).await;
        opened.unwrap();
    }
    let latest = session_key("second").expose().to_owned();
    assert_eq!(s.key("alice").await, Some(latest));
}

pub(super) async fn the_session_key_before_is_kept_for_a_while(s: Subject<impl AsyncFn(Duration)>) {
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

pub(super) async fn logins_with_the_same_session_key_keep_the_one_before(
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

pub(super) async fn a_session_key_is_replaced_where_it_is_the_latest(
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

pub(super) async fn a_session_key_that_a_login_brought_meanwhile_is_not_replaced(
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

pub(super) async fn a_session_key_of_nobody_is_not_replaced(s: Subject<impl AsyncFn(Duration)>) {
    assert!(!s.replace("first", "second").await);
    assert_eq!(s.keys().await, Vec::<String>::new());
    let opened = s.log_in_with("first").await;
    s.store.end(opened.session.id).await.unwrap();
    assert!(!s.replace("first", "second").await);
    s.log_in_with("third").await;
    assert_eq!(s.keys().await, keys(["third"]));
}

pub(super) async fn a_session_is_found_by_its_id(s: Subject<impl AsyncFn(Duration)>) {
    let opened = s.log_in("alice").await;
    let id = opened.session.id;
    assert_eq!(s.store.session(id).await.unwrap(), Some(opened.session));
    let refreshed = s.refresh(&opened.refresh).await.session;
    assert_eq!(s.store.session(id).await.unwrap(), Some(refreshed));
    s.store.end(id).await.unwrap();
    assert_eq!(s.store.session(id).await.unwrap(), None);
}

pub(super) async fn one_openid_in_two_apps_is_two_users(s: Subject<impl AsyncFn(Duration)>) {
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

pub(super) async fn a_refresh_gives_another_token_and_more_time(
    s: Subject<impl AsyncFn(Duration)>,
) {
    let before = s.log_in("alice").await;
    s.pass(SECOND).await;
    let after = s.refresh(&before.refresh).await;
    assert_ne!(after.refresh.expose(), before.refresh.expose());
    assert_eq!(after.session.id, before.session.id);
    assert_eq!(after.session.created, before.session.created);
    assert!(after.session.expires > before.session.expires);
}

pub(super) async fn a_session_that_is_refreshed_outlives_its_first_end(
    s: Subject<impl AsyncFn(Duration)>,
) {
    let mut opened = s.log_in("alice").await;
    for _ in 0..3 {
        s.pass(s.lifetimes.session_ttl / 2).await;
        opened = s.refresh(&opened.refresh).await;
    }
    assert_eq!(s.count("alice").await, 1);
}

pub(super) async fn the_end_of_a_session_moves_with_a_refresh_and_is_none_once_it_is_over(
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
    s.pass(s.lifetimes.session_ttl).await;
    assert_eq!(s.store.end_of(id).await.unwrap(), None);
}

pub(super) async fn forty_refreshes_at_once_give_one_successor(s: Subject<impl AsyncFn(Duration)>) {
    let opened = s.log_in("alice").await;
    let tasks = (0..40).map(|_| {
        let (store, token) = (s.store.clone(), opened.refresh.clone());
        tokio::spawn(async move { store.refresh(&token, &apps()).await.unwrap() })
    });
    let refreshed = join_all(tasks).await;
    let first = refreshed[0].as_ref().unwrap();
    for other in &refreshed {
        let other = other.as_ref().unwrap();
        assert_eq!(other.refresh.expose(), first.refresh.expose());
        assert_eq!(other.session, first.session);
    }
    s.refresh(&first.refresh).await;
}

pub(super) async fn a_replaced_token_gives_the_same_successor_within_grace(
    s: Subject<impl AsyncFn(Duration)>,
) {
    let opened = s.log_in("alice").await;
    let successor = s.refresh(&opened.refresh).await;
    s.pass(s.lifetimes.refresh_grace / 2).await;
    let again = s.refresh(&opened.refresh).await;
    assert_eq!(again.refresh.expose(), successor.refresh.expose());
}

pub(super) async fn a_replaced_token_does_not_lengthen_the_session(
    s: Subject<impl AsyncFn(Duration)>,
) {
    let opened = s.log_in("alice").await;
    let successor = s.refresh(&opened.refresh).await;
    s.pass(s.lifetimes.refresh_grace / 2).await;
    let again = s.refresh(&opened.refresh).await;
    assert_eq!(again.session.expires, successor.session.expires);
}

pub(super) async fn a_replaced_token_ends_the_session_after_grace(
    s: Subject<impl AsyncFn(Duration)>,
) {
    let opened = s.log_in("alice").await;
    let successor = s.refresh(&opened.refresh).await;
    s.pass(s.lifetimes.refresh_grace + SECOND).await;
    let reused = s.store.refresh(&opened.refresh, &apps()).await;
    assert!(matches!(reused, Err(RefreshError::Reused)));
    let ended = s.store.refresh(&successor.refresh, &apps()).await;
    assert!(matches!(ended, Err(RefreshError::Ended)));
}

pub(super) async fn a_session_of_an_app_that_is_not_configured_waits_for_it(
    s: Subject<impl AsyncFn(Duration)>,
) {
    let opened = s.log_in("alice").await;
    for others in [&[][..], &[("shop", "wx2"), ("club", APPID)]] {
        let others = Apps::new(others.iter().copied());
        let refused = s.store.refresh(&opened.refresh, &others).await;
        assert!(matches!(refused, Err(RefreshError::AppUnknown)));
    }
    s.pass(s.lifetimes.refresh_grace + SECOND).await;
    let after = s.refresh(&opened.refresh).await;
    assert_eq!(after.session.id, opened.session.id);
}

pub(super) async fn each_replaced_token_gives_its_successor_within_its_own_grace(
    s: Subject<impl AsyncFn(Duration)>,
) {
    let first = s.log_in("alice").await;
    let second = s.refresh(&first.refresh).await;
    s.pass(SECOND * 2).await;
    let third = s.refresh(&second.refresh).await;
    let again = s.refresh(&first.refresh).await;
    assert_eq!(again.refresh.expose(), second.refresh.expose());
    s.pass(s.lifetimes.refresh_grace - SECOND).await;
    let again = s.refresh(&second.refresh).await;
    assert_eq!(again.refresh.expose(), third.refresh.expose());
    let reused = s.store.refresh(&first.refresh, &apps()).await;
    assert!(matches!(reused, Err(RefreshError::Reused)));
}

pub(super) async fn a_token_that_was_replaced_often_ends_the_session(
    s: Subject<impl AsyncFn(Duration)>,
) {
    let first = s.log_in("alice").await;
    let mut last = first.clone();
    for _ in 0..=super::rotation::REMEMBERED {
        last = s.refresh(&last.refresh).await;
    }
    let reused = s.store.refresh(&first.refresh, &apps()).await;
    assert!(matches!(reused, Err(RefreshError::Reused)));
    assert_eq!(s.count("alice").await, 0);
}

pub(super) async fn reuse_revokes_that_session_and_no_other(s: Subject<impl AsyncFn(Duration)>) {
    let other = s.log_in("alice").await.session.id;
    let opened = s.log_in("alice").await;
    s.refresh(&opened.refresh).await;
    s.pass(s.lifetimes.refresh_grace + SECOND).await;
    let reused = s.store.refresh(&opened.refresh, &apps()).await;
    assert!(matches!(reused, Err(RefreshError::Reused)));
    assert!(s.store.revoked().contains(&opened.session.id));
    assert!(!s.store.revoked().contains(&other));
    assert_eq!(s.count("alice").await, 1);
}

pub(super) async fn an_expired_session_cannot_be_refreshed(s: Subject<impl AsyncFn(Duration)>) {
    let opened = s.log_in("alice").await;
    s.pass(s.lifetimes.session_ttl).await;
    let ended = s.store.refresh(&opened.refresh, &apps()).await;
    assert!(matches!(ended, Err(RefreshError::Ended)));
}

pub(super) async fn an_expired_session_is_listed_no_more(s: Subject<impl AsyncFn(Duration)>) {
    s.log_in("alice").await;
    s.pass(s.lifetimes.session_ttl).await;
    assert_eq!(s.count("alice").await, 0);
    assert_eq!(s.key("alice").await, None);
}

pub(super) async fn a_logout_ends_that_session_and_no_other(s: Subject<impl AsyncFn(Duration)>) {
    let phone = s.log_in("alice").await;
    let desktop = s.log_in("alice").await;
    assert!(s.store.end(phone.session.id).await.unwrap());
    assert!(s.store.revoked().contains(&phone.session.id));
    assert!(!s.store.revoked().contains(&desktop.session.id));
    let ended = s.store.refresh(&phone.refresh, &apps()).await;
    assert!(matches!(ended, Err(RefreshError::Ended)));
    s.refresh(&desktop.refresh).await;
}

pub(super) async fn a_logout_works_once(s: Subject<impl AsyncFn(Duration)>) {
    let id = s.log_in("alice").await.session.id;
    assert!(s.store.end(id).await.unwrap());
    assert!(!s.store.end(id).await.unwrap());
}

pub(super) async fn a_logout_everywhere_ends_each_session_of_that_user(
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

pub(super) async fn a_logout_everywhere_ends_more_sessions_than_are_listed(
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

pub(super) async fn the_last_session_takes_the_session_key_with_it(
    s: Subject<impl AsyncFn(Duration)>,
) {
    let phone = s.log_in("alice").await.session.id;
    let desktop = s.log_in("alice").await.session.id;
    s.store.end(phone).await.unwrap();
    assert!(s.key("alice").await.is_some());
    s.store.end(desktop).await.unwrap();
    assert_eq!(s.key("alice").await, None);
}

pub(super) async fn the_latest_session_key_stays_whichever_sessions_end(
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

pub(super) async fn a_text_that_is_no_refresh_token_is_invalid(s: Subject<impl AsyncFn(Duration)>) {
    let genuine = s.log_in("alice").await.refresh;
    let mut texts = vec![
        String::new(),
        "x".repeat(112),
        format!("{}A", genuine.expose()),
    ];
    texts.push(genuine.expose().chars().skip(1).collect());
    texts.push(genuine.expose().chars().rev().collect());
    for text in texts {
        let token = RefreshToken::from_client(text.as_str());
        let refused = s.store.refresh(&token, &apps()).await;
        assert!(matches!(refused, Err(RefreshError::Invalid)), "{text}");
    }
    s.refresh(&genuine).await;
}

pub(super) async fn a_text_that_cannot_be_stored_is_refused(s: Subject<impl AsyncFn(Duration)>) {
    let longest = "x".repeat(LONGEST_TEXT);
    s.log_in(&longest).await;
    assert_eq!(s.count(&longest).await, 1);
    for openid in ["", "a\0b", &format!("{longest}x")] {
        let key = session_key("some key");
        let refused = s.store.open_session(identity(openid), &key).await;
        assert!(matches!(refused, Err(StoreError::Unacceptable("openid"))));
    }
}

pub(super) async fn logins_of_one_user_at_once_are_all_good(s: Subject<impl AsyncFn(Duration)>) {
    let opened = join_all((0..3).map(|_| s.log_in("alice"))).await;
    assert_eq!(s.count("alice").await, 3);
    for opened in opened {
        s.refresh(&opened.refresh).await;
    }
}

pub(super) async fn a_user_may_be_named_anything(s: Subject<impl AsyncFn(Duration)>) {
    for openid in ["*", "a b", "{x}", "\r\nDEL x", "\u{1F600}", "'; --"] {
        let opened = s.log_in(openid).await;
        assert_eq!(s.count(openid).await, 1, "{openid}");
        s.refresh(&opened.refresh).await;
        s.store.end_all(APPID, openid).await.unwrap();
        assert_eq!(s.count(openid).await, 0, "{openid}");
    }
}

pub(super) async fn a_code_that_was_given_back_can_be_taken_again(
    s: Subject<impl AsyncFn(Duration)>,
) {
    let code = s.store.mark(APPID, "0a1b2c");
    for _ in 0..2 {
        let holder = Holder::random().unwrap();
        // Twice, as somebody asks who was not answered.
        for _ in 0..2 {
            let claim = s.store.claim(code, holder, SECOND * 10).await.unwrap();
            assert!(matches!(claim, Claim::Yours), "{claim:?}");
        }
        s.store.give_back(code, holder).await.unwrap();
    }
}

pub(super) async fn a_token_is_unused_until_it_is_refreshed_or_its_session_ends(
    s: Subject<impl AsyncFn(Duration)>,
) {
    let code = s.store.mark(APPID, "0a1b2c");
    let key = session_key("some key");
    let opened = s
        .store
        .open_session_for(code, SECOND * 60, identity("alice"), &key)
        .await
        .unwrap();
    let again = s.store.unused(&opened.refresh).await.unwrap().unwrap();
    assert_eq!(again.session, opened.session);
    assert_eq!(again.refresh.expose(), opened.refresh.expose());
    let successor = s.refresh(&opened.refresh).await.refresh;
    assert!(s.store.unused(&opened.refresh).await.unwrap().is_none());
    assert!(s.store.unused(&successor).await.unwrap().is_some());
    s.store.end(opened.session.id).await.unwrap();
    assert!(s.store.unused(&successor).await.unwrap().is_none());
}
